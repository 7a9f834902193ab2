"""Selected rows of a job's results: in memory, or by row number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sutro_magic.errors import ArgumentError
from sutro_magic.formats.batch_size import BATCH_BYTES
from sutro_magic.results.sources import ERROR_COLUMNS, UnfoldedResults, plain_type
from sutro_magic.results.to_dask import dask_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sutro_magic.query.pages import Pages, Rows
    from sutro_magic.results.sources import OnRows, Source
    from sutro_magic.structured.unfold import Unfolding

ROW = "_row"
"""Name of the column with the row number in the job, from 0."""


class InMemoryRows:
    """Selected rows in memory.

    Parameters
    ----------
    table : pyarrow.Table
    fields : tuple of str, optional
        Names of the columns that outputs were unfolded to; None if there are none.
    """

    def __init__(self, table: pa.Table, fields: tuple[str, ...] | None = None) -> None:
        self._table = table
        self.fields = fields
        self.unfolding: Unfolding | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self._table.num_rows)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._table.column_names)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        return self._table.schema

    @property
    def path(self) -> Path:
        """Raise, because these rows have no file."""
        raise _no_file()

    def prepare(self, on_rows: OnRows) -> None:
        """Do nothing: the rows are in memory."""

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches."""
        yield from self._table.to_reader(
            max_chunksize=batch_size
        )  # lazily, so that the first rows cost little

    def stored(self) -> pa.Table:
        """Return the whole table."""
        return self._table

    def mapped(self) -> pa.Table:
        """Return the whole table."""
        return self._table

    def duckdb(self) -> Any:
        """Return a DuckDB relation."""
        import duckdb

        return duckdb.from_arrow(self._table)

    def dask(self) -> Any:
        """Return a Dask DataFrame."""
        return dask_of_rows(self.schema, self.batches(65_536), self._table.nbytes)


