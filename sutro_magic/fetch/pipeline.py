"""One fetch, from request to results: cache lookup, download, normalization, commit."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sutro_magic.cache.partial import Partials
from sutro_magic.cache.store import RESULTS_FILE
from sutro_magic.errors import JobNotFoundError
from sutro_magic.fetch.network import NetworkSteps
from sutro_magic.fetch.options import FetchOptions
from sutro_magic.fetch.prompts import prompt_loader
from sutro_magic.formats import normalize
from sutro_magic.jobs.lookup import may_be_an_id, unknown_job
from sutro_magic.jobs.status_errors import raise_unless_succeeded
from sutro_magic.models import JobStatus
from sutro_magic.results.handle import Results
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from pathlib import Path

    from sutro_magic.api.client import Client
    from sutro_magic.cache.entry import CacheEntry
    from sutro_magic.download.source import Progress
    from sutro_magic.fetch.options import FetchContext
    from sutro_magic.models import Job, ResultsRequest
    from sutro_magic.system.locks import FileLock


class FetchPipeline:
    """One fetch of the results of one job.

    Parameters
    ----------
    context : FetchContext
        A session.
    options : FetchOptions
    """

    def __init__(self, context: FetchContext, options: FetchOptions) -> None:
        self._context = context
        self._options = options
        self._begin = time.monotonic()

    def run(self, request: ResultsRequest) -> Results:
        """Return the results from the cache or the service; errors as in `sutro_magic.Session.results`.

        Parameters
        ----------
        request : ResultsRequest
            Its ``job_id`` may be a prefix or a name.
        """
        entry = self._find(request)
        if entry is not None:
            return self._results(entry, request, from_cache=True)
        try:
            if not may_be_an_id(request.job_id):
                raise unknown_job(request.job_id, self._context.client.place)
            return self._fetch_once(request)
        except JobNotFoundError as not_found:
            job_id = self._context.resolve(request.job_id, not_found)
            return self._fetch_once(replace(request, job_id=job_id))

    def cached(self, request: ResultsRequest) -> Results | None:
        """Return the cached results for a request, or None; the service is not contacted."""
        entry = self._find(request)
        return None if entry is None else self._results(entry, request, from_cache=True)

    def _find(self, request: ResultsRequest) -> CacheEntry | None:
        if self._options.refresh:
            return None
        context = self._context
        return context.cache.find(context.credentials.identity, request, self._options.on_notice)

    def _fetch_once(self, request: ResultsRequest) -> Results:
        """Fetch, or wait for another process that is fetching the same request."""
        options = self._options
        with self._context.cache.fetching(
            self._context.credentials.identity,
            request,
            options.on_notice,
            wait=not options.refresh,
            sleep=partial(cancellation.sleep_unless, options.cancel),
        ) as lock:
            found = self._find(request)
            entry, from_cache = (found, True) if found is not None else self._fetch(request, lock)
        return self._results(entry, request, from_cache=from_cache)

    def _fetch(self, request: ResultsRequest, lock: FileLock) -> tuple[CacheEntry, bool]:
        """Fetch, and return the entry and whether another process has put it into the cache meanwhile."""
        client, cache = self._context.client, self._context.cache
        identity = client.credentials.identity
        with ExitStack() as stack:
            staged = stack.enter_context(cache.staging(identity, request.job_id))
            network = stack.enter_context(
                NetworkSteps(client, request, Partials(cache.directory), self._options)
            )
            body = staged / "body"
            refusal = network.download(body)
            if refusal is not None:
                with lock.released():  # other processes may request the job while this one waits
                    network.explain(refusal)
                found = cache.find(identity, request, self._options.on_notice)
                if found is not None:  # fetched by another process that waited as well
                    return found, True
                network.download_late(body)
            job = network.details()
            if job is not None and job.status is not JobStatus.UNKNOWN:
                raise_unless_succeeded(job)  # only final results may be cached
            return self._commit(client, request, staged, body, job), False

    def _commit(
        self, client: Client, request: ResultsRequest, staged: Path, body: Path, job: Job | None
    ) -> CacheEntry:
        """Normalize the body and commit it to the cache."""
        options = self._options
        results = staged / RESULTS_FILE
        table = normalize.canonicalize(
            body,
            results,
            request=request,
            expected_rows=job.num_rows if job else None,
            check=options.check,
        )
        options.check()
        return self._context.cache.commit(
            staged,
            identity=client.credentials.identity,
            request=request,
            deployment=client.place,
            table=table,
            job=job,
            typed=request.format != "csv" or normalize.csv_keeps_types(results, table),
            on_notice=options.on_notice,
        )

    def _results(self, entry: CacheEntry, request: ResultsRequest, *, from_cache: bool) -> Results:
        return Results.of_entry(
            entry,
            request,
            cache=self._context.cache,
            identity=self._context.credentials.identity,
            unfold=self._options.unfold,
            from_cache=from_cache,
            seconds=time.monotonic() - self._begin,
            with_inputs=None if request.inputs else prompt_loader(self._context, request, self._fetch_again),
        )

    def _fetch_again(self, request: ResultsRequest, on_bytes: Progress) -> Results:
        """Fetch another request with the same `unfold` option."""
        options = FetchOptions(unfold=self._options.unfold, on_bytes=on_bytes)
        return FetchPipeline(self._context, options).run(request)
