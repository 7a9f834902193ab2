"""Send HTTP requests with time-outs and retries; no error contains a URL's query or the key.

Exceptions of the HTTP library never leave this module, because their messages contain whole URLs. Nor do its
frames, because their variables hold the key.
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
"""Extra time for a whole small reply, or the head of a large one, beyond the time-out of one read."""
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 524})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOO_LATE = "no answer in time"
_PIECE_BYTES = 16 << 10
"""Small, because compressed bytes may expand a thousandfold."""
_ERRORS = 400
"""First HTTP status of an error."""
_PORTS = {"http": 80, "https": 443}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None always: to find the target, `requests` would read the body, which may be endless."""
        return None


class Transport:
    """Connection pools, usable by any number of threads.

    A `requests.Session` is not documented to be thread-safe. So there is a stack of them: a request takes one
    and returns it when the reply has begun.

    Parameters
    ----------
    trust_env : bool
        Whether to use proxies from the environment.
    guard : Guard, optional
        Checks every address and redirect; requests then carry no key.
    elsewhere : Transport, optional
        Follows redirects to another origin; it has a guard.
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
        """Close idle connections."""
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
        """Send one GET request with retries; return the last response, whatever its status.

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
                if not budget.wait(_reason(url, unreachable.message.partition(": ")[2].rstrip("."))):
                    raise
                continue
            if response.status_code not in RETRIED_STATUSES:
                return response
            reason = _reason(url, f"answered {response.status_code}")
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
        """Send one request without retries, and follow redirects; return the response, whatever its status.

        The body is read here unless ``stream`` is set.

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
            response.close()  # the body of a redirect is not read, however long it is
            url, same = _follow(url, Secret(response.headers["Location"]))
            parameters = None  # the new address contains them if it needs them
            if self._elsewhere is not None and not same:
                return self._elsewhere.once(
                    method, url, auth=no_auth, stream=stream, read_seconds=read_seconds, headers=headers
                )
        raise _unreachable(url, "too many redirects")

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
        except SutroError as own:
            raise own.with_traceback(None) from None
        except Exception as error:  # noqa: BLE001 - any exception may contain the key
            failure = TOO_LATE if deadline.over else describe(error)
        except BaseException as stop:  # noqa: BLE001 - raised again, without the frames below
            raise stop.with_traceback(None) from None
        else:
            if not deadline.over:
                self._idle.append(http)
                return response
            response.close()  # a head cut off by the deadline can look complete
            failure = TOO_LATE
        self._idle.append(http)
        raise _unreachable(url, failure)

    def _session(self) -> requests.Session:
        if self._process != os.getpid():
            # Forked child: two processes must not share a connection.
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
    """Return the target of a redirect, and whether it has the same origin."""
    try:
        target = Secret(urljoin(url.reveal(), location.reveal()))
        return target, _origin(target.reveal()) == _origin(url.reveal())
    except ValueError:
        pass
    raise _unreachable(url, "it redirects to an invalid address")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _read(response: requests.Response) -> None:
    """Read the whole reply, up to a size limit; an error reply is truncated there."""
    body = bytearray()
    max_bytes = limits.MAX_REPLY_BYTES if response.status_code < _ERRORS else ERROR_BYTES
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > max_bytes:
            response.close()
            if response.status_code < _ERRORS:
                host = urlsplit(response.url).hostname
                raise ServiceError(
                    f"{host} sent more than {limits.MAX_REPLY_BYTES >> 20} MB where a short reply was expected.",
                    hint="Check SUTRO_API_URL; if it is right, tell the service's operator.",
                )
            break
    # Set what `response.content` would set; it has no size limit.
    response._content, response._content_consumed = bytes(body), True  # type: ignore[attr-defined]  # noqa: SLF001


def _unreachable(url: Secret, failure: str) -> ServiceUnreachableError:
    host = urlsplit(url.reveal()).netloc.rpartition("@")[2]  # drop a user name and password
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


def _reason(url: Secret, what: str) -> str:
    return f"{urlsplit(url.reveal()).hostname}: {what}"