class ColumnSelection:
    """Some columns of another source.

    Parameters
    ----------
    origin : Source
    names : list of str
        Columns, in the order wanted.
    """

    def __init__(self, origin: Source, names: list[str]) -> None:
        self.origin = origin
        self.names = names
        self.unfolding: Unfolding | None = None

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return self.origin.num_rows

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        schema = self.origin.schema
        return pa.schema([schema.field(name) for name in self.names])

    @property
    def path(self) -> Path:
        """Raise, since there is no file of these columns."""
        raise _no_file()

    def prepare(self, on_rows: OnRows) -> None:
        """Prepare the origin."""
        self.origin.prepare(on_rows)

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches."""
        for batch in self.origin.batches(batch_size):
            yield batch.select(self.names)

    def stored(self) -> pa.Table:
        """Return the whole table."""
        return self.origin.stored().select(self.names)

    def mapped(self) -> pa.Table:
        """Return the whole table such that any row of it can be read at once."""
        return self.origin.mapped().select(self.names)

    def duckdb(self) -> Any:
        """Return a DuckDB relation."""
        import duckdb

        return duckdb.from_arrow(self.mapped())

    def dask(self) -> Any:
        """Return a Dask DataFrame."""
        return self.origin.dask()[self.names]


class RowSelection:
    """Selected rows of a large table by row number, with ``_row``; rows are read on access.

    Parameters
    ----------
    pages : Pages
        The table.
    rows : array of int, optional
        Row numbers from 0, in order; all rows by default.
    origin : Source, optional
        Source of the rows.
    numbered : bool
        Whether ``_row`` is among the columns.
    """

    def __init__(
        self, pages: Pages, rows: Rows | None, origin: Source | None = None, *, numbered: bool = True
    ) -> None:
        self._origin = origin
        self._numbered = numbered
        self._pages = pages
        self._rows = rows
        self.unfolding: Unfolding | None = None

    def numbered(self) -> RowSelection:
        """Return the same rows with ``_row``."""
        return RowSelection(self._pages, self._rows, self._origin)

    @property
    def fields(self) -> tuple[str, ...] | None:
        """Names of the columns that outputs were unfolded to; None if there are none."""
        return _fields_of(self._origin)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self._pages.table.num_rows if self._rows is None else len(self._rows))

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        fields = [field.with_type(plain_type(field.type)) for field in self._pages.table.schema]
        if not self._numbered or any(field.name == ROW for field in fields):  # a selection of a selection
            return pa.schema(fields)
        return pa.schema([pa.field(ROW, pa.int64()), *fields])

    @property
    def path(self) -> Path:
        """Raise, because these rows have no file."""
        raise _no_file()

    def prepare(self, on_rows: OnRows) -> None:
        """Do nothing: the rows are known."""

    def batches(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, with constant memory."""
        schema, table = self.schema, self._pages.table
        batch_size = max(1, min(batch_size, BATCH_BYTES * table.num_rows // max(table.nbytes, 1)))
        for start in range(0, self.num_rows, batch_size):
            end = min(start + batch_size, self.num_rows)
            some = np.arange(start, end) if self._rows is None else self._rows[start:end]
            # The average row size is not sufficient: the selected rows may be the few long ones.
            for rows in self._pages.runs(some, BATCH_BYTES):
                table = self._pages.take(rows)
                if len(schema) > table.num_columns:
                    table = table.add_column(0, ROW, pa.array(rows, pa.int64()))
                yield from table.cast(schema).combine_chunks().to_batches()

    def stored(self) -> pa.Table:
        """Return the whole table; without a copy if all rows are selected."""
        if self._rows is not None:
            return pa.Table.from_batches(self.batches(65_536), schema=self.schema)
        table = self._pages.table
        if ROW in table.column_names:
            return table
        return table.add_column(0, ROW, pa.array(np.arange(table.num_rows, dtype=np.int64)))

    def mapped(self) -> pa.Table:
        """Return the whole table."""
        return self.stored()

    def duckdb(self) -> Any:
        """Return a DuckDB relation."""
        import duckdb

        return duckdb.from_arrow(self.stored())

    def dask(self) -> Any:
        """Return a Dask DataFrame."""
        size = self._pages.table.nbytes * self.num_rows // max(self._pages.table.num_rows, 1)
        return dask_of_rows(self.schema, self.batches(65_536), size)


def failed_rows(source: Source) -> tuple[pa.Table, tuple[str, ...] | None]:
    """Return the rows whose outputs could not be unfolded, with ``_row``, ``_raw`` and ``_error``, and `InMemoryRows.fields`.

    Column names are unique: a selection may already have these three columns.
    """
    if isinstance(source, ColumnSelection):
        source = source.origin
    if isinstance(source, RowSelection):
        source = source.numbered()
    fields = _fields_of(source)
    failed = source.failed() if isinstance(source, UnfoldedResults) else None
    if failed is not None:
        return failed, fields
    there = source.schema
    kept = [field for field in there if field.name not in (fields or ())]
    if ROW not in there.names:
        kept.insert(0, pa.field(ROW, pa.int64()))
    kept += [pa.field(name, pa.string()) for name in ERROR_COLUMNS if name not in there.names]
    schema = pa.schema(kept)
    if fields is None or not {ROW, *ERROR_COLUMNS} <= set(there.names):
        return schema.empty_table(), fields
    found = (
        batch.filter(batch.column("_error").is_valid()).select(schema.names)
        for batch in source.batches(65_536)
    )
    return pa.Table.from_batches(found, schema), fields


def _fields_of(source: Source | None) -> tuple[str, ...] | None:
    if isinstance(source, (InMemoryRows, RowSelection)):
        return source.fields
    unfolding = source.unfolding if isinstance(source, UnfoldedResults) else None
    return tuple(unfolding.columns) if unfolding is not None and unfolding.unfolded else None


def _no_file() -> ArgumentError:
    return ArgumentError(
        "These rows were selected or computed from results: they have no file.",
        hint="Use .to_pandas(), .to_polars() or .to_arrow(); .raw.path of the complete results is their file.",
    )
