"""Where results come from, and what of the job they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sutro_magic.results.handle import Results


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a `Results` came from.

    Attributes
    ----------
    deployment : str
        Address of the service.
    format : str
        Wire format it came as.
    fetched : datetime.datetime
        When it left the service, UTC.
    size : int
        Bytes of the Parquet file in the cache.
    seconds : float
        How long this look took, download included.
    """

    deployment: str
    format: str
    fetched: datetime
    size: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """What a look at the first rows left out.

    Attributes
    ----------
    rows : int
        Rows of the job.
    fetched : int
        Bytes that were fetched for the look, 0 if the results are in the cache.
    """

    rows: int
    fetched: int


@dataclass(frozen=True, kw_only=True)
class PromptLoader:
    """The same results with the prompts.

    Attributes
    ----------
    size : callable
        Returns the bytes that would be fetched: 0 if they are in the cache, None where the service does not say.
    fetch : callable
        Fetches them; told the bytes so far and in all, as in `sutro_magic.download.source.Progress`.
    """

    size: Callable[[], int | None]
    fetch: Callable[[Callable[[int, int | None], None]], Results]
