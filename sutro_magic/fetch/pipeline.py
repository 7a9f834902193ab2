"""All of a fetch that needs the network, with one patience for the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from sutro_magic.download import source
from sutro_magic.download.remote_file import RemoteFile
from sutro_magic.errors import (
    FetchCancelledError,
    JobNotFoundError,
    JobNotReadyError,
    ServiceError,
    SutroError,
)
from sutro_magic.jobs.polling import PollCallbacks, wait_for
from sutro_magic.jobs.status_errors import just_succeeded, raise_unless_succeeded
from sutro_magic.results import truncation
from sutro_magic.system import cancellation
from sutro_magic.system.quoting import as_typed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.api.client import Client
    from sutro_magic.cache.partial import Partial, Partials
    from sutro_magic.download.source import Progress
    from sutro_magic.models import Job, JobProgress, ResultsRequest
    from sutro_magic.results.truncation import FirstRows
    from sutro_magic.system.cancellation import CancelScope

CONFLICT = 409
REFUSED_UNFINISHED = frozenset({400, CONFLICT, 425})

T = TypeVar("T")


def ignore(*_told: object) -> None:
    """Do nothing with what is told."""


@dataclass(frozen=True)
class FetchOptions:
    """What a caller of `sutro_magic.Session.results` wants besides the results; see there."""

    wait: bool = False
    on_bytes: Progress = ignore
    on_poll: Callable[[Job], None] = ignore
    on_progress: Callable[[Job, JobProgress], None] = ignore
    on_kept: Callable[[int], None] = ignore
    on_retry: Callable[[str], None] = ignore
    cancel: threading.Event | None = None

    def check(self) -> None:
        """Raise `FetchCancelledError` if the caller wishes nothing any more."""
        if self.cancel is not None and self.cancel.is_set():
            raise cancellation.cancelled()


class FetchPipeline:
    """One fetch, in steps; each of them can be interrupted, and ends when it is cancelled.

    A ``with`` block holds all of them, to the moment when the results are in the cache.

    Parameters
    ----------
    client : Client
    request : ResultsRequest
    partials : Partials
    wishes : FetchOptions
    """

    def __init__(
        self, client: Client, request: ResultsRequest, partials: Partials, wishes: FetchOptions
    ) -> None:
        self._client = client
        self._request = request
        self._partials = partials
        self._wishes = wishes
        self._patience = client.patience(wishes.on_retry)
        self._fetched: Partial | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep what has arrived for the next fetch if this one was stopped before the results were safe."""
        fetched, self._fetched = self._fetched, None
        if fetched is None:
            return
        if isinstance(error, FetchCancelledError) or not isinstance(error, Exception | None):
            self._wishes.on_kept(fetched.keep())
        else:
            fetched.drop()

    def download(self, body: Path) -> JobNotFoundError | ServiceError | None:
        """Fetch what the service sends to a file.

        Returns
        -------
        JobNotFoundError or ServiceError or None
            The refusal, where it may be that of a job whose results are not there yet.
        """
        try:
            self._run(partial(self._download, body))
        except (JobNotFoundError, ServiceError) as refusal:
            if not _is_unfinished(refusal):
                raise
            return refusal
        return None

    def download_late(self, body: Path) -> None:
        """Fetch right after success, when the results may not be written yet."""
        self._run(partial(self._download_late, body))

    def explain(self, refusal: JobNotFoundError | ServiceError) -> None:
        """Return if the job succeeded, so that asking again makes sense; else raise what is the matter."""
        self._run(lambda _errand: self._explain(refusal))

    def look(self, rows: int) -> FirstRows:
        """Fetch the first rows only."""
        return self._run(lambda _errand: self._look(rows))

    def details(self) -> Job | None:
        """Name, rows and schema are nice to have: a service with only the results route is enough."""
        try:
            return self._run(lambda _errand: self._client.get_job(self._request.job_id, best_effort=True))
        except FetchCancelledError:
            raise
        except SutroError:
            return None

    def _run(self, step: Callable[[CancelScope], T]) -> T:
        return cancellation.run(step, self._wishes.cancel)

    def _download(self, body: Path, errand: CancelScope) -> None:
        wishes = self._wishes
        self._fetched = source.fetch(
            self._client,
            self._request,
            body,
            partials=self._partials,
            patience=self._patience,
            errand=errand,
            on_bytes=wishes.on_bytes,
            on_kept=lambda count: errand.tell_at_end(wishes.on_kept, count),
        )

    def _download_late(self, body: Path, errand: CancelScope) -> None:
        job_id = self._request.job_id
        while True:
            try:
                self._download(body, errand)
            except (JobNotFoundError, ServiceError) as refusal:
                if not _is_unfinished(refusal):
                    raise
                if not self._patience.wait(f"the results of {job_id} are not written yet"):
                    raise JobNotReadyError(
                        f"{job_id} succeeded, but its results are not written yet.",
                        job_id=job_id,
                        hint="Run the cell again in a minute.",
                    ) from None
            else:
                return

    def _look(self, rows: int) -> FirstRows:
        client, request = self._client, self._request
        signed = client.serves_results_url or client.credentials.is_direct
        origin = source.Origin(client, request, self._patience, signed=signed)
        try:
            file = RemoteFile(origin, self._patience)
        except (JobNotFoundError, ServiceError) as refusal:
            self._explain(refusal)
            raise
        return truncation.look(file, request, rows)

    def _explain(self, refusal: JobNotFoundError | ServiceError) -> None:
        if not _is_unfinished(refusal):
            raise refusal
        job_id, wishes = self._request.job_id, self._wishes
        try:
            job = self._client.get_job(job_id, patience=self._patience)
        except FetchCancelledError:
            raise
        except SutroError:
            if getattr(refusal, "status_code", None) == CONFLICT:
                raise JobNotReadyError(
                    f"The service has no results of {job_id} yet, or never will: {refusal.message}",
                    job_id=job_id,
                    hint=f"%sutro_wait {as_typed(job_id)} waits for it.",
                ) from None
            raise refusal from None
        if not job.status.is_final and wishes.wait:
            listeners = PollCallbacks(
                on_poll=wishes.on_poll, on_progress=wishes.on_progress, on_outage=wishes.on_retry
            )
            wait_for(self._client, job, listeners, patience=self._patience)
            return
        raise_unless_succeeded(job)
        if not just_succeeded(job):
            raise refusal


def _is_unfinished(refusal: JobNotFoundError | ServiceError) -> bool:
    """Tell whether a refusal may be that of a job whose results are not there yet."""
    return isinstance(refusal, JobNotFoundError) or refusal.status_code in REFUSED_UNFINISHED
