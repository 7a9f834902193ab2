"""The answer to a query as an Arrow table, in memory or in a file, with widely supported types."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic import limits
from sutro_magic.system.disk import check_room

if TYPE_CHECKING:
    from collections.abc import Callable


MAX_DAYS = 100_000_000
"""Days of a duration, which counts microseconds in 64 bits."""


def collect(reader: pa.RecordBatchReader, count: Callable[[int], None]) -> pa.Table:
    """Return the rows of a reader as a table; a large one is written to a memory-mapped file."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        count(rows)
        if size > limits.ANSWER_MEMORY_BYTES:
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
            return pa.ipc.open_file(source).read_all()  # stays mapped after the file is deleted


def plain(table: pa.Table) -> pa.Table:
    """Return an answer without types of DuckDB: sums as 64-bit integers if they fit, intervals as durations or text.

    Intervals are converted at any depth, because neither Polars nor Parquet supports them there. Duplicate names get a
    number.
    """
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if field.type == pa.decimal128(38, 0):
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid:
                continue
        elif _is_odd(field.type):
            chunks, kind = _usual(column.chunks, field.type)
            column = pa.chunked_array(chunks, kind)
        elif isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], field.type.storage_type)
        else:
            continue
        table = table.set_column(place, field.name, column)
    return table.rename_columns(_distinct(table.column_names)).replace_schema_metadata(None)


def _distinct(names: list[str]) -> list[str]:
    """Return unique names: of two columns ``title`` the second becomes ``title_2``."""
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


def _is_odd(kind: pa.DataType) -> bool:
    """Return whether a type contains an interval, or a map whose keys have no type: ``map {}``."""
    if kind == pa.month_day_nano_interval() or (pa.types.is_map(kind) and pa.types.is_null(kind.key_type)):
        return True
    return any(_is_odd(kind.field(place).type) for place in range(kind.num_fields))


def _usual(chunks: list[Any], kind: pa.DataType) -> tuple[list[Any], pa.DataType]:
    """Return the chunks of a column with a widely supported type, the same for all."""
    if not _is_odd(kind):
        return chunks, kind
    if kind == pa.month_day_nano_interval():
        return _durations(chunks)
    if pa.types.is_struct(kind):
        places = range(kind.num_fields)
        columns = [
            _usual([chunk.field(place) for chunk in chunks], kind.field(place).type) for place in places
        ]
        fields = [kind.field(place).with_type(columns[place][1]) for place in places]
        structs = [
            pa.StructArray.from_arrays(
                [column[number] for column, _ in columns], fields=fields, mask=chunk.is_null()
            )
            for number, chunk in enumerate(chunks)
        ]
        return structs, pa.struct(fields)
    if pa.types.is_map(kind):
        keys, key = _usual([chunk.keys for chunk in chunks], kind.key_type)
        items, item = _usual([chunk.items for chunk in chunks], kind.item_type)
        if pa.types.is_null(key):  # Parquet does not support keys of type null
            key = pa.string()
            keys = [array.cast(key) for array in keys]
        new = pa.map_(kind.key_field.with_type(key), kind.item_field.with_type(item), kind.keys_sorted)
        inner = [
            pa.StructArray.from_arrays(list(pair), fields=[new.key_field, new.item_field])
            for pair in zip(keys, items, strict=True)
        ]
        return _lists(chunks, new, inner)
    inner, values = _usual([chunk.values for chunk in chunks], kind.value_type)
    field = kind.value_field.with_type(values)
    if pa.types.is_fixed_size_list(kind):
        return _lists(chunks, pa.list_(field, kind.list_size), inner)
    return _lists(chunks, pa.large_list(field) if pa.types.is_large_list(kind) else pa.list_(field), inner)


def _lists(chunks: list[Any], kind: pa.DataType, inner: list[Any]) -> tuple[list[Any], pa.DataType]:
    """Return lists or maps with other values; offsets and validity are shared, so nothing is copied."""
    own = 1 if pa.types.is_fixed_size_list(kind) else 2
    lists = [
        pa.Array.from_buffers(
            kind, len(chunk), chunk.buffers()[:own], chunk.null_count, chunk.offset, children=[values]
        )
        for chunk, values in zip(chunks, inner, strict=True)
    ]
    return lists, kind


def _durations(chunks: list[Any]) -> tuple[list[Any], pa.DataType]:
    """Return intervals as durations, or as text if they have months, whose length varies, or too many days."""
    import numpy as np

    layout = np.dtype([("months", "i4"), ("days", "i4"), ("nanos", "i8")])
    found = []
    for chunk in chunks:
        is_null = chunk.is_null().to_numpy(zero_copy_only=False)
        values = np.zeros(len(chunk), layout)
        if len(chunk):
            buffer = chunk.buffers()[1]
            values[:] = np.frombuffer(buffer, layout, len(chunk), chunk.offset * layout.itemsize)
        values[is_null] = 0  # null slots may contain anything
        found.append((values, is_null))
    if any(
        (values["months"] != 0).any() or (abs(values["days"].astype("i8")) > MAX_DAYS).any()
        for values, _ in found
    ):
        strings = [
            pa.array(
                [f"{months} months {days} days {nanos / 10**9:.15g} seconds" for months, days, nanos in values.tolist()],
                pa.string(), mask=is_null,
            )
            for values, is_null in found
        ]  # fmt: skip
        return strings, pa.string()
    micros = [
        pa.array(
            values["days"].astype("i8") * 86_400_000_000 + values["nanos"] // 1000, pa.int64(), mask=is_null
        ).cast(pa.duration("us"))
        for values, is_null in found
    ]
    return micros, pa.duration("us")
