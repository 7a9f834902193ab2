"""Work over the network that can be stopped at once: by Ctrl-C, or from another thread.

A thread that waits for bytes cannot be told to stop waiting. So the work runs in a thread of its own,
whoever wants its outcome waits in a way that can be interrupted, and to stop it its sockets are shut
down: then every wait ends. What the work has to tell is told in the thread that waits.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakKeyDictionary

from sutro_magic.errors import FetchCancelledError
from sutro_magic.system.locks import ThreadLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_SECONDS = 0.1
"""How often whoever waits looks whether to stop."""
JOIN_SECONDS = 0.8
"""For so long the end of work that was stopped is waited for; it then ends in the background."""

T = TypeVar("T")

_scope: ContextVar[CancelScope | None] = ContextVar("sutro_magic_errand", default=None)
_sockets: WeakKeyDictionary[socket.socket, CancelScope] = WeakKeyDictionary()
_sockets_lock = ThreadLock()
_deadline: ContextVar[Deadline | None] = ContextVar("sutro_magic_deadline", default=None)
_last_socket: ContextVar[weakref.ref[socket.socket] | None] = ContextVar("sutro_magic_socket", default=None)


class CancelScope:
    """A piece of work that can be stopped, and its parts.

    Parameters
    ----------
    parent : CancelScope, optional
        Work of which this is a part: it stops with it, and tells by it.
    """

    def __init__(self, parent: CancelScope | None = None) -> None:
        self._parent = parent
        self._stop = threading.Event()
        self._parts: list[CancelScope] = []
        self.said: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = (
            queue.SimpleQueue() if parent is None else parent.said
        )
        self.last_words: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def part(self) -> CancelScope:
        """Return a scope for a part of the work."""
        part = CancelScope(self)
        self._parts.append(part)
        if self._stop.is_set():
            part.stop()
        return part

    @property
    def stopped(self) -> bool:
        """Whether the work is to end."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `FetchCancelledError` if the work is to end."""
        if self._stop.is_set():
            raise cancelled()

    def sleep(self, seconds: float) -> None:
        """Wait; raise `FetchCancelledError` as soon as the work is to end."""
        if self._stop.wait(seconds):
            raise cancelled()

    def tell(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Let a callback be called in the thread that waits for the work."""
        self.said.put((callback, arguments))

    def tell_at_end(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Let a callback be called when the work has ended, also when it was stopped."""
        self.last_words.append((callback, arguments))

    def stop(self) -> None:
        """End the work: its sockets are shut down, so that no thread of it waits for bytes any more."""
        self._stop.set()
        for part in list(self._parts):
            part.stop()
        with _sockets_lock:
            mine = [sock for sock, scope in _sockets.items() if scope is self]
        for sock in mine:
            _shut(sock)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Let the requests that this thread sends inside belong to the work."""
        token = _scope.set(self)
        try:
            yield
        finally:
            _scope.reset(token)


class Deadline:
    """A ``with`` block that ends in time, though each of its reads brings something: its sockets are shut down then.

    Parameters
    ----------
    seconds : float
    reads_on : bool
        Whether the block reads on in the answer that this thread was given last.
    """

    def __init__(self, seconds: float, *, reads_on: bool = False) -> None:
        self._seconds = seconds
        self._used: list[socket.socket] = []
        last = _last_socket.get() if reads_on else None
        if last is not None and (sock := last()) is not None:
            self._used.append(sock)
        self.over = False
        """Whether the time was over before the block was."""

    def __enter__(self) -> Self:
        self._token = _deadline.set(self)
        self._timer = threading.Timer(self._seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _deadline.reset(self._token)

    def use(self, sock: socket.socket) -> None:
        """Note a socket; raise `TimeoutError` when it is too late to use one."""
        with _sockets_lock:
            self._used.append(sock)
        if self.over:
            raise TimeoutError

    def _end(self) -> None:
        with _sockets_lock:
            self.over = True
            used = list(self._used)
        for sock in used:
            _shut(sock)


def _shut(sock: socket.socket) -> None:
    # The plain one: that of a TLS socket is not for use beside a read in another thread.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def check() -> None:
    """Raise `FetchCancelledError` if the work of this thread is to end."""
    scope = _scope.get()
    if scope is not None:
        scope.check()


def sleep(seconds: float) -> None:
    """Wait; raise `FetchCancelledError` as soon as the work of this thread, if it is any, is to end."""
    scope = _scope.get()
    if scope is None:
        time.sleep(seconds)
    else:
        scope.sleep(seconds)


def tell(callback: Callable[..., object], *arguments: Any) -> None:
    """Call a callback in the thread that waits for the work of this one; at once, if nobody does."""
    scope = _scope.get()
    if scope is None:
        callback(*arguments)
    else:
        scope.tell(callback, *arguments)


def sleep_unless(cancel: threading.Event | None, seconds: float) -> None:
    """Wait; raise `FetchCancelledError` as soon as an event is set."""
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise cancelled()


def use_socket(sock: socket.socket | None) -> None:
    """Note that a socket is used by the work of this thread; raise if that is to end."""
    scope = _scope.get()
    if sock is None:
        return
    _last_socket.set(weakref.ref(sock))
    deadline = _deadline.get()
    if deadline is not None:
        deadline.use(sock)
    with _sockets_lock:
        if scope is None:
            _sockets.pop(sock, None)
        else:
            _sockets[sock] = scope
    if scope is not None:
        scope.check()


def run(work: Callable[[CancelScope], T], cancel: threading.Event | None = None) -> T:
    """Do work in a thread of its own and wait for it.

    Parameters
    ----------
    work : callable
        Given an `CancelScope`; its outcome, or its error, is that of this function.
    cancel : threading.Event, optional
        When it is set, the work ends with `FetchCancelledError` within a second.
    """
    scope = CancelScope()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            with scope.here():
                outcome.append(work(scope))
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            failure.append(error)
        finally:
            scope.said.put(None)

    if cancel is not None and cancel.is_set():
        raise cancelled()
    thread = threading.Thread(target=body, name="sutro-fetch", daemon=True)
    thread.start()
    try:
        _listen(scope, cancel)
    except BaseException:
        scope.stop()
        thread.join(JOIN_SECONDS)
        _tell_last(scope)
        raise
    thread.join()
    _tell_last(scope)
    if failure:
        raise failure.pop()
    return outcome.pop()


def _listen(scope: CancelScope, cancel: threading.Event | None) -> None:
    while True:
        try:
            said = scope.said.get(timeout=TICK_SECONDS)
        except queue.Empty:
            said = (_nothing, ())
        if cancel is not None and cancel.is_set():
            raise cancelled()
        if said is None:
            return
        callback, arguments = said
        callback(*arguments)


def _tell_last(scope: CancelScope) -> None:
    for callback, arguments in list(scope.last_words):
        callback(*arguments)


def _nothing() -> None:
    pass


def cancelled() -> FetchCancelledError:
    """Return the error of work that was stopped."""
    return FetchCancelledError("The fetch was cancelled.")
