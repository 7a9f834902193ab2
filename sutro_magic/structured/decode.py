"""A chunk of outputs decoded into columns: most rows in C++, the odd ones one by one, none of them bent.

Rows that match the pattern of a known shape are read by Arrow with exactly that shape. All other rows are
read with Python's parser; what they hold widens the columns of the chunk, or is an error of theirs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sutro_magic import limits
from sutro_magic.structured.arrays import from_values, observe, widen
from sutro_magic.structured.fast_path import read_known
from sutro_magic.structured.json_object import RowError
from sutro_magic.structured.plan import (
    CONTENT,
    CONTENT_KEY,
    REASONING,
    REASONING_KEY,
    Key,
    MisfitError,
    Plan,
    learn,
    read_fields,
    sample,
)
from sutro_magic.structured.shapes import NULL, TEXT, Shape, join_all, row_of, settle, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sutro_magic.structured.fast_path import Mask

MANY_ROWS = 2_000
"""So many rows of unknown shape are worth another look for what they have in common."""
MOST_LOOKS = 4


_Indices = Any  # a numpy array of int64


class TooManyColumnsError(ValueError):
    """The outputs have more keys than a table should have columns."""

    def __init__(self) -> None:
        super().__init__(f"they have more than {limits.UNFOLDED_COLUMNS:,} different keys")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Columns decoded from a chunk of outputs, and what could not be.

    Attributes
    ----------
    shapes, columns : dict
        By where they come from; each column is as long as the chunk.
    raw, errors : pyarrow.StringArray
        Text and reason of the outputs that are errors; null in all other rows.
    nulls, failed, objects : int
        Outputs that are null, that are errors, that are JSON objects (some errors among them).
    misfits : int
        Errors that are objects of another kind than the plan expects.
    """

    shapes: dict[Key, Shape]
    columns: dict[Key, pa.Array]
    raw: pa.Array
    errors: pa.Array
    nulls: int
    failed: int
    objects: int
    misfits: int


@dataclass
class _Part:
    """Rows of a chunk that have the same shape."""

    rows: _Indices
    shapes: dict[Key, Shape]
    columns: dict[Key, pa.Array]


@dataclass
class _Form:
    """A shape in which outputs come, and where its columns are in it.

    With ``inner``, the content of an envelope is text in which the fields are to be found.
    """

    shape: Shape
    content: Shape | None = None
    inner: Plan | None = None

    def unpack(self, columns: list[pa.Array]) -> dict[Key, tuple[Shape, pa.Array]]:
        """Return shape and values of each column."""
        if self.content is None:
            return {(name,): (kind, columns[i]) for i, (name, kind) in enumerate(self.shape.fields)}
        inside = columns[0].flatten()
        found: dict[Key, tuple[Shape, pa.Array]] = {
            (CONTENT, name): (kind, inside[i]) for i, (name, kind) in enumerate(self.content.fields)
        }
        return {**found, REASONING_KEY: (TEXT, columns[1])}


def decode(texts: pa.StringArray, plan: Plan) -> Chunk:
    """Decode a chunk of outputs.

    Parameters
    ----------
    texts : pyarrow.StringArray
        Outputs; null where there is none.
    plan : Plan
        Its guess may be empty.
    """
    rows = np.arange(len(texts))
    present = texts
    if texts.null_count:
        rows = rows[texts.is_valid().to_numpy(zero_copy_only=False)]
        present = texts.drop_null()
    parts, odd = _read_known(present, rows, plan)
    objects = sum(len(part.rows) for part in parts)
    misfits = 0
    read_rows, values, error_rows, reasons = [], [], [], []
    for row, text in zip(odd.tolist(), texts.take(pa.array(odd)).to_pylist(), strict=True):
        try:
            values.append(read_fields(text, plan))
            read_rows.append(row)
            objects += 1
        except RowError as error:
            # Not the error itself: it would keep alive all that led to it.
            reasons.append(str(error))
            error_rows.append(row)
            objects += error.is_object
            misfits += isinstance(error, MisfitError)
    shapes, columns = _merge(len(texts), parts, np.array(read_rows, dtype=np.int64), values, plan)
    places = np.full(len(texts), -1)
    places[error_rows] = np.arange(len(error_rows))
    failed = pa.array(places, mask=places < 0)
    return Chunk(
        shapes=shapes,
        columns=columns,
        raw=texts.take(pa.array(error_rows, pa.int64())).take(failed),
        errors=pa.array(reasons, pa.string()).take(failed),
        nulls=texts.null_count,
        failed=len(reasons),
        objects=objects,
        misfits=misfits,
    )


# --- rows of a known shape --------------------------------------------------------------------


def _read_known(texts: pa.Array, rows: _Indices, plan: Plan) -> tuple[list[_Part], _Indices]:
    """Read all rows of known shape; return them in parts, and the rows that are left."""
    parts: list[_Part] = []
    if plan.schema and not plan.schema.provable:
        return parts, rows
    for look in range(MOST_LOOKS):
        if look or not plan.guess:
            # What is left has another shape; so much of it that it has one?
            if look and len(rows) < MANY_ROWS:
                break
            fresh = learn(sample(texts), plan)
            if fresh == plan:
                break
            plan = fresh
        for form in _forms(plan):
            for complete in (True, False):
                if not len(rows):
                    return parts, rows
                mask, found = _read_form(texts, rows, form, plan, complete=complete)
                parts += found
                if mask.any():
                    texts, rows = texts.filter(pa.array(~mask)), rows[~mask]
    return parts, rows


