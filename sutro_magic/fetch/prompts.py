"""Fetch the prompts of results that came without them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sutro_magic.download import source
from sutro_magic.results.handle import PromptLoader, Results

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.download.source import Progress
    from sutro_magic.fetch.options import FetchContext
    from sutro_magic.models import ResultsRequest


def prompt_loader(
    context: FetchContext,
    request: ResultsRequest,
    fetch: Callable[[ResultsRequest, Progress], Results],
) -> PromptLoader:
    """Return a loader that fetches the same results with prompts and reports the transfer size.

    Parameters
    ----------
    context : FetchContext
    request : ResultsRequest
        Without prompts.
    fetch : callable
        Called with a request and a callback for the bytes; returns the results.
    """
    wider = replace(request, inputs=True)

    def size() -> int | None:
        if context.cache.find(context.credentials.identity, wider) is not None:
            return 0
        return source.announced_size(context.client, wider)

    return PromptLoader(size=size, fetch=partial(fetch, wider))
