"""Build Arrow arrays of a shape from Python values, and widen arrays to other shapes without loss."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic.structured.shapes import EXACT_IN_FLOAT, INT, LONG, NULL, Shape, arrow_type, object_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def from_values(values: Sequence[Any], shape: Shape) -> pa.Array:
    """Return an array of values that have a shape; a missing key or value is null."""
    if shape.kind == "mixed":
        values = [None if value is None else _dumps(value) for value in values]
    elif shape.kind == "big":
        values = [None if value is None else Decimal(value) for value in values]
    return pa.array(values, arrow_type(shape))


def widen(array: pa.Array, shape: Shape, target: Shape) -> pa.Array:
    """Return an array widened from its shape to another one, without changing a value.

    Parameters
    ----------
    array : pyarrow.Array
    shape : Shape
        Shape of the array. The type does not determine it: an array of nulls also has the type of text.
    target : Shape
        Target shape, with ``join(shape, target) == target``.
    """
    kind = arrow_type(target)
    if shape.kind == "null":
        return pa.nulls(len(array), kind)
    if shape.kind == "mixed" or shape.kind == target.kind not in {"list", "object"}:
        return array
    if target.kind == "mixed":
        return _as_json(array)
    if target.kind == "list" and shape.item and target.item:
        # A slice shares its values with the whole array; flattened, it has only its own.
        items = widen(array.flatten(), shape.item, target.item)
        return pa.ListArray.from_arrays(_own_offsets(array), items, type=kind, mask=_mask(array))
    if target.kind == "object":
        return _widen_objects(array, shape, target, kind)
    return array.cast(kind)


def observe(array: pa.Array, shape: Shape) -> Shape:
    """Return the shape, with integers distinguished by whether floats represent them exactly."""
    if shape.kind in {"int", "long"}:
        ends = pc.min_max(array)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        exact = low is None or (low >= -EXACT_IN_FLOAT and high <= EXACT_IN_FLOAT)
        return Shape(INT.kind if exact else LONG.kind, nullable=shape.nullable)
    if shape.kind == "list" and shape.item:
        return Shape("list", item=observe(array.flatten(), shape.item), nullable=shape.nullable)
    if shape.kind == "object":
        inner = array.flatten()
        fields = [(key, observe(inner[i], field)) for i, (key, field) in enumerate(shape.fields)]
        return object_of(fields, loose=shape.loose, nullable=shape.nullable)
    return shape


def _widen_objects(array: pa.Array, shape: Shape, target: Shape, kind: pa.DataType) -> pa.Array:
    known = {key: (i, inner) for i, (key, inner) in enumerate(shape.fields)}
    have = array.flatten()
    columns = []
    for key, wanted in target.fields:
        if key in known:
            place, inner = known[key]
            columns.append(widen(have[place], inner, wanted))
        else:
            columns.append(widen(pa.nulls(len(array), pa.string()), NULL, wanted))
    return pa.StructArray.from_arrays(columns, fields=list(kind), mask=_mask(array))


def _own_offsets(array: pa.ListArray) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    ends = pc.cumulative_sum(lengths)
    return pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _as_json(array: pa.Array) -> pa.Array:
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) or pa.types.is_decimal(array.type):
        return array.cast(pa.string())
    strings = [None if value is None else _dumps(value) for value in array.to_pylist()]
    return pa.array(strings, pa.string())


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