def _forms(plan: Plan) -> Iterator[_Form]:
    if plan.envelope == "none":
        yield _Form(row_of((key[0], kind) for key, kind in plan.guess.items()))
    elif plan.envelope == "content":
        yield _Form(_envelope_of(plan.guess.get(CONTENT_KEY, NULL)))
    else:
        guess = {key[1:]: kind for key, kind in plan.guess.items() if len(key) > 1}
        content = row_of(((key[0], kind) for key, kind in guess.items()), nullable=False)
        yield _Form(_envelope_of(content), content=content)
        yield _Form(_envelope_of(replace(TEXT, nullable=False)), inner=Plan(schema=plan.schema, guess=guess))


def _envelope_of(content: Shape) -> Shape:
    return row_of([(CONTENT, content), (REASONING, TEXT)])


def _read_form(
    texts: pa.Array, rows: _Indices, form: _Form, plan: Plan, *, complete: bool
) -> tuple[Mask, list[_Part]]:
    """Read the rows that have one form; return which, and what they hold."""
    mask, columns = read_known(texts, form.shape, complete=complete)
    if not mask.any():
        return mask, []
    if form.inner is not None:
        return _read_inner(rows, mask, columns, form.inner, complete=complete)
    found = form.unpack(columns)
    doubtful = _doubtful(columns, found, plan, complete=complete)
    if doubtful.any():
        mask[np.flatnonzero(mask)[doubtful]] = False
        sure = pa.array(~doubtful)
        found = {key: (kind, array.filter(sure)) for key, (kind, array) in found.items()}
    return mask, [
        _Part(
            rows=rows[mask],
            shapes={key: observe(array, kind) for key, (kind, array) in found.items()},
            columns={key: array for key, (_, array) in found.items()},
        )
    ]


def _read_inner(
    rows: _Indices, mask: Mask, columns: list[pa.Array], plan: Plan, *, complete: bool
) -> tuple[Mask, list[_Part]]:
    """Read objects written as text inside of envelopes."""
    content, reasoning = columns
    if not complete and (content.null_count or reasoning.null_count):  # a key may be missing
        return np.zeros(len(mask), bool), []
    inside, left = _read_known(content, np.arange(len(content)), plan)
    outside = rows[mask]
    mask[np.flatnonzero(mask)[left]] = False
    return mask, [
        _Part(
            rows=outside[part.rows],
            shapes={**{(CONTENT, *key): kind for key, kind in part.shapes.items()}, REASONING_KEY: TEXT},
            columns={
                **{(CONTENT, *key): array for key, array in part.columns.items()},
                REASONING_KEY: reasoning.take(pa.array(part.rows)),
            },
        )
        for part in inside
    ]


def _doubtful(
    columns: list[pa.Array], found: dict[Key, tuple[Shape, pa.Array]], plan: Plan, *, complete: bool
) -> Mask:
    """Tell which rows may be errors although they have the shape."""
    rows = len(columns[0]) if columns else 0
    doubtful = np.zeros(rows, bool)
    if plan.envelope != "none" and not complete:  # null, or a key that is missing
        for array in columns:
            doubtful |= array.is_null().to_numpy(zero_copy_only=False)
    if plan.schema is not None and rows:
        declared = {key[-1]: array for key, (_, array) in found.items() if key[:-1] == plan.prefix}
        suspects = plan.schema.suspects(declared, rows, complete=complete)
        doubtful |= suspects.to_numpy(zero_copy_only=False)
    return doubtful


# --- the chunk as a whole ---------------------------------------------------------------------


def _merge(
    rows: int, parts: list[_Part], odd: _Indices, values: list[dict[Key, Any]], plan: Plan
) -> tuple[dict[Key, Shape], dict[Key, pa.Array]]:
    """Put the parts and the odd rows together, in order, each column in the shape that fits all of it."""
    keys = dict.fromkeys(key for found in (*(part.shapes for part in parts), *values) for key in found)
    if len(keys) > limits.UNFOLDED_COLUMNS:
        raise TooManyColumnsError
    order = np.concatenate([*(part.rows for part in parts), odd])
    as_it_was = len(parts) == 1 and len(order) == rows and not values
    places = np.full(rows, -1)
    places[order] = np.arange(len(order))
    selection = pa.array(places, mask=places < 0)
    shapes: dict[Key, Shape] = {}
    columns: dict[Key, pa.Array] = {}
    for key in keys:
        own = [value.get(key) for value in values]
        # What is declared comes first: it says of which objects keys may be missing.
        known = [plan.declared.get(key, NULL), *(part.shapes.get(key, NULL) for part in parts)]
        shape = settle(join_all([*known, *map(shape_of, own)]))
        pieces = [_piece(part, key, shape) for part in parts]
        pieces += [from_values(own, shape)] if own else []
        shapes[key] = shape
        columns[key] = pieces[0] if as_it_was else pa.concat_arrays(pieces).take(selection)
    return shapes, columns


def _piece(part: _Part, key: Key, shape: Shape) -> pa.Array:
    if key not in part.columns:
        return widen(pa.nulls(len(part.rows), pa.string()), NULL, shape)
    return widen(part.columns[key], part.shapes[key], shape)
