"""The extension module, on the Rust library. Import its classes from `capscache`."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Optional, Union, final

from capscache.model import Accelerator, Group, ListedEntry, Status, Validation, Version

_Path = Union[str, os.PathLike[str]]

__all__ = [
    "Cache",
    "CpuModel",
    "Entry",
    "Machine",
    "Pending",
    "Property",
    "Query",
    "__version__",
    "check_groups",
    "escape",
    "exchange",
    "find_emulators",
]

__version__: str

def find_emulators() -> list[str]:
    """Returns the emulators in the directories of PATH and in `/usr/libexec`: executable files that are called
    `qemu-system-*` or `qemu-kvm`, in this order and sorted by name within a directory."""

def check_groups(groups: Sequence[Group]) -> None:
    """Checks the names of groups, as `Cache.get` does."""

def escape(text: _Path) -> str:
    """Returns text without characters that a terminal acts on, such as a path for a message."""

def exchange(socket: _Path, message: bytes, timeout: float) -> tuple[bytes, Optional[Entry]]:
    """Sends a message over a new connection and returns the reply without its zero byte, and the entry in the file that
    was passed with it. `timeout` is in seconds, for each step."""

@final
class Cache:
    """A cache under one root. Threads may use it at the same time; several threads that need one probe share it. Nothing
    outside the root is written, and no thread runs between calls. Other threads of Python run during a call."""

    def __new__(
        cls,
        root: _Path,
        *,
        fallbacks: Sequence[_Path] = ...,
        trusted_owner: Optional[int] = None,
        failure_ttl: Optional[float] = None,
        environment: Sequence[tuple[str, str]] = ...,
        writable: Sequence[_Path] = ...,
        start_timeout: Optional[float] = None,
        probe_timeout: Optional[float] = None,
        user: Optional[tuple[int, int, Sequence[int]]] = None,
    ) -> Cache:
        """Opens the cache in a directory, which the first write creates.

        fallbacks: roots of other caches, such as the system's. Their valid entries are used where the root has none; they
            are never written, and one that is absent is skipped. The owner of one that belongs to another user is to be
            named by trusted_owner.
        trusted_owner: the uid of a user whose files are trusted beside those of root and of the user of this process.
        failure_ttl: seconds after which an emulator that could not be probed is probed again; 60 by default.
        environment: variables of emulators; a name is not empty and has no `=`. Answers of emulators with other variables
            are not used.
        writable: directories that emulators may write to beside their temporary directory.
        start_timeout, probe_timeout: seconds that one process of a probe (10) and the whole probe (60) may take; a day at most.
        user: uid, gid and further groups that emulators run as, which requires root.

        Raises ValueError for an option that no cache can have, RootError for a root that is not a directory, UnsafeError
        for one that another user could write or replace.
        """

    @property
    def root(self) -> str:
        """The directory of the cache, absolute."""

    def get(self, emulator: _Path, groups: Sequence[Group] = ...) -> Entry:
        """Returns the capabilities of an emulator: from the cache if it has a valid entry, else from one probe, for which
        the call waits. A hit costs a few `stat`s.

        `groups` are probed if the entry lacks them. Raises EmulatorError, ProbeError and their like; never because an
        entry cannot be written: see `Entry.persist_error`."""

    def begin_get(self, emulator: _Path, groups: Sequence[Group]) -> Pending:
        """Begins what `AsyncCache.get` waits for."""

    def lookup(self, emulator: _Path, validation: Validation = "fast") -> Entry:
        """Returns the valid entry of an emulator, and never probes. Raises NoEntryError, with the state, if there is
        none."""

    def get_unchecked(self, emulator: _Path) -> Entry:
        """Returns the entry of an emulator without any check of what it depends on: its answers may be stale. For programs
        that go on with old answers. Raises NoEntryError if there is none."""

    def refresh(self, emulator: _Path, groups: Sequence[Group] = ...) -> Entry:
        """Checks the entry of an emulator thoroughly, drops what does not hold, also a failure that is remembered, and
        returns a valid one: probed again if needed."""

    def status(self, emulator: _Path, validation: Validation = "fast") -> Status:
        """Returns the state of the entry of an emulator. Never probes. A damaged entry is a state, not an error."""

    def list(self) -> tuple[ListedEntry, ...]:
        """Checks all entries of the cache and returns them, ordered by the paths of their emulators."""

    def invalidate(self, emulator: _Path) -> bool:
        """Removes the entry of an emulator, and a failure that is remembered. Entries that were returned before stay
        readable. Returns whether there was an entry."""

    def invalidate_all(self) -> int:
        """Removes all entries and all failures that are remembered. Returns the number of entries."""

    def close(self) -> None:
        """Closes the cache; later calls raise ValueError. Entries that it returned stay readable."""

    def __enter__(self) -> Cache: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None: ...

@final
class Pending:
    """An entry that may have to be probed first. Dropping it gives up waiting and leaves the probe to finish for other
    callers."""

    def fileno(self) -> int:
        """Returns a descriptor that is readable when `poll` is to be called again."""

    def poll(self) -> Optional[Entry]:
        """Returns the entry if it is there, otherwise None. Not after it returned an entry or raised."""

@final
class Entry:
    """The capabilities of one emulator, on its mapped entry. Its answers do not change, also after the entry was replaced
    or removed; threads may share it.

    `accelerator` is the best one that the emulator ran under, KVM before TCG, where it is not given. Getters raise
    AbsentError for what the emulator does not have, UnknownError for what it did not report, and NotProbedError for what is
    in a group that was not probed. Lists are built once."""

    @staticmethod
    def in_file(path: _Path) -> Entry:
        """Opens the entry in a file. It is not compared with the present. For files that another process passes: a
        descriptor `fd` is at `/proc/self/fd/{fd}`."""

    @property
    def emulator(self) -> str:
        """The path of the emulator, as it was given and made absolute."""

    @property
    def executable(self) -> str:
        """The path of the file that runs: another one behind a link or a wrapper script."""

    @property
    def version(self) -> Version:
        """The version of QEMU (`query-version`), a tuple to compare: `entry.version >= (8, 2)`."""

    @property
    def package(self) -> str:
        """The distributor's name for this build, often empty (`query-version`)."""

    @property
    def arch(self) -> str:
        """QEMU's name of the guest's architecture, such as `x86_64` (`query-target`)."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that were probed beside the core group, in a fixed order."""

    @property
    def persist_error(self) -> Optional[str]:
        """The reason why the answers could not be written to disk: they are correct, but the next process has to probe
        again. None if they were written."""

    def query(self, query: Union[str, Query]) -> Optional[bool]:
        """Answers a query: True, False, or None for *unknown*, which may mean that a group was not probed: see
        `groups_for`. `firmware:NAMES` is about the firmware descriptors of this host at present. Raises
        InvalidQueryError."""

    def explain(self, query: Union[str, Query]) -> str:
        """Returns the reason for the answer of a query, in one line."""

    def groups_for(self, query: Union[str, Query]) -> tuple[Group, ...]:
        """Returns the groups without which the answer of a query is unknown for now. With them `Cache.get` returns an
        entry that knows more."""

    def has_accelerator(self, accelerator: Accelerator) -> Optional[bool]:
        """Returns whether the emulator ran under an accelerator: it works on this host. False if the emulator or the host
        does not have it, None if it should have run and failed."""

    @property
    def best_accelerator(self) -> Optional[Accelerator]:
        """The best accelerator that the emulator ran under; None in a damaged entry."""

    def accelerator_reason(self, accelerator: Accelerator) -> Optional[str]:
        """Returns the reason why the emulator did not run under an accelerator, in one line; None if it did."""

    def machine(self, name: str, accelerator: Optional[Accelerator] = None) -> Machine:
        """Returns the machine type whose name or, if there is none, whose alias is `name`."""

    def default_machine(self, accelerator: Optional[Accelerator] = None) -> Machine:
        """Returns the machine type that QEMU uses by default; ARM has none."""

    def cpu_model(self, name: str, accelerator: Optional[Accelerator] = None) -> CpuModel:
        """Returns the CPU model of a name."""

    def property(self, type_name: str, name: str) -> Property:
        """Returns a property of a type: as a device, else as an object."""

    def machines(self, accelerator: Optional[Accelerator] = None) -> tuple[str, ...]:
        """Returns the names of the machine types, in the order of `query-machines`."""

    def cpu_models(self, accelerator: Optional[Accelerator] = None) -> tuple[str, ...]:
        """Returns the names of the CPU models, in the order of `query-cpu-definitions`."""

    def types(self) -> tuple[str, ...]:
        """Returns the names of the concrete QOM types, in the order of `qom-list-types`."""

    def devices(self) -> tuple[str, ...]:
        """Returns the names of the devices that `device_add` can create, in QEMU's order."""

    def objects(self) -> tuple[str, ...]:
        """Returns the names of the objects that `object_add` can create, in QEMU's order."""

    def commands(self) -> tuple[str, ...]:
        """Returns the names of the QMP commands, in the order of `query-commands`."""

    def events(self) -> tuple[str, ...]:
        """Returns the names of the QMP events, in the order of `query-qmp-schema`."""

    def accelerators_present(self) -> tuple[str, ...]:
        """Returns the names of the accelerators that QEMU was built with, whether or not they work here:
        `has_accelerator` has that."""

    def properties(self, type_name: str) -> tuple[str, ...]:
        """Returns the names of the properties of a type as a device, else as an object, in QEMU's order."""

    def firmware(self, machine: str) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Returns the firmware of this host at present for a machine type, as path and content of its descriptors
        (QEMU's `docs/interop/firmware.json`): the first is to be used."""

    def json(self) -> str:
        """Returns the entry as the JSON of `capscache export`, with the keys of `docs/json.md`."""

@final
class Query:
    """A parsed query, to be answered many times or by many entries: `machine:q35`, `cpu:EPYC@kvm`,
    `device:virtio-blk-pci`, `property:virtio-blk-pci.queue-size`,
    `schema:blockdev-add/arg-type/+file/aio/^io_uring`, `version:>=8.2`, `flag:virtio-gpu`,
    `firmware:uefi,secure-boot`."""

    def __new__(cls, text: str, *, libvirt: Optional[str] = None) -> Query:
        """Parses a query. Raises InvalidQueryError.

        libvirt: the release whose flags `flag:NAME` names, such as "11.3"; by default the installed one, and the newest that
            is known if none is installed. Raises ValueError for one that is not known."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Machine:
    """A machine type: QAPI's `MachineInfo`."""

    @property
    def name(self) -> str:
        """The versioned name, such as `pc-q35-7.2`."""

    @property
    def alias(self) -> Optional[str]:
        """The alias, which names a newer version in each release of QEMU, such as `q35`."""

    @property
    def max_cpus(self) -> Optional[int]:
        """The largest number of CPUs."""

    @property
    def is_default(self) -> bool:
        """True if QEMU uses it by default."""

    @property
    def is_deprecated(self) -> Optional[bool]:
        """True if QEMU will remove it."""

    @property
    def has_hotpluggable_cpus(self) -> bool:
        """True if CPUs can be plugged while it runs."""

    @property
    def has_numa_memory(self) -> Optional[bool]:
        """True if its NUMA nodes can have memory of their own (QEMU 4.1 and later)."""

    @property
    def has_acpi(self) -> Optional[bool]:
        """True if it supports ACPI (QEMU 10.0 and later)."""

    @property
    def default_cpu_type(self) -> Optional[str]:
        """The QOM type of the default CPU."""

    @property
    def default_ram_id(self) -> Optional[str]:
        """The name of the memory backend that it creates by default."""

@final
class CpuModel:
    """A CPU model: QAPI's `CpuDefinitionInfo`."""

    @property
    def name(self) -> str:
        """The name, such as `EPYC`."""

    @property
    def is_usable(self) -> Optional[bool]:
        """True if it runs on this host under its accelerator."""

    @property
    def unavailable_features(self) -> Optional[tuple[str, ...]]:
        """The features that keep it from running on this host; None if QEMU did not report them."""

    @property
    def type_name(self) -> Optional[str]:
        """The QOM type."""

    @property
    def alias_of(self) -> Optional[str]:
        """The versioned model that it is an alias of."""

    @property
    def is_static(self) -> bool:
        """True if it is the same on every host and version of QEMU."""

    @property
    def is_migration_safe(self) -> Optional[bool]:
        """True if a guest that uses it can be migrated."""

    @property
    def is_deprecated(self) -> bool:
        """True if QEMU will remove it."""

@final
class Property:
    """A property of a device or object: QAPI's `ObjectPropertyInfo`."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def type_name(self) -> str:
        """QOM's name of the type, such as `uint16` or `link<bus>`."""

    @property
    def description(self) -> Optional[str]:
        """A description of its purpose."""

    @property
    def has_default(self) -> bool:
        """True if QEMU reported the value that it has if it is not set."""

    @property
    def default(self) -> Any:
        """That value, as `json.loads` returns it; None without one."""
