"""The demo service as an object: start, stop, reset, faults."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Self

from sutro_magic.demo.fault_switch import FaultSwitch
from sutro_magic.demo.faults import FAULTS
from sutro_magic.errors import ArgumentError, ServiceUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from sutro_magic.demo.artifacts import Store
    from sutro_magic.demo.job_states import Board
    from sutro_magic.demo.server import Server

_HIGHEST_PORT = 65_535
_JOIN_SECONDS = 5.0


class DemoService:
    """A stand-in for a Sutro deployment on 127.0.0.1, with sample jobs and faults to switch on.

    Parameters
    ----------
    port : int, optional
        Port to listen at; 0, the default, takes any free one.
    api_key : str, optional
        Key to let in; made at random if not given.
    watch_seconds : float, optional
        How long the queued sample job takes from the first look at it to its results; submitted
        jobs go at the same pace.

    Examples
    --------
    >>> with DemoService() as service:
    ...     print(service.url.rpartition(":")[0])
    http://127.0.0.1
    """

    FAULTS: ClassVar[dict[str, str]] = {name: fault.description for name, fault in FAULTS.items()}
    """What can be switched on, and what then happens."""

    def __init__(self, port: int = 0, api_key: str | None = None, *, watch_seconds: float = 8.0) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _HIGHEST_PORT:
            raise ArgumentError(f"{port!r} is not a port.", hint=f"Use 0 (any free one) to {_HIGHEST_PORT}.")
        self.api_key = api_key or f"sk_demo_{secrets.token_urlsafe(24)}"
        self.requests: deque[tuple[str, str]] = deque(maxlen=1000)
        self._port = port
        self._watch_seconds = watch_seconds
        self._faults = FaultSwitch(FAULTS)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._board: Board | None = None
        self._store: Store | None = None

    @property
    def url(self) -> str:
        """Where the service is, without ``/v1``."""
        if self._server is None:
            raise ServiceUnreachableError("The demo service is not running.", hint="Start it first.")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def fault(self) -> str | None:
        """Name of the active fault."""
        return self._faults.name

    def start(self) -> Self:
        """Begin to serve, on threads of its own; does nothing if it already does."""
        # The HTTP modules cost some 20 ms to import, which `import sutro_magic.demo` need not pay.
        from sutro_magic.demo.api import Api
        from sutro_magic.demo.artifacts import Store
        from sutro_magic.demo.job_states import Board
        from sutro_magic.demo.server import Server

        with self._lock:
            if self._server is not None:
                return self
            self._stopping = threading.Event()
            board, store = Board(self._watch_seconds), Store(self._stopping)
            api = Api(board, store, self._faults, self.api_key, self._stopping)
            try:
                self._server = Server(self._port, api, self.requests)
            except OSError as error:
                store.remove()
                raise ArgumentError(
                    f"Port {self._port} of 127.0.0.1 cannot be used: {error.strerror or error}.",
                    hint="Choose another port, or 0 for any free one.",
                ) from None
            api.url = self.url
            self._board, self._store = board, store
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.05,), name="sutro-demo", daemon=True
            )
            self._thread.start()
            return self

    def stop(self) -> None:
        """Close all connections, end all threads and delete all files; does nothing if it is not running."""
        with self._lock:
            if self._server is None or self._thread is None or self._store is None:
                return
            self._stopping.set()
            self.clear_faults()
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections(_JOIN_SECONDS)
            self._thread.join(_JOIN_SECONDS)
            self._store.remove()
            self._server = self._thread = self._board = self._store = None

    def reset(self) -> None:
        """Switch faults off, rewind the watched job, forget what was submitted and cancelled."""
        with self._lock:
            self.clear_faults()
            if self._board is not None and self._store is not None:
                self._store.forget(self._board.reset())

    def set_fault(
        self,
        name: str,
        *,
        times: int | None = None,
        routes: Iterable[str] | None = None,
        **options: float,
    ) -> None:
        """Switch a fault on, in place of any other.

        Parameters
        ----------
        name : str
            One of `FAULTS`.
        times : int, optional
            Only the next so many requests meet it; by default all until it is switched off.
        routes : iterable of str, optional
            Routes to touch instead of those it is made for, such as ``["list-jobs"]``; a fault of
            one route's own can only be narrowed.
        **options : float
            Options of the fault, as its description names them.
        """
        self._faults.set(name, times=times, routes=routes, **options)

    def clear_faults(self) -> None:
        """Switch any fault off."""
        self._faults.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
