"""Read views of a results file: with canonical names, order and types.

Views are read in batches, so memory does not grow with the file size.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sutro_magic.errors import CorruptResultsError, Hint
from sutro_magic.formats.batch_size import DECODED_BYTES, rows_at_once, runs, width_of_nulls
from sutro_magic.formats.footer import Chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sutro_magic.formats.columns import CanonicalTable, Column, Kind
    from sutro_magic.formats.footer import Chunk
    from sutro_magic.formats.page_headers import File

_REFRESH = ("Fetch the job again with ", Hint("option", refresh=True), ".")


def canonical_schema(
    table: CanonicalTable, wire: pa.Schema, *, inputs: bool, logprobs: bool, plain: bool = False
) -> pa.Schema:
    """Return the schema of a view, without the writer's metadata.

    Carried columns keep their type. Outputs that are lists of numbers, booleans or strings stay lists; all other
    inputs and outputs are strings.

    Parameters
    ----------
    table : CanonicalTable
        Description of the file.
    wire : pyarrow.Schema
        Schema of the file.
    inputs, logprobs : bool
        Whether the view includes these columns, if the file has them.
    plain : bool
        Decode dictionaries; an Arrow file can hold only one per column.
    """
    columns = table.select(inputs=inputs, logprobs=logprobs)
    if any(column.source >= len(wire) for column in columns):
        raise CorruptResultsError("The stored results have lost a column.", hint=_REFRESH)
    if any(_has_negative_list(wire.field(column.source).type) for column in columns):
        raise CorruptResultsError("The Parquet file is damaged: it has lists of negative size.")
    types = [_view_type(column.kind, wire.field(column.source).type) for column in columns]
    return pa.schema(
        [
            pa.field(column.name, without_dictionaries(kind) if plain else kind)
            for column, kind in zip(columns, types, strict=True)
        ]
    )


def without_dictionaries(kind: pa.DataType) -> pa.DataType:
    """Return the type without dictionaries, also inside lists and structs."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        return without_dictionaries(kind.value_type)
    if kinds.is_struct(kind):
        return pa.struct([field.with_type(without_dictionaries(field.type)) for field in kind])
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        field = kind.value_field.with_type(without_dictionaries(kind.value_type))
        return pa.large_list(field) if kinds.is_large_list(kind) else pa.list_(field)
    return kind


def read_schema(
    path: Path, table: CanonicalTable, *, inputs: bool, logprobs: bool, plain: bool = False
) -> pa.Schema:
    """Return the schema of a view from the footer; parameters and errors as in `read_batches`."""
    with opened(path) as (file, _):
        return canonical_schema(table, file.schema_arrow, inputs=inputs, logprobs=logprobs, plain=plain)


def stored_size(path: Path) -> int:
    """Return the bytes of a results file before compression, from the footer."""
    with opened(path) as (file, _):
        metadata = file.metadata
        return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))


