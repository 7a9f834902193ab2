"""One request over HTTP: time-outs, retries, and nothing of the URL or the key in any error.

Exceptions of the HTTP library never leave this module, because their texts hold whole URLs, nor do the
frames below it, because their variables hold the key.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests

from sutro_magic import __version__
from sutro_magic.connections import StoppableAdapter
from sutro_magic.credentials import Secret
from sutro_magic.errors import ServiceUnreachableError, SutroError
from sutro_magic.patience import RetryPolicy
from sutro_magic.replies import describe, retry_after
from sutro_magic.secrecy import no_auth, unlogged_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sutro_magic.addresses import Guard
    from sutro_magic.patience import Patience

__all__ = ["CONNECT_SECONDS", "READ_SECONDS", "RETRIED_STATUSES", "RetryPolicy", "Transport"]

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 524})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5


class Transport:
    """Pools of connections, for any number of threads.

    `requests` does not promise that a session of it may be used by several threads at once. So there is
    a stack of them: one is taken to send a request, and put back when the reply has begun.

    Parameters
    ----------
    trust_env : bool
        Whether proxies of the environment are used.
    guard : Guard, optional
        Asked about every address and every redirect; then no request carries a key.
    """

    def __init__(self, *, trust_env: bool, guard: Guard | None = None) -> None:
        self._trust_env = trust_env
        self._guard = guard
        self._idle: deque[requests.Session] = deque()

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def get(
        self,
        url: Secret,
        parameters: Mapping[str, str],
        *,
        auth: Any,
        stream: bool,
        patience: Patience,
        read_seconds: float,
    ) -> requests.Response:
        """Send one GET with retries; return whatever was answered in the end.

        Raises
        ------
        ServiceUnreachableError
        """
        while True:
            try:
                response = self.once(
                    "GET", url, parameters, auth=auth, stream=stream, read_seconds=read_seconds
                )
            except ServiceUnreachableError as unreachable:
                if not patience.wait(_told(url, unreachable.message.partition(": ")[2].rstrip("."))):
                    raise
                continue
            if response.status_code not in RETRIED_STATUSES:
                return response
            reason = _told(url, f"answered {response.status_code}")
            if not patience.wait(reason, retry_after(response)):
                return response
            response.close()

    def once(
        self,
        method: str,
        url: Secret,
        parameters: Mapping[str, str] | None = None,
        *,
        auth: Any,
        stream: bool,
        read_seconds: float = READ_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request, once; return whatever was answered.

        Raises
        ------
        ServiceUnreachableError
        """
        if self._guard is None:
            return self._send(
                method, url, parameters, auth=auth, stream=stream, timeout=read_seconds, headers=headers
            )
        for _ in range(MOST_REDIRECTS):
            self._guard.check_url(url)
            response = self._send(
                method, url, parameters, auth=no_auth, stream=stream, timeout=read_seconds, headers=headers
            )
            if response.status_code not in REDIRECTS or "Location" not in response.headers:
                return response
            url = Secret(urljoin(url.reveal(), response.headers["Location"]))
            response.close()
        raise _unreachable(url, "it redirects again and again")

    def _send(
        self,
        method: str,
        url: Secret,
        parameters: Mapping[str, str] | None,
        *,
        auth: Any,
        stream: bool,
        timeout: float,
        headers: Mapping[str, str] | None,
    ) -> requests.Response:
        failure = ""
        http = self._session()
        try:
            with unlogged_queries():
                response = http.request(
                    method,
                    url.reveal(),
                    params=parameters,
                    auth=auth,
                    stream=stream,
                    timeout=(CONNECT_SECONDS, timeout),
                    headers={**({"Accept-Encoding": "identity"} if stream else {}), **(headers or {})},
                    allow_redirects=self._guard is None,
                )
        except SutroError as ours:
            raise ours.with_traceback(None) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, it may hold the key
            failure = describe(error)
        except BaseException as stop:  # noqa: BLE001 - raised again, without the frames below
            raise stop.with_traceback(None) from None
        else:
            self._idle.append(http)
            return response
        self._idle.append(http)
        raise _unreachable(url, failure)

    def _session(self) -> requests.Session:
        try:
            return self._idle.pop()
        except IndexError:
            http = requests.Session()
        http.headers["User-Agent"] = f"sutro-magic/{__version__}"
        http.trust_env = self._trust_env
        for scheme in ("https://", "http://"):
            http.mount(scheme, StoppableAdapter(self._guard))
        return http


def _unreachable(url: Secret, failure: str) -> ServiceUnreachableError:
    host = urlsplit(url.reveal()).netloc.rpartition("@")[2]  # before it, a user's name and password may stand
    return ServiceUnreachableError(
        f"{host} cannot be reached: {failure}.",
        hint="Check the network and SUTRO_API_URL; %sutro_demo works without either.",
    )


def _told(url: Secret, what: str) -> str:
    return f"{urlsplit(url.reveal()).hostname}: {what}"
