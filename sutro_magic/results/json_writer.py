"""Arrow columns as JSON texts, in C++ and exact: every digit of an integer, every key where it stood.

DuckDB is as fast, but renames a column ``A`` beside ``a`` and writes NaN, which no reader takes; pandas keeps
10 digits of a float.
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


def json_texts(array: pa.Array) -> pa.Array:
    """Return the JSON text of each value.

    Null and the numbers that JSON does not have (NaN, Infinity) are ``null``; timestamps, dates and times
    are ISO 8601, decimals are numbers with all their digits, binary values are Base64.

    Parameters
    ----------
    array : pyarrow.Array
        Of any type; not so long that its texts outgrow memory.

    Returns
    -------
    pyarrow.LargeStringArray
        Without nulls.
    """
    return pc.coalesce(_texts(array), _text("null"))


def json_objects(names: Sequence[str], columns: Sequence[pa.Array], rows: int, end: str = "") -> pa.Array:
    """Return one JSON object for each row.

    Parameters
    ----------
    names : sequence of str
        Keys, in order.
    columns : sequence of pyarrow.Array
        Their values.
    rows : int
        How many rows there are.
    end : str
        Follows each object.
    """
    pieces: list[Any] = []
    for name, column in zip(names, columns, strict=True):
        key = json.dumps(name, ensure_ascii=False)
        pieces += [_text(f"{',' if pieces else '{'}{key}:"), json_texts(column)]
    if not pieces:
        return pa.repeat(_text(f"{{}}{end}"), rows)
    return _joined(*pieces, _text(f"}}{end}"))


def plain_texts(array: pa.Array) -> pa.Array:
    """Return values that are not nested as text, null as null.

    Dates, times and timestamps are ISO 8601, decimals have all their digits, binary values are Base64.
    """
    kind, kinds = array.type, pa.types
    if any(test(kind) for test in _OF_PYTHON):
        return pa.array([_by_python(value) for value in array.to_pylist()], pa.large_string())
    texts = array.cast(pa.large_string())
    if kinds.is_timestamp(kind):
        texts = pc.replace_substring(texts, " ", "T", max_replacements=1)
        if kind.tz is not None:
            texts = pc.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2")
    return texts


def _texts(array: pa.Array) -> pa.Array:  # noqa: PLR0911 - one for each kind of value
    kind, kinds = array.type, pa.types
    if isinstance(array, pa.ExtensionArray):
        return _texts(array.storage)
    if kinds.is_dictionary(kind):
        return _texts(array.cast(kind.value_type))
    if kinds.is_run_end_encoded(kind):
        return _texts(pc.run_end_decode(array))
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
        return _list(pairs, _joined(_quoted(plain_texts(keys)), _text(":"), json_texts(values)), "{}")
    if _is_list(kind):
        return _list(array, json_texts(pc.list_flatten(array)), "[]")
    return _quoted(plain_texts(array))


def _numbers(array: pa.Array) -> pa.Array:
    texts = array.cast(pa.large_string())
    # A float that is whole stays one for whoever reads it: 1.0, not 1.
    if pc.any(pc.equal(pc.trunc(array), array)).as_py():
        texts = pc.replace_substring_regex(texts, r"^(-?\d+)$", r"\1.0")
    return pc.if_else(pc.is_finite(array), texts, pa.scalar(None, pa.large_string()))


def _quoted(texts: pa.Array) -> pa.Array:
    """Escape what JSON asks to be escaped; all else stays as it is."""
    present = _bytes_in(texts)
    for byte, escaped in ((ord("\\"), "\\\\"), (ord('"'), '\\"')):  # backslashes first
        if present[byte]:
            texts = pc.replace_substring(texts, chr(byte), escaped)
    for byte in np.flatnonzero(present[:_FIRST_PRINTABLE]).tolist():
        texts = pc.replace_substring(texts, chr(byte), _SHORT.get(byte, f"\\u{byte:04x}"))
    return _joined(_text('"'), texts, _text('"'))


def _bytes_in(texts: pa.Array) -> Any:
    """Return, for each of the 256 bytes, whether it occurs."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(256, bool)
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.bincount(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], minlength=256) > 0


def _list(array: pa.Array, texts: pa.Array, brackets: str) -> pa.Array:
    """Join the texts of the elements of each list."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), texts), _text(","))
    return _where_valid(array, _joined(_text(brackets[0]), joined, _text(brackets[1])))


def _where_valid(array: pa.Array, texts: pa.Array) -> pa.Array:
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.large_string()))


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
    """Write a value of a type that is rare, and that Arrow cannot write."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if value is None else str(value)


_OF_PYTHON = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
    pa.types.is_duration, pa.types.is_interval,
)  # fmt: skip
