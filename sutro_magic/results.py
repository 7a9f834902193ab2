"""Results: a lazy handle on one job's table in the cache.

Nothing is loaded before it is asked for; each conversion reads the file anew, so what it returns is
the caller's own and outlives the cache.
"""

from __future__ import annotations

import glob
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sutro_magic.errors import ArgumentError, CacheError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    import dask.dataframe
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from sutro_magic.cache import CacheEntry
    from sutro_magic.models import Job, ResultsRequest

AsType = Literal["pandas", "polars", "arrow", "duckdb", "dask", "path", "results"]
AS_TYPES: tuple[AsType, ...] = get_args(AsType)

_OPTIONAL_PACKAGES = {
    "polars": ("polars", "polars"),
    "duckdb": ("duckdb", "duckdb"),
    "dask": ("dask.dataframe", "dask"),
}


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


class Results:
    """The table of one finished job.

    Columns, in this order: ID columns and other carried columns as sent, ``inputs`` (if asked),
    ``outputs``, ``cumulative_logprobs`` (if asked), ``confidence_score`` (if sent). The service calls
    the output column by the job id; here it is always ``outputs``. Rows are in the job's order.

    Made by `sutro_magic.Session.results`.
    """

    def __init__(
        self,
        entry: CacheEntry,
        request: ResultsRequest,
        *,
        job: Job,
        from_cache: bool,
        seconds: float,
        find: Callable[[], CacheEntry | None],
    ) -> None:
        self._last_entry = entry
        self._find = find
        self._request = request
        self.job: Job = job
        self.from_cache: bool = from_cache
        self.provenance = Provenance(
            deployment=entry.deployment,
            format=entry.request.format,
            fetched=entry.fetched,
            size=entry.size,
            seconds=seconds,
        )
        self._schema: pa.Schema | None = None

    # --- what it is ---------------------------------------------------------------------------

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self._request.job_id

    @property
    def num_rows(self) -> int:
        """Rows of the job."""
        return self._entry.table.num_rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.schema.names)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        entry = self._entry  # first: it may say that the schema is another now
        if self._schema is None:
            from sutro_magic import views

            with self._reading():
                self._schema = views.read_schema(
                    entry.path, entry.table, inputs=self._request.inputs, logprobs=self._request.logprobs
                )
        return self._schema

    @property
    def path(self) -> Path:
        """The Parquet file in the cache.

        A Parquet artifact is kept byte for byte as the service made it, so its output column is named
        after the job id, and it may hold more columns than were asked for.
        """
        path = self._entry.path
        if not path.exists():
            raise CacheError(
                f"The results of {self.job_id} are no longer in the cache.",
                hint=f"%sutro_results {self.job_id} fetches them again.",
            )
        return path

    @property
    def raw(self) -> Results:
        """The canonical table as it came, with outputs as text."""
        return self

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        # Never data: a repr may end up in a log.
        return f"<Results of {self.job.title}: {self.num_rows:,} x {len(self._names())}>"

    # --- as data ------------------------------------------------------------------------------

    def arrow(self) -> pa.Table:
        """Return the whole table as a `pyarrow.Table`."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(), schema=self.schema)

    def batches(self, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the table as `pyarrow.RecordBatch` of at most ``batch_size`` rows; memory stays flat."""
        from sutro_magic import views

        with self._reading():
            yield from views.read_batches(
                self.path,
                self._entry.table,
                inputs=self._request.inputs,
                logprobs=self._request.logprobs,
                batch_size=batch_size,
            )

    def head(self, rows: int = 10) -> pa.Table:
        """Return the first rows as a `pyarrow.Table`, reading no more than they need."""
        import pyarrow as pa

        taken: list[pa.RecordBatch] = []
        missing = rows
        for batch in self.batches(batch_size=max(1, min(rows, 65_536))):
            taken.append(batch.slice(0, missing))
            missing -= taken[-1].num_rows
            if missing <= 0:
                break
        return pa.Table.from_batches(taken, schema=self.schema)

    def pandas(self) -> pd.DataFrame:
        """Return the whole table as a `pandas.DataFrame` of its own.

        Text has pandas' ``str`` type; numbers are numpy where there are no nulls and nullable types
        otherwise, so that no value changes; lists and structs stay Arrow. ``attrs["sutro_job"]`` is
        the job id.
        """
        from sutro_magic.frames import to_pandas

        frame = to_pandas(self.arrow())
        frame.attrs["sutro_job"] = self.job_id
        return frame

    def polars(self) -> pl.DataFrame:
        """Return the whole table as a `polars.DataFrame`."""
        require("polars")
        import polars as pl

        frame = pl.from_arrow(self.arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame, an array a series
        return frame

    def duckdb(self) -> duckdb.DuckDBPyRelation:
        """Return a DuckDB relation that reads the cached file; DuckDB holds nothing of it in memory."""
        require("duckdb")
        import duckdb

        with self._reading():
            relation = duckdb.read_parquet(glob.escape(str(self.path)))
        wire = relation.columns
        chosen = self._entry.table.select(inputs=self._request.inputs, logprobs=self._request.logprobs)
        return relation.project(
            ", ".join(f"{_quoted(wire[column.source])} as {_quoted(column.name)}" for column in chosen)
        )

    def dask(self) -> dask.dataframe.DataFrame:
        """Return a Dask DataFrame that reads the cached file by row groups."""
        require("dask")
        import dask.dataframe
        import pyarrow.parquet as pq

        with self._reading(), pq.ParquetFile(self.path) as file:
            wire = file.schema_arrow.names
        chosen = self._entry.table.select(inputs=self._request.inputs, logprobs=self._request.logprobs)
        frame = dask.dataframe.read_parquet(
            str(self.path),
            columns=[wire[column.source] for column in chosen],
            index=False,
            split_row_groups=True,
        )
        renamed: dask.dataframe.DataFrame = frame.rename(
            columns={wire[column.source]: column.name for column in chosen}
        )
        return renamed

    def to(self, as_type: AsType) -> Any:
        """Return the table as one of `AS_TYPES`.

        Raises
        ------
        ArgumentError
            For an unknown type.
        MissingPackageError
            When its package is not installed.
        """
        if as_type not in AS_TYPES:
            raise ArgumentError(
                f"There is no type {as_type!r}.", hint=f"Choose one of {', '.join(AS_TYPES)}."
            )
        if as_type == "results":
            return self
        if as_type == "path":
            return self.path
        return getattr(self, as_type)()

    # --- inside -------------------------------------------------------------------------------

    @property
    def _entry(self) -> CacheEntry:
        """The entry to read from: another one when a wider fetch of the same job has replaced it."""
        if not self._last_entry.path.exists():
            found = self._find()
            if found is not None:
                self._last_entry, self._schema = found, None
        return self._last_entry

    def _names(self) -> list[str]:
        chosen = self._entry.table.select(inputs=self._request.inputs, logprobs=self._request.logprobs)
        return [column.name for column in chosen]

    def _reading(self) -> _Reading:
        return _Reading(self.job_id)


class _Reading:
    """Turns a vanished file into an error that says what to do."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise CacheError(
                f"The results of {self._job_id} are no longer in the cache.",
                hint=f"%sutro_results {self._job_id} fetches them again.",
            ) from None


def require(as_type: str) -> None:
    """Raise `MissingPackageError` if the package behind an ``--as`` type is not installed."""
    if as_type not in _OPTIONAL_PACKAGES:
        return
    module, extra = _OPTIONAL_PACKAGES[as_type]
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise MissingPackageError(
            f"{extra} is not installed here.",
            hint=f"%pip install 'sutro-magic[{extra}]', or choose another --as.",
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
