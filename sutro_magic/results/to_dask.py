"""Results as Dask DataFrames: the graph contains the path of a file, and workers read their parts of it.

So no large data travel from the notebook to a cluster, and a table may exceed the memory. Workers in other processes
need Sutro Magic, and access to the file by the same path.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import CacheError, CorruptResultsError, Hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from sutro_magic.formats.columns import CanonicalTable
    from sutro_magic.formats.footer import Chunk

PART_ROWS = 100_000
"""Approximate number of rows of a part."""
PART_BYTES = 1 << 30
"""Maximum text of a part, if the file declares its size: a small row group may repeat a long prompt in each row."""
_MAX_PARTS = 100
"""Maximum number of parts of one row group."""
SMALL_BYTES = 4 << 20
"""Up to this size, rows are stored in the graph."""

_spilled: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of rows without a file; deleted at exit, because other frames may depend on them."""


def dask_of_parquet(path: Path, table: CanonicalTable, schema: pa.Schema) -> Any:
    """Return a Dask DataFrame of a results file, with one part per row group, or several if it has much text.

    Parameters
    ----------
    path : pathlib.Path
    table : CanonicalTable
        Description of the file with the requested columns.
    schema : pyarrow.Schema
        Schema of these columns.
    """
    from sutro_magic.formats.footer import read_chunks
    from sutro_magic.formats.reader import opened

    with opened(path) as (file, data):
        metadata, wire = file.metadata, file.schema_arrow.names
        groups = read_chunks(data, data.size())
    places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    nullable = {
        column.name
        for column in table.columns
        # Columns with the same name cannot be distinguished in the statistics.
        if wire.count(wire[column.source]) > 1
        or wire[column.source] not in places
        or _may_hold_null(groups, places[wire[column.source]])
    }
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    wanted = {wire[column.source] for column in table.columns}
    leaves = [i for name, i in places.items() if name in wanted or name.partition(".")[0] in wanted]
    parts: list[list[int]] = [[], [], [], [], []]
    for i, count in enumerate(counts):
        size = sum(groups[i][leaf].decoded or 0 for leaf in leaves) if count else 0
        step = max(1, count // _MAX_PARTS, count * PART_BYTES // max(size, PART_BYTES))
        for skipped in range(0, count, step):
            for numbers, number in zip(
                parts, (i, count, skipped, min(step, count - skipped), 0), strict=True
            ):
                numbers.append(number)
    starts = _starts(parts[3])
    parts[4] = starts[:-1]
    return _frame(_read_group, parts, starts, schema, nullable, path=str(path), table=table)


def dask_of_arrow(path: Path, token: str, schema: pa.Schema) -> Any:
    """Return a Dask DataFrame of columns of an Arrow file, with a few record batches per part.

    Parameters
    ----------
    path : pathlib.Path
    token : str
        As in `sutro_magic.structured.ipc_file.read_unfolded`.
    schema : pyarrow.Schema
        Names and types of the columns.
    """
    from sutro_magic.structured.ipc_file import read_unfolded

    mapped = read_unfolded(path, token)
    nullable = {name for name in schema.names if mapped.column(name).null_count}
    sizes = [len(chunk) for chunk in mapped.column(0).chunks]
    firsts, ends = _parts(sizes)
    starts = _starts(sum(sizes[first:end]) for first, end in zip(firsts, ends, strict=True))
    parts = [firsts, ends, starts[:-1]]
    return _frame(_read_batches, parts, starts, schema, nullable, path=str(path), mark=token)


def dask_of_rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch], size: int) -> Any:
    """Return a Dask DataFrame of rows without a file: one part if they are few, else from a temporary file.

    Parameters
    ----------
    schema : pyarrow.Schema
    batches : iterable of pyarrow.RecordBatch
    size : int
        Approximate size in bytes.
    """
    import pyarrow as pa

    if size <= SMALL_BYTES:
        import dask.dataframe

        from sutro_magic.results.to_pandas import to_pandas

        dataframe: Any = dask.dataframe  # dask is untyped
        return dataframe.from_pandas(to_pandas(pa.Table.from_batches(batches, schema)), npartitions=1)
    from sutro_magic.formats.reader import expand, without_dictionaries
    from sutro_magic.structured.ipc_file import TOKEN

    folder = tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True)
    path, token = Path(folder.name) / "rows.arrow", "rows"
    plain = pa.schema([field.with_type(without_dictionaries(field.type)) for field in schema])
    with pa.ipc.new_file(path, plain.with_metadata({TOKEN: token.encode()})) as writer:
        for batch in batches:
            for written in expand(batch, plain):
                writer.write_batch(written.replace_schema_metadata({TOKEN: token.encode()}))
    _spilled.append(folder)
    return dask_of_arrow(path, token, plain)


