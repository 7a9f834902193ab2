"""All of a fetch that needs the network, with one patience for the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic import download, peek
from sutro_magic.errors import (
    FetchCancelledError,
    JobNotFoundError,
    JobNotReadyError,
    ServiceError,
    SutroError,
)
from sutro_magic.outcomes import just_succeeded, raise_unless_succeeded
from sutro_magic.remote_file import RemoteFile
from sutro_magic.waiting import wait_for

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.client import Client
    from sutro_magic.download import Progress
    from sutro_magic.models import Job, ResultsRequest
    from sutro_magic.partials import Partials
    from sutro_magic.patience import Patience
    from sutro_magic.peek import FirstRows
    from sutro_magic.stopping import Errand

CONFLICT = 409
REFUSED_UNFINISHED = frozenset({400, CONFLICT, 425})


def ignore(*_told: object) -> None:
    """Do nothing with what is told."""


@dataclass(frozen=True)
class Wishes:
    """What a caller of `sutro_magic.Session.results` wants besides the results; see there."""

    wait: bool = False
    on_bytes: Progress = ignore
    on_poll: Callable[[Job], None] = ignore
    on_kept: Callable[[int], None] = ignore
    on_retry: Callable[[str], None] = ignore
    cancel: threading.Event | None = None


class Fetching:
    """One fetch.

    Parameters
    ----------
    client : Client
    request : ResultsRequest
    partials : Partials
    wishes : Wishes
    """

    def __init__(self, client: Client, request: ResultsRequest, partials: Partials, wishes: Wishes) -> None:
        self._client = client
        self._request = request
        self._partials = partials
        self._wishes = wishes

    def run(self, body: Path, errand: Errand) -> Job | None:
        """Fetch what the service sends to a file; return what is known of the job.

        Parameters
        ----------
        body : pathlib.Path
        errand : Errand
            The work that this is.
        """
        wishes, request = self._wishes, self._request
        patience = self._client.patience(errand, lambda reason: errand.tell(wishes.on_retry, reason))
        late = False
        while True:
            try:
                download.fetch(
                    self._client,
                    request,
                    body,
                    partials=self._partials,
                    patience=patience,
                    errand=errand,
                    on_bytes=wishes.on_bytes,
                    on_kept=lambda count: errand.tell_at_end(wishes.on_kept, count),
                )
            except (JobNotFoundError, ServiceError) as refusal:
                if not late:
                    self.explain(refusal, errand, patience)
                    late = True
                elif not _is_unfinished(refusal):
                    raise
                elif not patience.wait(f"the results of {request.job_id} are not written yet"):
                    raise JobNotReadyError(
                        f"{request.job_id} succeeded, but its results are not written yet.",
                        job_id=request.job_id,
                        hint="Run the cell again in a minute.",
                    ) from None
            else:
                return self.details()

    def look(self, rows: int, errand: Errand) -> tuple[FirstRows, Job | None]:
        """Fetch the first rows only; return them and what is known of the job."""
        client, request = self._client, self._request
        patience = client.patience(errand, lambda reason: errand.tell(self._wishes.on_retry, reason))
        origin = download.Origin(
            client, request, patience, signed=client.serves_results_url or client.credentials.is_direct
        )
        try:
            file = RemoteFile(origin, patience)
        except (JobNotFoundError, ServiceError) as refusal:
            self.explain(refusal, errand, patience)
            raise
        return peek.look(file, request, rows), self.details()

    def explain(self, refusal: JobNotFoundError | ServiceError, errand: Errand, patience: Patience) -> None:
        """Return if the job succeeded, so that asking again makes sense; else raise what is the matter."""
        if not _is_unfinished(refusal):
            raise refusal
        job_id = self._request.job_id
        try:
            job = self._client.get_job(job_id, patience=patience)
        except FetchCancelledError:
            raise
        except SutroError:
            if getattr(refusal, "status_code", None) == CONFLICT:
                raise JobNotReadyError(
                    f"The service has no results of {job_id} yet, or never will: {refusal.message}",
                    job_id=job_id,
                    hint=f"%sutro_wait {job_id} waits for it.",
                ) from None
            raise refusal from None
        if not job.status.is_final and self._wishes.wait:
            wait_for(
                self._client,
                job,
                on_poll=lambda job: errand.tell(self._wishes.on_poll, job),
                sleep=errand.sleep,
                patience=patience,
            )
            return
        raise_unless_succeeded(job)
        if not just_succeeded(job):
            raise refusal

    def details(self) -> Job | None:
        """Name, rows and schema are nice to have: a service with only the results route is enough."""
        try:
            return self._client.get_job(self._request.job_id, best_effort=True)
        except FetchCancelledError:
            raise
        except SutroError:
            return None


def _is_unfinished(refusal: JobNotFoundError | ServiceError) -> bool:
    """Tell whether a refusal may be that of a job whose results are not there yet."""
    return isinstance(refusal, JobNotFoundError) or refusal.status_code in REFUSED_UNFINISHED
