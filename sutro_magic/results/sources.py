"""Sources of the rows of a `Results`: a results file, or an unfolded table."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sutro_magic.cache.eviction import hold
from sutro_magic.errors import CacheError, Hint
from sutro_magic.results.to_dask import dask_of_arrow, dask_of_parquet, dask_of_rows
from sutro_magic.system import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from sutro_magic.cache.store import CacheEntry, ResultsCache
    from sutro_magic.models import ResultsRequest
    from sutro_magic.structured.cached_table import UnfoldedTable
    from sutro_magic.structured.unfold import Unfolding

ERROR_COLUMNS = ("_raw", "_error")
GAP_SECONDS = 1.0
"""Maximum time that an entry is missing while another fetch replaces it."""
POLL_SECONDS = 0.01
SHARE_OF_MEMORY = 2
"""Tables that need more than one part in this many of the memory are mapped from a file."""
MEMORY_UNKNOWN = 16 << 30
"""Assumed memory if the system does not report it."""

T = TypeVar("T")

OnRows = Any  # callable: rows done, rows in all


class Source(Protocol):
    """Interface of the data behind a `Results`."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def names(self) -> list[str] | None:
        """Names of the columns, or None if they are not known yet."""

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""

    @property
    def path(self) -> Path:
        """Path of the Parquet file; raises if there is none."""

    @property
    def unfolding(self) -> Unfolding | None:
        """Unfolding statistics, or None if unfolding is disabled."""

    def prepare(self, on_rows: OnRows) -> None:
        """Do what is necessary before the first row can be read."""

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches."""

    def stored(self) -> pa.Table:
        """Return the whole table, with the types in which it is stored."""

    def mapped(self) -> pa.Table:
        """Return the whole table with fast access to any row, in little memory."""

    def duckdb(self) -> Any:
        """Return a DuckDB relation."""

    def dask(self) -> Any:
        """Return a Dask DataFrame."""


class ResultsFile:
    """Results file of a cache entry, with outputs as sent.

    Parameters
    ----------
    entry : CacheEntry
    request : ResultsRequest
        Requested columns.
    cache : ResultsCache
        Cache of the entry, or of the one that replaces it.
    identity : str
        Cache identity of the credentials.
    """

    lasting = True
    """Whether the files persist when this object is not used any more."""

    def __init__(
        self, entry: CacheEntry, request: ResultsRequest, cache: ResultsCache, identity: str
    ) -> None:
        self._last_entry = entry
        self._request = request
        self._cache = cache
        self._identity = identity
        self._schema: pa.Schema | None = None
        self.unfolding: Unfolding | None = None
        hold(self)

    @property
    def held_folder(self) -> Path:
        """Folder that must not be evicted from the cache."""
        return self._last_entry.folder

    @property
    def entry(self) -> CacheEntry:
        """Current entry; another one if a fetch with more columns has replaced it."""
        if not _is_there(self._last_entry):
            found = self._cache.find(self._identity, self._request)
            if found is not None:
                self._last_entry, self._schema = found, None
        return self._last_entry

    @property
    def request(self) -> ResultsRequest:
        """Requested columns."""
        return self._request

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.entry.table.num_rows

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self._chosen()]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        _ = self.entry  # first, because it resets the schema if the entry was replaced
        if self._schema is None:
            from sutro_magic.formats import reader

            self._schema = self.read(
                lambda entry: reader.read_schema(
                    entry.path, entry.table, inputs=self._request.inputs, logprobs=self._request.logprobs
                )
            )
        return self._schema

    @property
    def path(self) -> Path:
        """Path of the Parquet file."""
        return self.read(lambda entry: entry.path)

    def read(self, work: Callable[[CacheEntry], T]) -> T:
        """Call a function with the entry; retry for a moment if the entry is being replaced.

        Raises
        ------
        CacheError
            If the entry is missing or has another size.
        """
        deadline = time.monotonic() + GAP_SECONDS
        while True:
            entry = self.entry
            if _is_there(entry):
                with contextlib.suppress(FileNotFoundError):
                    return work(entry)
            if time.monotonic() > deadline:
                raise self._gone()
            time.sleep(POLL_SECONDS)

    def prepare(self, on_rows: OnRows) -> None:
        """Do nothing: the file exists."""

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, with constant memory."""
        from sutro_magic.formats import reader

        def begin(entry: CacheEntry) -> Iterator[pa.RecordBatch]:
            found = reader.read_batches(
                entry.path,
                entry.table,
                inputs=self._request.inputs,
                logprobs=self._request.logprobs,
                batch_size=batch_size,
            )
            return itertools.chain(
                list(itertools.islice(found, 1)), found
            )  # read one batch now, to open the file

        with self.reading():
            yield from self.read(begin)

    def stored(self) -> pa.Table:
        """Return the whole table, in memory, or memory-mapped if it would need most of the memory."""
        import pyarrow as pa

        from sutro_magic.formats.reader import held

        max_bytes = (resources.memory() or MEMORY_UNKNOWN) // SHARE_OF_MEMORY
        table = held(self.batches(65_536), self.schema, max_bytes)
        if table is not None:
            return table
        mapped = self.mapped()
        if mapped.schema == self.schema:
            return mapped
        # The mapped file has no dictionaries.
        return pa.Table.from_batches((batch.cast(self.schema) for batch in mapped.to_batches()), self.schema)

    def mapped(self) -> pa.Table:
        """Return the whole table: in memory if it is small, else memory-mapped."""
        from sutro_magic.query.mapped_table import open_mapped

        return self.read(
            lambda entry: open_mapped(
                self._cache, entry, inputs=self._request.inputs, logprobs=self._request.logprobs
            )
        )

    def duckdb(self) -> Any:
        """Return a DuckDB relation of the mapped table, which has the view's types and survives a deleted cache entry."""
        import duckdb

        return duckdb.from_arrow(self.mapped())

    def dask(self) -> Any:
        """Return a Dask DataFrame that reads the file by row groups."""
        if not self.lasting:
            mapped = self.mapped()
            return dask_of_rows(mapped.schema, mapped.to_batches(), mapped.nbytes)
        chosen = replace(self.entry.table, columns=tuple(self._chosen()))
        return self.read(lambda entry: dask_of_parquet(entry.path, chosen, self.schema))

    def reading(self) -> _Reading:
        """Convert a missing file to an error with a hint."""
        return _Reading(self._gone)

    def _chosen(self) -> Any:
        return self.entry.table.select(inputs=self._request.inputs, logprobs=self._request.logprobs)

    def _gone(self) -> CacheError:
        job_id = self._request.job_id
        return CacheError(
            f"The results of {job_id} are no longer in the cache.",
            hint=(Hint("results", job=job_id), " fetches them again."),
        )


