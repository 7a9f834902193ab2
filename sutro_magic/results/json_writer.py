"""Convert Arrow columns to JSON text, in C++ and without loss: all digits of integers, all keys in order.

DuckDB is as fast, but renames a column ``A`` beside ``a`` and writes NaN, which is not valid JSON; pandas keeps 10
digits of a float.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord("\b"): "\\b", ord("\f"): "\\f"}
_FIRST_PRINTABLE = 0x20


def json_strings(array: pa.Array) -> pa.Array:
    """Return the JSON text of each value.

    Nulls and numbers that JSON does not support (NaN, Infinity) become ``null``; timestamps, dates and times are ISO 8601,
    decimals are numbers with all digits, binary values are Base64.

    Parameters
    ----------
    array : pyarrow.Array
        Of any type; its JSON text must fit into memory.

    Returns
    -------
    pyarrow.LargeStringArray
        Without nulls.
    """
    return pc.coalesce(_strings(array), _text("null"))


def json_objects(names: Sequence[str], columns: Sequence[pa.Array], rows: int, end: str = "") -> pa.Array:
    """Return one JSON object for each row.

    Parameters
    ----------
    names : sequence of str
        Keys, in order.
    columns : sequence of pyarrow.Array
        Their values.
    rows : int
        Number of rows.
    end : str
        String appended to each object.
    """
    pieces: list[Any] = []
    for name, column in zip(names, columns, strict=True):
        key = json.dumps(name, ensure_ascii=False)
        pieces += [_text(f"{',' if pieces else '{'}{key}:"), json_strings(column)]
    if not pieces:
        return pa.repeat(_text(f"{{}}{end}"), rows)
    return _joined(*pieces, _text(f"}}{end}"))


def plain_strings(array: pa.Array) -> pa.Array:
    """Return values that are not nested as strings; null stays null.

    Dates, times and timestamps are ISO 8601, decimals have all digits, binary values are Base64.
    """
    kind, kinds = array.type, pa.types
    if any(test(kind) for test in _OF_PYTHON):
        return pa.array([_by_python(value) for value in array.to_pylist()], pa.large_string())
    strings = array.cast(pa.large_string())
    if kinds.is_timestamp(kind):
        strings = pc.replace_substring(strings, " ", "T", max_replacements=1)
        if kind.tz is not None:
            strings = pc.replace_substring_regex(strings, r"([+-]\d\d)(\d\d)$", r"\1:\2")
    return strings


def _strings(array: pa.Array) -> pa.Array:  # noqa: PLR0911 - one for each kind of value
    kind, kinds = array.type, pa.types
    if isinstance(array, pa.ExtensionArray):
        return _strings(array.storage)
    if kinds.is_dictionary(kind):
        return _strings(array.cast(kind.value_type))
    if kinds.is_run_end_encoded(kind):
        return _strings(pc.run_end_decode(array))
    if kinds.is_null(kind) or kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_decimal(kind):
        return array.cast(pa.large_string())
    if kinds.is_floating(kind):
        return _numbers(array.cast(pa.float32()) if kinds.is_float16(kind) else array)
    if kinds.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return _where_valid(array, json_objects(names, array.flatten(), len(array)))
    if kinds.is_map(kind):
        fields = [pa.field("key", kind.key_type), pa.field("value", kind.item_type)]
        pairs = array.cast(pa.list_(pa.struct(fields)))
        keys, values = pc.list_flatten(pairs).flatten()
        if kinds.is_nested(kind.key_type):
            return _list(pairs, json_objects(["key", "value"], [keys, values], len(keys)), "[]")
        return _list(pairs, _joined(_quoted(plain_strings(keys)), _text(":"), json_strings(values)), "{}")
    if _is_list(kind):
        return _list(array, json_strings(pc.list_flatten(array)), "[]")
    return _quoted(plain_strings(array))


def _numbers(array: pa.Array) -> pa.Array:
    strings = array.cast(pa.large_string())
    # Keep whole floats recognizable as floats: 1.0, not 1.
    if pc.any(pc.equal(pc.trunc(array), array)).as_py():
        strings = pc.replace_substring_regex(strings, r"^(-?\d+)$", r"\1.0")
    return pc.if_else(pc.is_finite(array), strings, pa.scalar(None, pa.large_string()))


def _quoted(strings: pa.Array) -> pa.Array:
    """Return JSON strings, with only the necessary escapes."""
    present = _bytes_in(strings)
    for byte, escaped in ((ord("\\"), "\\\\"), (ord('"'), '\\"')):  # backslashes first
        if present[byte]:
            strings = pc.replace_substring(strings, chr(byte), escaped)
    for byte in np.flatnonzero(present[:_FIRST_PRINTABLE]).tolist():
        strings = pc.replace_substring(strings, chr(byte), _SHORT.get(byte, f"\\u{byte:04x}"))
    return _joined(_text('"'), strings, _text('"'))


def _bytes_in(strings: pa.Array) -> Any:
    """Return a mask of the byte values that occur."""
    _, offsets, data = strings.buffers()
    if data is None or not len(strings):
        return np.zeros(256, bool)
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.bincount(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], minlength=256) > 0


def _list(array: pa.Array, strings: pa.Array, brackets: str) -> pa.Array:
    """Return JSON lists from the JSON text of their elements."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), strings), _text(","))
    return _where_valid(array, _joined(_text(brackets[0]), joined, _text(brackets[1])))


def _where_valid(array: pa.Array, strings: pa.Array) -> pa.Array:
    return pc.if_else(array.is_valid(), strings, pa.scalar(None, pa.large_string()))


def _joined(*pieces: Any) -> pa.Array:
    return pc.binary_join_element_wise(*pieces, _text(""))


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _is_list(kind: pa.DataType) -> bool:
    kinds = pa.types
    tests = (
        kinds.is_list,
        kinds.is_large_list,
        kinds.is_fixed_size_list,
        kinds.is_list_view,
        kinds.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def _by_python(value: Any) -> str | None:
    """Return a value of a rare type that Arrow cannot cast to a string."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if value is None else str(value)


_OF_PYTHON = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
    pa.types.is_duration, pa.types.is_interval,
)  # fmt: skip
