"""One GET over HTTP: time-outs, retries, and nothing of the URL or the key in any error.

Exceptions of the HTTP library never leave this module, because their texts hold whole URLs, nor do the
frames below it, because their variables hold the key.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from sutro_magic import __version__
from sutro_magic.errors import ServiceUnreachableError
from sutro_magic.replies import describe, retry_after
from sutro_magic.secrecy import unlogged_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sutro_magic.credentials import Secret

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 524})


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and for how long in all, a request is tried.

    Attributes
    ----------
    tries : int
        Requests in all, the first one included.
    seconds : float
        After this much time no further try begins.
    first_pause : float
        Seconds before the second try; doubled each time, with jitter.
    """

    tries: int = 5
    seconds: float = 30.0
    first_pause: float = 0.5

    def pauses(self) -> Iterator[float]:
        """Yield the pause after each failed try."""
        for attempt in range(self.tries - 1):
            yield self.first_pause * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


class Transport:
    """A pool of connections.

    Parameters
    ----------
    trust_env : bool
        Whether proxies of the environment are used.
    on_retry : callable
        Told in a few words when a request failed and is tried again.
    """

    def __init__(self, *, trust_env: bool, on_retry: Callable[[str], None]) -> None:
        self._on_retry = on_retry
        self._http = requests.Session()
        self._http.headers["User-Agent"] = f"sutro-magic/{__version__}"
        self._http.trust_env = trust_env

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(
        self,
        url: Secret,
        parameters: Mapping[str, str],
        *,
        auth: Any,
        stream: bool,
        retry: RetryPolicy,
        read_seconds: float,
    ) -> requests.Response:
        """Send one GET with retries; return whatever was answered in the end.

        Raises
        ------
        ServiceUnreachableError
        """
        deadline = time.monotonic() + retry.seconds
        pauses = retry.pauses()
        while True:
            response: requests.Response | None = None
            failure = ""
            try:
                with unlogged_queries():
                    response = self._http.get(
                        url.reveal(),
                        params=parameters,
                        auth=auth,
                        stream=stream,
                        timeout=(CONNECT_SECONDS, read_seconds),
                        headers={"Accept-Encoding": "identity"} if stream else None,
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, it may hold the key
                failure = describe(error)
            except BaseException as stop:  # noqa: BLE001 - raised again, without the frames below
                raise stop.with_traceback(None) from None
            if response is not None and response.status_code not in RETRIED_STATUSES:
                return response
            pause = next(pauses, None)
            if pause is not None and response is not None:
                pause = max(pause, retry_after(response))
            if pause is None or time.monotonic() + pause > deadline:
                if response is not None:
                    return response
                host = urlsplit(url.reveal()).netloc
                raise ServiceUnreachableError(
                    f"{host} cannot be reached: {failure}.",
                    hint="Check the network and SUTRO_API_URL; %sutro_demo works without either.",
                )
            if response is not None:
                failure = f"answered {response.status_code}"
                response.close()
            self._on_retry(f"{urlsplit(url.reveal()).hostname}: {failure}")
            time.sleep(pause)
