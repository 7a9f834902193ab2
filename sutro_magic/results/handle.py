"""Results: a lazy handle on one job's table in the cache.

Nothing is loaded before it is asked for; each conversion reads the file again, so what it returns is
the caller's own and outlives the cache.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, SupportsIndex, get_args, overload

from sutro_magic import _registry
from sutro_magic.errors import ArgumentError, shorten
from sutro_magic.models import Job, JobStatus
from sutro_magic.results.provenance import Provenance
from sutro_magic.results.sources import ResultsFile, UnfoldedResults
from sutro_magic.system.optional_packages import require

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import dask.dataframe
    import duckdb
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from sutro_magic.cache.store import CacheEntry, ResultsCache
    from sutro_magic.models import ResultsRequest
    from sutro_magic.query.pages import Pages
    from sutro_magic.query.table_query import TableQuery
    from sutro_magic.results.provenance import Truncation
    from sutro_magic.results.sources import Source
    from sutro_magic.structured.unfold import Unfolding

Part = Literal["all", "errors", "filtered", "selected", "slice", "peek", "computed", "compared"]
"""Which rows of the job a `Results` holds; what is computed is of no one job: `job` then says of what."""

AsType = Literal["pandas", "polars", "arrow", "duckdb", "dask", "path", "results"]
AS_TYPES: tuple[AsType, ...] = get_args(AsType)

_PUBLIC = (
    "columns", "digest", "errors", "filtered", "from_cache", "head", "job", "job_id", "num_rows", "part", "path",
    "provenance", "raw", "save", "schema", "selected", "table", "to", "to_arrow", "to_batches", "to_dask",
    "to_duckdb", "to_pandas", "to_polars", "truncation", "unfolding", "with_inputs",
)  # fmt: skip
"""What completion offers."""


class Results:
    """The table of one finished job.

    Columns, in this order: ID columns and other carried columns as sent, ``inputs`` (if asked),
    ``outputs``, ``cumulative_logprobs`` (if asked), ``confidence_score`` (if sent). The service calls
    the output column by the job id; here it is always ``outputs``. Rows are in the job's order.

    Outputs that are JSON objects are unfolded: their fields stand in place of ``outputs``, with types.
    Where an output could not be unfolded, its text is in ``_raw`` and the reason in ``_error``; these two
    columns are there only then. A field that an object does not have is null, like one that is null;
    `raw` has the outputs as they were sent.

    Made by `sutro_magic.Session.results`.
    """

    def __init__(
        self,
        source: Source,
        *,
        job: Job,
        job_id: str,
        from_cache: bool,
        provenance: Provenance,
        part: Part = "all",
        with_inputs: PromptLoader | None = None,
        truncation: Truncation | None = None,
    ) -> None:
        self._source = source
        self._job_id = job_id
        self._pages: Pages | None = None
        self._query: TableQuery | None = None
        self.job: Job = job
        self.from_cache: bool = from_cache
        self.provenance: Provenance = provenance
        self.part: Part = part
        self.with_inputs = with_inputs
        """Fetches the prompts too; None if they are there, or cannot be fetched."""
        self.truncation = truncation
        """What is missing if these are the first rows only; else None."""
        self.ticked: tuple[int, ...] = ()
        """Places, from 0, of the rows that are ticked in the table that was touched last."""

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
        with_inputs: PromptLoader | None = None,
        file: ResultsFile | None = None,
        part: Part = "all",
        truncation: Truncation | None = None,
    ) -> Results:
        """Make the handle of an entry in the cache; parameters as in `sutro_magic.Session.results`."""
        job_id, rows = request.job_id, entry.table.num_rows
        file = file or ResultsFile(entry, request, cache, identity)
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
                digest=f"sha256:{entry.sha256}" if entry.sha256 else None,
            ),
            with_inputs=with_inputs,
            part=part,
            truncation=truncation,
        )

    @classmethod
    def computed(cls, table: pa.Table, title: str, seconds: float) -> Results:
        """Make the handle of a table that was computed.

        Parameters
        ----------
        table : pyarrow.Table
        title : str
            What it was made of.
        seconds : float
            How long that took.
        """
        from datetime import UTC, datetime

        from sutro_magic.results.selection import InMemoryRows

        return cls(
            InMemoryRows(table),
            job=Job(job_id=title),
            job_id=title,
            from_cache=False,
            provenance=Provenance(
                deployment="", format="", fetched=datetime.now(UTC), size=table.nbytes, seconds=seconds
            ),
            part="computed",
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
    def known_columns(self) -> list[str]:
        """Names of the columns, in order; none before outputs are unfolded, which takes a moment."""
        return self._source.names or []

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        return self._source.schema

    @property
    def digest(self) -> str | None:
        """``sha256:`` and the digest of `path`, as the service sent it; None where there is no such file.

        It belongs to one wire format with its options: the same job fetched as CSV has another one.
        """
        return self.provenance.digest

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
            return self._with(self._source.file, self.part)
        return self

    @property
    def errors(self) -> Results:
        """The rows whose outputs could not be unfolded, and ``_row``, their 0-based place in the job.

        The other columns are those that the service sent, and ``_raw`` and ``_error``. Null outputs are
        no errors: there was nothing to be unfolded.
        """
        from sutro_magic.results.selection import InMemoryRows, failed_rows

        return self._with(InMemoryRows(*failed_rows(self._source)), "errors")

    @property
    def filtered(self) -> Results:
        """The rows that the table touched last shows, in its order, with ``_row``; all rows without a table."""
        from sutro_magic.results.selection import RowSelection

        rows = None if self._query is None else self.pages.rows(self._query)
        return self._with(RowSelection(self.pages, rows, self._source), "filtered")

    @property
    def selected(self) -> Results:
        """The rows that are ticked in the table touched last, with ``_row``; no rows without a table."""
        import numpy as np

        from sutro_magic.results.selection import RowSelection

        ticked = np.array(self.ticked, dtype=np.int64)
        return self._with(RowSelection(self.pages, ticked, self._source), "selected")

    @property
    def unfolding(self) -> Unfolding | None:
        """Unfolding statistics, or None if unfolding is disabled."""
        return self._source.unfolding

    @property
    def pages(self) -> Pages:
        """The rows by page, sorted, searched, filtered."""
        if self._pages is None:
            self._pages = self.new_pages()
        return self._pages

    def new_pages(self) -> Pages:
        """Return `pages` of their own: queries to one do not cancel those to another."""
        from sutro_magic.query.pages import Pages

        return Pages(self._source.mapped)

    def touch(self, pages: Pages, query: TableQuery) -> None:
        """Remember what a table shows; `filtered` then asks for it."""
        self._pages, self._query = pages, query

    def table(self) -> Any:
        """Return the interactive table of these results: a widget, to be put into others, too."""
        return _registry.load_display().make_table(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        """Show the table in any IPython front end, whether the extension is loaded or not."""
        bundle: dict[str, Any] = _registry.load_display().results_bundle(self)
        return bundle

    def _repr_html_(self) -> str:
        """Return the first rows as HTML, for front ends without widgets."""
        page: str = _registry.load_display().results_html(self)
        return page

    def _display_(self) -> Any:
        """Return what marimo shows for this object: the interactive table."""
        return self.table()

    def prepare(self, on_rows: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Unfold the outputs now instead of at first use.

        Parameters
        ----------
        on_rows : callable
            Called with the rows done and the rows in all.
        """
        self._source.prepare(on_rows)

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        # Never data: a repr may end up in a log. And never work: it may be called by a debugger.
        names = self._source.names
        size = f"{self.num_rows:,} rows" if names is None else f"{self.num_rows:,} x {len(names)}"
        return f"<Results of {self.job.title}: {size}>"

    def __copy__(self) -> Results:
        made = object.__new__(Results)
        made.__dict__.update(self.__dict__)
        return made

    def __getstate__(self) -> dict[str, Any]:
        # For pickle and deepcopy: what is in the cache of this machine need not be there where it is read again.
        from sutro_magic.results.selection import InMemoryRows

        if isinstance(self._source, InMemoryRows):
            return self.__dict__ | {"_pages": None, "_query": None, "with_inputs": None}
        raise ArgumentError(
            "Results read from the cache, with locks of this kernel: they cannot be pickled or copied deeply.",
            hint="Take the data: r.to_arrow() is a table, r.path the file as it was sent.",
        )

    def __dir__(self) -> list[str]:
        return list(_PUBLIC)

    if not TYPE_CHECKING:  # it would hide misspelt names from the type checker

        def __getattr__(self, name: str) -> Any:
            # Only called for names that do not exist.
            if name.startswith("_"):
                raise AttributeError(name)
            from sutro_magic.results.wrong_names import wrong_name

            raise wrong_name(name, _PUBLIC)

    # --- parts --------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: str) -> pd.Series[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | list[Any] | pd.Series[Any] | np.ndarray[Any, Any]) -> Results: ...
    def __getitem__(self, key: object) -> Any:
        """Return a part: a column, several columns, a row, or several rows.

        Parameters
        ----------
        key : str, list of str, int, slice, or boolean mask
            A name gives the column as a pandas Series, with the dtype that it has in `to_pandas`. A list of
            names gives a `Results` with these columns. A number gives one row as a dict; negative ones count
            from the end. A slice, or a boolean mask with one value per row (pandas, NumPy, Arrow, Polars or
            a list; null counts as False), gives a `Results` of those rows.

        Raises
        ------
        ArgumentError
            When there is no such column or row, or a mask does not fit.

        Examples
        --------
        >>> results["score"].mean()  # doctest: +SKIP
        >>> results[results["score"] > 3].save("good.csv")  # doctest: +SKIP
        """
        from sutro_magic.results import parts

        if isinstance(key, str):
            return parts.column(self.pages.table, self.schema, key)
        if isinstance(key, list) and key and all(isinstance(name, str) for name in key):
            return self._with(parts.columns(self._source, key, self.columns), "slice")
        if isinstance(key, SupportsIndex) and not isinstance(key, bool | Sized):
            return parts.row(self.pages.table, self.columns, key)
        rows = parts.row_numbers(key, self.num_rows)
        from sutro_magic.results.selection import RowSelection

        return self._with(RowSelection(self.pages, rows, self._source, numbered=False), "slice")

    def __iter__(self) -> NoReturn:
        raise ArgumentError(
            "Results are not iterated row by row: that would read all of them one at a time.",
            hint="for batch in r.to_batches(): ... reads them in bounded memory; r.head(10) has the first ten.",
        )

    # --- as data ------------------------------------------------------------------------------

    def to_arrow(self) -> pa.Table:
        """Return the whole table as a `pyarrow.Table`; one that memory could not hold is mapped from a file."""
        import pyarrow as pa

        stored = self._source.stored()
        if stored.schema == self.schema:
            return stored
        return pa.Table.from_batches(
            self.to_batches(), schema=self.schema
        )  # of other types, but nothing is copied

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table, batch by batch, through Arrow's PyCapsule interface.

        That is what ``pl.DataFrame(r)``, ``pa.table(r)``, ``pd.DataFrame.from_arrow(r)`` and
        ``duckdb.sql("from r")`` use. Each call starts again.
        """
        import pyarrow as pa

        batches = self.to_batches()
        # The first one now: what is wrong is then said in our words, and an open file outlives the cache.
        first = list(itertools.islice(batches, 1))
        reader = pa.RecordBatchReader.from_batches(self.schema, itertools.chain(first, batches))
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream

    def __arrow_c_schema__(self) -> object:
        """Give the schema, so that nobody begins a stream only for that."""
        schema: object = self.schema.__arrow_c_schema__()
        return schema

    def to_batches(self, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the table as `pyarrow.RecordBatch` of at most ``batch_size`` rows, fewer where they are long."""
        yield from self._source.batches(batch_size)

    def head(self, rows: int = 10) -> pa.Table:
        """Return the first rows as a `pyarrow.Table`, reading no more than they need."""
        import pyarrow as pa

        rows = _row_count(rows)
        taken: list[pa.RecordBatch] = []
        missing = rows
        for batch in self.to_batches(batch_size=max(1, min(rows, 65_536))):
            taken.append(batch.slice(0, missing))
            missing -= taken[-1].num_rows
            if missing <= 0:
                break
        return pa.Table.from_batches(taken, schema=self.schema)

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole table as a `pandas.DataFrame` of its own.

        Text has pandas' ``str`` type; numbers are numpy where there are no nulls and nullable types
        otherwise, so that no value changes; lists, structs and decimals stay Arrow.
        ``attrs["sutro_job"]`` is the job id, except where rows were computed.
        """
        from sutro_magic.results.to_pandas import to_pandas

        frame = to_pandas(self._source.stored())
        if self.part != "computed":
            frame.attrs["sutro_job"] = self.job_id
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return the whole table as a `polars.DataFrame`."""
        require("polars")
        import polars as pl

        frame = pl.from_arrow(self._source.stored())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame, an array a series
        return frame

    def to_duckdb(self) -> duckdb.DuckDBPyRelation:
        """Return a DuckDB relation of the table, which large results map from a file; it outlives the cache's entry.

        It lives on DuckDB's default connection, as only there it combines with ``duckdb.sql`` and other relations.
        That serves one thread at a time: in threads, ``duckdb.connect().from_arrow(r.to_arrow())`` in each.
        """
        relation: duckdb.DuckDBPyRelation = self._source.duckdb()
        return relation

    def to_dask(self) -> dask.dataframe.DataFrame:
        """Return a Dask DataFrame that reads the cached file in parts of some 100,000 rows, each in its worker.

        On a cluster, workers need Sutro Magic and must see the cache's folder by the same path. All parts of
        a column have one type: numbers with nulls are nullable, floats with nulls Arrow's.

        Raises
        ------
        CacheError
            From Dask, when the results have gone from the cache before it read them.
        """
        require("dask")
        frame: dask.dataframe.DataFrame = self._source.dask()
        return frame

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_rows: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Path:
        """Save the table as a file: Parquet, CSV or JSON Lines, as its name ends.

        The rows are streamed, so memory stays flat. The file has its name only when it is whole: until
        then, and after any error, nothing is there, or what was there before.

        Parquet keeps every type. In a CSV, null is an empty field and an empty text is ``""``; lists and
        objects are JSON text. JSON Lines has one object a row, its keys in the order of the columns, with
        all digits of a number. JSON has no NaN and no infinity: they are null there, also inside lists and
        objects, those of a CSV too. In both, times are ISO 8601 and binary values Base64.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.parquet``, ``.csv``, ``.jsonl`` or ``.ndjson``; ``~`` is the home folder.
        overwrite : bool
            Replace a file that is there.
        on_rows : callable
            Called with the rows written and the rows in all.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ArgumentError
            When the ending is another, the folder is missing, or the file is there already.
        SutroError
            When the disk is full or may not be written to.

        Examples
        --------
        >>> results.save("films.csv")  # doctest: +SKIP
        >>> results.filtered.save("~/good.parquet", overwrite=True)  # doctest: +SKIP
        """
        from sutro_magic.results import export

        return export.save(self, path, overwrite=overwrite, on_rows=on_rows)

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
        return getattr(self, f"to_{as_type}")()

    def _with(self, source: Source, part: Part) -> Results:
        return Results(
            source,
            job=self.job,
            job_id=self.job_id,
            from_cache=self.from_cache,
            provenance=self.provenance,
            part=part,
            with_inputs=self.with_inputs if part == "all" else None,
            truncation=self.truncation,
        )


@dataclass(frozen=True, kw_only=True)
class PromptLoader:
    """The same results with the prompts.

    Attributes
    ----------
    size : callable
        Returns the bytes that would be fetched: 0 if they are in the cache, None where the service does not say.
    fetch : callable
        Fetches them; called with a callback for the bytes so far and in all.
    """

    size: Callable[[], int | None]
    fetch: Callable[[Callable[[int, int | None], None]], Results]


def _row_count(rows: object) -> int:
    """Return a number of first rows; raise `ArgumentError` if it is not a whole number from 0."""
    try:
        number = operator.index(rows)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(rows, bool):
        raise ArgumentError(
            f"There are no {shorten(repr(rows), 40)} first rows.", hint="head(10) returns the first ten."
        )
    return number
