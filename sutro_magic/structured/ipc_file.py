"""The unfolded table on disk: uncompressed Arrow IPC, written once, then memory-mapped.

A column may turn out to be wider than its first rows. Then a new segment is started, and at the end all segments
are converted to the final shapes without loss; most jobs have one segment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from sutro_magic.structured.arrays import widen
from sutro_magic.structured.shapes import NULL, Shape, arrow_type, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from sutro_magic.structured.plan import Key

ERROR_FIELDS = (pa.field("_raw", pa.string()), pa.field("_error", pa.string()))

TOKEN = b"sutro_magic"

Layout = Sequence[pa.Field | tuple[str, "Key"]]
"""Columns in order: a field that is passed through, or name and key path of an unfolded column."""


@dataclass
class _Segment:
    path: Path
    layout: Layout
    schema: pa.Schema
    shapes: dict[Key, Shape]
    writer: pa.RecordBatchFileWriter | None


class UnfoldedFileWriter:
    """Writes an unfolded table.

    Parameters
    ----------
    path : pathlib.Path
        The file; segments are written beside it.
    layout : callable
        Maps the key paths of the unfolded columns to the columns of the table, in order.
    shapes : mapping
        Shapes that are known in advance.
    token : str
        Stored in the file; `read_unfolded` checks it.
    """

    def __init__(
        self,
        path: Path,
        layout: Callable[[Sequence[Key]], Layout],
        shapes: Mapping[Key, Shape],
        *,
        token: str,
    ) -> None:
        self._path = path
        self._layout = layout
        self.shapes: dict[Key, Shape] = dict(shapes)
        self._segments: list[_Segment] = []
        self._metadata = {TOKEN: token.encode()}

    def write(
        self,
        shapes: Mapping[Key, Shape],
        columns: Mapping[Key, pa.Array],
        others: Mapping[str, pa.Array],
        rows: int,
    ) -> None:
        """Write rows.

        Parameters
        ----------
        shapes, columns : mapping
            Shapes and values of the unfolded columns.
        others : mapping of str to pyarrow.Array
            Columns that are passed through.
        rows : int
        """
        for key, shape in shapes.items():
            self.shapes[key] = join(self.shapes.get(key, NULL), shape)
        segment = self._open_segment()
        assert segment.writer is not None  # noqa: S101 - just opened
        segment.writer.write_batch(_batch(segment, shapes, columns, others, rows))

    def close(self, settle: Callable[[Shape], Shape]) -> None:
        """Convert all rows to the final shapes and put the file in place.

        Parameters
        ----------
        settle : callable
            Maps the shape of a column to its final shape.
        """
        final = {key: settle(shape) for key, shape in self.shapes.items()}
        if not self._segments:
            self._open_segment()
        self._close_segment()
        only = self._segments[0]
        if len(self._segments) == 1 and _stores(only, final):
            only.path.replace(self._path)
        else:
            self._rewrite(final)
        self.shapes = final
        with self._path.open("r+b") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Close open segments; the caller deletes the folder."""
        for segment in self._segments:
            if segment.writer is not None:
                segment.writer.close()

    def _open_segment(self) -> _Segment:
        if self._segments and _stores(self._segments[-1], self.shapes):
            self._segments[-1].shapes = dict(self.shapes)
            return self._segments[-1]
        self._close_segment()
        path = self._path.with_name(f"{self._path.name}.{len(self._segments)}")
        layout = self._layout(list(self.shapes))
        schema = _schema(layout, self.shapes).with_metadata(self._metadata)
        writer = pa.ipc.new_file(path, schema)
        self._segments.append(_Segment(path, layout, schema, dict(self.shapes), writer))
        return self._segments[-1]

    def _close_segment(self) -> None:
        if self._segments:
            last = self._segments[-1]
            if last.writer is not None:
                last.writer.close()
            last.writer = None

    def _rewrite(self, final: dict[Key, Shape]) -> None:
        layout = self._layout(list(final))
        schema = _schema(layout, final).with_metadata(self._metadata)
        whole = _Segment(self._path, layout, schema, final, None)
        with pa.ipc.new_file(self._path, schema) as writer:
            for segment in self._segments:
                for batch in _batches(segment.path):
                    columns = {
                        entry[1]: batch.column(i)
                        for i, entry in enumerate(segment.layout)
                        if not isinstance(entry, pa.Field)
                    }
                    others = {
                        entry.name: batch.column(i)
                        for i, entry in enumerate(segment.layout)
                        if isinstance(entry, pa.Field)
                    }
                    writer.write_batch(_batch(whole, segment.shapes, columns, others, batch.num_rows))
                segment.path.unlink()


def read_unfolded(path: Path, token: str) -> pa.Table:
    """Memory-map an unfolded table; data are read on access.

    Raises
    ------
    OSError, pyarrow.ArrowInvalid
        If the file is missing or damaged.
    ValueError
        If the token is another one.
    """
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    _check(table.schema, token)
    return table.replace_schema_metadata(None)


def read_some(path: Path, token: str, batches: Iterable[int], columns: Sequence[str]) -> pa.Table:
    """Read columns of record batches into memory; parameters and errors as in `read_unfolded`.

    Not memory-mapped: if a mapped file is deleted over a network file system, the process is killed. Without columns,
    the first one is read, because a table without columns has no rows.
    """
    with pa.OSFile(str(path)) as source:
        with pa.ipc.open_file(source) as reader:
            names = reader.schema.names
            _check(reader.schema, token)
        places = sorted({names.index(name) for name in columns} or {0})
        options = pa.ipc.IpcReadOptions(included_fields=places)
        with pa.ipc.open_file(source, options=options) as reader:
            read = [reader.get_batch(number) for number in batches]
    return pa.Table.from_batches(read).replace_schema_metadata(None)


def _check(schema: pa.Schema, token: str) -> None:
    if (schema.metadata or {}).get(TOKEN) != token.encode():
        raise ValueError("wrong token")


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def _batch(
    segment: _Segment,
    shapes: Mapping[Key, Shape],
    columns: Mapping[Key, pa.Array],
    others: Mapping[str, pa.Array],
    rows: int,
) -> pa.RecordBatch:
    arrays = []
    for entry in segment.layout:
        if isinstance(entry, pa.Field):
            arrays.append(others[entry.name])
            continue
        key = entry[1]
        array = columns.get(key)
        shape = NULL if array is None else shapes[key]
        if array is None:
            array = pa.nulls(rows, pa.string())
        arrays.append(widen(array, shape, segment.shapes[key]))
    stored = [array.cast(field.type) for array, field in zip(arrays, segment.schema, strict=True)]
    return pa.RecordBatch.from_arrays(stored, schema=segment.schema)


def _schema(layout: Layout, shapes: Mapping[Key, Shape]) -> pa.Schema:
    fields = [
        entry if isinstance(entry, pa.Field) else pa.field(entry[0], arrow_type(shapes[entry[1]]))
        for entry in layout
    ]
    # Strings with 64-bit offsets, as in pandas, so that it can use the file without a copy.
    return pa.schema(
        [field.with_type(pa.large_string()) if field.type == pa.string() else field for field in fields]
    )


def _stores(segment: _Segment, shapes: Mapping[Key, Shape]) -> bool:
    """Return whether the bytes of a segment would be the same with these shapes."""
    return segment.shapes.keys() == shapes.keys() and all(
        arrow_type(old) == arrow_type(shapes[key])
        and not (old.kind == "text" and shapes[key].kind == "mixed")
        for key, old in segment.shapes.items()
    )
