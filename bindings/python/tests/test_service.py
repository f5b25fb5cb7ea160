"""The client of the service, on a service with its own root, and on peers that break the protocol."""

import errno
import json
import os
import signal
import socket
import subprocess
import threading
import time
import unittest
from functools import partial
from pathlib import Path
from typing import Callable

import capscache
from capscache import errors
from support import AVR, X86_64, Directory

COMMAND = os.environ.get("CAPSCACHE_COMMAND", "")
OTHER_USER = 65534


def has_service() -> bool:
    found = os.access(COMMAND, os.X_OK)
    if not found:
        print("SKIPPED: the command was not built, so there is no service to call")
    return found


def can_be_another_user() -> bool:
    if os.geteuid() != 0:
        print("SKIPPED: not root: no program of another user can be run")
    return os.geteuid() == 0


def as_other_user(call: Callable[[], object]) -> object:
    """Returns what a call returns, as JSON, in a process of a user without rights."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(OTHER_USER, OTHER_USER, OTHER_USER)
            os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
            result = call()
        except BaseException as error:
            result = repr(error)
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        result = json.load(pipe)
    os.waitpid(child, 0)
    return result


class ServiceTest(Directory):
    def start(self) -> capscache.Service:
        """Starts a service with a root that only its own user may read."""
        os.chmod(self.directory, 0o755)
        root, path = self.directory / "cache", self.directory / "socket"
        root.mkdir(mode=0o700)
        arguments = [COMMAND, "serve", "--root", str(root), "--socket", str(path)]
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.send_signal, signal.SIGTERM)
        service = capscache.Service(path)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.assertEqual(service.root, str(root))
                return service
            except errors.ServiceError:
                time.sleep(0.02)
        raise AssertionError("the service does not answer")

    def test_an_entry_of_the_service_has_the_answers_of_the_cache(self) -> None:
        if not has_service():
            return
        service = self.start()
        with self.assertRaises(errors.NoEntryError) as raised:
            service.lookup(X86_64)
        self.assertEqual(raised.exception.status, capscache.Status("missing"))
        entry = service.get(X86_64, ["devices"])
        self.assertEqual((entry.emulator, entry.groups), (X86_64, ("devices",)))
        with capscache.Cache(service.root) as cache:
            self.assertEqual(cache.lookup(X86_64).json(), entry.json())
            self.assertEqual(service.status(X86_64, "thorough"), cache.status(X86_64, "thorough"))
            self.assertEqual(service.list(), cache.list())
        self.assertEqual(service.query(X86_64, "machine:q35", "machine:nope"), (True, False))
        self.assertEqual(service.refresh(X86_64).machines(), entry.machines())
        self.assertIs(service.invalidate(X86_64), True)
        self.assertIs(service.invalidate(X86_64), False)

    def test_a_query_of_each_kind_has_the_answer_and_the_reason_of_the_command(self) -> None:
        if not has_service():
            return
        service = self.start()
        entry = service.get(X86_64)
        queries = [
            "machine:q35", "machine-deprecated:pc", "cpu:EPYC@tcg", "cpu-model:EPYC", "version:>=8.2", "gic:3",
            "firmware:uefi", "firmware:uefi,no-such", "device:virtio-blk-pci", "property:virtio-blk-pci.queue-size",
            "property:max-x86_64-cpu.pmu", "type:iothread", "command:blockdev-add", "event:SHUTDOWN", "option:sandbox",
            "schema:blockdev-add/arg-type/+file/aio/^io_uring", "flag:virtio-gpu",
        ]  # fmt: skip
        words = [COMMAND, "--root", str(service.root), "query", X86_64, "--json", "--explain", *queries]
        printed = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
        answers = {True: "yes", False: "no", None: "unknown"}
        self.assertEqual(
            [{"query": one, "answer": answers[entry.query(one)], "reason": entry.explain(one)} for one in queries],
            printed,
        )
        self.assertEqual(service.query(X86_64, *queries), tuple(entry.query(one) for one in queries))
        with self.assertRaises(errors.InvalidQueryError) as command:
            service.query(X86_64, "colour:red")
        with self.assertRaises(errors.InvalidQueryError) as library:
            entry.query("colour:red")
        self.assertIn("flag", str(library.exception))
        self.assertIn(str(library.exception), str(command.exception))

    def test_errors_of_the_service_are_those_of_the_cache(self) -> None:
        if not has_service():
            return
        service = self.start()
        program = self.write_program("qemu-system-x", "#!/bin/sh\nexit 0\n")
        for call, kind, path in [
            (lambda: service.get("/nope"), errors.EmulatorError, "/nope"),
            (lambda: service.get(program), errors.NotAnEmulatorError, str(program)),
            (lambda: service.get("/usr/../bin/x"), errors.EmulatorError, "/usr/../bin/x"),
            (lambda: service.query(AVR, "colour:red"), errors.InvalidQueryError, None),
        ]:
            with self.assertRaises(errors.CapscacheError) as raised:
                call()
            self.assertIs(type(raised.exception), kind)
            self.assertEqual(raised.exception.path, path)

    def test_arguments_are_refused_with_the_errors_of_the_cache(self) -> None:
        if not has_service():
            return
        service = self.start()
        unnamed = self.write_program(os.fsdecode(b"qemu-\xff"), "")
        long_query = "machine:" + "a" * 4089
        with capscache.Cache(self.directory / "own") as cache:
            entry, own = service.get(AVR), cache.get(AVR)
            self.assertEqual(entry.emulator, own.emulator)
            for name, of_service, of_cache in [
                *[
                    (f"{method} {path!r}", partial(getattr(service, method), path), partial(getattr(cache, method), path))
                    for path in ("", "/\ud800", None, b"/a", 7)
                    for method in ("get", "lookup", "status", "invalidate", "refresh")
                ],
                *[
                    (f"get {path!r}"[:40], partial(service.get, path), partial(cache.get, path))
                    for path in ("/a\0b", "a\0b", "/\udcff", "/" + "a" * 5000, "/" + "a" * (2 << 20))
                ],
                *[
                    (f"query {query!r}"[:40], partial(service.query, AVR, query), partial(own.query, query))
                    for query in (None, b"a", 7, "\ud800", "\udcff", long_query)
                ],
                *[
                    (f"groups {groups!r}", partial(call, AVR, groups), partial(cache.get, AVR, groups))
                    for groups in ("devices", ["nope"], [7], None, {"devices"}, ["\udcff"])
                    for call in (service.get, service.refresh)
                ],
            ]:
                with self.subTest(name):
                    with self.assertRaises(Exception) as expected:
                        of_cache()
                    with self.assertRaises(Exception) as raised:
                        of_service()
                    self.assertIs(type(raised.exception), type(expected.exception))
        for path in (str(unnamed), Path(os.fsdecode(b"/\xff"))):
            with self.assertRaisesRegex(errors.EmulatorError, r"\\xff: the service requires a path in UTF-8") as raised:
                service.invalidate(path)
            self.assertEqual(raised.exception.path, str(path))
        with self.assertRaises(errors.EmulatorError) as raised:
            service.get("/" + "a" * 5000)
        self.assertEqual(raised.exception.errno, errno.ENAMETOOLONG)
        with self.assertRaisesRegex(errors.EmulatorError, "cannot stat the emulator : cannot make an empty path absolute"):
            service.invalidate("")
        with self.assertRaisesRegex(errors.InvalidQueryError, "it has 4097 bytes, more than 4096; send a shorter one"):
            service.query(AVR, "machine:none", long_query)
        self.assertIs(service.invalidate(AVR), True, "none of these calls dropped the entry")

    def test_more_queries_than_one_call_takes_are_answered_in_order(self) -> None:
        if not has_service():
            return
        service = self.start()
        service.get(AVR)
        for queries in (
            ["machine:none", "machine:nope"] * 1200,
            ["machine:none", "machine:" + "a" * 4000] * 300,
            ["machine:none", "machine:" + ",[{" * 1300] * 20,
            ["machine:none", "machine:" + "\1" * 4000] * 100,
            ["machine:none", "machine:" + "\u20ac" * 1300] * 300,
            ["machine:none", "machine:" + "a" * 4088],
        ):
            with self.subTest(f"{len(queries)} {queries[1][:20]!r}"):
                self.assertEqual(service.query(AVR, *queries), (True, False) * (len(queries) // 2))
        self.assertEqual(service.query(AVR), ())
        with self.assertRaises(errors.EmulatorError):
            service.query("/usr/../bin/x")

    def test_a_timeout_that_is_not_positive_is_refused(self) -> None:
        for timeout in (0, -1, float("nan"), float("inf")):
            with self.assertRaisesRegex(ValueError, f"timeout {timeout} is not a positive number of seconds"):
                capscache.Service(self.directory / "nothing", timeout=timeout)

    def test_who_may_probe_but_not_drop_entries_refreshes_a_missing_one(self) -> None:
        if not has_service() or not can_be_another_user():
            return
        service = self.start()
        self.assertEqual(service.status(AVR).state, "missing")
        self.assertEqual(as_other_user(lambda: service.refresh(AVR).arch), "avr")
        self.assertEqual(as_other_user(lambda: service.refresh(AVR, ["devices"]).groups), ["devices"])

    def test_refreshing_drops_only_what_a_get_does_not_replace(self) -> None:
        drops = {
            ("valid",): False,
            ("missing", "missing"): False,
            ("stale", "stale"): False,
            ("stale", "valid"): True,
            ("damaged", "damaged"): True,
            ("failed", "failed"): True,
        }
        for states, is_dropped in drops.items():
            with self.subTest(states):
                replies = [f'{{"parameters":{{"state":"{state}"}}}}\0'.encode() for state in states]
                if is_dropped:
                    replies.append(b'{"parameters":{"dropped":["/a"]}}\0')
                service = self.peer(*replies, b'{"parameters":{"state":"valid","accelerators":[]}}\0')
                with self.assertRaisesRegex(errors.ServiceError, "the service stored none"):
                    service.refresh(AVR)
                methods = [json.loads(one[:-1])["method"].rpartition(".")[2] for one in self.received]
                self.assertEqual(methods, ["Status"] * len(states) + ["Invalidate"] * is_dropped + ["Get"])
                os.unlink(service.socket)

    def test_a_user_who_may_not_read_the_cache_gets_entries_from_the_service(self) -> None:
        if not has_service() or not can_be_another_user():
            return
        service = self.start()
        service.get(AVR)

        def run() -> list:
            cache = capscache.open(service.root, socket=service.socket)
            found = [type(cache).__name__, cache.lookup(AVR).arch, cache.status(AVR).state]
            try:
                cache.invalidate(AVR)
            except errors.NotPermittedError as error:
                found.append(error.cause)
            return found

        self.assertEqual(as_other_user(run), ["Service", "avr", "valid", "not-permitted"])

    def test_who_may_write_the_cache_opens_it_although_there_is_a_service(self) -> None:
        opened = capscache.open(self.directory / "new", socket=self.directory / "nothing")
        self.assertIs(type(opened), capscache.Cache)
        opened.close()
        with self.assertRaises(errors.RootError):
            capscache.open(self.write_program("file", ""), socket=self.directory / "nothing")

    def peer(self, *replies: bytes) -> capscache.Service:
        """A service that sends each of these replies to one call, and closes its connection."""
        path = str(self.directory / "peer")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        self.received = []

        def serve() -> None:
            with listener:
                for reply in replies:
                    with listener.accept()[0] as connection:
                        self.received.append(connection.recv(4096))
                        connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return capscache.Service(path, timeout=30)

    def test_a_call_is_one_message_of_json_with_a_zero_byte(self) -> None:
        service = self.peer(b'{"parameters":{"root":"/a"}}\0')
        self.assertEqual(service.root, "/a")
        (message,) = self.received
        self.assertEqual(message[-1:], b"\0")
        self.assertEqual(json.loads(message[:-1]), {"method": "io.capscache.Cache.GetInfo", "parameters": {}})

    def test_a_peer_that_breaks_the_protocol_is_an_error(self) -> None:
        for reply in (b"", b"{", b"[]\0", b"nonsense\0", b"\xff\0", b'{"parameters":{}}\0', b'{"parameters":7}\0'):
            with self.subTest(reply):
                service = self.peer(reply)
                with self.assertRaises(errors.ServiceError) as raised:
                    service.root
                self.assertEqual(raised.exception.path, service.socket)
                os.unlink(service.socket)

    def test_answers_that_are_unknown_are_none(self) -> None:
        service = self.peer(b'{"parameters":{"answers":["yes","no","unknown"]}}\0')
        self.assertEqual(service.query(AVR, "a", "b", "c"), (True, False, None))

    def test_a_reply_with_fewer_answers_than_queries_is_an_error(self) -> None:
        service = self.peer(b'{"parameters":{"answers":["yes"]}}\0')
        with self.assertRaisesRegex(errors.ServiceError, "the reply has 1 answers to 2 queries"):
            service.query(AVR, "a", "b")

    def test_the_names_of_checks_are_those_of_the_cache(self) -> None:
        with self.assertRaisesRegex(ValueError, 'validation "slow" is unknown: names are fast, thorough, start'):
            capscache.Service(self.directory / "nothing").status(AVR, "slow")

    def test_a_service_that_is_not_there_has_the_number_of_the_system(self) -> None:
        with self.assertRaises(errors.ServiceError) as raised:
            capscache.Service(self.directory / "nothing").get(AVR)
        error = raised.exception
        self.assertEqual((error.errno, error.error), (2, None))
        self.assertEqual(str(error), f"cannot call the service at {error.path}: No such file or directory")

    def test_a_cache_that_cannot_be_used_is_an_error_of_entries(self) -> None:
        service = self.peer(b'{"error":"io.capscache.Cache.CacheUnusable","parameters":{"reason":"because"}}\0')
        with self.assertRaisesRegex(errors.EntryError, "because"):
            service.get(AVR)

    def test_an_entry_that_the_service_could_not_store_is_an_error(self) -> None:
        service = self.peer(b'{"parameters":{"state":"valid","accelerators":[]}}\0')
        with self.assertRaisesRegex(errors.ServiceError, "the service stored none"):
            service.get(AVR)


if __name__ == "__main__":
    unittest.main()
