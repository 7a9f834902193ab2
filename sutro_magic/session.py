"""`Session`: the entry point of scripts and magics, with credentials, client and cache.

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
    """A connection to one deployment, with its credentials and cache. Thread-safe.

    Parameters
    ----------
    api_url, api_key : str, optional
        Default: ``SUTRO_API_URL`` and ``SUTRO_API_KEY``, then ``~/.sutro/config.json``. URL and key always come
        from the same place.
    cache_dir : pathlib.Path or str, optional
        Default: ``SUTRO_MAGIC_CACHE_DIR``, then the user's cache folder.

    Raises
    ------
    ConfigurationError
        If ``api_url`` is invalid. An invalid environment or configuration file raises at the first request.
    """

    def __init__(
        self, api_url: str | None = None, api_key: str | None = None, cache_dir: Path | str | None = None
    ) -> None:
        # Keep no plain key in a variable: IPython can show variables with a traceback.
        self._given_url, self._given_key, api_key = api_url, Secret(api_key) if api_key else None, None
        check_types(api_url, self._given_key, cache_dir)
        if api_url:
            normalise_url(api_url)
        self.fixed_credentials: Credentials | None = None
        self._client: Client | None = None
        self._lock = ThreadLock()
        self._listeners = threading.local()
        self.cache = ResultsCache(cache_dir)
        self.history = JobHistory()
        duckdb_engine.limit_arrow()

    def __repr__(self) -> str:
        try:
            return f"<Session with {self.credentials.base_url.removesuffix('/v1')}>"
        except SutroError as error:
            return f"<Session without a service: {error.message}>"

    # --- credentials --------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials:
        """The credentials in use; read again at each access unless fixed by `use`, so that a changed environment takes effect."""
        key = self._given_key.reveal() if self._given_key else None
        return self.fixed_credentials or resolve(self._given_url, key)

    @property
    def client(self) -> Client:
        """The HTTP client for the credentials in use; shared by all threads."""
        current = self.credentials
        with self._lock:
            if self._client is None or self._client.credentials != current:
                if self._client is not None:
                    self._client.close()  # requests of other threads that are under way are not interrupted
                remember = partial(self.history.add, current.identity)
                self._client = Client(current, on_retry=self._notify_retry, on_job=remember)
            return self._client

    @property
    def on_retry(self) -> Callable[[str], None]:
        """Callback of this thread; called with a short reason before a failed request is retried."""
        callback: Callable[[str], None] = getattr(self._listeners, "on_retry", ignore)
        return callback

    @on_retry.setter
    def on_retry(self, callback: Callable[[str], None]) -> None:
        self._listeners.on_retry = callback

    def _notify_retry(self, reason: str) -> None:
        self.on_retry(reason)

    def use(self, credentials: Credentials | None) -> None:
        """Set the credentials of this session; ``None`` restores the configured ones."""
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
            Maximum number of jobs; unlimited by default.
        status : str or JobStatus, optional
            Only jobs with this status; case is ignored.
        search : str, optional
            Only jobs whose id, name, description or model contains this string; case is ignored.

        Returns
        -------
        JobList
            A list with an attribute ``more``: whether the limit left jobs out.

        Raises
        ------
        ArgumentError
            If the status does not exist or the limit is below 1.
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
        """Return one job, given by id, unique prefix of an id, or exact name.

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

        The job's status is polled. If the service cannot be reached for a while, polling continues.

        Parameters
        ----------
        job_id : str
        timeout : float, optional
            Seconds; unlimited by default.
        on_poll : callable
            Called with the job after each poll.
        on_progress : callable
            Called with the job and its `sutro_magic.models.JobProgress` if the service reports progress.

        Returns
        -------
        Job
            The job, which has succeeded.

        Raises
        ------
        JobFailedError, JobCancelledError, WaitTimeoutError
        """
        check_timeout(timeout)
        listeners = PollCallbacks(on_poll=on_poll, on_progress=on_progress, on_outage=self._notify_retry)
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
        """Return the results of a finished job, from the cache or the service.

        Thread-safe. Callbacks are called in the calling thread.

        Parameters
        ----------
        job_id : str
            Id, unique prefix of an id, or exact name.
        format : {"parquet", "csv", "json"}
            Wire format; the table is the same in all of them.
        inputs, logprobs : bool
            Whether to include the prompts and the cumulative log probabilities.
        unfold : bool, optional
            Whether JSON outputs become columns. Default: if the job has an object schema, or if at least half of
            the outputs are JSON objects. Outputs are unfolded when the columns are first used.
        refresh : bool
            Whether to fetch again even if the results are cached.
        wait : bool
            Whether to wait for the job if it is not final.
        on_bytes : callable
            Called with the bytes downloaded and, if known, the total.
        on_poll, on_progress : callable
            As in `wait`.
        on_notice : callable
            Called with one sentence, for example if a cache entry is damaged.
        on_kept : callable
            Called with the number of bytes kept for the next fetch if a download was stopped or failed.
        cancel : threading.Event, optional
            Set it from another thread to stop the fetch; it ends within a second.

        Raises
        ------
        FetchCancelledError
            If ``cancel`` was set.
        SutroError
            Any other subclass, by cause; the cache is left unchanged.
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
        """Return the first rows of a finished job, without fetching the rest.

        Reads the footer of the Parquet artifact and the row groups with the first rows.

        Parameters
        ----------
        job_id : str
            Id, unique prefix of an id, or exact name.
        rows : int
            Maximum number of rows.
        inputs, logprobs, unfold, cancel
            As in `results`.
        refresh : bool
            Whether to read from the service even if the results are cached.

        Returns
        -------
        Results
            The first rows; ``part`` is ``"peek"`` and there is no ``path``.

        Raises
        ------
        PeekError
            If the preview would fetch more than a fifth of the artifact, or the storage does not support ranges.
        SutroError
            Any other subclass, by cause.
        """
        rows = clean_rows(rows)
        request = ResultsRequest(job_id=clean_job(job_id), inputs=inputs, logprobs=logprobs)
        options = FetchOptions(unfold=unfold, refresh=refresh, on_retry=self.on_retry, cancel=cancel)
        return preview(self, request, rows, options)

    def cached(self, request: ResultsRequest) -> Results | None:
        """Return the cached results for a request, or None; the service is not contacted."""
        return FetchPipeline(self, FetchOptions()).cached(request)

    def resolve(self, text: str, not_found: JobNotFoundError) -> str:
        """Return the job id for a prefix or a name; raise ``not_found`` or a more specific error."""
        try:
            jobs = self.jobs()
        except SutroError:
            raise not_found from None
        return resolve_job(text, jobs, not_found)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
