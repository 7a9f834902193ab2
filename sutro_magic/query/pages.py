"""Pages of a table of any size: sorted, searched, filtered, shuffled, over all of its rows.

A query becomes row numbers once: an order is a permutation of all rows, a search the rows that it finds.
Both are kept, so that turning pages only picks some rows from a table that is mapped into memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from sutro_magic.query.duckdb_engine import QueryQueue
from sutro_magic.query.table_query import Order, TableQuery, condition, queryable, sort_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.integer[Any]]

KEPT_BYTES = 128 * 2**20
"""Row numbers that are kept for the next page, at most; the newest are always kept."""
FEW = 20
"""Where a search leaves less than one row in so many, only those are sorted."""
SLICED_ROWS = 1_000
COPIED_BYTES = 32 * 2**20
"""Up to so many rows with texts of more than that are not copied."""

T = TypeVar("T")


class Pages:
    """A table to be looked at page by page; may be asked from several threads.

    Parameters
    ----------
    open_table : callable
        Returns the table; called once, at the first query.
    """

    def __init__(self, open_table: Callable[[], pa.Table]) -> None:
        self._open_table = open_table
        self._opening = threading.Lock()
        self._table: PickableTable | None = None
        self._numbers: Rows | None = None
        self._kept: OrderedDict[Hashable, Rows | None] = OrderedDict()
        self.queue = QueryQueue()
        """Takes the queries for rows; whoever asks anew takes a ticket."""

    @property
    def table(self) -> pa.Table:
        """The whole table."""
        return self._picking().table

    def rows(self, query: TableQuery, ticket: int | None = None) -> Rows | None:
        """Return the numbers of the rows that a query asks for, in its order; None for all as they come.

        Parameters
        ----------
        query : TableQuery
        ticket : int, optional
            Of the queue: cancels what runs, and is cancelled by newer ones.

        Raises
        ------
        SupersededError
            When a newer query came.
        """
        if query == TableQuery():
            return None
        with self.queue.turn(ticket):
            return self._remember(("view", query), lambda: self._view(query))

    def count(self, query: TableQuery, ticket: int | None = None) -> int:
        """Return how many rows a query finds."""
        found = self.rows(query, ticket)
        return self.table.num_rows if found is None else len(found)

    def page(self, query: TableQuery, start: int, length: int, ticket: int | None = None) -> Rows:
        """Return the numbers of the rows on a page.

        Parameters
        ----------
        query : TableQuery
        start : int
            Place of the first one in the order of the query, from 0.
        length : int
            At most so many.
        """
        found = self.rows(query, ticket)
        if found is None:
            return np.arange(start, max(start, min(start + length, self.table.num_rows)))
        return found[start : start + length]

    def place(self, query: TableQuery, row: int, ticket: int | None = None) -> int | None:
        """Return where in the order of a query a row stands, from 0; None if it was not found."""
        found = self.rows(query, ticket)
        if found is None:
            return row if 0 <= row < self.table.num_rows else None
        places = np.flatnonzero(found == row)
        return int(places[0]) if len(places) else None

    def take(self, rows: Rows | Sequence[int]) -> pa.Table:
        """Return some rows, in the order given."""
        return self._picking().take(np.asarray(rows, dtype=np.int64))

    def rest(self) -> None:
        """Let go of all memory when nothing runs: nobody looks for now; the next query opens the table anew."""
        with self.queue.turn(), self._opening:
            self._table = self._numbers = None
            self._kept.clear()

    def runs(self, rows: Rows, most: int) -> Iterator[Rows]:
        """Cut rows into runs with at most so many bytes of text, unless a single row has more."""
        total = np.cumsum(self._picking().text_bytes(np.asarray(rows, dtype=np.int64)))
        first = 0
        while first < len(rows):
            before = int(total[first - 1]) if first else 0
            end = max(first + 1, int(np.searchsorted(total, before + most, side="right")))
            yield rows[first:end]
            first = end

    def close(self) -> None:
        """Cancel what runs, and let go of all memory; the next query opens the table anew."""
        self.queue.cancel()
        with self._opening:
            self._table = self._numbers = None
            self._kept.clear()

    # --- inside -------------------------------------------------------------------------------

    def _picking(self) -> PickableTable:
        with self._opening:
            if self._table is None:
                self._table = PickableTable(self._open_table())
            return self._table

    def _remember(self, key: Hashable, make: Callable[[], Rows | None]) -> Rows | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        total = sum(rows.nbytes for rows in self._kept.values() if rows is not None)
        while total > KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= 0 if dropped is None else dropped.nbytes
        return made

    def _view(self, query: TableQuery) -> Rows | None:
        found = self._found(query)
        if query.seed is not None:
            return _in_order(self._shuffled(query.seed), found)
        if not query.order:
            return found
        key = ("order", query.order)
        if found is not None and key not in self._kept and len(found) * FEW < self.table.num_rows:
            return self._sort(query.order, found)
        return _in_order(self._remember(key, lambda: self._sort(query.order, None)), found)

    def _found(self, query: TableQuery) -> Rows | None:
        """Return the rows that fulfil all conditions, in the job's order; None where there is no condition."""
        table = self.table
        where, parameters, columns = condition(query, table.schema)
        if not where:
            return None
        key = ("found", query.search, query.filters)

        def find() -> Rows:
            asked = self._numbered(queryable(table, columns))
            rows: Rows = np.asarray(
                self.queue.query(f"select _row from t where {where}", {"t": asked}, parameters)["_row"]  # noqa: S608 - names of our own
            )
            rows.sort()
            return rows

        return self._remember(key, find)

    def _sort(self, order: tuple[Order, ...], among: Rows | None) -> Rows:
        columns = sorted({key.column for key in order})
        if among is None:
            table, numbered = self.table, self._numbered(queryable(self.table, columns))
        else:
            table = self.take(among)
            numbered = queryable(table, columns).append_column("_row", pa.array(among))
        keys = sort_keys(order, table.schema)
        sql = f"select _row from t order by {keys}"  # noqa: S608 - names of our own
        return np.asarray(self.queue.query(sql, {"t": numbered})["_row"])

    def _shuffled(self, seed: int) -> Rows:
        def shuffle() -> Rows:
            return np.random.default_rng(seed).permutation(self._row_numbers())

        found = self._remember(("shuffle", seed), shuffle)
        assert found is not None  # noqa: S101 - it is what was made
        return found

    def _numbered(self, table: pa.Table) -> pa.Table:
        numbers = pa.array(self._row_numbers())
        if not table.num_columns:  # such a table has no rows
            return pa.table({"_row": numbers})
        return table.append_column("_row", numbers)

    def _row_numbers(self) -> Rows:
        if self._numbers is None:
            rows = self.table.num_rows
            self._numbers = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
        return self._numbers


