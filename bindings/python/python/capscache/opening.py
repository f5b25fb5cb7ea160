"""The choice between the cache and the service."""

from __future__ import annotations

import os
from typing import Any, Optional, Union

from capscache._native import Cache
from capscache.errors import RootError, ServiceError, UnsafeError
from capscache.service import Service

__all__ = ["SYSTEM_ROOT", "open"]

SYSTEM_ROOT = "/var/cache/capscache"
"""The root of the cache of the whole system, which the service fills."""

Path = Union[str, "os.PathLike[str]"]


def open(
    root: Path = SYSTEM_ROOT, *, socket: Optional[Path] = None, **options: Any
) -> Union[Cache, Service]:
    """Opens the cache under a root if this process may read and write there, else calls the service that keeps it.

    The options are those of `Cache`. Without a service that keeps this root the cache is opened all the same, or its error
    raised: a cache that cannot be written answers, and probes again in each process.
    """
    try:
        cache = Cache(root, **options)
    except (RootError, UnsafeError):
        service = _service_of(root, socket)
        if service is None:
            raise
        return service
    if not _is_writable(cache.root):
        service = _service_of(root, socket)
        if service is not None:
            cache.close()
            return service
    return cache


def _is_writable(root: str) -> bool:
    """Returns whether this process may make or change files in a root, which need not exist."""
    while not os.path.lexists(root) and os.path.dirname(root) != root:
        root = os.path.dirname(root)
    return os.access(root, os.R_OK | os.W_OK | os.X_OK)


def _service_of(root: Path, socket: Optional[Path]) -> Optional[Service]:
    """The service, if it keeps this root."""
    service = Service(socket)
    try:
        kept = service.root
    except ServiceError:
        return None
    return service if os.path.realpath(kept) == os.path.realpath(root) else None
