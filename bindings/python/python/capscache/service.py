"""A client of the service, `capscache serve`, for programs that may not read the cache (`docs/service.md`)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Optional, Union, get_args

from capscache import errors
from capscache._native import Entry, Query, check_groups, escape, exchange
from capscache.model import Group, ListedEntry, Status, Validation

__all__ = ["SOCKET", "Service"]

SOCKET = "/run/capscache/io.capscache.Cache"
"""The usual path of the service's socket."""

INTERFACE = "io.capscache.Cache"

# Limits of the service for one call (`docs/service.md`); of the bytes and separators of a message, half is for queries.
MAX_PATH_BYTES = 4095
MAX_QUERY_BYTES = 4096
MAX_QUERIES = 1024
MAX_QUERIES_BYTES = 512 << 10
MAX_SEPARATORS = 8 << 10

Path = Union[str, "os.PathLike[str]"]


class Service:
    """The calls of a `Cache`, answered by the service at a socket: CAPSCACHE_SOCKET, or its usual path.

    Each call makes a connection, so threads may share a service. The service passes the open file of an entry, so that an
    `Entry` has the same answers, without a call for each. It probes for root and its own user, and for other users what
    only root could have written, a script only if its text names all that it runs: `errors.NotPermittedError` otherwise.
    """

    def __init__(self, socket: Optional[Path] = None, *, timeout: float = 180.0) -> None:
        """Names the socket; connects to nothing yet. `timeout` is in seconds, for each step of a call."""
        if not 0 < timeout < 2**63:
            raise ValueError(f"timeout {timeout} is not a positive number of seconds")
        default = os.environ.get("CAPSCACHE_SOCKET", SOCKET)
        self.socket = default if socket is None else os.fspath(socket)
        self.timeout = timeout

    @property
    def root(self) -> str:
        """The directory of the cache that the service keeps."""
        reply, _ = self._call("GetInfo")
        return str(reply["root"])

    def get(self, emulator: Path, groups: Sequence[Group] = ()) -> Entry:
        """Returns the capabilities of an emulator, which is probed if it has no valid entry."""
        check_groups(groups)
        return self._get(emulator, no_probe=False, groups=list(groups))

    def lookup(self, emulator: Path, validation: Validation = "fast") -> Entry:
        """Returns the valid entry of an emulator, and never probes."""
        if _is_thorough(validation):
            status = self.status(emulator, validation)
            if status.state != "valid":
                raise _no_entry(_absolute(emulator), status)
        return self._get(emulator, no_probe=True)

    def refresh(self, emulator: Path, groups: Sequence[Group] = ()) -> Entry:
        """Checks the entry of an emulator thoroughly, and returns a valid one: probed again if needed. Raises
        `errors.NotPermittedError` if an entry or a failure has to be dropped first and this user may not."""
        check_groups(groups)
        if self.status(emulator, "thorough").state != "valid":
            # `get` replaces an entry that it finds stale, so that only the others are dropped, which not every user may do.
            if self.status(emulator).state not in ("missing", "stale"):
                self.invalidate(emulator)
        return self.get(emulator, groups)

    def query(self, emulator: Path, *queries: str) -> tuple[Optional[bool], ...]:
        """Answers queries without an entry, in one call unless they exceed the limits of the service: True, False, or None
        for *unknown*."""
        path, answers = _absolute(emulator), []
        # All queries are checked before the first call.
        for batch in list(_batches(queries)):
            reply, _ = self._call("Query", emulator=path, queries=batch)
            if len(reply["answers"]) != len(batch):
                raise self._failure(f"the reply has {len(reply['answers'])} answers to {len(batch)} queries")
            answers.extend(reply["answers"])
        return tuple(_ANSWERS.get(answer) for answer in answers)

    def status(self, emulator: Path, validation: Validation = "fast") -> Status:
        """Returns the state of the entry of an emulator. The service does not start wrappers for it."""
        thorough = _is_thorough(validation)
        reply, _ = self._call("Status", emulator=_absolute(emulator), thorough=thorough)
        return _status(reply)

    def list(self) -> tuple[ListedEntry, ...]:
        """Returns all entries, ordered by the paths of their emulators, without their answers."""
        reply, _ = self._call("List")
        return tuple(ListedEntry(one.get("emulator"), _status(one)) for one in reply["entries"])

    def invalidate(self, emulator: Path) -> bool:
        """Removes the entry of an emulator. Returns whether there was one."""
        reply, _ = self._call("Invalidate", emulators=[_absolute(emulator)])
        return bool(reply["dropped"])

    def close(self) -> None:
        """Does nothing: no connection stays open."""

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<capscache.Service {self.socket!r}>"

    def _get(self, emulator: Path, **parameters: Any) -> Entry:
        path = _absolute(emulator)
        reply, entry = self._call("Get", emulator=path, **parameters)
        if reply["state"] != "valid":
            raise _no_entry(path, self.status(path))
        if entry is not None:
            return entry
        # The service has too many descriptors under way, or could not write the entry.
        file = reply.get("entry")
        if file is None:
            raise errors.ServiceError("cannot open the entry: the service stored none", path=path, parameters={})
        return Entry.in_file(file)

    def _call(self, method: str, **parameters: Any) -> tuple[_Parameters, Optional[Entry]]:
        message = {"method": f"{INTERFACE}.{method}", "parameters": parameters}
        try:
            text, entry = exchange(self.socket, json.dumps(message, ensure_ascii=False).encode(), self.timeout)
        except OSError as error:
            raise self._failure(error.strerror or str(error), error.errno) from error
        try:
            reply = json.loads(text)
        except ValueError as error:
            raise self._failure(f"the reply is not JSON: {error}") from error
        given = (reply.get("parameters") or {}) if isinstance(reply, dict) else None
        if not isinstance(given, dict):
            raise self._failure("the reply is not one of Varlink")
        if reply.get("error") is not None:
            raise _refusal(str(reply["error"]), given)
        return _Parameters(self, given), entry

    def _failure(self, reason: str, number: Optional[int] = None) -> errors.ServiceError:
        message = f"cannot call the service at {escape(self.socket)}: {reason}"
        return errors.ServiceError(message, path=self.socket, errno=number, parameters={})


