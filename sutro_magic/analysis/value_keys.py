"""Canonical strings of values of any type, for comparing columns without a common type.

A string is its own key and a number has one spelling (``1`` for 1.0). Lists and objects become JSON with sorted keys,
without members that are null: Arrow adds those, so they carry no information.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic.query.table_query import kind_of
from sutro_magic.results.json_writer import json_strings, plain_strings

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 65_536
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def comparison_keys(
    column: pa.ChunkedArray, *, is_json: bool = False, with_numbers: bool = False, on_rows: Callable[[], None]
) -> pa.ChunkedArray:
    """Return the canonical string of each value of a column; null stays null.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
    is_json : bool
        Whether the strings are JSON, of a column with values of several types.
    with_numbers : bool
        Whether the strings are compared with numbers; strings that are numbers then get their spelling.
    on_rows : callable
        Called repeatedly; an exception stops the work.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    parts = []
    for chunk in column.chunks:
        for start in range(0, len(chunk), _AT_ONCE):
            on_rows()
            parts.append(
                _keys(chunk.slice(start, _AT_ONCE), kind, is_json=is_json, with_numbers=with_numbers)
            )
    return pa.chunked_array(parts, pa.large_string())


def _keys(array: pa.Array, kind: pa.DataType, *, is_json: bool, with_numbers: bool) -> pa.Array:
    what = kind_of(kind)
    if what == "nested":
        return _each(pc.if_else(array.is_valid(), json_strings(array), None), _of_json)
    if what == "text" and is_json:
        return _each(array, _of_json)
    if what == "text":
        return _each(array, _of_text) if with_numbers else array.cast(pa.large_string())
    if what in {"number", "bool"} and not pa.types.is_integer(kind):
        return _each(array, _written)
    return plain_strings(array)


def _each(array: pa.Array, write: Callable[[Any], str]) -> pa.Array:
    """Apply a function to each distinct value."""
    encoded = array.dictionary_encode()
    keys = [None if value is None else write(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(keys, pa.large_string()).take(encoded.indices)


def _of_json(text: str) -> str:
    try:
        return _written(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _of_text(text: str) -> str:
    return _of_json(text) if _NUMBER.fullmatch(text) else text


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return _ENCODE(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value with the same JSON as all values equal to it."""
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if math.isfinite(value) and value == int(value) else float(value)
