"""Cancellable network operations: by Ctrl-C, or from another thread.

A thread that is blocked in a read cannot be interrupted. So an operation runs in a thread of its own while the
caller waits interruptibly. To stop it, its sockets are shut down, which ends every blocking read. Callbacks
run in the thread of the caller.
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
"""Interval at which a waiting thread checks for cancellation."""
JOIN_SECONDS = 0.8
"""Maximum wait for the end of a cancelled operation; it then ends in the background."""

T = TypeVar("T")

_scope: ContextVar[CancelScope | None] = ContextVar("sutro_magic_scope", default=None)
_sockets: WeakKeyDictionary[socket.socket, CancelScope] = WeakKeyDictionary()
_sockets_lock = ThreadLock()
_deadline: ContextVar[Deadline | None] = ContextVar("sutro_magic_deadline", default=None)
_last_socket: ContextVar[weakref.ref[socket.socket] | None] = ContextVar("sutro_magic_socket", default=None)


class CancelScope:
    """A cancellable operation and its nested scopes.

    Parameters
    ----------
    parent : CancelScope, optional
        Enclosing scope: stopping it stops this one, and its thread runs the callbacks of this one.
    """

    def __init__(self, parent: CancelScope | None = None) -> None:
        self._parent = parent
        self._stop = threading.Event()
        self._parts: list[CancelScope] = []
        self.calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = (
            queue.SimpleQueue() if parent is None else parent.calls
        )
        self.final_calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def part(self) -> CancelScope:
        """Return a nested scope."""
        part = CancelScope(self)
        self._parts.append(part)
        if self._stop.is_set():
            part.stop()
        return part

    @property
    def stopped(self) -> bool:
        """Whether the operation was stopped."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `FetchCancelledError` if the operation was stopped."""
        if self._stop.is_set():
            raise cancelled()

    def sleep(self, seconds: float) -> None:
        """Sleep; raise `FetchCancelledError` as soon as the operation is stopped."""
        if self._stop.wait(seconds):
            raise cancelled()

    def notify(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Schedule a callback in the thread that waits for the operation."""
        self.calls.put((callback, arguments))

    def notify_at_end(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Schedule a callback for the end of the operation, even if it is stopped."""
        self.final_calls.append((callback, arguments))

    def stop(self) -> None:
        """Stop the operation: shut down its sockets, so that blocking reads end."""
        self._stop.set()
        for part in list(self._parts):
            part.stop()
        with _sockets_lock:
            mine = [sock for sock, scope in _sockets.items() if scope is self]
        for sock in mine:
            _shut(sock)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Assign the requests that this thread sends in the context to the operation."""
        token = _scope.set(self)
        try:
            yield
        finally:
            _scope.reset(token)


class Deadline:
    """Context manager with a total time limit, even if every single read makes progress: it shuts down the sockets.

    Parameters
    ----------
    seconds : float
    reads_on : bool
        Whether the block continues reading the latest response of this thread.
    """

    def __init__(self, seconds: float, *, reads_on: bool = False) -> None:
        self._seconds = seconds
        self._used: list[socket.socket] = []
        last = _last_socket.get() if reads_on else None
        if last is not None and (sock := last()) is not None:
            self._used.append(sock)
        self.over = False
        """Whether the time limit was reached."""

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
        """Register a socket; raise `TimeoutError` if the time is over."""
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
    # socket.socket.shutdown, because SSLSocket.shutdown is not safe during a read in another thread.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def check() -> None:
    """Raise `FetchCancelledError` if the operation of this thread was stopped."""
    scope = _scope.get()
    if scope is not None:
        scope.check()


def sleep(seconds: float) -> None:
    """Sleep; raise `FetchCancelledError` as soon as the operation of this thread, if any, is stopped."""
    scope = _scope.get()
    if scope is None:
        time.sleep(seconds)
    else:
        scope.sleep(seconds)


def notify(callback: Callable[..., object], *arguments: Any) -> None:
    """Call a callback in the thread that waits for this one; directly if there is none."""
    scope = _scope.get()
    if scope is None:
        callback(*arguments)
    else:
        scope.notify(callback, *arguments)


def sleep_unless(cancel: threading.Event | None, seconds: float) -> None:
    """Sleep; raise `FetchCancelledError` as soon as an event is set."""
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise cancelled()


def use_socket(sock: socket.socket | None) -> None:
    """Register a socket with the operation of this thread; raise if that was stopped."""
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
    """Run a function in a thread of its own and wait for it.

    Parameters
    ----------
    work : callable
        Called with a `CancelScope`; its result or exception becomes that of this function.
    cancel : threading.Event, optional
        Setting it ends the operation with `FetchCancelledError` within a second.
    """
    scope = CancelScope()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            with scope.here():
                outcome.append(work(scope))
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            failure.append(error)
        finally:
            scope.calls.put(None)

    if cancel is not None and cancel.is_set():
        raise cancelled()
    thread = threading.Thread(target=body, name="sutro-fetch", daemon=True)
    thread.start()
    try:
        _listen(scope, cancel)
    except BaseException:
        scope.stop()
        thread.join(JOIN_SECONDS)
        _run_final_calls(scope)
        raise
    thread.join()
    _run_final_calls(scope)
    if failure:
        raise failure.pop()
    return outcome.pop()


def _listen(scope: CancelScope, cancel: threading.Event | None) -> None:
    while True:
        try:
            call = scope.calls.get(timeout=TICK_SECONDS)
        except queue.Empty:
            call = (_nothing, ())
        if cancel is not None and cancel.is_set():
            raise cancelled()
        if call is None:
            return
        callback, arguments = call
        callback(*arguments)


def _run_final_calls(scope: CancelScope) -> None:
    for callback, arguments in list(scope.final_calls):
        callback(*arguments)


def _nothing() -> None:
    pass


def cancelled() -> FetchCancelledError:
    """Return the error of a cancelled operation."""
    return FetchCancelledError("The fetch was cancelled.")