class PickableTable:
    """A table from which any rows are taken in no time, however many chunks it has.

    Parameters
    ----------
    table : pyarrow.Table
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._batches = table.to_batches()
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return some rows, in the order given.

        Arrow's own ``take`` may join all chunks of a text column first. A few very long rows are not copied at all:
        a page of them shows no more than their beginnings.
        """
        if not len(rows):
            return self.table.slice(0, 0)
        groups = self._by_chunk(rows)
        if len(rows) <= SLICED_ROWS and sum(_text_bytes(*picked[1:]) for picked in groups) > COPIED_BYTES:
            pieces = {
                place: batch.slice(row, 1)
                for group, batch, places in groups
                for place, row in zip(group.tolist(), places.tolist(), strict=True)
            }
            return pa.Table.from_batches([pieces[place] for place in range(len(rows))])
        parts = [batch.take(pa.array(places)) for _, batch, places in groups]
        order = np.concatenate([group for group, _, _ in groups])
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        picked = pa.Table.from_batches(parts, schema=self.table.schema)
        return picked if np.array_equal(order, back) and len(parts) == 1 else picked.take(pa.array(back))

    def text_bytes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many bytes of text each of some rows has."""
        found = np.zeros(len(rows), dtype=np.int64)
        if len(rows):
            for group, batch, places in self._by_chunk(rows):
                found[group] = sum(_spans(column, places, places + 1) for column in batch.columns)
        return found

    def _by_chunk(
        self, rows: npt.NDArray[np.int64]
    ) -> list[tuple[Rows, pa.RecordBatch, npt.NDArray[np.int64]]]:
        """Return for each chunk that has some of the rows: which of them, the chunk, and their places in it."""
        chunks = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(chunks, kind="stable")
        bounds = np.flatnonzero(np.diff(chunks[order])) + 1
        groups: list[tuple[Rows, pa.RecordBatch, npt.NDArray[np.int64]]] = []
        for group in np.split(order, bounds):
            chunk = int(chunks[group[0]])
            batch = self._batches[chunk]
            groups.append((group, batch, rows[group] - int(self._ends[chunk]) + batch.num_rows))
        return groups


def _text_bytes(batch: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> int:
    """Return how many bytes the texts of some rows have, without a look at the texts."""
    return int(sum(_spans(column, rows, rows + 1).sum() for column in batch.columns))


def _spans(column: pa.Array, starts: Rows, ends: Rows) -> npt.NDArray[np.int64]:
    """Return how many bytes some runs of values have, texts inside lists and structs included, from their offsets."""
    kinds, kind = pa.types, column.type
    starts, ends = starts + column.offset, ends + column.offset
    if kinds.is_struct(kind):
        # They come with the struct's offset.
        inner = (column.field(number) for number in range(kind.num_fields))
        spans = [_spans(field, starts - column.offset, ends - column.offset) for field in inner]
        return np.sum(spans, axis=0, dtype=np.int64) if spans else np.zeros(len(starts), np.int64)
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_map(kind)
    is_text = kinds.is_string(kind) or kinds.is_binary(kind)
    is_large_text = kinds.is_large_string(kind) or kinds.is_large_binary(kind)
    if not (is_list or is_text or is_large_text) or column.buffers()[1] is None or not len(column):
        return np.zeros(len(starts), np.int64)
    width = np.int64 if is_large_text or kinds.is_large_list(kind) else np.int32
    offsets: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], width)
    starts, ends = offsets[starts].astype(np.int64), offsets[ends].astype(np.int64)
    return _spans(column.values, starts, ends) if is_list else ends - starts


def _in_order(order: Rows | None, found: Rows | None) -> Rows | None:
    if order is None or found is None:
        return found if order is None else order
    kept = np.zeros(len(order), dtype=bool)
    kept[found] = True
    return order[kept[order]]
