"""The cache: hits and probes, states, threads, the end of its life."""

import os
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import capscache
from capscache import errors
from support import AVR, Directory


class CacheTest(Directory):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.directory / "cache"
        self.cache = capscache.Cache(self.root)

    def test_the_first_get_probes_and_the_second_does_not(self) -> None:
        self.assertEqual(self.cache.status(AVR), capscache.Status("missing"))
        probed = self.cache.get(AVR)
        self.assertEqual(self.cache.status(AVR, "thorough"), capscache.Status("valid"))
        valid = self.cache.lookup(AVR)
        for entry in (probed, valid, self.cache.get(Path(AVR)), self.cache.get_unchecked(AVR)):
            self.assertEqual((entry.arch, entry.emulator), ("avr", AVR))
            self.assertIsNone(entry.persist_error)

    def test_groups_are_probed_when_they_are_requested(self) -> None:
        query = f"property:{self.cache.get(AVR).devices()[-1]}.nothing"
        entry = self.cache.get(AVR)
        self.assertEqual(entry.groups, ())
        self.assertIsNone(entry.query(query))
        self.assertEqual(entry.groups_for(query), ("devices",))
        entry = self.cache.get(AVR, entry.groups_for(query))
        self.assertEqual(entry.groups, ("devices",))
        self.assertIs(entry.query(query), False)
        self.assertEqual(self.cache.refresh(AVR, ["core", "objects"]).groups, ("devices", "objects"))

    def test_an_emulator_that_changed_is_stale_until_it_is_probed_again(self) -> None:
        wrapper = self.write_program("qemu-system-avr", f'#!/bin/sh\nexec {AVR} "$@"\n')
        entry = self.cache.get(wrapper)
        self.assertEqual((entry.emulator, entry.executable), (str(wrapper), AVR))
        self.write_program("qemu-system-avr", f'#!/bin/sh\n# new\nexec {AVR} "$@"\n')
        status = self.cache.status(wrapper)
        self.assertEqual((status.state, status.input, status.path), ("stale", "emulator", str(wrapper)))
        with self.assertRaises(errors.NoEntryError) as raised:
            self.cache.lookup(wrapper)
        self.assertEqual(raised.exception.status, status)
        self.assertEqual(str(raised.exception), f"no valid entry of {wrapper}: {status}")
        self.assertTrue(str(status).startswith(f"the emulator {wrapper} changed: recorded "), status)
        self.assertEqual(self.cache.get_unchecked(wrapper).arch, "avr")
        self.assertEqual(entry.machines(), self.cache.get(wrapper).machines())
        self.assertEqual(self.cache.status(wrapper).state, "valid")

    def test_a_list_has_all_entries_and_damaged_ones_without_an_emulator(self) -> None:
        self.cache.get(AVR)
        (one,) = self.cache.list()
        self.assertEqual((one.emulator, one.status.state), (AVR, "valid"))
        self.assertEqual(one.entry.arch, "avr")
        (file,) = [file for file in self.root.rglob("*") if file.is_file() and file.stat().st_size > 10_000]
        file.write_bytes(b"damage")
        (one,) = self.cache.list()
        self.assertEqual((one.emulator, one.status.state, one.entry), (None, "damaged", None))
        self.assertEqual(one.status.path, str(file))
        with self.assertRaises(errors.DamagedError):
            self.cache.get_unchecked(AVR)

    def test_invalidating_returns_whether_there_was_an_entry(self) -> None:
        entry = self.cache.get(AVR)
        self.assertIs(self.cache.invalidate(AVR), True)
        self.assertIs(self.cache.invalidate(AVR), False)
        self.assertEqual(entry.arch, "avr", "an entry outlives its file")
        self.cache.get(AVR)
        self.assertEqual(self.cache.invalidate_all(), 1)

    def test_a_closed_cache_refuses_calls_and_its_entries_answer(self) -> None:
        with self.cache as cache:
            self.assertIs(cache, self.cache)
            entry = cache.get(AVR)
        for call in (lambda: cache.get(AVR), lambda: cache.root, cache.__enter__):
            with self.assertRaisesRegex(ValueError, "the cache is closed"):
                call()
        cache.close()
        self.assertEqual(repr(cache), "<capscache.Cache, closed>")
        self.assertEqual(entry.arch, "avr")

    def test_other_threads_run_during_a_probe_and_share_it(self) -> None:
        starts = self.directory / "starts"
        wrapper = self.write_program(
            "qemu-system-avr", f'#!/bin/sh\necho >> {starts}\nsleep 0.3\nexec {AVR} "$@"\n'
        )
        cache = capscache.Cache(self.root, writable=[self.directory])
        ticks = []
        done = threading.Event()

        def tick() -> None:
            while not done.wait(0.01):
                ticks.append(time.monotonic())

        with ThreadPoolExecutor(5) as pool:
            ticker = pool.submit(tick)
            entries = list(pool.map(cache.get, [wrapper] * 4))
            done.set()
            ticker.result()
        self.assertEqual([entry.arch for entry in entries], ["avr"] * 4)
        alone = self.directory / "alone"
        passes = len(starts.read_text().splitlines())
        starts.rename(alone)
        cache.invalidate(wrapper)
        cache.get(wrapper)
        self.assertEqual(passes, len(starts.read_text().splitlines()), "four threads start no more processes than one")
        self.assertGreater(len(ticks), 1, "another thread ran")

    def test_options_reach_the_emulator(self) -> None:
        out = self.directory / "out"
        out.mkdir()
        wrapper = self.write_program(
            "qemu-system-avr", f'#!/bin/sh\nenv > {out}/environment\nexec {AVR} "$@"\n'
        )
        cache = capscache.Cache(self.root, environment=[("CAPSCACHE_TEST", "a b")], writable=[out])
        cache.get(wrapper)
        self.assertIn("CAPSCACHE_TEST=a b", (out / "environment").read_text().splitlines())
        never = self.write_program("qemu-system-never", "#!/bin/sh\nexec sleep 60\n")
        cache = capscache.Cache(self.root, start_timeout=0.2, probe_timeout=0.5)
        with self.assertRaises(errors.TimedOutError) as raised:
            cache.get(never)
        self.assertEqual((raised.exception.cause, raised.exception.path), ("timed-out", str(never)))

    def test_options_that_no_cache_can_have_are_refused_when_it_is_opened(self) -> None:
        not_finite = "cannot convert float seconds to Duration: value is either too big or NaN"
        for options, message in [
            ({"start_timeout": float("inf")}, f"start_timeout: {not_finite}"),
            ({"probe_timeout": float("nan")}, f"probe_timeout: {not_finite}"),
            ({"probe_timeout": -1}, "probe_timeout: cannot convert float seconds to Duration: value is negative"),
            ({"start_timeout": 86_400.5}, "start_timeout is longer than 86400 seconds"),
            ({"probe_timeout": 86_401}, "probe_timeout is longer than 86400 seconds"),
            ({"environment": [("", "a")]}, "environment: name is empty or has a `=`"),
            ({"environment": [("A", "b"), ("a=b", "c")]}, "environment: name is empty or has a `=`"),
            ({"environment": [("a\0", "b")]}, "environment: name has a NUL"),
            ({"environment": [("a", "b\0")]}, "environment: value has a NUL"),
            ({"writable": ["/a", ""]}, "writable: directory is empty"),
            ({"writable": ["/a\0"]}, "writable: directory has a NUL"),
            ({"trusted_owner": -1}, "-1 is not a valid uid or gid"),
            ({"trusted_owner": 2**32}, "4294967296 is not a valid uid or gid"),
            ({"user": (2**32 - 1, 0, [])}, "4294967295 is not a valid uid or gid"),
            ({"user": (1, 1, [-2])}, "-2 is not a valid uid or gid"),
        ]:
            with self.subTest(options):
                with self.assertRaises(ValueError) as raised:
                    capscache.Cache(self.directory / "new", **options)
                self.assertEqual(str(raised.exception), message)
        with self.assertRaises(TypeError):
            capscache.Cache(self.directory / "new", trusted_owner="root")
        options = {"start_timeout": 86_400, "trusted_owner": 0, "environment": [("A", "")], "user": (1, 2, [3])}
        with capscache.Cache(self.root, **options) as cache:
            self.assertEqual(cache.root, str(self.root))

    def test_a_fallback_answers_and_is_not_written(self) -> None:
        self.cache.get(AVR)
        before = sorted(self.root.rglob("*"))
        cache = capscache.Cache(self.directory / "own", fallbacks=[self.root])
        self.assertEqual(cache.lookup(AVR).arch, "avr")
        cache.invalidate_all()
        self.assertEqual(sorted(self.root.rglob("*")), before)

    def test_paths_that_are_not_utf8_are_those_of_os_fsdecode(self) -> None:
        name = os.fsdecode(b"qemu-\xff")
        wrapper = self.write_program(name, f'#!/bin/sh\nexec {AVR} "$@"\n')
        entry = self.cache.get(os.fsencode(wrapper).decode(errors="surrogateescape"))
        self.assertEqual(entry.emulator, str(wrapper))
        with self.assertRaises(errors.EmulatorError) as raised:
            self.cache.get(self.directory / "a\x1bb")
        self.assertIn(r"a\x1bb", str(raised.exception))

    def test_emulators_of_this_host_are_found(self) -> None:
        self.assertIn(AVR, [os.path.realpath(path) for path in capscache.find_emulators()])


if __name__ == "__main__":
    unittest.main()
