"""The cache in asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Callable, Optional, TypeVar, Union

from capscache._native import Cache, Entry
from capscache.model import Group, ListedEntry, Status, Validation
from capscache.service import Service

__all__ = ["AsyncCache"]

Path = Union[str, "os.PathLike[str]"]
T = TypeVar("T")


class AsyncCache:
    """The calls of a `Cache` or a `Service`, which do not block the event loop.

        async with AsyncCache(Cache("/var/tmp/my-driver")) as cache:
            x86, arm = await asyncio.gather(cache.get(QEMU_X86), cache.get(QEMU_ARM))

    Cancelling a call gives up waiting; a probe goes on for other callers, and its result is kept.
    """

    def __init__(self, cache: Union[Cache, Service]) -> None:
        self._cache = cache

    async def get(self, emulator: Path, groups: Sequence[Group] = ()) -> Entry:
        """See `Cache.get`. A hit returns at once; a probe occupies no thread of Python's."""
        if isinstance(self._cache, Service):
            return await _in_thread(self._cache.get, emulator, groups)
        loop = asyncio.get_running_loop()
        pending = self._cache.begin_get(emulator, groups)
        entry = pending.poll()
        if entry is not None:
            return entry
        ready = asyncio.Event()
        loop.add_reader(pending.fileno(), ready.set)
        try:
            while entry is None:
                await ready.wait()
                ready.clear()
                entry = pending.poll()
            return entry
        finally:
            loop.remove_reader(pending.fileno())

    async def lookup(self, emulator: Path, validation: Validation = "fast") -> Entry:
        """See `Cache.lookup`."""
        return await _in_thread(self._cache.lookup, emulator, validation)

    async def status(self, emulator: Path, validation: Validation = "fast") -> Status:
        """See `Cache.status`."""
        return await _in_thread(self._cache.status, emulator, validation)

    async def list(self) -> tuple[ListedEntry, ...]:
        """See `Cache.list`."""
        return await _in_thread(self._cache.list)

    async def refresh(self, emulator: Path, groups: Sequence[Group] = ()) -> Entry:
        """See `Cache.refresh`."""
        return await _in_thread(self._cache.refresh, emulator, groups)

    async def invalidate(self, emulator: Path) -> bool:
        """See `Cache.invalidate`."""
        return await _in_thread(self._cache.invalidate, emulator)

    def close(self) -> None:
        """See `Cache.close`."""
        self._cache.close()

    async def __aenter__(self) -> AsyncCache:
        self._cache.__enter__()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()


async def _in_thread(call: Callable[..., T], *arguments: object) -> T:
    return await asyncio.to_thread(call, *arguments)
