"""File lock between processes, so that several that need the same results download them once.

The lock only saves work: on some network file systems every process gets it, on others none does, and results
are correct in any case. It is held by the kernel, so it ends with its process. (`filelock` was considered: it
leaves its files behind, and where locks are not supported it falls back to files whose mere existence locks,
for ever if their owner is killed.)
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST_PAUSE = 0.02
MAX_PAUSE = 0.25
_MAX_RACES = 100

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


class ThreadLock:
    """Lock between threads that is free in a forked child, where its owner, a thread of the parent, does not exist."""

    def __init__(self) -> None:
        self.free()
        _thread_locks.add(self)

    def free(self) -> None:
        """Replace the lock by a free one."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_thread_locks: weakref.WeakSet[ThreadLock] = weakref.WeakSet()


def _free_all() -> None:
    for lock in _thread_locks:
        lock.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)


class FileLock:
    """Lock between processes and threads of one machine, and between machines if the file system supports it.

    Parameters
    ----------
    path : pathlib.Path
        The lock file; it exists only while a process holds or wants the lock.
    seconds : float
        Maximum wait.
    on_wait : callable
        Called once, before the first wait.
    sleep : callable
        Called with the seconds to sleep; an exception ends the wait.
    """

    def __init__(
        self,
        path: Path,
        seconds: float,
        on_wait: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._seconds = seconds
        self._on_wait = on_wait
        self._sleep = sleep
        self._handle: int | None = None

    def acquire(self) -> None:
        """Wait until the lock is acquired, the time is over, or locks turn out to be unsupported."""
        deadline = time.monotonic() + self._seconds
        pause = FIRST_PAUSE
        notified = False
        while not self._try():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if not notified:
                self._on_wait()
                notified = True
            self._sleep(min(pause, left))
            pause = min(pause * 1.5, MAX_PAUSE)

    def release(self) -> None:
        """Release the lock; do nothing if it is not held."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with contextlib.suppress(OSError):
            if _is_at(handle, self._path):
                self._path.unlink()  # before unlocking, so that waiters see that the file is gone
        with contextlib.suppress(OSError):
            _unlock(handle)  # explicitly: a forked child may keep the file open
        os.close(handle)

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Release the lock in the context, and acquire it again afterwards."""
        self.release()
        yield
        self.acquire()

    def _try(self) -> bool:
        """Return whether waiting is over: the lock is held, or locks are unsupported."""
        for _ in range(_MAX_RACES):
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                return True
            try:
                _lock(handle)
            except (BlockingIOError, PermissionError):
                os.close(handle)
                return False
            except OSError:
                os.close(handle)
                return True
            if _is_at(handle, self._path):
                self._handle = handle
                return True
            os.close(handle)  # the previous owner deleted the file just before
        return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), there)
