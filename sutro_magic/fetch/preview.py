"""A look at the first rows: in the cache if the results are there, else at the service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sutro_magic.cache.partial import Partials
from sutro_magic.errors import JobNotFoundError
from sutro_magic.fetch.pipeline import FetchOptions, FetchPipeline
from sutro_magic.jobs.lookup import clean_job, clean_rows, may_be_an_id, unknown_job
from sutro_magic.jobs.status_errors import raise_unless_succeeded
from sutro_magic.models import JobStatus, ResultsRequest
from sutro_magic.results import truncation

if TYPE_CHECKING:
    import threading

    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session


def look(
    session: Session,
    job_id: str,
    rows: int,
    *,
    inputs: bool,
    logprobs: bool,
    unfold: bool | None,
    refresh: bool,
    cancel: threading.Event | None,
) -> Results:
    """Look at the first rows of a job; parameters and errors as in `sutro_magic.Session.peek`."""
    begin = time.monotonic()
    rows = clean_rows(rows)

    def attempt(text: str) -> Results:
        request = ResultsRequest(job_id=text, inputs=inputs, logprobs=logprobs)
        entry = None if refresh else session.cache.find(session.credentials.identity, request)
        if entry is not None:
            found = truncation.look_in_cache(entry, rows)
            return truncation.as_results(found, request, entry.job, entry, unfold=unfold, begin=begin)
        if not may_be_an_id(text):
            raise unknown_job(text, session.client.place)
        wishes = FetchOptions(on_retry=session.on_retry, cancel=cancel)
        fetching = FetchPipeline(session.client, request, Partials(session.cache.directory), wishes)
        found, job = fetching.look(rows), fetching.details()
        if job is not None and job.status is not JobStatus.UNKNOWN:
            raise_unless_succeeded(job)
        return truncation.as_results(found, request, job, session.client.place, unfold=unfold, begin=begin)

    text = clean_job(job_id)
    try:
        return attempt(text)
    except JobNotFoundError as not_found:
        return attempt(session.resolve(text, not_found))
