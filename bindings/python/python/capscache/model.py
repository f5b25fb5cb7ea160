"""Plain data: names, versions, states of entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Optional

if TYPE_CHECKING:
    from capscache._native import Entry

Accelerator = Literal["kvm", "hvf", "tcg", "qtest"]
"""An accelerator, which runs the guest's instructions: QEMU's `-accel`. In order of preference."""

Group = Literal["core", "devices", "objects", "cpu-models"]
"""A part of an entry that is probed when it is first needed; every entry has `core`."""

Validation = Literal["fast", "thorough", "start"]
"""Checks of an entry: a few system calls; the values of all inputs; in addition a start of a wrapper."""

State = Literal["valid", "stale", "damaged", "unreadable", "failed", "missing"]
"""The state of an emulator's entry."""


class Version(NamedTuple):
    """A version of QEMU, to be compared with any tuple: `version >= (8, 2)`."""

    major: int
    minor: int
    micro: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.micro}"


@dataclass(frozen=True)
class Status:
    """The state of an emulator's entry."""

    state: State

    input: Optional[str] = None
    """Of a stale entry: the kind of the input that changed, such as `emulator` or `kernel`."""

    path: Optional[str] = None
    """The path of the input that changed, or of the file that is damaged or cannot be read."""

    recorded: Optional[str] = None
    """Of a stale entry: the recorded state of the input."""

    reason: Optional[str] = None
    """The present state of the input, the damage, or the reason of the failure, in one line."""

    age: Optional[int] = None
    """After a failure: the seconds since the probe."""

    retry_in: Optional[int] = None
    """After a failure: the seconds until `Cache.get` probes again."""

    def __str__(self) -> str:
        from capscache._native import escape

        path = "" if self.path is None else f" {escape(self.path)}"
        if self.state == "stale":
            recorded, found = escape(self.recorded or ""), escape(self.reason or "")
            return f"the {self.input}{path} changed: recorded {recorded}, found {found}"
        reason = "" if self.reason is None else f": {escape(self.reason)}"
        if self.state == "failed":
            return f"the last probe failed{reason}"
        return f"it is {self.state}{reason}"


@dataclass(frozen=True)
class ListedEntry:
    """One entry of a cache, valid or not."""

    emulator: Optional[str]
    """The path of the emulator; None for a damaged entry."""

    status: Status

    entry: Optional[Entry] = field(default=None, compare=False)
    """Its answers, valid or stale; None for a damaged entry, and in the list of a service."""
