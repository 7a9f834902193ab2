"""Session: credentials, client and cache together; what a script or a magic calls.

::

    session = Session()
    results = session.results("job-123", inputs=True)
    frame = results.pandas()
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sutro_magic import download, formats
from sutro_magic.cache import RESULTS_FILE, CacheEntry, ResultsCache
from sutro_magic.client import Client
from sutro_magic.credentials import Secret, normalise_url, resolve
from sutro_magic.errors import (
    ArgumentError,
    JobNotFoundError,
    JobNotReadyError,
    ServiceError,
    SutroError,
    WaitTimeoutError,
    shorten,
)
from sutro_magic.models import Job, JobList, JobStatus, ResultsRequest, WireFormat
from sutro_magic.naming import (
    clean_job,
    closest,
    match_job,
    may_be_an_id,
    mentions,
    parse_format,
    parse_status,
)
from sutro_magic.outcomes import just_succeeded, raise_unless_succeeded
from sutro_magic.results import Results
from sutro_magic.seen import SeenJobs
from sutro_magic.wider import wider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.credentials import Credentials
    from sutro_magic.download import Progress

CONFLICT = 409
REFUSED_UNFINISHED = frozenset({400, CONFLICT, 425})
FIRST_POLL_SECONDS = 0.5
SLOWEST_POLL_SECONDS = 5.0


class Session:
    """A deployment, a key and a cache.

    Parameters
    ----------
    api_url, api_key : str, optional
        Values that are not given come from ``SUTRO_API_URL`` and ``SUTRO_API_KEY``, else from
        ``~/.sutro/config.json``; always as a pair.
    cache_dir : pathlib.Path or str, optional
        ``SUTRO_MAGIC_CACHE_DIR`` or the user's cache folder by default.

    Raises
    ------
    ConfigurationError
        When ``api_url`` cannot be used. What is wrong with the environment or the file is said at
        the first request.
    """

    def __init__(
        self, api_url: str | None = None, api_key: str | None = None, cache_dir: Path | str | None = None
    ) -> None:
        self._given_url, self._given_key = api_url, Secret(api_key) if api_key else None
        if api_url:
            normalise_url(api_url)
        self.fixed_credentials: Credentials | None = None
        self._client: Client | None = None
        self.cache = ResultsCache(cache_dir)
        self.seen = SeenJobs()
        self.on_retry: Callable[[str], None] = lambda _text: None
        """Told in a few words when a request failed and is tried again."""

    def __repr__(self) -> str:
        try:
            return f"<Session with {self.credentials.base_url.removesuffix('/v1')}>"
        except SutroError as error:
            return f"<Session without a service: {error.message}>"

    # --- who we are ---------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials:
        """The pair in use; read anew while nothing was fixed, so that ``%env`` has effect at once."""
        key = self._given_key.reveal() if self._given_key else None
        return self.fixed_credentials or resolve(self._given_url, key)

    @property
    def client(self) -> Client:
        """The HTTP client for the credentials in use."""
        current = self.credentials
        if self._client is None or self._client.credentials != current:
            if self._client is not None:
                self._client.close()
            remember = partial(self.seen.add, current.identity)
            self._client = Client(current, on_retry=self._tell_retry, on_job=remember)
        return self._client

    def _tell_retry(self, reason: str) -> None:
        self.on_retry(reason)

    def use(self, credentials: Credentials | None) -> None:
        """Fix the pair for this session; ``None`` goes back to what is configured."""
        self.fixed_credentials = credentials

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # --- jobs ---------------------------------------------------------------------------------

    def jobs(
        self, limit: int | None = None, status: str | JobStatus | None = None, search: str | None = None
    ) -> JobList:
        """List jobs, newest first.

        Parameters
        ----------
        limit : int, optional
            At most so many; all by default.
        status : str or JobStatus, optional
            Only jobs with this status, in any case.
        search : str, optional
            Only jobs whose id, name, description or model contains this text, in any case.

        Returns
        -------
        JobList
            A list; its ``more`` says whether the limit left jobs out.

        Raises
        ------
        ArgumentError
            For a status that does not exist or a limit below 1.
        """
        if limit is not None and limit < 1:
            raise ArgumentError(f"A limit of {limit} shows nothing.", hint="Give a number from 1.")
        wanted = parse_status(status)
        found = JobList()
        for job in self.client.iter_jobs():
            if (wanted is None or job.status is wanted) and (search is None or mentions(job, search)):
                if len(found) == limit:
                    found.more = True
                    break
                found.append(job)
        found.sort(key=lambda job: job.created or _LONG_AGO, reverse=True)
        return found

    def job(self, job_id: str) -> Job:
        """Read one job, given by id, by a unique prefix of an id, or by its exact name.

        Raises
        ------
        JobNotFoundError
        """
        text = clean_job(job_id)
        if may_be_an_id(text):
            try:
                return self.client.get_job(text)
            except JobNotFoundError as error:
                not_found = error
        else:
            not_found = self._not_found(text)
        return self.client.get_job(self._resolve(text, not_found))

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        *,
        on_poll: Callable[[Job], None] = lambda _job: None,
    ) -> Job:
        """Wait until a job is final.

        Parameters
        ----------
        job_id : str
        timeout : float, optional
            Seconds; for ever by default.
        on_poll : callable
            Called with the job each time its status was read.

        Returns
        -------
        Job
            When it succeeded.

        Raises
        ------
        JobFailedError, JobCancelledError, WaitTimeoutError
        """
        begin = time.monotonic()
        job = self.job(job_id)
        pause = FIRST_POLL_SECONDS
        while True:
            on_poll(job)
            if job.status.is_final:
                # Its last word: the reason of a failure, the number of rows.
                job = self.client.get_job(job.job_id)
                raise_unless_succeeded(job)
                return job
            left = None if timeout is None else timeout - (time.monotonic() - begin)
            if left is not None and left <= 0:
                raise WaitTimeoutError(
                    f"{job.title} is still {job.status.value} after {timeout:g} s.",
                    job_id=job.job_id,
                    hint=f"The job goes on. %sutro_wait {job.job_id} waits on.",
                )
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)
            status, reason = self.client.get_status(job.job_id)
            job = replace(job, status=status, failure_reason=reason or job.failure_reason)

    # --- results ------------------------------------------------------------------------------

    def results(  # noqa: PLR0917 - the documented options, in their documented order
        self,
        job_id: str,
        format: WireFormat = "parquet",  # noqa: A002 - the API's own word
        inputs: bool = False,
        logprobs: bool = False,
        unfold: bool | None = None,
        refresh: bool = False,
        wait: bool = False,
        *,
        on_bytes: Progress = lambda _done, _total: None,
        on_poll: Callable[[Job], None] = lambda _job: None,
        on_notice: Callable[[str], None] = lambda _text: None,
    ) -> Results:
        """Fetch the results of a finished job, or take them from the cache.

        Parameters
        ----------
        job_id : str
            Id, unique prefix of an id, or exact name.
        format : {"parquet", "csv", "json"}
            Format over the wire; the table is the same in each.
        inputs, logprobs : bool
            Include the prompts; include the cumulative log probabilities.
        unfold : bool, optional
            Whether JSON outputs become columns. By default they do when the job has a schema of objects
            or at least half of the outputs are JSON objects. Nothing is unfolded before it is needed.
        refresh : bool
            Fetch anew even if cached.
        wait : bool
            Wait for the job first if it is not final.
        on_bytes, on_poll, on_notice : callable
            Told about bytes while downloading, the job while waiting, and about a damaged entry.

        Raises
        ------
        SutroError
            Of the kind that fits; the cache is then as it was.
        """
        begin = time.monotonic()
        request = ResultsRequest(
            job_id=clean_job(job_id), format=parse_format(format), inputs=inputs, logprobs=logprobs
        )
        if not refresh:
            cached = self._cached(request, begin, unfold, on_notice)
            if cached is not None:
                return cached
        try:
            if not may_be_an_id(request.job_id):
                raise self._not_found(request.job_id)
            return self._fetch(request, begin, unfold=unfold, wait=wait, on_bytes=on_bytes, on_poll=on_poll)
        except JobNotFoundError as not_found:
            request = replace(request, job_id=self._resolve(request.job_id, not_found))
        cached = None if refresh else self._cached(request, begin, unfold, on_notice)
        return cached or self._fetch(
            request, begin, unfold=unfold, wait=wait, on_bytes=on_bytes, on_poll=on_poll
        )

    def _cached(
        self, request: ResultsRequest, begin: float, unfold: bool | None, on_notice: Callable[[str], None]
    ) -> Results | None:
        entry = self.cache.find(self.credentials.identity, request, on_notice)
        return None if entry is None else self._handle(entry, request, unfold, from_cache=True, begin=begin)

    def _fetch(
        self,
        request: ResultsRequest,
        begin: float,
        *,
        unfold: bool | None,
        wait: bool,
        on_bytes: Progress,
        on_poll: Callable[[Job], None],
    ) -> Results:
        client = self.client
        with self.cache.staging() as staged:
            body = staged / "body"
            try:
                download.fetch(client, request, body, on_bytes)
            except (JobNotFoundError, ServiceError) as refusal:
                self._explain(request, refusal, wait, on_poll)
                self._fetch_late(request, body, on_bytes)
            job = self._details(request.job_id)
            if job is not None and job.status is not JobStatus.UNKNOWN:
                raise_unless_succeeded(job)  # only what is final may be kept
            table = formats.canonicalize(
                body, staged / RESULTS_FILE, request=request, expected_rows=job.num_rows if job else None
            )
            entry = self.cache.commit(
                staged,
                identity=client.credentials.identity,
                request=request,
                deployment=client.place,
                table=table,
                job=job,
                typed=request.format != "csv" or formats.csv_keeps_types(staged / RESULTS_FILE, table),
            )
        return self._handle(entry, request, unfold, from_cache=False, begin=begin)

    def _explain(
        self,
        request: ResultsRequest,
        refusal: JobNotFoundError | ServiceError,
        wait: bool,
        on_poll: Callable[[Job], None],
    ) -> None:
        """Return if the job succeeded, so that asking again makes sense; else raise what is the matter."""
        unfinished = (
            isinstance(refusal, JobNotFoundError)
            or getattr(refusal, "status_code", None) in REFUSED_UNFINISHED
        )
        if not unfinished:
            raise refusal
        try:
            job = self.client.get_job(request.job_id)
        except SutroError:
            if getattr(refusal, "status_code", None) == CONFLICT:
                raise JobNotReadyError(
                    f"The service has no results of {request.job_id} yet, or never will: {refusal.message}",
                    job_id=request.job_id,
                    hint=f"%sutro_wait {request.job_id} waits for it.",
                ) from None
            raise refusal from None
        if not job.status.is_final and wait:
            self.wait(request.job_id, on_poll=on_poll)
            return
        raise_unless_succeeded(job)
        if not just_succeeded(job):
            raise refusal

    def _fetch_late(self, request: ResultsRequest, body: Path, on_bytes: Progress) -> None:
        """Fetch right after success, when the results may not be written yet."""
        client = self.client
        deadline = time.monotonic() + client.retry.seconds
        pauses = client.retry.pauses()
        while True:
            try:
                download.fetch(client, request, body, on_bytes)
            except (JobNotFoundError, ServiceError) as refusal:
                pause = next(pauses, None)
                refused = isinstance(refusal, JobNotFoundError) or refusal.status_code in REFUSED_UNFINISHED
                if not refused or pause is None or time.monotonic() + pause > deadline:
                    if refused:
                        raise JobNotReadyError(
                            f"{request.job_id} succeeded, but its results are not written yet.",
                            job_id=request.job_id,
                            hint="Run the cell again in a minute.",
                        ) from None
                    raise
                time.sleep(pause)
            else:
                return

    def _handle(
        self,
        entry: CacheEntry,
        request: ResultsRequest,
        unfold: bool | None,
        *,
        from_cache: bool,
        begin: float,
    ) -> Results:
        return Results.of_entry(
            entry,
            request,
            cache=self.cache,
            identity=self.credentials.identity,
            unfold=unfold,
            from_cache=from_cache,
            seconds=time.monotonic() - begin,
            with_inputs=None if request.inputs else wider(self, replace(request, inputs=True), unfold),
        )

    def _details(self, job_id: str) -> Job | None:
        """Name, rows and schema are nice to have: a service with only the results route is enough."""
        try:
            return self.client.get_job(job_id, best_effort=True)
        except SutroError:
            return None

    # --- finding a job ------------------------------------------------------------------------

    def _resolve(self, text: str, not_found: JobNotFoundError) -> str:
        """Return the id that a prefix or a name stands for."""
        try:
            jobs = self.jobs()
        except SutroError:
            raise not_found from None
        job_id = match_job(text, jobs)
        if job_id is not None:
            return job_id
        names = {name for job in jobs for name in (job.job_id, job.name) if name}
        if text in names:
            raise JobNotFoundError(
                f"{text} is among the jobs, but the service has no results of it.",
                job_id=text,
                hint=f"%sutro_status {text} says how it is; results are kept for a limited time.",
            )
        close = closest(text, sorted(names))
        if close:
            raise JobNotFoundError(
                not_found.message, job_id=text, hint=f"Did you mean {close}? %sutro_jobs lists all."
            ) from None
        raise not_found

    def _not_found(self, text: str) -> JobNotFoundError:
        return JobNotFoundError(
            f"{self.client.place} knows no job {shorten(text)!r}.",
            job_id=text,
            hint="%sutro_jobs lists the jobs of this key.",
        )


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
