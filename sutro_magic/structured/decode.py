"""Decode a chunk of outputs into columns: most rows in C++, others one by one, without changing a value.

Rows that match the pattern of a known shape are read by Arrow with exactly that shape. All other rows are read
with Python's parser; they widen the columns of the chunk, or become row errors.
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
"""With this many rows of unknown shape left, another shape is inferred from them."""
MAX_SAMPLES = 4


_Indices = Any  # a numpy array of int64


class TooManyColumnsError(ValueError):
    """The outputs have too many different keys for a table."""

    def __init__(self) -> None:
        super().__init__(f"they have more than {limits.UNFOLDED_COLUMNS:,} different keys")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Columns decoded from a chunk of outputs, and the rows that failed.

    Attributes
    ----------
    shapes, columns : dict
        By key path; each column is as long as the chunk.
    raw, errors : pyarrow.StringArray
        Text and reason of outputs that failed; null in all other rows.
    nulls, failed, objects : int
        Numbers of outputs that are null, that failed, and that are JSON objects (some failures included).
    misfits : int
        Failures that are objects of another kind than the plan expects.
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
    """A shape of outputs, and the position of its columns.

    With ``inner``, the content of an envelope is text that contains the fields.
    """

    shape: Shape
    content: Shape | None = None
    inner: Plan | None = None

    def unpack(self, columns: list[pa.Array]) -> dict[Key, tuple[Shape, pa.Array]]:
        """Return shape and values of each column by key path."""
        if self.content is None:
            return {(name,): (kind, columns[i]) for i, (name, kind) in enumerate(self.shape.fields)}
        inside = columns[0].flatten()
        found: dict[Key, tuple[Shape, pa.Array]] = {
            (CONTENT, name): (kind, inside[i]) for i, (name, kind) in enumerate(self.content.fields)
        }
        return {**found, REASONING_KEY: (TEXT, columns[1])}


def decode(strings: pa.StringArray, plan: Plan) -> Chunk:
    """Decode a chunk of outputs.

    Parameters
    ----------
    strings : pyarrow.StringArray
        Outputs; null if missing.
    plan : Plan
        Its guess may be empty.
    """
    rows = np.arange(len(strings))
    present = strings
    if strings.null_count:
        rows = rows[strings.is_valid().to_numpy(zero_copy_only=False)]
        present = strings.drop_null()
    parts, odd = _read_known(present, rows, plan)
    objects = sum(len(part.rows) for part in parts)
    misfits = 0
    read_rows, values, error_rows, reasons = [], [], [], []
    for row, text in zip(odd.tolist(), strings.take(pa.array(odd)).to_pylist(), strict=True):
        try:
            values.append(read_fields(text, plan))
            read_rows.append(row)
            objects += 1
        except RowError as error:
            # Keep only the text: the exception would keep its traceback alive.
            reasons.append(str(error))
            error_rows.append(row)
            objects += error.is_object
            misfits += isinstance(error, MisfitError)
    shapes, columns = _merge(len(strings), parts, np.array(read_rows, dtype=np.int64), values, plan)
    places = np.full(len(strings), -1)
    places[error_rows] = np.arange(len(error_rows))
    failed = pa.array(places, mask=places < 0)
    return Chunk(
        shapes=shapes,
        columns=columns,
        raw=strings.take(pa.array(error_rows, pa.int64())).take(failed),
        errors=pa.array(reasons, pa.string()).take(failed),
        nulls=strings.null_count,
        failed=len(reasons),
        objects=objects,
        misfits=misfits,
    )


# --- rows of a known shape --------------------------------------------------------------------


def _read_known(strings: pa.Array, rows: _Indices, plan: Plan) -> tuple[list[_Part], _Indices]:
    """Read all rows of known shapes; return them in parts, and the remaining rows."""
    parts: list[_Part] = []
    if plan.schema and not plan.schema.provable:
        return parts, rows
    for attempt in range(MAX_SAMPLES):
        if attempt or not plan.guess:
            # Infer another shape only if enough rows are left.
            if attempt and len(rows) < MANY_ROWS:
                break
            fresh = learn(sample(strings), plan)
            if fresh == plan:
                break
            plan = fresh
        for form in _forms(plan):
            for complete in (True, False):
                if not len(rows):
                    return parts, rows
                mask, found = _read_form(strings, rows, form, plan, complete=complete)
                parts += found
                if mask.any():
                    strings, rows = strings.filter(pa.array(~mask)), rows[~mask]
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
    strings: pa.Array, rows: _Indices, form: _Form, plan: Plan, *, complete: bool
) -> tuple[Mask, list[_Part]]:
    """Read the rows of one form; return a mask of them and their content."""
    mask, columns = read_known(strings, form.shape, complete=complete)
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
    """Read objects that are written as text in envelopes."""
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
    """Return which rows may be errors although they have the shape."""
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
    """Combine the parts and the rows that were read one by one, in order, each column with a common shape."""
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
        # Declared shapes come first: they say which keys of objects may be missing.
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