def read_batches(
    path: Path,
    table: CanonicalTable,
    *,
    inputs: bool,
    logprobs: bool,
    batch_size: int = 65_536,
    row_groups: Sequence[int] | None = None,
    plain: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a view of a results file.

    Parameters
    ----------
    path : pathlib.Path
        The Parquet file.
    table : CanonicalTable
        Description of the file.
    inputs, logprobs : bool
        Whether the view includes these columns, if the file has them.
    batch_size : int
        Maximum number of rows in a batch; long rows make smaller batches.
    row_groups : sequence of int, optional
        Read only these row groups; `table` then has the number of their rows.
    plain : bool
        As in `canonical_schema`.

    Yields
    ------
    pyarrow.RecordBatch
        With the `canonical_schema`.

    Raises
    ------
    CorruptResultsError
        If the file cannot be read or does not match `table`.
    """
    columns = table.select(inputs=inputs, logprobs=logprobs)
    rows = 0
    stat = path.stat()
    with opened(path) as (file, data):
        wire = file.schema_arrow
        schema = canonical_schema(table, wire, inputs=inputs, logprobs=logprobs, plain=plain)
        names = _names_to_read(wire, columns)
        kept = {
            wire.field(column.source).name
            for column, field in zip(columns, schema, strict=True)
            if pa.types.is_dictionary(field.type)
        }
        chunks = _chunks(str(path), stat.st_size, stat.st_mtime_ns)
        for batch in decode(
            file, chunks, data, names=names, kept=kept, batch_size=batch_size, row_groups=row_groups
        ):
            # By name, because the reader has an order of its own and treats a name as a prefix: "a" also reads a
            # flat column "a.b".
            places = [batch.schema.get_field_index(name) for name in names or ()]
            places = places or [column.source for column in columns]
            for view in convert(batch, places, schema, first_row=rows):
                rows += view.num_rows
                yield view
    if rows != table.num_rows:
        raise CorruptResultsError(
            f"The stored results have {rows:,} rows, but had {table.num_rows:,}.", hint=_REFRESH
        )


def held(batches: Iterable[pa.RecordBatch], schema: pa.Schema, max_bytes: int) -> pa.Table | None:
    """Return batches as a table in memory, or None if they exceed a size in bytes."""
    taken, size = [], 0
    for batch in batches:
        size += batch.nbytes
        if size > max_bytes:
            return None
        taken.append(batch)
    return pa.Table.from_batches(taken, schema)


def convert(
    batch: pa.RecordBatch, places: Sequence[int], schema: pa.Schema, *, first_row: int = 0
) -> Iterator[pa.RecordBatch]:
    """Convert one batch to the names, order and types of a view.

    A batch too large for one Arrow string column is split. A value that cannot be converted raises a
    CorruptResultsError with its row.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Rows as read.
    places : sequence of int
        Index in `batch` of each field of `schema`.
    schema : pyarrow.Schema
        The view.
    first_row : int
        Number of rows before this batch, for messages.
    """
    name = ""
    try:
        arrays = []
        for place, field in zip(places, schema, strict=True):
            name = field.name
            arrays.append(_as_type(batch.column(place), field.type))
    except (pa.ArrowException, UnicodeError) as error:
        if batch.num_rows <= 1:
            raise CorruptResultsError(
                f"`{name}` cannot be read in row {first_row + 1:,}: the value does not fit the column."
            ) from error
        half = batch.num_rows // 2
        yield from convert(batch.slice(0, half), places, schema, first_row=first_row)
        yield from convert(batch.slice(half), places, schema, first_row=first_row + half)
        return
    yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def expand(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Decode the dictionaries of a batch, few rows at a time if values are long; `schema` has no dictionaries."""
    if batch.schema.equals(schema):
        yield batch
        return
    dictionaries = [column.dictionary for column in batch.columns if pa.types.is_dictionary(column.type)]
    longest = sum(
        pc.max(pc.binary_length(values)).as_py() or 0 for values in dictionaries if _is_text(values.type)
    )
    rows = max(1, DECODED_BYTES // max(1, longest))
    for start in range(0, batch.num_rows, rows):
        yield from convert(batch.slice(start, rows), range(len(schema)), schema, first_row=start)


def decode(
    parquet: pq.ParquetFile,
    chunks: Chunks | Sequence[Sequence[Chunk]],
    data: File,
    *,
    names: list[str] | None,
    kept: Collection[str],
    batch_size: int,
    row_groups: Sequence[int] | None,
) -> Iterator[pa.RecordBatch]:
    """Decode a Parquet file batch by batch, with bounded memory.

    Parameters
    ----------
    parquet : pyarrow.parquet.ParquetFile
    chunks : Chunks or sequence of sequence of Chunk
        Column chunks of each row group, from the footer.
    data : File
        The same file as bytes.
    names : list of str, optional
        Columns; all by default.
    kept : collection of str
        Columns that stay dictionary-encoded.
    batch_size : int
        Maximum number of rows in a batch.
    row_groups : sequence of int, optional
        Row groups; all by default.

    Raises
    ------
    ResultsTooLargeError
        If one row may need too much memory.
    """
    metadata = parquet.metadata
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    if len(chunks) != len(rows):
        raise _ambiguous_footer()
    wanted = None if names is None else set(names)
    chosen = {i: leaf for i, leaf in enumerate(leaves) if wanted is None or _is_read(leaf.path, wanted)}
    min_row_bytes = sum(
        width_of_nulls(field.type)
        for field in parquet.schema_arrow
        if wanted is None or _is_read(field.name, wanted)
    )
    # Arrow cannot combine row groups in a batch if dictionaries are nested in lists or structs.
    nested = any(
        not pa.types.is_dictionary(field.type) and without_dictionaries(field.type) != field.type
        for field in parquet.schema_arrow
    )
    numbers = range(len(rows)) if row_groups is None else row_groups
    for run in runs(rows, numbers, 1 if nested else batch_size):
        found = [(rows[group], chunks[group]) for group in run]
        if any(count and len(columns) != len(leaves) for count, columns in found):
            raise _ambiguous_footer()
        size = rows_at_once(data, found, chosen, batch_size, kept=kept, min_row_bytes=min_row_bytes)
        yield from parquet.iter_batches(size, row_groups=run, columns=names)


def _ambiguous_footer() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is damaged: its footer is ambiguous.")


def json_text(value: Any) -> str | None:
    """Return a value of a mixed column as text: strings as they are, null as null, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@contextmanager
def opened(path: Path) -> Iterator[tuple[pq.ParquetFile, pa.NativeFile]]:
    """Open a results file, also as bytes; errors other than a missing file become `CorruptResultsError`."""
    try:
        with pa.OSFile(str(path)) as data, pq.ParquetFile(data) as file:
            yield file, data
    except CorruptResultsError as error:
        error.suggest(_REFRESH)
        raise
    except FileNotFoundError:
        raise  # the caller can name the results
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise CorruptResultsError(
            "The stored results cannot be read: the file is damaged.", hint=_REFRESH
        ) from error


@lru_cache(maxsize=2)
def _chunks(path: str, size: int, _modified: int) -> Chunks:
    """Return the column chunks of a file; cached, so that reading it in parts reads the footer once."""
    with Path(path).open("rb") as file:
        return Chunks(file, size)


def _is_read(leaf: str, names: Collection[str]) -> bool:
    """Return whether a leaf column is read; its name and the separator of nested names may both contain dots."""
    return leaf in names or any(leaf[:place] in names for place, letter in enumerate(leaf) if letter == ".")


def _names_to_read(wire: pa.Schema, columns: Sequence[Column]) -> list[str] | None:
    """Return the names for the Parquet reader, or None for all columns if names are not unique."""
    if len(set(wire.names)) < len(wire):
        return None
    return [wire.field(column.source).name for column in columns]


def _has_negative_list(kind: pa.DataType) -> bool:
    """Return whether a type has lists of negative size: Arrow accepts them in a footer, but cannot build an array."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_negative_list(kind.storage_type)
    if pa.types.is_fixed_size_list(kind) and kind.list_size < 0:
        return True
    return any(_has_negative_list(kind.field(number).type) for number in range(kind.num_fields))


def _view_type(kind: Kind, wire: pa.DataType) -> pa.DataType:
    if kind == "carried":  # Arrow's own functions and Dask do not support views
        return (
            pa.large_string()
            if wire == pa.string_view()
            else pa.large_binary()
            if wire == pa.binary_view()
            else wire
        )
    if kind in {"cumulative_logprobs", "confidence_score"}:
        return pa.float64()
    if kind == "outputs" and _is_plain_list(wire):
        return wire
    return pa.string()


def _is_plain_list(wire: pa.DataType) -> bool:
    """Return whether values are embeddings or samplings: lists of numbers, booleans or strings."""
    kinds = pa.types
    is_list = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list, kinds.is_list_view)
    if not any(test(wire) for test in is_list):
        return False
    value = wire.value_type
    return _is_text(value) or any(
        test(value) for test in (kinds.is_integer, kinds.is_floating, kinds.is_boolean)
    )


def _is_text(wire: pa.DataType) -> bool:
    if pa.types.is_dictionary(wire):
        return _is_text(wire.value_type)
    return wire in {
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.null(),
    } or bool(pa.types.is_fixed_size_binary(wire))  # fmt: skip


def _as_type(array: pa.Array, target: pa.DataType) -> pa.Array:
    if target == pa.string():
        return _as_text(array)
    if array.type == target:
        return array
    if target == pa.float64() and _is_text(array.type):
        # Numbers of a CSV; an empty field is not a number, quoted or not. (Comparing with a Python string would
        # import pandas.)
        text = pc.utf8_trim_whitespace(array.cast(pa.string()))
        empty = pc.match_substring_regex(text, pattern="^$")
        array = pc.if_else(empty, pa.nulls(1, pa.string())[0], text)
    return array.cast(target)


def _as_text(array: pa.Array) -> pa.Array:
    """Return strings as they are, anything else as JSON text."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if _is_text(array.type):
        array.validate(full=True)  # neither the Parquet reader nor a cast validates UTF-8
        if pa.types.is_dictionary(array.type):
            # Arrow before 26 does not detect that decoded strings exceed the type; this cast does.
            array = array.dictionary.cast(pa.large_string()).take(array.indices)
        return array if array.type == pa.string() else array.cast(pa.string())
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    return pa.array([json_text(value) for value in array.to_pylist()], pa.string())
