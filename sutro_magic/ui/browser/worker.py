"""A worker thread, and calls back to the kernel's own thread."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_SECONDS = 5.0


class KernelLoop:
    """The thread on which it was made, which in a notebook is the kernel's own, where variables are bound."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # not in a kernel
            self._loop = None

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on that thread: now if this is that thread, else as soon as it is free."""
        if self._loop is None or threading.get_ident() == self._thread:
            function()
            return
        with suppress(RuntimeError):  # the kernel is going down
            self._loop.call_soon_threadsafe(function)


class Worker:
    """Runs functions one after the other on a thread that exists only while there is work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._running = False
        self._closed = False

    def do(self, name: str, work: Callable[[], None]) -> None:
        """Queue a function; it replaces a queued one of the same name."""
        with self._changed:
            if self._closed:
                return
            self._waiting.pop(name, None)
            self._waiting[name] = work
            self._changed.notify()
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="sutro-browser", daemon=True).start()

    def drop(self, name: str) -> None:
        """Remove the queued function of this name."""
        with self._changed:
            self._waiting.pop(name, None)

    def close(self) -> None:
        """Drop all queued functions; a running one finishes."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closed:
                    self._changed.wait(IDLE_SECONDS)
                if not self._waiting:
                    self._running = False
                    return
                _, work = self._waiting.popitem(last=False)
            work()
