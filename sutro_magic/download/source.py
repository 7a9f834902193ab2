"""Download the results of a job to a file.

Parquet comes from the object storage of the deployment, by a signed URL, if it has one; everything else from
``GET jobs/{id}/results``. The file is complete, or an error is raised. If the server sends a strong ETag, an
interrupted download is resumed by the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.api.responses import content_length, retry_after
from sutro_magic.api.transport import RETRIED_STATUSES
from sutro_magic.download.transfer import OK, PARTIAL, UNSATISFIABLE, Transfer, is_passing
from sutro_magic.errors import CacheError, Hint, JobNotFoundError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import requests

    from sutro_magic.api.client import Client, SignedArtifact
    from sutro_magic.api.retry import RetryBudget
    from sutro_magic.cache.partial import Partial, Partials
    from sutro_magic.models import ResultsRequest
    from sutro_magic.system.cancellation import CancelScope

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, if known, the total."""

NO_SUCH_ROUTE = frozenset({404, 405})
STORAGE_REFUSED = frozenset({400, 401, 403, 404, 410})
"""Answers of object storages to an expired signature (R2: 400, S3: 403), or if the object has moved."""
FRESH_URLS = 2
"""Two, because a fresh URL may have been signed for another thread and have expired since."""
STORAGE_OPENED = frozenset({OK, PARTIAL, UNSATISFIABLE})


def fetch(
    client: Client,
    request: ResultsRequest,
    target: Path,
    *,
    partials: Partials,
    budget: RetryBudget,
    scope: CancelScope,
    on_bytes: Progress,
    on_kept: Callable[[int], None] = lambda _count: None,
) -> Partial:
    """Download the results of a job in the requested format.

    Parameters
    ----------
    client : Client
    request : ResultsRequest
    target : pathlib.Path
        File to create, on the file system of the partial downloads.
    partials : Partials
        Store of partial downloads, to resume one and to keep this one if it stops.
    budget : RetryBudget
        Remaining retries.
    scope : CancelScope
        Scope that can stop the download.
    on_bytes : callable
        Called with the bytes done, including those of a resumed download, and the total if known.
    on_kept : callable
        Called with the number of bytes kept if the download does not succeed.

    Returns
    -------
    Partial
        A second copy of the download: drop it when the results are committed, or keep it for the next fetch.

    Raises
    ------
    SutroError
        A subclass, by cause; ``target`` does not exist then.
    """
    origin = Origin(client, request, budget)
    partial = partials.claim(client.credentials.identity, request)
    try:
        Transfer(origin, partial, budget, scope, on_bytes).run()
        partial.finish(target)
        scope.check()
    except CacheError:
        partial.drop()  # the disk may be full
        raise
    except BaseException:
        on_kept(partial.keep())
        raise
    return partial


def announced_size(client: Client, request: ResultsRequest) -> int | None:
    """Return the bytes that `fetch` would transfer, or None if the service does not say; no body is read."""
    budget = client.retry_budget()
    origin = Origin(client, request, budget)
    while True:
        try:
            with closing(origin.open({})) as response:
                return content_length(response)
        except ServiceError as error:
            if not is_passing(error) or not budget.wait(error.message.rstrip("."), error.retry_after):
                raise


class Origin:
    """Source of the results of one request. Thread-safe.

    Parameters
    ----------
    client : Client
    request : ResultsRequest
    budget : RetryBudget
        For requesting the signed URL.
    signed : bool, optional
        Whether to request a signed URL; by default if the deployment supports it.
    """

    def __init__(
        self, client: Client, request: ResultsRequest, budget: RetryBudget, *, signed: bool | None = None
    ) -> None:
        self.name = request.job_id
        self.other_format = "csv" if request.format == "parquet" else "parquet"
        self._client = client
        self._request = request
        self._budget = budget
        if signed is None:
            signed = request.format == "parquet" and client.serves_results_url
        self._signed = signed
        self._artifact: SignedArtifact | None = None
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        """Maximum number of connections; one for the service itself."""
        return limits.CONNECTIONS if self._signed else 1

    def open(self, headers: Mapping[str, str]) -> requests.Response:
        """Request the results in one attempt.

        Returns
        -------
        requests.Response
            With status 200, 206 or 416.

        Raises
        ------
        SutroError
        """
        if not self._signed:
            return self._client.open_results(self._request, headers)
        try:
            artifact = self._sign(None)
        except JobNotFoundError:
            return self._open_instead(headers)
        except ServiceError as error:
            if error.status_code not in NO_SUCH_ROUTE:
                raise
            return self._open_instead(headers)
        response = self._client.open_artifact(artifact, headers)
        for _ in range(FRESH_URLS):
            if response.status_code not in STORAGE_REFUSED:
                break
            response.close()
            artifact = self._sign(artifact)
            response = self._client.open_artifact(artifact, headers)
        if response.status_code in STORAGE_OPENED:
            return response
        raise _refused(response)

    def length(self) -> int | None:
        """Return the size of the artifact as reported by the storage, or None."""
        artifact = self._artifact
        return None if artifact is None else self._client.artifact_length(artifact)

    def _sign(self, expired: SignedArtifact | None) -> SignedArtifact:
        """Return signed URLs, signing again if there are none or they have expired; one thread at a time."""
        with self._lock:
            if self._artifact is None or self._artifact is expired:
                self._artifact = self._client.sign_artifact(self._request, self._budget)
            return self._artifact

    def _open_instead(self, headers: Mapping[str, str]) -> requests.Response:
        response = self._client.open_results(self._request, headers)
        # The job exists, so the route is missing: do not use it again.
        self._signed = self._client.serves_results_url = False
        return response


_WITHOUT_STORAGE = Hint("option", format="csv"), ", which does not use the storage."


def _refused(response: requests.Response) -> ServiceError:
    code = response.status_code
    response.close()
    if code in RETRIED_STATUSES:
        return ServiceError(
            f"The object storage answered {code}.",
            hint=(Hint("again"), " in a moment, or try ", *_WITHOUT_STORAGE),
            status_code=code,
            retry_after=retry_after(response),
        )
    return ServiceError(
        f"The object storage answered {code} to a newly signed URL.",
        hint=(Hint("again"), ", or try ", *_WITHOUT_STORAGE),
    )
