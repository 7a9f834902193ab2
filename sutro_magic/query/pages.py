"""Pages of a table of any size: sorted, searched, filtered or shuffled over all of its rows.

A query is evaluated once to row numbers: a sort is a permutation of all rows, a search the list of rows found. Both
are cached, so that paging only takes rows from a memory-mapped table.
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
"""Maximum size of cached row numbers; the newest are always kept."""
FEW = 20
"""If a search finds less than one row in this many, only these are sorted."""
SLICED_ROWS = 1_000
COPIED_BYTES = 32 * 2**20
"""Up to `SLICED_ROWS` rows with more text than this are sliced instead of copied."""

T = TypeVar("T")


class Pages:
    """Access to a table page by page. Thread-safe.

    Parameters
    ----------
    open_table : callable
        Returns the table; called at the first query.
    """

    def __init__(self, open_table: Callable[[], pa.Table]) -> None:
        self._open_table = open_table
        self._opening = threading.Lock()
        self._table: PickableTable | None = None
        self._numbers: Rows | None = None
        self._kept: OrderedDict[Hashable, Rows | None] = OrderedDict()
        self.queue = QueryQueue()
        """Runs the queries; each new request takes a ticket."""

    @property
    def table(self) -> pa.Table:
        """The whole table."""
        return self._picking().table

    def rows(self, query: TableQuery, ticket: int | None = None) -> Rows | None:
        """Return the row numbers of a query in its order; None for all rows in the original order.

        Parameters
        ----------
        query : TableQuery
        ticket : int, optional
            Ticket of the queue: cancels the running query, and is cancelled by newer ones.

        Raises
        ------
        SupersededError
            If a newer query was started.
        """
        if query == TableQuery():
            return None
        with self.queue.turn(ticket):
            return self._remember(("view", query), lambda: self._view(query))

    def count(self, query: TableQuery, ticket: int | None = None) -> int:
        """Return the number of rows that a query finds."""
        found = self.rows(query, ticket)
        return self.table.num_rows if found is None else len(found)

    def page(self, query: TableQuery, start: int, length: int, ticket: int | None = None) -> Rows:
        """Return the row numbers of a page.

        Parameters
        ----------
        query : TableQuery
        start : int
            Position of its first row in the order of the query, from 0.
        length : int
            Maximum number of rows.
        """
        found = self.rows(query, ticket)
        if found is None:
            return np.arange(start, max(start, min(start + length, self.table.num_rows)))
        return found[start : start + length]

    def place(self, query: TableQuery, row: int, ticket: int | None = None) -> int | None:
        """Return the position of a row in the order of a query, from 0, or None if it is not found."""
        found = self.rows(query, ticket)
        if found is None:
            return row if 0 <= row < self.table.num_rows else None
        places = np.flatnonzero(found == row)
        return int(places[0]) if len(places) else None

    def take(self, rows: Rows | Sequence[int]) -> pa.Table:
        """Return rows by number, in the given order."""
        return self._picking().take(np.asarray(rows, dtype=np.int64))

    def rest(self) -> None:
        """Free the memory when no query runs; the next query opens the table again."""
        with self.queue.turn(), self._opening:
            self._table = self._numbers = None
            self._kept.clear()

    def runs(self, rows: Rows, max_bytes: int) -> Iterator[Rows]:
        """Split rows into runs with a maximum number of bytes of text; a longer row is a run of its own."""
        total = np.cumsum(self._picking().text_bytes(np.asarray(rows, dtype=np.int64)))
        first = 0
        while first < len(rows):
            before = int(total[first - 1]) if first else 0
            end = max(first + 1, int(np.searchsorted(total, before + max_bytes, side="right")))
            yield rows[first:end]
            first = end

    def close(self) -> None:
        """Cancel the running query and free the memory; the next query opens the table again."""
        self.queue.cancel()
        with self._opening:
            self._table = self._numbers = None
            self._kept.clear()

    # --- internals ----------------------------------------------------------------------------

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
        """Return the rows that meet all conditions, in the job's order; None without conditions."""
        table = self.table
        where, parameters, columns = condition(query, table.schema)
        if not where:
            return None
        key = ("found", query.search, query.filters)

        def find() -> Rows:
            asked = self._numbered(queryable(table, columns))
            rows: Rows = np.asarray(
                self.queue.query(f"select _row from t where {where}", {"t": asked}, parameters)["_row"]  # noqa: S608 - fixed names
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
        sql = f"select _row from t order by {keys}"  # noqa: S608 - fixed names
        return np.asarray(self.queue.query(sql, {"t": numbered})["_row"])

    def _shuffled(self, seed: int) -> Rows:
        def shuffle() -> Rows:
            return np.random.default_rng(seed).permutation(self._row_numbers())

        found = self._remember(("shuffle", seed), shuffle)
        assert found is not None  # noqa: S101 - shuffle returns rows
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
    """A table with fast access to any rows, however many chunks it has.

    Parameters
    ----------
    table : pyarrow.Table
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._batches = table.to_batches()
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return rows by number, in the given order.

        Arrow's ``take`` may concatenate all chunks of a string column first. A few very long rows are not copied at all:
        a page shows only their beginnings.
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
        """Return the bytes of text of each row."""
        found = np.zeros(len(rows), dtype=np.int64)
        if len(rows):
            for group, batch, places in self._by_chunk(rows):
                found[group] = sum(_spans(column, places, places + 1) for column in batch.columns)
        return found

    def _by_chunk(
        self, rows: npt.NDArray[np.int64]
    ) -> list[tuple[Rows, pa.RecordBatch, npt.NDArray[np.int64]]]:
        """Return for each chunk with any of the rows: their indices, the chunk, and their positions in it."""
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
    """Return the bytes of text of some rows, from the offsets."""
    return int(sum(_spans(column, rows, rows + 1).sum() for column in batch.columns))


def _spans(column: pa.Array, starts: Rows, ends: Rows) -> npt.NDArray[np.int64]:
    """Return the bytes of text of runs of values, including strings in lists and structs, from the offsets."""
    kinds, kind = pa.types, column.type
    starts, ends = starts + column.offset, ends + column.offset
    if kinds.is_struct(kind):
        # They include the struct's offset.
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
