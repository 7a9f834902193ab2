"""A lock on a file, so that of several processes that want the same results one fetches them.

It only saves work: on some network file systems every process gets it, on others nobody can, and results are
right in any case. The kernel of the operating system holds it, so it ends with the process that has it, however
that ends. (`filelock` was looked at: it leaves its files behind, and where locks are not supported it falls back to
files whose mere existence locks, for ever if their owner is killed.)
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
LONGEST_PAUSE = 0.25
_MOST_RACES = 100

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
    """A lock between threads that is free in a forked child: what held it there is a thread of the parent."""

    def __init__(self) -> None:
        self.free()
        _thread_locks.add(self)

    def free(self) -> None:
        """Begin anew, as nobody's."""
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
    """A lock between processes, and between threads, of one machine; between machines where the disk can.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is there only while somebody has or wants the lock.
    seconds : float
        How long to wait at most.
    on_wait : callable
        Told once, when there is somebody to wait for.
    sleep : callable
        Waits for so many seconds; what it raises ends the wait.
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
        """Wait until the lock is ours, the time is over, or it turns out that there are no locks here."""
        deadline = time.monotonic() + self._seconds
        pause = FIRST_PAUSE
        told = False
        while not self._try():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if not told:
                self._on_wait()
                told = True
            self._sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def release(self) -> None:
        """Let others have it; without effect if it is not ours."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with contextlib.suppress(OSError):
            if _is_at(handle, self._path):
                self._path.unlink()  # first: whoever waits for this very file sees that it is gone
        with contextlib.suppress(OSError):
            _unlock(handle)  # a forked child may keep the file open
        os.close(handle)

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Let others have it for a while."""
        self.release()
        yield
        self.acquire()

    def _try(self) -> bool:
        """Tell whether waiting is over: the lock is ours, or there are no locks here."""
        for _ in range(_MOST_RACES):
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
            os.close(handle)  # its owner has deleted it just before we got it
        return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), there)
