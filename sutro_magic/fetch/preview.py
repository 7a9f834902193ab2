"""Preview of a job: its first rows, from the cache if the results are there, else from the service."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sutro_magic.cache.partial import Partials
from sutro_magic.errors import JobNotFoundError
from sutro_magic.fetch.network import NetworkSteps
from sutro_magic.jobs.lookup import may_be_an_id, unknown_job
from sutro_magic.jobs.status_errors import raise_unless_succeeded
from sutro_magic.models import JobStatus
from sutro_magic.results.first_rows import as_results, read_cached_rows

if TYPE_CHECKING:
    from sutro_magic.fetch.options import FetchContext, FetchOptions
    from sutro_magic.models import ResultsRequest
    from sutro_magic.results.handle import Results


def preview(context: FetchContext, request: ResultsRequest, rows: int, options: FetchOptions) -> Results:
    """Return the first rows of a job; errors as in `sutro_magic.Session.peek`.

    Parameters
    ----------
    context : FetchContext
    request : ResultsRequest
        Its ``job_id`` may be a prefix or a name.
    rows : int
        Maximum number of rows.
    options : FetchOptions
    """
    begin = time.monotonic()
    try:
        return _first_rows(context, request, rows, options, begin)
    except JobNotFoundError as not_found:
        job_id = context.resolve(request.job_id, not_found)
        return _first_rows(context, replace(request, job_id=job_id), rows, options, begin)


def _first_rows(
    context: FetchContext, request: ResultsRequest, rows: int, options: FetchOptions, begin: float
) -> Results:
    entry = None if options.refresh else context.cache.find(context.credentials.identity, request)
    if entry is not None:
        found = read_cached_rows(entry, rows)
        return as_results(found, request, entry.job, entry, unfold=options.unfold, begin=begin)
    client = context.client
    if not may_be_an_id(request.job_id):
        raise unknown_job(request.job_id, client.place)
    network = NetworkSteps(client, request, Partials(context.cache.directory), options)
    found, job = network.first_rows(rows), network.details()
    if job is not None and job.status is not JobStatus.UNKNOWN:
        raise_unless_succeeded(job)
    return as_results(found, request, job, client.place, unfold=options.unfold, begin=begin)
