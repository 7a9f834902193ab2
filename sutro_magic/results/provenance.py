"""Where results come from, and what of the job they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


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
    digest : str, optional
        ``sha256:`` and the SHA-256 of that file, in hexadecimal; None where there is no such file.
    """

    deployment: str
    format: str
    fetched: datetime
    size: int
    seconds: float
    digest: str | None = None


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