def _frame(
    read: Any, parts: list[list[int]], starts: list[int], schema: pa.Schema, nullable: set[str], **where: Any
) -> Any:
    import dask.dataframe

    from sutro_magic.results.to_pandas import to_pandas

    dataframe: Any = dask.dataframe  # dask is untyped
    if not parts[0]:
        return dataframe.from_pandas(to_pandas(schema.empty_table(), nullable), npartitions=1)
    return dataframe.from_map(
        read,
        *parts,
        columns=schema.names,  # Dask passes only the columns it needs by this name
        nullable=sorted(nullable),
        meta=to_pandas(schema.empty_table(), nullable),
        divisions=[*starts[:-1], starts[-1] - 1],  # row numbers, like the index of to_pandas
        **where,
    )


def _read_group(
    group: int,
    total: int,
    skipped: int,
    rows: int,
    start: int,
    *,
    columns: Sequence[str],
    nullable: list[str],
    path: str,
    table: CanonicalTable,
) -> Any:
    """Read rows of a row group; earlier rows are decoded as well, but a few at a time."""
    import pyarrow as pa

    from sutro_magic.formats import reader

    # A frame without columns still has rows.
    wanted = [column for column in table.columns if column.name in columns] or table.columns[:1]
    part = replace(table, num_rows=total, columns=tuple(wanted))
    try:
        schema = reader.read_schema(Path(path), part, inputs=True, logprobs=True)
        taken, done = [], 0
        for batch in reader.read_batches(Path(path), part, inputs=True, logprobs=True, row_groups=[group]):
            first, end = (min(max(0, row - done), batch.num_rows) for row in (skipped, skipped + rows))
            if first < end:
                taken.append(batch.slice(first, end - first))
            done += batch.num_rows
            if skipped + rows <= done < total:
                break  # stop early, except at the end, where the number of rows is checked
    except (FileNotFoundError, CorruptResultsError):
        raise _gone() from None
    return _chosen(pa.Table.from_batches(taken, schema), start, columns, nullable)


def _read_batches(
    first: int, end: int, start: int, *, columns: Sequence[str], nullable: list[str], path: str, mark: str
) -> Any:
    import pyarrow as pa

    from sutro_magic.structured.ipc_file import read_some

    try:
        read = read_some(Path(path), mark, range(first, end), list(columns))
    except (OSError, ValueError, pa.ArrowException):
        raise _gone() from None
    return _chosen(read, start, columns, nullable)


def _chosen(table: pa.Table, start: int, columns: Sequence[str], nullable: list[str]) -> Any:
    from sutro_magic.results.to_pandas import to_pandas

    frame = to_pandas(table, nullable)[list(columns)]
    frame.index = frame.index + start
    return frame


def _starts(rows: Iterable[int]) -> list[int]:
    """Return the first row of each part, and the total number of rows."""
    return [0, *itertools.accumulate(rows)]


def _parts(sizes: list[int]) -> tuple[list[int], list[int]]:
    """Group record batches until a part has enough rows; return the starts and ends of parts."""
    ends, rows = [], 0
    for number, size in enumerate(sizes, 1):
        rows += size
        if rows >= PART_ROWS or (rows and number == len(sizes)):
            ends.append(number)
            rows = 0
    return [0, *ends][:-1], ends


def _may_hold_null(groups: list[list[Chunk]], place: int) -> bool:
    """Return whether a Parquet column may contain nulls, according to its statistics."""
    return any(group[place].nulls != 0 for group in groups if group)


def _gone() -> CacheError:
    return CacheError(
        "The results behind this Dask DataFrame are no longer in the cache, or this worker cannot see them.",
        hint=(
            "Create the frame again, for example with ",
            Hint("results", as_type="dask"),
            "; workers need access to the cache folder.",
        ),
    )
