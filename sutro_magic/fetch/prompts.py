"""The way from results without prompts to the same results with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic.download import source
from sutro_magic.results.provenance import PromptLoader

if TYPE_CHECKING:
    from sutro_magic.download.source import Progress
    from sutro_magic.models import ResultsRequest
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session


def wider(session: Session, request: ResultsRequest, unfold: bool | None) -> PromptLoader:
    """Return how to get what a request asks for, and how much that would fetch."""

    def size() -> int | None:
        if session.cache.find(session.credentials.identity, request) is not None:
            return 0
        return source.announced_size(session.client, request)

    def fetch(on_bytes: Progress) -> Results:
        return session.results(
            request.job_id, request.format, True, request.logprobs, unfold, on_bytes=on_bytes
        )

    return PromptLoader(size=size, fetch=fetch)
