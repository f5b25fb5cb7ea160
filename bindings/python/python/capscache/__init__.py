"""The capabilities of every QEMU of a host, probed once and answered from one cache.

    import capscache

    with capscache.Cache("/var/tmp/my-driver") as cache:  # writes nothing outside this directory
        entry = cache.get("/usr/bin/qemu-system-x86_64")  # hit: a few stats; miss: one probe
        print(entry.version, entry.machine("q35").max_cpus)
        if entry.query("cpu:EPYC@kvm"):                   # True, False, or None: unknown
            ...

What an emulator did not report is None, never False. Errors are in `capscache.errors`, `AsyncCache` is for asyncio, and
`open` calls the service for programs that may not read the cache.
"""

from capscache._native import (
    Cache,
    CpuModel,
    Entry,
    Machine,
    Property,
    Query,
    __version__,
    find_emulators,
)
from capscache.aio import AsyncCache
from capscache.errors import CapscacheError
from capscache.model import Accelerator, Group, ListedEntry, State, Status, Validation, Version
from capscache.opening import SYSTEM_ROOT, open
from capscache.service import Service

__all__ = [
    "SYSTEM_ROOT",
    "Accelerator",
    "AsyncCache",
    "Cache",
    "CapscacheError",
    "CpuModel",
    "Entry",
    "Group",
    "ListedEntry",
    "Machine",
    "Property",
    "Query",
    "Service",
    "State",
    "Status",
    "Validation",
    "Version",
    "__version__",
    "find_emulators",
    "open",
]
