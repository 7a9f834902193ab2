"""The answer to a query as an Arrow table: in memory, or in a file where it is large, in types that everybody has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sutro_magic.disks import check_room

if TYPE_CHECKING:
    from collections.abc import Callable

IN_MEMORY_BYTES = 256 * 2**20
"""Of an answer; a larger one is kept in a file, in the temporary folder, while it is used."""


def collect(reader: pa.RecordBatchReader, count: Callable[[int], None]) -> pa.Table:
    """Take rows as they are made; many of them into a file."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        count(rows)
        if size > IN_MEMORY_BYTES:
            return _in_a_file(batches, reader, count)
    return pa.Table.from_batches(batches, reader.schema)


def _in_a_file(
    batches: list[pa.RecordBatch], reader: pa.RecordBatchReader, count: Callable[[int], None]
) -> pa.Table:
    rows = sum(batch.num_rows for batch in batches)
    with tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "answer.arrow"
        with pa.ipc.new_file(path, reader.schema) as writer:
            while batches:
                writer.write_batch(batches.pop(0))
            for batch in reader:
                check_room(path.parent)
                writer.write_batch(batch)
                rows += batch.num_rows
                count(rows)
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()  # stays mapped when the file has no name any more


def plain(table: pa.Table) -> pa.Table:
    """Return an answer without DuckDB's own types: sums that fit are 64-bit integers, intervals durations or text.

    A name that stands twice gets a number.
    """
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if field.type == pa.decimal128(38, 0):
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid:
                continue
        elif field.type == pa.month_day_nano_interval():
            column = _duration(column)
        elif isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], field.type.storage_type)
        else:
            continue
        table = table.set_column(place, field.name, column)
    return table.rename_columns(_distinct(table.column_names)).replace_schema_metadata(None)


def _distinct(names: list[str]) -> list[str]:
    """Return names of which each is there once: of two columns ``title`` the second becomes ``title_2``."""
    taken, found = set(names), []
    seen: set[str] = set()
    for name in names:
        new, number = name, 1
        while new in seen or (number > 1 and new in taken):
            number += 1
            new = f"{name}_{number}"
        seen.add(new)
        found.append(new)
    return found


def _duration(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return intervals as durations, or as text where there are months, which have no one length, or too many days."""
    values = column.to_pylist()
    micros = [
        None if value is None else value.days * 86_400_000_000 + value.nanoseconds // 1000 for value in values
    ]
    if any(value is not None and value.months for value in values) or any(
        micro is not None and abs(micro) >= 2**63 for micro in micros
    ):
        texts = [
            None
            if value is None
            else f"{value.months} months {value.days} days {value.nanoseconds / 10**9:.15g} seconds"
            for value in values
        ]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pa.chunked_array([pa.array(micros, pa.duration("us"))])
