"""Results: a lazy handle on one job's table in the cache.

Nothing is loaded before it is asked for; each conversion reads the file anew, so what it returns is
the caller's own and outlives the cache.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sutro_magic.errors import ArgumentError, MissingPackageError
from sutro_magic.models import Job, JobStatus
from sutro_magic.sources import PickedRows, ResultsFile, UnfoldedResults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    import dask.dataframe
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from sutro_magic.cache import CacheEntry, ResultsCache
    from sutro_magic.models import ResultsRequest
    from sutro_magic.sources import Source
    from sutro_magic.structured import Unfolding

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

    Outputs that are JSON objects are unfolded: their fields stand in place of ``outputs``, with types.
    Where an output could not be unfolded, its text is in ``_raw`` and the reason in ``_error``; these two
    columns are there only then. A field that an object does not have is null, like one that is null;
    `raw` has the texts as they were sent.

    Made by `sutro_magic.Session.results`.
    """

    def __init__(
        self, source: Source, *, job: Job, job_id: str, from_cache: bool, provenance: Provenance
    ) -> None:
        self._source = source
        self._job_id = job_id
        self.job: Job = job
        self.from_cache: bool = from_cache
        self.provenance: Provenance = provenance

    @classmethod
    def of_entry(
        cls,
        entry: CacheEntry,
        request: ResultsRequest,
        *,
        cache: ResultsCache,
        identity: str,
        unfold: bool | None,
        from_cache: bool,
        seconds: float,
    ) -> Results:
        """Make the handle of an entry in the cache; parameters as in `sutro_magic.Session.results`."""
        job_id, rows = request.job_id, entry.table.num_rows
        file = ResultsFile(entry, request, find=lambda: cache.find(identity, request))
        return cls(
            file if unfold is False else UnfoldedResults(file, cache, forced=bool(unfold)),
            job=entry.job or Job(job_id=job_id, status=JobStatus.SUCCEEDED, num_rows=rows),
            job_id=job_id,
            from_cache=from_cache,
            provenance=Provenance(
                deployment=entry.deployment,
                format=entry.request.format,
                fetched=entry.fetched,
                size=entry.size,
                seconds=seconds,
            ),
        )

    # --- what it is ---------------------------------------------------------------------------

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self._job_id

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return self._source.num_rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self._source.names or list(self.schema.names)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        return self._source.schema

    @property
    def path(self) -> Path:
        """The Parquet file in the cache, with outputs as they were sent.

        A Parquet artifact is kept byte for byte as the service made it, so its output column is named
        after the job id, and it may hold more columns than were asked for.
        """
        return self._source.path

    @property
    def raw(self) -> Results:
        """The canonical table as it came, with outputs as text; itself where nothing was to be unfolded."""
        if isinstance(self._source, UnfoldedResults):
            return self._with(self._source.file)
        return self

    @property
    def errors(self) -> Results:
        """The rows whose outputs could not be unfolded, and ``_row``, their 0-based place in the job.

        The other columns are those that the service sent, and ``_raw`` and ``_error``. Null outputs are
        no errors: there was nothing to be unfolded.
        """
        if isinstance(self._source, UnfoldedResults):
            failed = self._source.failed()
            if failed is not None:
                return self._with(PickedRows(failed))
        import pyarrow as pa

        fields = [pa.field("_row", pa.int64()), *self.schema, pa.field("_raw", pa.string())]
        return self._with(PickedRows(pa.schema([*fields, pa.field("_error", pa.string())]).empty_table()))

    @property
    def unfolding(self) -> Unfolding | None:
        """What came of unfolding the outputs; None where they were to stay as they are."""
        return self._source.unfolding

    @property
    def picked(self) -> bool:
        """Whether these rows were picked from the results of a job."""
        return isinstance(self._source, PickedRows)

    def prepare(self, on_rows: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Do now what is otherwise done at first need: unfold the outputs.

        Parameters
        ----------
        on_rows : callable
            Told how many rows of how many are done.
        """
        self._source.prepare(on_rows)

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        # Never data: a repr may end up in a log. And never work: it may be called by a debugger.
        names = self._source.names
        size = f"{self.num_rows:,} rows" if names is None else f"{self.num_rows:,} x {len(names)}"
        return f"<Results of {self.job.title}: {size}>"

    # --- as data ------------------------------------------------------------------------------

    def arrow(self) -> pa.Table:
        """Return the whole table as a `pyarrow.Table`."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(), schema=self.schema)

    def batches(self, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the table as `pyarrow.RecordBatch` of at most ``batch_size`` rows; memory stays flat."""
        yield from self._source.batches(batch_size)

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
        otherwise, so that no value changes; lists, structs and decimals stay Arrow.
        ``attrs["sutro_job"]`` is the job id.
        """
        from sutro_magic.frames import to_pandas

        frame = to_pandas(self._source.stored())
        frame.attrs["sutro_job"] = self.job_id
        return frame

    def polars(self) -> pl.DataFrame:
        """Return the whole table as a `polars.DataFrame`."""
        require("polars")
        import polars as pl

        frame = pl.from_arrow(self._source.stored())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame, an array a series
        return frame

    def duckdb(self) -> duckdb.DuckDBPyRelation:
        """Return a DuckDB relation that reads the cached file; DuckDB holds nothing of it in memory."""
        require("duckdb")
        relation: duckdb.DuckDBPyRelation = self._source.duckdb()
        return relation

    def dask(self) -> dask.dataframe.DataFrame:
        """Return a Dask DataFrame that reads the cached file in parts."""
        require("dask")
        frame: dask.dataframe.DataFrame = self._source.dask()
        return frame

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

    def _with(self, source: Source) -> Results:
        return Results(
            source,
            job=self.job,
            job_id=self.job_id,
            from_cache=self.from_cache,
            provenance=self.provenance,
        )


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
