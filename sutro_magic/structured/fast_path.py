"""Rows of a shape that is known: found by a pattern, read by Arrow, with nothing left to guess."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from sutro_magic.structured.patterns import row_pattern
from sutro_magic.structured.shapes import Shape, arrow_type

FEWEST_ROWS = 32
"""Fewer rows than that are not halved any more to find the one that Arrow refuses."""

Mask = Any  # a numpy array of bool; numpy's own name for it says no more


def read_known(texts: pa.StringArray, shape: Shape, *, complete: bool) -> tuple[Mask, list[pa.Array]]:
    """Read those rows that are certainly objects of a shape.

    Parameters
    ----------
    texts : pyarrow.StringArray
        Without nulls.
    shape : Shape
        Of an object.
    complete : bool
        Take only rows with all keys in order, or with any of them in any order.

    Returns
    -------
    (numpy.ndarray of bool, list of pyarrow.Array)
        Which rows were read, and their values, one array per key.
    """
    try:
        matches = pc.match_substring_regex(texts, pattern=row_pattern(shape, complete=complete))
    except pa.ArrowInvalid:  # more columns than an expression can hold
        matches = pa.nulls(len(texts), pa.bool_()).is_valid()
    mask = matches.to_numpy(zero_copy_only=False)
    chosen = texts if mask.all() else texts.filter(matches)
    read, columns = _parse(chosen, shape)
    if not read.all():
        mask[np.flatnonzero(mask)[~read]] = False
    return mask, columns


def _parse(texts: pa.StringArray, shape: Shape) -> tuple[Mask, list[pa.Array]]:
    """Read rows that match; what Arrow refuses all the same, a key that stands twice, is left out."""
    schema = pa.schema([pa.field(key, arrow_type(inner)) for key, inner in shape.fields])
    table = _read_json(texts, schema) if len(texts) else schema.empty_table()
    if table is not None and table.num_rows == len(texts):
        return np.ones(len(texts), bool), [_in_one(column) for column in table.columns]
    if len(texts) <= FEWEST_ROWS:
        return np.zeros(len(texts), bool), [_in_one(column) for column in schema.empty_table().columns]
    half = len(texts) // 2
    first, second = _parse(texts.slice(0, half), shape), _parse(texts.slice(half), shape)
    return np.concatenate([first[0], second[0]]), [
        pa.concat_arrays(pair) for pair in zip(first[1], second[1], strict=True)
    ]


def _read_json(texts: pa.StringArray, schema: pa.Schema) -> pa.Table | None:
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = data.slice(int(ends[0]), int(ends[-1] - ends[0]))
    try:
        return pa.json.read_json(
            pa.BufferReader(data),
            # All in one block, so that nothing needs to stand between the rows.
            read_options=pa.json.ReadOptions(use_threads=False, block_size=data.size + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid:
        return None


def _in_one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
