"""Job list for scrolling: read page by page and refreshed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sutro_magic.api.retry import RetryBudget, RetryPolicy
from sutro_magic.jobs.lookup import mentions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sutro_magic.api.client import Client
    from sutro_magic.models import Job, JobStatus

QUICK = RetryPolicy(tries=2, seconds=5.0)
"""Short, because the caller refreshes the list soon anyway and should see errors quickly."""
MAX_REFRESH_PAGES = 5
"""If more pages are new, the list starts again."""


class JobFeed:
    """Jobs read so far, newest first. Thread-safe.

    Starts again when the client changes.

    Parameters
    ----------
    connect : callable
        Returns the client in use; another one after a change of deployment or key.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._jobs: dict[str, Job] = {}  # replaced, never modified: readers need no lock
        self._updates: dict[str, tuple[float, Job]] = {}
        self._cursor: str | None = None
        self.begun = False
        """Whether any page has been read."""

    @property
    def complete(self) -> bool:
        """Whether all older jobs have been read."""
        return self.begun and self._cursor is None

    def jobs(self, search: str = "", status: JobStatus | None = None) -> list[Job]:
        """Return the jobs read so far, newest first.

        Parameters
        ----------
        search : str
            Only jobs whose id, name, description or model contains this string; case is ignored.
        status : JobStatus, optional
            Only jobs with this status.
        """
        known = [self._newest(job) for job in self._jobs.values()]
        text = search.strip()
        return [
            job
            for job in known
            if (status is None or job.status is status) and (not text or mentions(job, text))
        ]

    def job(self, job_id: str) -> Job | None:
        """Return a job that has been read, or None."""
        job = self._jobs.get(job_id)
        return job and self._newest(job)

    def learn(self, job: Job) -> None:
        """Update one job; valid until the service reports a newer state."""
        self._updates[job.job_id] = (time.monotonic(), job)

    def _newest(self, job: Job) -> Job:
        _, update = self._updates.get(job.job_id, (0.0, job))
        return job if job.status.is_final and not update.status.is_final else update

    def _drop_updates(self, job_ids: Iterable[str], before: float) -> None:
        for job_id in job_ids:
            if self._updates.get(job_id, (before, None))[0] < before:
                self._updates.pop(job_id, None)

    def read_on(self) -> None:
        """Read the next page of older jobs, or the first page.

        Raises
        ------
        SutroError
            The jobs read so far are kept.
        """
        with self._lock:
            client = self._client_now()
            if self.complete:
                return
            jobs, cursor = client.job_page(self._cursor, RetryBudget(QUICK))
            self._jobs = self._jobs | {job.job_id: job for job in jobs}
            self._cursor, self.begun = cursor, True

    def refresh(self, unfinished: list[str] | None = None) -> None:
        """Read new jobs and update those of the newest page.

        Parameters
        ----------
        unfinished : list of str, optional
            Ids of older jobs to update as well.
        """
        with self._lock:
            client, begin = self._client_now(), time.monotonic()
            fresh: dict[str, Job] = {}
            cursor: str | None = None
            for _ in range(MAX_REFRESH_PAGES if self._jobs else 1):
                jobs, cursor = client.job_page(cursor, RetryBudget(QUICK))
                fresh.update((job.job_id, job) for job in jobs)
                if cursor is None or any(job.job_id in self._jobs for job in jobs):
                    break
            overlaps = bool(self._jobs.keys() & fresh.keys())
            if cursor is None or not overlaps:  # all jobs were read, or too many are new
                self._jobs, self._cursor = fresh, cursor
            else:
                self._jobs = fresh | self._older_than(fresh)
            self.begun = True
            for job_id in unfinished or ():
                if job_id in self._jobs and job_id not in fresh:
                    latest = client.get_job(job_id, budget=RetryBudget(QUICK))
                    self._jobs = self._jobs | {job_id: latest}
            self._drop_updates([*fresh, *(unfinished or ())], begin)

    def reload(self, job_id: str) -> Job:
        """Read one job again."""
        job = self._connect().get_job(job_id, budget=RetryBudget(QUICK))
        self.learn(job)
        return job

    def _older_than(self, fresh: dict[str, Job]) -> dict[str, Job]:
        """Return the jobs after the newest pages; those missing from these pages were deleted."""
        known = list(self._jobs)
        last = max(place for place, job_id in enumerate(known) if job_id in fresh)
        return {job_id: self._jobs[job_id] for job_id in known[last + 1 :]}

    def _client_now(self) -> Client:
        client = self._connect()
        if client is not self._client:
            self._client, self._jobs, self._updates, self._cursor, self.begun = client, {}, {}, None, False
        return client
