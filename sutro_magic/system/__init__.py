"""Operating system services: files, locks, disks, resources, cancellation.

Must not know anything about Sutro except its errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.system.cancellation import CancelScope
    from sutro_magic.system.locks import FileLock, ThreadLock

__all__ = ["CancelScope", "FileLock", "ThreadLock"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"FileLock": "locks", "ThreadLock": "locks", "CancelScope": "cancellation"},
)
