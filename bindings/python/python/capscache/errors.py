"""Errors, with facts as attributes: catch the class of what the program can react to.

    CapscacheError
    ├── InvalidQueryError      a query that cannot be parsed
    ├── RootError              the directory of the cache cannot be made or read
    ├── UnsafeError            another user could have written a directory or an entry
    ├── EmulatorError          there is no emulator at the path, or it cannot be examined
    ├── EntryError             an entry cannot be read or written
    │   ├── DamagedError       an entry is damaged; `Cache.get` replaces it
    │   └── NoEntryError       there is no valid entry, and the call does not probe
    ├── ProbeError             the emulator could not be probed
    │   ├── NotAnEmulatorError, CrashedError, TimedOutError, NotPermittedError
    │   └── ShortageError      this process lacks memory, processes or descriptors; another one may succeed
    ├── UnansweredError        a getter has no value
    │   ├── AbsentError        the emulator does not have it: the answer is *no*
    │   └── UnknownError       the emulator did not report it: the answer is *unknown*
    │       └── NotProbedError get the entry with `group`
    ├── ServiceError           the service gave no answer
    └── InternalError          a fault of the library
"""

from __future__ import annotations

from typing import Any, Optional

from capscache.model import Group, Status

__all__ = [
    "AbsentError",
    "CapscacheError",
    "CrashedError",
    "DamagedError",
    "EmulatorError",
    "EntryError",
    "InternalError",
    "InvalidQueryError",
    "NoEntryError",
    "NotAnEmulatorError",
    "NotPermittedError",
    "NotProbedError",
    "ProbeError",
    "RootError",
    "ServiceError",
    "ShortageError",
    "TimedOutError",
    "UnansweredError",
    "UnknownError",
    "UnsafeError",
]


class CapscacheError(Exception):
    """A call that failed. The text has the error and its causes in one line, without characters that a terminal acts on."""

    path: Optional[str] = None
    """The file or directory that the error is about."""

    errno: Optional[int] = None
    """The number of the system's error that is the cause."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)


class InvalidQueryError(CapscacheError, ValueError):
    """A query that cannot be parsed."""


class RootError(CapscacheError):
    """The directory of the cache cannot be made or read."""


class UnsafeError(CapscacheError):
    """Another user could have written a directory or an entry of the cache."""


class EmulatorError(CapscacheError):
    """There is no emulator at the path, or it cannot be examined."""


class EntryError(CapscacheError):
    """An entry cannot be read or written."""

    action: Optional[str] = None
    """The operation that failed: `read`, `write`, `lock`, `remove`."""


class DamagedError(EntryError):
    """An entry is damaged, or that of another emulator. `Cache.get` replaces it."""


class NoEntryError(EntryError):
    """There is no valid entry, and the call does not probe."""

    status: Status
    """The state of the entry, and the reason why it is not valid."""


class ProbeError(CapscacheError):
    """The emulator could not be probed."""

    cause: str = "other"
    """`not-an-emulator`, `crashed`, `timed-out`, `not-permitted`, `shortage` or `other`."""

    age: Optional[int] = None
    """Seconds since the probe that failed, if that failure was remembered."""

    retry_in: Optional[int] = None
    """Seconds until `Cache.get` probes again, if nothing changes before."""


class NotAnEmulatorError(ProbeError):
    """The file is not an emulator of QEMU's."""


class CrashedError(ProbeError):
    """The emulator exited, was killed, or broke the protocol."""


class TimedOutError(ProbeError):
    """The emulator did not answer in time."""


class NotPermittedError(ProbeError):
    """The kernel or a security module refused to execute the emulator, or the service to probe it for this user."""


class ShortageError(ProbeError):
    """This process lacks memory, processes, descriptors or processor time; another one may succeed."""


class UnansweredError(CapscacheError, LookupError):
    """A getter has no value."""

    what: str
    """The kind of object: `machine`, `device`, …"""

    name: str
    """The requested name."""


class AbsentError(UnansweredError):
    """The emulator does not have it: the answer is *no*."""


class UnknownError(UnansweredError):
    """The emulator did not report it: the answer is *unknown*."""


class NotProbedError(UnknownError):
    """The answer is in a group that was not probed."""

    group: Group
    """The group with which to get the entry."""


class ServiceError(CapscacheError):
    """The service gave no answer."""

    error: Optional[str] = None
    """The Varlink error of the reply; None if there was no reply."""

    parameters: dict[str, Any]
    """The parameters of that error."""


class InternalError(CapscacheError):
    """A fault of the library; please report it."""
