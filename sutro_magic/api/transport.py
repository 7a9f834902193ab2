"""One request over HTTP: time-outs, retries, and nothing of the URL or the key in any error.

Exceptions of the HTTP library never leave this module, because their texts hold whole URLs, nor do the
frames below it, because their variables hold the key.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests

from sutro_magic import limits
from sutro_magic._version import __version__
from sutro_magic.api.adapter import StoppableAdapter
from sutro_magic.api.credentials import Secret
from sutro_magic.api.redaction import no_auth, unlogged_queries
from sutro_magic.api.responses import ERROR_BYTES, describe, retry_after
from sutro_magic.api.retry import RetryPolicy
from sutro_magic.errors import Hint, ServiceError, ServiceUnreachableError, SutroError
from sutro_magic.system.cancellation import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sutro_magic.api.retry import RetryBudget
    from sutro_magic.api.url_guard import Guard

__all__ = ["RETRIED_STATUSES", "RetryPolicy", "Transport"]

SPARE_SECONDS = 10.0
"""A small answer, or the head of a large one, may take so much longer than one read of it."""
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 524})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOO_LATE = "no answer in time"
_PIECE_BYTES = 16 << 10
"""Packed bytes may be a thousand times as many unpacked."""
_ERRORS = 400
"""Where the statuses of errors begin."""
_PORTS = {"http": 80, "https": 443}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Say that there is none: even not to follow it, `requests` would read its body, without end."""
        return None


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
    elsewhere : Transport, optional
        Follows redirects to another origin than that of the request; it has a guard.
    """

    def __init__(
        self, *, trust_env: bool, guard: Guard | None = None, elsewhere: Transport | None = None
    ) -> None:
        self._trust_env = trust_env
        self._guard = guard
        self._elsewhere = elsewhere
        self._idle: deque[requests.Session] = deque()
        self._process = os.getpid()

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
        budget: RetryBudget,
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
                if not budget.wait(_told(url, unreachable.message.partition(": ")[2].rstrip("."))):
                    raise
                continue
            if response.status_code not in RETRIED_STATUSES:
                return response
            reason = _told(url, f"answered {response.status_code}")
            if not budget.wait(reason, retry_after(response)):
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
        read_seconds: float = limits.READ_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request, once, and follow where it is redirected to; return whatever was answered.

        What is not to be streamed is read here.

        Raises
        ------
        ServiceUnreachableError
        """
        auth = auth if self._guard is None else no_auth
        for _ in range(limits.MAX_REDIRECTS):
            if self._guard is not None:
                self._guard.check_url(url)
            response = self._send(
                method, url, parameters, auth=auth, stream=stream, timeout=read_seconds, headers=headers
            )
            if not _redirects(response):
                return response
            response.close()  # its body is of no use to anybody, however long it is
            url, same = _follow(url, Secret(response.headers["Location"]))
            parameters = None  # they are in the new address, if it needs them
            if self._elsewhere is not None and not same:
                return self._elsewhere.once(
                    method, url, auth=no_auth, stream=stream, read_seconds=read_seconds, headers=headers
                )
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
        deadline = Deadline(timeout + SPARE_SECONDS)
        try:
            with unlogged_queries(), deadline:
                response = http.request(
                    method,
                    url.reveal(),
                    params=parameters,
                    auth=auth,
                    stream=True,
                    timeout=(limits.CONNECT_SECONDS, timeout),
                    headers={**({"Accept-Encoding": "identity"} if stream else {}), **(headers or {})},
                    allow_redirects=False,
                )
                if not stream and not _redirects(response):
                    _read(response)
        except SutroError as ours:
            raise ours.with_traceback(None) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, it may hold the key
            failure = TOO_LATE if deadline.over else describe(error)
        except BaseException as stop:  # noqa: BLE001 - raised again, without the frames below
            raise stop.with_traceback(None) from None
        else:
            if not deadline.over:
                self._idle.append(http)
                return response
            response.close()  # cut off in the middle of its head, it looks like a whole one
            failure = TOO_LATE
        self._idle.append(http)
        raise _unreachable(url, failure)

    def _session(self) -> requests.Session:
        if self._process != os.getpid():
            # A forked child: two processes on one connection would read each other's answers.
            self._idle, self._process = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            http = _Session()
        http.headers["User-Agent"] = f"sutro-magic/{__version__}"
        http.trust_env = self._trust_env
        for scheme in ("https://", "http://"):
            http.mount(scheme, StoppableAdapter(self._guard))
        return http


def _redirects(response: requests.Response) -> bool:
    return response.status_code in REDIRECTS and "Location" in response.headers


def _follow(url: Secret, location: Secret) -> tuple[Secret, bool]:
    """Return where a redirect leads, and whether that is the same origin."""
    try:
        target = Secret(urljoin(url.reveal(), location.reveal()))
        return target, _origin(target.reveal()) == _origin(url.reveal())
    except ValueError:
        pass
    raise _unreachable(url, "it redirects to what is no address")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _read(response: requests.Response) -> None:
    """Read a reply to its end, or an error as far as it is told."""
    body = bytearray()
    most = limits.MAX_REPLY_BYTES if response.status_code < _ERRORS else ERROR_BYTES
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > most:
            response.close()
            if response.status_code < _ERRORS:
                host = urlsplit(response.url).hostname
                raise ServiceError(
                    f"{host} sent more than {limits.MAX_REPLY_BYTES >> 20} MB where a short reply was due.",
                    hint="Check SUTRO_API_URL; if it is right, tell the service's operator.",
                )
            break
    # As `content` would, which knows no limit.
    response._content, response._content_consumed = bytes(body), True  # type: ignore[attr-defined]  # noqa: SLF001


def _unreachable(url: Secret, failure: str) -> ServiceUnreachableError:
    host = urlsplit(url.reveal()).netloc.rpartition("@")[2]  # before it, a user's name and password may stand
    return ServiceUnreachableError(
        f"{host} cannot be reached: {failure}.",
        hint=(
            "Check the network and the address, from SUTRO_API_URL or ",
            Hint("login", url=None),
            "; ",
            Hint("demo"),
            " needs neither.",
        ),
    )


def _told(url: Secret, what: str) -> str:
    return f"{urlsplit(url.reveal()).hostname}: {what}"
