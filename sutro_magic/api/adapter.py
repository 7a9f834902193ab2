"""HTTP adapter whose connections can be stopped from another thread and are checked against the URL guard.

Subclasses of urllib3's connections register their socket with a cancel scope and check the peer's address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import urllib3
from requests.adapters import HTTPAdapter

from sutro_magic.system.cancellation import use_socket

if TYPE_CHECKING:
    import socket

    from sutro_magic.api.url_guard import Guard


class StoppableAdapter(HTTPAdapter):
    """Adapter whose connections belong to the `sutro_magic.system.cancellation.CancelScope` of the calling thread.

    Parameters
    ----------
    guard : Guard, optional
        Checks every address before anything is sent there. Connections made by a proxy are not checked.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._classes = _pool_classes(guard)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Use the connection classes of this module."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Use the connection classes of this module, through a proxy as well."""
        manager = super().proxy_manager_for(proxy, **options)
        if isinstance(manager, urllib3.ProxyManager) and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._classes
        return manager


def _pool_classes(guard: Guard | None) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class CheckedConnection:
        sock: Any
        proxy: Any
        host: str

        def _new_conn(self) -> socket.socket:
            if guard is not None and self.proxy is None:
                guard.check_host(self.host)
            sock: socket.socket = super()._new_conn()  # type: ignore[misc]
            try:
                if guard is not None and self.proxy is None:
                    # Check again: DNS may return another address the second time.
                    guard.check_address(str(sock.getpeername()[0]))
                use_socket(sock)
            except BaseException:
                sock.close()
                raise
            return sock

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            use_socket(self.sock)  # with TLS, not the same object as in _new_conn

        def request(self, *arguments: Any, **options: Any) -> None:
            use_socket(self.sock)  # the connection may have been opened in another scope
            super().request(*arguments, **options)  # type: ignore[misc]

    class Plain(CheckedConnection, urllib3.connection.HTTPConnection):
        pass

    class Encrypted(CheckedConnection, urllib3.connection.HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
