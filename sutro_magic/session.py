"""Session: credentials, client and cache together; what a script or a magic calls.

::

    session = Session()
    results = session.results("job-123", inputs=True)
    frame = results.to_pandas()
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sutro_magic.api.client import Client
from sutro_magic.api.credentials import Secret, normalise_url, resolve
from sutro_magic.cache.store import ResultsCache
from sutro_magic.errors import ArgumentError, JobNotFoundError, SutroError
from sutro_magic.fetch.options import FetchOptions, ignore
from sutro_magic.fetch.pipeline import FetchPipeline
from sutro_magic.fetch.preview import preview
from sutro_magic.jobs.history import JobHistory
from sutro_magic.jobs.lookup import (
    check_types,
    clean_job,
    clean_rows,
    may_be_an_id,
    mentions,
    parse_format,
    parse_status,
    resolve_job,
    unknown_job,
)
from sutro_magic.jobs.polling import PollCallbacks, check_timeout, wait_for
from sutro_magic.models import Job, JobList, JobProgress, JobStatus, ResultsRequest, WireFormat
from sutro_magic.query import duckdb_engine
from sutro_magic.system.locks import ThreadLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.api.credentials import Credentials
    from sutro_magic.download.source import Progress
    from sutro_magic.results.handle import Results


class Session:
    """A deployment, a key and a cache. Threads may share it.

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
        # No plain key is left here: IPython can show variables with a traceback.
        self._given_url, self._given_key, api_key = api_url, Secret(api_key) if api_key else None, None
        check_types(api_url, self._given_key, cache_dir)
        if api_url:
            normalise_url(api_url)
        self.fixed_credentials: Credentials | None = None
        self._client: Client | None = None
        self._lock = ThreadLock()
        self._listeners = threading.local()
        self.cache = ResultsCache(cache_dir)
        self.seen = JobHistory()
        duckdb_engine.limit_arrow()

    def __repr__(self) -> str:
        try:
            return f"<Session with {self.credentials.base_url.removesuffix('/v1')}>"
        except SutroError as error:
            return f"<Session without a service: {error.message}>"

    # --- who we are ---------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials:
        """The pair in use; read again until a pair was fixed, so that a changed environment has effect at once."""
        key = self._given_key.reveal() if self._given_key else None
        return self.fixed_credentials or resolve(self._given_url, key)

    @property
    def client(self) -> Client:
        """The HTTP client for the credentials in use; threads share it."""
        current = self.credentials
        with self._lock:
            if self._client is None or self._client.credentials != current:
                if self._client is not None:
                    self._client.close()  # what another thread fetches with it goes on
                remember = partial(self.seen.add, current.identity)
                self._client = Client(current, on_retry=self._tell_retry, on_job=remember)
            return self._client

    @property
    def on_retry(self) -> Callable[[str], None]:
        """Told in a few words when a request of this thread failed and is tried again."""
        told: Callable[[str], None] = getattr(self._listeners, "on_retry", ignore)
        return told

    @on_retry.setter
    def on_retry(self, told: Callable[[str], None]) -> None:
        self._listeners.on_retry = told

    def _tell_retry(self, reason: str) -> None:
        self.on_retry(reason)

    def use(self, credentials: Credentials | None) -> None:
        """Set the pair for this session; ``None`` goes back to what is configured."""
        self.fixed_credentials = credentials

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
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
            not_found = unknown_job(text, self.client.place)
        return self.client.get_job(self.resolve(text, not_found))

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        *,
        on_poll: Callable[[Job], None] = lambda _job: None,
        on_progress: Callable[[Job, JobProgress], None] = lambda _job, _progress: None,
    ) -> Job:
        """Wait until a job is final.

        Its status, asked for again and again, is what counts; a service that cannot be reached for a while does
        not end the wait.

        Parameters
        ----------
        job_id : str
        timeout : float, optional
            Seconds; for ever by default.
        on_poll : callable
            Called with the job each time its status was read.
        on_progress : callable
            Called with the job and its `sutro_magic.models.JobProgress`, where the service tells of it.

        Returns
        -------
        Job
            When it succeeded.

        Raises
        ------
        JobFailedError, JobCancelledError, WaitTimeoutError
        """
        check_timeout(timeout)
        listeners = PollCallbacks(on_poll=on_poll, on_progress=on_progress, on_outage=self._tell_retry)
        return wait_for(self.client, self.job(job_id), listeners, timeout=timeout)

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
        on_progress: Callable[[Job, JobProgress], None] = lambda _job, _progress: None,
        on_notice: Callable[[str], None] = lambda _text: None,
        on_kept: Callable[[int], None] = lambda _count: None,
        cancel: threading.Event | None = None,
    ) -> Results:
        """Fetch the results of a finished job, or take them from the cache.

        Any number of threads may fetch at the same time. All callbacks are called in the thread that fetches.

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
        on_bytes, on_poll, on_progress, on_notice : callable
            Told about bytes while downloading, job and progress while waiting (as in `wait`), and a damaged entry.
        on_kept : callable
            Told, when a download was stopped or failed, how many bytes of it are kept for the next fetch.
        cancel : threading.Event, optional
            When another thread sets it, the fetch ends within a second.

        Raises
        ------
        FetchCancelledError
            When ``cancel`` was set.
        SutroError
            Of the kind that fits; the cache is then as it was.
        """
        request = ResultsRequest(
            job_id=clean_job(job_id), format=parse_format(format), inputs=inputs, logprobs=logprobs
        )
        options = FetchOptions(
            unfold=unfold,
            refresh=refresh,
            wait=wait,
            on_bytes=on_bytes,
            on_poll=on_poll,
            on_progress=on_progress,
            on_notice=on_notice,
            on_kept=on_kept,
            on_retry=self.on_retry,
            cancel=cancel,
        )
        return FetchPipeline(self, options).run(request)

    def peek(
        self,
        job_id: str,
        rows: int = 100,
        *,
        inputs: bool = False,
        logprobs: bool = False,
        unfold: bool | None = None,
        refresh: bool = False,
        cancel: threading.Event | None = None,
    ) -> Results:
        """Look at the first rows of a finished job, without fetching the rest.

        The end of the Parquet artifact is read, where it says what is where, and the row groups that hold the
        first rows.

        Parameters
        ----------
        job_id : str
            Id, unique prefix of an id, or exact name.
        rows : int
            How many, at most.
        inputs, logprobs, unfold, cancel
            As in `results`.
        refresh : bool
            Look at the service even if the results are in the cache.

        Returns
        -------
        Results
            Of the first rows: its ``part`` is ``"peek"``, and it has no ``path``.

        Raises
        ------
        PeekError
            When a look would fetch more than a fifth of the artifact, or the storage does not send parts of it.
        SutroError
            Of the kind that fits.
        """
        rows = clean_rows(rows)
        request = ResultsRequest(job_id=clean_job(job_id), inputs=inputs, logprobs=logprobs)
        options = FetchOptions(unfold=unfold, refresh=refresh, on_retry=self.on_retry, cancel=cancel)
        return preview(self, request, rows, options)

    def cached(self, request: ResultsRequest) -> Results | None:
        """Return what the cache holds of a request, or None; nothing is asked of the service."""
        return FetchPipeline(self, FetchOptions()).cached(request)

    def resolve(self, text: str, not_found: JobNotFoundError) -> str:
        """Return the id that a prefix or a name stands for; raise ``not_found``, or an error that knows better."""
        try:
            jobs = self.jobs()
        except SutroError:
            raise not_found from None
        return resolve_job(text, jobs, not_found)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
