"""Shapes: the kinds of JSON values in a column, and how to combine them without loss.

A shape represents every value it was made from exactly. Values without such a common shape have the shape
`MIXED`: they stay JSON text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["null", "bool", "int", "long", "big", "float", "text", "list", "object", "mixed"]

EXACT_IN_FLOAT = 2**53
"""Up to this magnitude, float64 represents every integer."""

BIG_DIGITS = 38
"""Digits of integers in `pyarrow.decimal128`."""

MAX_TYPE_DEPTH = 16
"""Maximum nesting of lists and objects in a typed column; Arrow's file format allows 64."""


@dataclass(frozen=True)
class Shape:
    """Kind of the values of a column, or of nested values.

    Attributes
    ----------
    kind : str
        ``int`` is an integer that float64 represents exactly, ``long`` one of 64 bits, ``big`` one of up to 38
        digits.
    item : Shape or None
        Shape of the elements of a list.
    fields : tuple of (str, Shape)
        Keys of an object, in order.
    loose : bool
        Whether keys of an object may be missing, as a JSON schema allows. Without a schema, objects with other keys
        are another kind of value: filling in nulls would change them.
    nullable : bool
        Whether null is allowed.
    """

    kind: Kind
    item: Shape | None = None
    fields: tuple[tuple[str, Shape], ...] = ()
    loose: bool = False
    nullable: bool = True


NULL = Shape("null")
BOOL = Shape("bool")
INT = Shape("int")
LONG = Shape("long")
BIG = Shape("big")
FLOAT = Shape("float")
TEXT = Shape("text")
MIXED = Shape("mixed")

_INTEGERS: tuple[Kind, ...] = ("int", "long", "big")


def shape_of(value: Any, depth: int = 0) -> Shape:  # noqa: PLR0911 - one line a kind
    """Return the shape of a value from `json.loads`."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return TEXT
    if isinstance(value, int):
        return _shape_of_integer(value)
    if isinstance(value, float):
        return FLOAT
    if depth >= MAX_TYPE_DEPTH:
        return MIXED
    if isinstance(value, list):
        return list_of(join_all(shape_of(item, depth + 1) for item in value))
    return object_of((key, shape_of(item, depth + 1)) for key, item in value.items())


def list_of(item: Shape) -> Shape:
    """Return the shape of lists; `MIXED` if the elements have no type."""
    # Decimals only at the top level: not every engine supports them in lists.
    return MIXED if item.kind in {"mixed", "big"} else Shape("list", item=item)


def object_of(fields: Iterable[tuple[str, Shape]], *, loose: bool = False, nullable: bool = True) -> Shape:
    """Return the shape of objects; `MIXED` if a field has no type."""
    kept = tuple(fields)
    if any(shape.kind in {"mixed", "big"} for _, shape in kept):
        return MIXED
    return Shape("object", fields=kept, loose=loose, nullable=nullable)


def row_of(fields: Iterable[tuple[str, Shape]], *, nullable: bool = True) -> Shape:
    """Return the shape of whole outputs; their keys become columns, and any of them may be missing."""
    return Shape("object", fields=tuple(fields), loose=True, nullable=nullable)


def join(one: Shape, other: Shape) -> Shape:  # noqa: PLR0911 - one line a rule
    """Return the narrowest shape that represents the values of both exactly."""
    if one == other:
        return one
    if "null" in {one.kind, other.kind}:
        return replace(other if one.kind == "null" else one, nullable=True)
    nullable = one.nullable or other.nullable
    if one.kind == other.kind == "list" and one.item and other.item:
        return replace(list_of(join(one.item, other.item)), nullable=nullable)
    if one.kind == other.kind == "object":
        return replace(_join_objects(one, other), nullable=nullable)
    if one.kind == other.kind:
        return replace(one, nullable=nullable)
    if one.kind in _INTEGERS and other.kind in _INTEGERS:
        wider = one if _INTEGERS.index(one.kind) > _INTEGERS.index(other.kind) else other
        return replace(wider, nullable=nullable)
    if {one.kind, other.kind} == {"int", "float"}:
        return replace(FLOAT, nullable=nullable)
    return MIXED


def join_all(shapes: Iterable[Shape]) -> Shape:
    """Return the join of any number of shapes; `NULL` for none."""
    joined = NULL
    for shape in shapes:
        joined = join(joined, shape)
    return joined


def fill(declared: Shape, found: Shape) -> Shape:
    """Return a declared shape, completed with an observed one where the declaration is open."""
    if declared.kind == "null":
        return found
    if declared.kind == found.kind == "list" and declared.item and found.item:
        return replace(declared, item=fill(declared.item, found.item))
    if declared.kind == found.kind == "object":
        inside = dict(found.fields)
        fields = [(key, fill(shape, inside.pop(key, NULL))) for key, shape in declared.fields]
        return replace(declared, fields=(*fields, *inside.items()))
    if declared.kind in _INTEGERS and found.kind in _INTEGERS:
        return replace(join(declared, found), nullable=declared.nullable)
    return declared


def dominant(shapes: Iterable[Shape]) -> Shape:
    """Return the most frequent shape, without shapes that would make it `MIXED`."""
    found = NULL
    for shape, _ in Counter(shapes).most_common():
        joined = join(found, shape)
        if joined.kind != "mixed":
            found = joined
    return found


def arrow_type(shape: Shape) -> pa.DataType:
    """Return the Arrow type of a shape; a column without values is text."""
    if shape.kind == "list":
        return pa.list_(arrow_type(shape.item or NULL))
    if shape.kind == "object":
        return pa.struct([pa.field(key, arrow_type(inner)) for key, inner in shape.fields])
    return _SCALARS[shape.kind]


def settle(shape: Shape) -> Shape:
    """Return the final shape of a column: objects that are always empty have no type in most engines."""
    return MIXED if _has_empty_object(shape) else shape


def _shape_of_integer(value: int) -> Shape:
    if -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT:
        return INT
    if -(2**63) <= value < 2**63:
        return LONG
    return BIG if abs(value) < 10**BIG_DIGITS else MIXED


def _join_objects(one: Shape, other: Shape) -> Shape:
    first, second = dict(one.fields), dict(other.fields)
    loose = one.loose or other.loose
    if first.keys() != second.keys() and not loose:
        return MIXED
    fields = [(key, join(shape, second.get(key, NULL))) for key, shape in first.items()]
    fields += [(key, shape) for key, shape in second.items() if key not in first]
    return object_of(fields, loose=loose)


def _has_empty_object(shape: Shape) -> bool:
    if shape.kind == "object":
        return not shape.fields or any(_has_empty_object(inner) for _, inner in shape.fields)
    return shape.item is not None and _has_empty_object(shape.item)


_SCALARS: dict[Kind, pa.DataType] = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "big": pa.decimal128(BIG_DIGITS, 0),
    "float": pa.float64(),
    "text": pa.string(),
    "mixed": pa.string(),
}
