"""The jobs of a service as somebody scrolls through them: read page by page, kept up to date."""

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
"""Whoever looks at a list looks again soon; a long silence would only keep them from being told."""
MOST_PAGES_AT_ONCE = 5
"""After a long sleep there may be so many new jobs that it is better to begin anew."""


class JobFeed:
    """Jobs, newest first, as far as they have been read; may be used from several threads.

    With another client it starts again.

    Parameters
    ----------
    connect : callable
        Returns the client in use, a new one after a change of deployment or key.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._jobs: dict[str, Job] = {}  # replaced, never changed: whoever shows them waits for no service
        self._told: dict[str, tuple[float, Job]] = {}
        self._cursor: str | None = None
        self.begun = False
        """Whether anything has been read."""

    @property
    def complete(self) -> bool:
        """Whether there are no older jobs to be read."""
        return self.begun and self._cursor is None

    def jobs(self, search: str = "", status: JobStatus | None = None) -> list[Job]:
        """Return what has been read, newest first.

        Parameters
        ----------
        search : str
            Only jobs whose id, name, description or model contains this, in any case.
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
        """Return a job that has been read."""
        job = self._jobs.get(job_id)
        return job and self._newest(job)

    def learn(self, job: Job) -> None:
        """Take in how a job is now, from somebody who has asked; it holds until the service says it anew."""
        self._told[job.job_id] = (time.monotonic(), job)

    def _newest(self, job: Job) -> Job:
        _, told = self._told.get(job.job_id, (0.0, job))
        return job if job.status.is_final and not told.status.is_final else told

    def _forget_told(self, job_ids: Iterable[str], before: float) -> None:
        for job_id in job_ids:
            if self._told.get(job_id, (before, None))[0] < before:
                self._told.pop(job_id, None)

    def read_on(self) -> None:
        """Read the next page of older jobs; the first one if none has been read.

        Raises
        ------
        SutroError
            What has been read stays.
        """
        with self._lock:
            client = self._client_now()
            if self.complete:
                return
            jobs, cursor = client.job_page(self._cursor, RetryBudget(QUICK))
            self._jobs = self._jobs | {job.job_id: job for job in jobs}
            self._cursor, self.begun = cursor, True

    def refresh(self, unfinished: list[str] | None = None) -> None:
        """Read what is new, and how the jobs of the newest page are now.

        Parameters
        ----------
        unfinished : list of str, optional
            Ids of older jobs to be looked at as well.
        """
        with self._lock:
            client, begin = self._client_now(), time.monotonic()
            fresh: dict[str, Job] = {}
            cursor: str | None = None
            for _ in range(MOST_PAGES_AT_ONCE if self._jobs else 1):
                jobs, cursor = client.job_page(cursor, RetryBudget(QUICK))
                fresh.update((job.job_id, job) for job in jobs)
                if cursor is None or any(job.job_id in self._jobs for job in jobs):
                    break
            overlaps = bool(self._jobs.keys() & fresh.keys())
            if cursor is None or not overlaps:  # that is all there is, or too much has happened
                self._jobs, self._cursor = fresh, cursor
            else:
                self._jobs = fresh | self._older_than(fresh)
            self.begun = True
            for job_id in unfinished or ():
                if job_id in self._jobs and job_id not in fresh:
                    looked = client.get_job(job_id, budget=RetryBudget(QUICK))
                    self._jobs = self._jobs | {job_id: looked}
            self._forget_told([*fresh, *(unfinished or ())], begin)

    def reload(self, job_id: str) -> Job:
        """Read one job again."""
        job = self._connect().get_job(job_id, budget=RetryBudget(QUICK))
        self.learn(job)
        return job

    def _older_than(self, fresh: dict[str, Job]) -> dict[str, Job]:
        """Return the jobs behind the newest pages; one that should be among them, and is not, was deleted."""
        known = list(self._jobs)
        last = max(place for place, job_id in enumerate(known) if job_id in fresh)
        return {job_id: self._jobs[job_id] for job_id in known[last + 1 :]}

    def _client_now(self) -> Client:
        client = self._connect()
        if client is not self._client:
            self._client, self._jobs, self._told, self._cursor, self.begun = client, {}, {}, None, False
        return client
