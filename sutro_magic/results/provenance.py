"""Origin of results, and truncation of previews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Origin of a `Results`.

    Attributes
    ----------
    deployment : str
        Address of the service.
    format : str
        Wire format of the fetch.
    fetched : datetime.datetime
        Time of the fetch, in UTC.
    size : int
        Size of the Parquet file in the cache in bytes.
    seconds : float
        Duration of this fetch or cache lookup, download included.
    digest : str, optional
        ``sha256:`` and the SHA-256 of that file, in hexadecimal; None if there is no such file.
    """

    deployment: str
    format: str
    fetched: datetime
    size: int
    seconds: float
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Facts about a preview.

    Attributes
    ----------
    rows : int
        Rows of the job.
    fetched : int
        Bytes fetched for the preview, 0 if the results are in the cache.
    """

    rows: int
    fetched: int