class _Parameters(dict[str, Any]):
    """The parameters of a reply."""

    def __init__(self, service: Service, parameters: dict[str, Any]) -> None:
        super().__init__(parameters)
        self._service = service

    def __missing__(self, key: str) -> Any:
        raise self._service._failure(f"the reply lacks {key}")


_ANSWERS = {"yes": True, "no": False}

_REFUSALS = {
    "BadPath": errors.EmulatorError,
    "NoSuchEmulator": errors.EmulatorError,
    "NotAnEmulator": errors.NotAnEmulatorError,
    "ProbeFailed": errors.ProbeError,
    "NotPermitted": errors.NotPermittedError,
    "BadQuery": errors.InvalidQueryError,
    "CacheUnusable": errors.EntryError,
}

_CAUSES = {"NotAnEmulator": "not-an-emulator", "NotPermitted": "not-permitted"}


def _refusal(error: str, parameters: dict[str, Any]) -> errors.CapscacheError:
    name = error.rpartition(".")[2]
    reason = parameters.get("reason")
    message = f"the service refused: {name}" + ("" if reason is None else f": {escape(reason)}")
    facts: dict[str, Any] = {}
    if "emulator" in parameters:
        facts["path"] = parameters["emulator"]
    if name in _CAUSES:
        facts["cause"] = _CAUSES[name]
    if error.startswith(f"{INTERFACE}.") and name in _REFUSALS:
        return _REFUSALS[name](message, **facts)
    return errors.ServiceError(message, error=error, parameters=parameters, **facts)


def _no_entry(emulator: str, status: Status) -> errors.NoEntryError:
    message = f"no valid entry of {escape(emulator)}: {status}"
    return errors.NoEntryError(message, path=emulator, status=status)


def _status(reply: dict[str, Any]) -> Status:
    reason = reply.get("reason") or {}
    return Status(
        reply["state"],
        input=reason.get("input"),
        path=reason.get("path"),
        recorded=reason.get("recorded"),
        reason=reason.get("found"),
        age=reason.get("age"),
        retry_in=reason.get("retry_in"),
    )


def _is_thorough(validation: str) -> bool:
    if validation not in get_args(Validation):
        known = ", ".join(get_args(Validation))
        raise ValueError(f'validation "{validation}" is unknown: names are {known}')
    return validation != "fast"


def _absolute(emulator: Path) -> str:
    """The path as the service requires it: absolute. `..` stays: behind a link it leads elsewhere."""
    given = os.fspath(emulator)
    # Empty, it would name the working directory.
    if not given:
        raise _no_path(given, "cannot make an empty path absolute")
    path = os.path.join(os.getcwd(), given)
    encoded = os.fsencode(path)
    if len(encoded) > MAX_PATH_BYTES:
        raise _no_path(given, os.strerror(errno.ENAMETOOLONG), errno.ENAMETOOLONG)
    try:
        encoded.decode()
    except UnicodeDecodeError as error:
        raise _no_path(given, "the service requires a path in UTF-8") from error
    return path


def _no_path(emulator: str, reason: str, number: Optional[int] = None) -> errors.EmulatorError:
    message = f"cannot stat the emulator {escape(emulator)}: {reason}"
    return errors.EmulatorError(message, path=emulator, errno=number)


def _batches(queries: Sequence[str]) -> Iterator[list[str]]:
    """Splits queries into those of calls within the limits of the service: one call at least."""
    batch: list[str] = []
    size = separators = 0
    for query in queries:
        if not isinstance(query, str):
            raise TypeError("a query is text")
        if len(query.encode()) > MAX_QUERY_BYTES:
            # Raises the error of a query that is too long.
            Query(query)
        encoded = json.dumps(query, ensure_ascii=False).encode() + b", "
        own = sum(map(encoded.count, (b",", b"[", b"{")))
        is_full = size + len(encoded) > MAX_QUERIES_BYTES or separators + own > MAX_SEPARATORS
        if is_full or len(batch) == MAX_QUERIES:
            yield batch
            batch, size, separators = [], 0, 0
        batch.append(query)
        size += len(encoded)
        separators += own
    yield batch
