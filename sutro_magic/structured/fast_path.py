"""Fast path: rows of a known shape are selected by a regular expression and parsed by Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from sutro_magic.structured.patterns import row_pattern
from sutro_magic.structured.shapes import Shape, arrow_type

MIN_SPLIT_ROWS = 32
"""Fewer rows are not split any more to find the one that Arrow rejects."""

Mask = Any  # a numpy array of bool; npt.NDArray would add nothing


def read_known(strings: pa.StringArray, shape: Shape, *, complete: bool) -> tuple[Mask, list[pa.Array]]:
    """Read the rows that certainly are objects of a shape.

    Parameters
    ----------
    strings : pyarrow.StringArray
        Without nulls.
    shape : Shape
        Shape of an object.
    complete : bool
        Require all keys in order; otherwise accept any of them in any order.

    Returns
    -------
    (numpy.ndarray of bool, list of pyarrow.Array)
        Mask of the rows that were read, and their values, one array per key.
    """
    try:
        matches = pc.match_substring_regex(strings, pattern=row_pattern(shape, complete=complete))
    except pa.ArrowInvalid:  # too many columns for a regular expression
        matches = pa.nulls(len(strings), pa.bool_()).is_valid()
    mask = matches.to_numpy(zero_copy_only=False)
    chosen = strings if mask.all() else strings.filter(matches)
    read, columns = _parse(chosen, shape)
    if not read.all():
        mask[np.flatnonzero(mask)[~read]] = False
    return mask, columns


def _parse(strings: pa.StringArray, shape: Shape) -> tuple[Mask, list[pa.Array]]:
    """Parse rows that match; rows that Arrow still rejects, such as those with duplicate keys, are left out."""
    schema = pa.schema([pa.field(key, arrow_type(inner)) for key, inner in shape.fields])
    table = _read_json(strings, schema) if len(strings) else schema.empty_table()
    if table is not None and table.num_rows == len(strings):
        return np.ones(len(strings), bool), [_in_one(column) for column in table.columns]
    if len(strings) <= MIN_SPLIT_ROWS:
        return np.zeros(len(strings), bool), [_in_one(column) for column in schema.empty_table().columns]
    half = len(strings) // 2
    first, second = _parse(strings.slice(0, half), shape), _parse(strings.slice(half), shape)
    return np.concatenate([first[0], second[0]]), [
        pa.concat_arrays(pair) for pair in zip(first[1], second[1], strict=True)
    ]


def _read_json(strings: pa.StringArray, schema: pa.Schema) -> pa.Table | None:
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1]
    data = data.slice(int(ends[0]), int(ends[-1] - ends[0]))
    try:
        return pa.json.read_json(
            pa.BufferReader(data),
            # One block, so that no separator is needed between rows.
            read_options=pa.json.ReadOptions(use_threads=False, block_size=data.size + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid:
        return None


def _in_one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