class UnfoldedResults:
    """Results of a cache entry with unfolded outputs, if they are to be unfolded.

    Outputs are decoded on first use; the table is then kept in the cache.

    Parameters
    ----------
    file : ResultsFile
    cache : ResultsCache
    forced : bool
        Unfold outputs that would not be unfolded by default.
    """

    def __init__(self, file: ResultsFile, cache: ResultsCache, *, forced: bool) -> None:
        self.file = file
        self._cache = cache
        self._forced = forced
        self._opened: UnfoldedTable | None = None
        self._lock = threading.Lock()

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.file.num_rows

    @property
    def names(self) -> list[str] | None:
        """Names of the columns, or None before the table was opened."""
        return None if self._opened is None else self._columns()

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        import pyarrow as pa

        table = self._table()
        if table is None:
            return self.file.schema
        fields = [table.schema.field(name) for name in self._columns()]
        return pa.schema([field.with_type(plain_type(field.type)) for field in fields])

    @property
    def path(self) -> Path:
        """Path of the Parquet file, with outputs as sent."""
        return self.file.path

    @property
    def unfolding(self) -> Unfolding:
        """Unfolding statistics."""
        return self._open().unfolding

    def prepare(self, on_rows: OnRows) -> None:
        """Unfold the outputs if necessary."""
        self._open(on_rows)

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, from the memory-mapped table."""
        table = self._table()
        if table is None:
            yield from self.file.batches(batch_size)
            return
        from sutro_magic.formats.batch_size import BATCH_BYTES

        schema, chosen = self.schema, table.select(self._columns())
        at_once = BATCH_BYTES * chosen.num_rows // max(chosen.nbytes, 1)
        for batch in chosen.to_batches(max_chunksize=max(1, min(batch_size, at_once))):
            yield batch.cast(schema)

    def stored(self) -> pa.Table:
        """Return the whole table without a copy."""
        table = self._table()
        return self.file.stored() if table is None else table.select(self._columns())

    def mapped(self) -> pa.Table:
        """Return the whole table; an unfolded one is memory-mapped already."""
        return self.file.mapped() if self._table() is None else self.stored()

    def failed(self) -> pa.Table | None:
        """Return the rows whose outputs could not be unfolded, with ``_row``; None if outputs are not unfolded."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._table()
        if table is None:
            return None
        fields = set(self.unfolding.columns)
        kept = [name for name in self._columns(errors=True) if name not in fields]
        rows = pc.indices_nonzero(table.column("_error").is_valid()).cast(pa.int64())
        found = table.select(kept).take(rows)
        found = found.cast(pa.schema([field.with_type(plain_type(field.type)) for field in found.schema]))
        return found.add_column(0, "_row", rows)

    def duckdb(self) -> Any:
        """Return a DuckDB relation that reads the table in place."""
        if self._table() is None:
            return self.file.duckdb()
        import duckdb

        return duckdb.from_arrow(self.stored())

    def dask(self) -> Any:
        """Return a Dask DataFrame; on a cluster, workers read the file themselves."""
        table = self._table()
        if table is None:
            return self.file.dask()
        opened, stored = self._open(), self.stored()
        if opened.path is None or not self.file.lasting:
            return dask_of_rows(stored.schema, stored.to_batches(), stored.nbytes)
        with self.file.reading():
            return dask_of_arrow(opened.path, opened.token, stored.schema)

    def _columns(self, *, errors: bool = False) -> list[str]:
        opened = self._open()
        if opened.table is None:
            return self.file.names
        left_out = set() if errors or opened.unfolding.failed else set(ERROR_COLUMNS)
        if not self.file.request.inputs:
            left_out.add("inputs")
        if not self.file.request.logprobs:
            left_out.add("cumulative_logprobs")
        return [name for name in opened.table.column_names if name not in left_out]

    def _table(self) -> pa.Table | None:
        return self._open().table

    def _open(self, on_rows: OnRows = lambda _done, _total: None) -> UnfoldedTable:
        with self._lock:
            if self._opened is None:
                from sutro_magic.structured.cached_table import open_unfolded

                self._opened = self.file.read(
                    lambda entry: open_unfolded(self._cache, entry, forced=self._forced, on_rows=on_rows)
                )
            return self._opened


class _Reading:
    def __init__(self, gone: Callable[[], CacheError]) -> None:
        self._gone = gone

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise self._gone() from None


def _is_there(entry: CacheEntry) -> bool:
    try:
        size = entry.path.stat().st_size
    except OSError:
        return False
    return size == entry.size or not entry.sha256  # in a preview, the size is that of the whole file


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column as shown, from the stored one."""
    import pyarrow as pa

    return pa.string() if kind == pa.large_string() else kind
