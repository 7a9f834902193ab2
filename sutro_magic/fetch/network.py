"""The network steps of a fetch, which share one retry budget."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from sutro_magic.download import source
from sutro_magic.download.remote_file import RemoteFile
from sutro_magic.errors import (
    FetchCancelledError,
    Hint,
    JobNotFoundError,
    JobNotReadyError,
    ServiceError,
    SutroError,
)
from sutro_magic.jobs.polling import PollCallbacks, wait_for
from sutro_magic.jobs.status_errors import just_succeeded, raise_unless_succeeded
from sutro_magic.results.first_rows import read_first_rows
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.api.client import Client
    from sutro_magic.cache.partial import Partial, Partials
    from sutro_magic.fetch.options import FetchOptions
    from sutro_magic.models import Job, ResultsRequest
    from sutro_magic.results.first_rows import FirstRows
    from sutro_magic.system.cancellation import CancelScope

CONFLICT = 409
REFUSED_UNFINISHED = frozenset({400, CONFLICT, 425})

T = TypeVar("T")


class NetworkSteps:
    """The network steps of one fetch. Each can be interrupted, and stops when the fetch is cancelled.

    Use it as a context manager until the results are in the cache. If the fetch is stopped before, the bytes
    that arrived are kept for the next fetch.

    Parameters
    ----------
    client : Client
    request : ResultsRequest
    partials : Partials
    options : FetchOptions
    """

    def __init__(
        self, client: Client, request: ResultsRequest, partials: Partials, options: FetchOptions
    ) -> None:
        self._client = client
        self._request = request
        self._partials = partials
        self._options = options
        self._budget = client.retry_budget(options.on_retry)
        self._fetched: Partial | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep the bytes that arrived if the fetch was stopped before the commit."""
        fetched, self._fetched = self._fetched, None
        if fetched is None:
            return
        if isinstance(error, FetchCancelledError) or not isinstance(error, Exception | None):
            self._options.on_kept(fetched.keep())
        else:
            fetched.drop()

    def download(self, body: Path) -> JobNotFoundError | ServiceError | None:
        """Fetch the results into a file.

        Returns
        -------
        JobNotFoundError or ServiceError or None
            The refusal, if the job's results may not exist yet; None on success.
        """
        try:
            self._run(partial(self._download, body))
        except (JobNotFoundError, ServiceError) as refusal:
            if not _is_unfinished(refusal):
                raise
            return refusal
        return None

    def download_late(self, body: Path) -> None:
        """Fetch shortly after the job succeeded, while the results may not be written yet."""
        self._run(partial(self._download_late, body))

    def explain(self, refusal: JobNotFoundError | ServiceError) -> None:
        """Return if the job succeeded and a second attempt makes sense; otherwise raise the reason."""
        self._run(lambda _scope: self._explain(refusal))

    def first_rows(self, rows: int) -> FirstRows:
        """Fetch only the first rows."""
        return self._run(lambda _scope: self._first_rows(rows))

    def details(self) -> Job | None:
        """Return the job, or None if the service does not provide it; the results route alone is enough."""
        try:
            return self._run(lambda _scope: self._client.get_job(self._request.job_id, best_effort=True))
        except FetchCancelledError:
            raise
        except SutroError:
            return None

    def _run(self, step: Callable[[CancelScope], T]) -> T:
        return cancellation.run(step, self._options.cancel)

    def _download(self, body: Path, scope: CancelScope) -> None:
        options = self._options
        self._fetched = source.fetch(
            self._client,
            self._request,
            body,
            partials=self._partials,
            budget=self._budget,
            scope=scope,
            on_bytes=options.on_bytes,
            on_kept=lambda count: scope.notify_at_end(options.on_kept, count),
        )

    def _download_late(self, body: Path, scope: CancelScope) -> None:
        job_id = self._request.job_id
        while True:
            try:
                self._download(body, scope)
            except (JobNotFoundError, ServiceError) as refusal:
                if not _is_unfinished(refusal):
                    raise
                if not self._budget.wait(f"the results of {job_id} are not written yet"):
                    raise JobNotReadyError(
                        f"{job_id} succeeded, but its results are not written yet.",
                        job_id=job_id,
                        hint=(Hint("again"), " in a minute."),
                    ) from None
            else:
                return

    def _first_rows(self, rows: int) -> FirstRows:
        client, request = self._client, self._request
        signed = client.serves_results_url or client.credentials.is_direct
        origin = source.Origin(client, request, self._budget, signed=signed)
        try:
            file = RemoteFile(origin, self._budget)
        except (JobNotFoundError, ServiceError) as refusal:
            self._explain(refusal)
            raise
        return read_first_rows(file, request, rows)

    def _explain(self, refusal: JobNotFoundError | ServiceError) -> None:
        if not _is_unfinished(refusal):
            raise refusal
        job_id, options = self._request.job_id, self._options
        try:
            job = self._client.get_job(job_id, budget=self._budget)
        except FetchCancelledError:
            raise
        except SutroError:
            if getattr(refusal, "status_code", None) == CONFLICT:
                raise JobNotReadyError(
                    f"The service has no results of {job_id}, or not yet: {refusal.message}",
                    job_id=job_id,
                    hint=(Hint("wait", job=job_id), " waits for it."),
                ) from None
            raise refusal from None
        if not job.status.is_final and options.wait:
            listeners = PollCallbacks(
                on_poll=options.on_poll, on_progress=options.on_progress, on_outage=options.on_retry
            )
            wait_for(self._client, job, listeners, budget=self._budget)
            return
        raise_unless_succeeded(job)
        if not just_succeeded(job):
            raise refusal


def _is_unfinished(refusal: JobNotFoundError | ServiceError) -> bool:
    """Return whether a refusal may mean that the job's results do not exist yet."""
    return isinstance(refusal, JobNotFoundError) or refusal.status_code in REFUSED_UNFINISHED
