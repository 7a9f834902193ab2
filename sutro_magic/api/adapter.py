"""Connections that can be stopped from another thread, and that go nowhere they should not.

They are those of the HTTP library, with two checks more: whose work is this, and where does it lead?
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
    """Opens connections that belong to the `sutro_magic.system.cancellation.CancelScope` of the thread that uses them.

    Parameters
    ----------
    guard : Guard, optional
        Asked about every address before anything is sent there. What a proxy connects to is the proxy's affair.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._classes = _pool_classes(guard)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Let connections be ours."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Let connections by way of a proxy be ours, too."""
        manager = super().proxy_manager_for(proxy, **options)
        if isinstance(manager, urllib3.ProxyManager) and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._classes
        return manager


def _pool_classes(guard: Guard | None) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class Ours:
        sock: Any
        proxy: Any
        host: str

        def _new_conn(self) -> socket.socket:
            if guard is not None and self.proxy is None:
                guard.check_host(self.host)
            sock: socket.socket = super()._new_conn()  # type: ignore[misc]
            try:
                if guard is not None and self.proxy is None:
                    # Again, because a name may mean another address the second time it is asked for.
                    guard.check_address(str(sock.getpeername()[0]))
                use_socket(sock)
            except BaseException:
                sock.close()
                raise
            return sock

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            use_socket(self.sock)  # of a TLS connection, another object than the one that connected

        def request(self, *arguments: Any, **options: Any) -> None:
            use_socket(self.sock)  # one that was connected by other work
            super().request(*arguments, **options)  # type: ignore[misc]

    class Plain(Ours, urllib3.connection.HTTPConnection):
        pass

    class Encrypted(Ours, urllib3.connection.HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
