"""Parse one output as one JSON object, strictly, or raise an error with a reason.

Python's parser does the work, but what it would accept or change is rejected: ``NaN``, numbers too large for a
float, duplicate keys, unpaired surrogates. Code fences and text around JSON are rejected too: the text may
contradict the answer.
"""

from __future__ import annotations

import json
import math
from typing import Any

from sutro_magic import limits

_SPACE = " \t\n\r"
_KINDS = {
    type(None): "null",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


class RowError(ValueError):
    """The reason why an output could not be unfolded.

    Attributes
    ----------
    is_object : bool
        Whether the output is a JSON object nevertheless.
    """

    def __init__(self, reason: str, *, is_object: bool = False) -> None:
        super().__init__(reason)
        self.is_object = is_object


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a string represents.

    Raises
    ------
    RowError
        With a short reason.
    """
    value = _read(text)
    if not isinstance(value, dict):
        raise RowError(f"{kind_of(value)}, not an object")
    _check(value)
    return value


def is_object(text: str) -> bool:
    """Return whether a string is a JSON object for Python's parser, even if `read_object` rejects it."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def kind_of(value: Any) -> str:
    """Return the kind of a value that is not an object, with its article."""
    return _KINDS.get(type(value), "a number")


class _Repeated(dict[str, Any]):
    """An object with a duplicate key."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.key = next(key for key in keys if keys.count(key) > 1)


class _Constant:
    """A word that Python's parser accepts as a number."""

    def __init__(self, name: str) -> None:
        self.name = name


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


# A module constant: creating a decoder with hooks takes longer than parsing most outputs.
_DECODER = json.JSONDecoder(object_pairs_hook=_collect, parse_constant=_Constant)


def _read(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowError(_what_is_wrong(text, error)) from None
    except RecursionError:
        reason = f"more than {limits.JSON_DEPTH} levels deep"
    except ValueError:  # Python limits integers to 4,300 digits
        reason = "a number with thousands of digits"
    raise RowError(reason, is_object=text.lstrip(_SPACE)[:1] == "{")


def _check(value: Any, depth: int = 0) -> None:
    if isinstance(value, str):
        if not value.isascii() and _has_half_pair(value):
            raise RowError("an unpaired surrogate, which is not valid text", is_object=True)
    elif isinstance(value, float):
        if math.isinf(value):
            raise RowError("a number too large for a float", is_object=True)
    elif isinstance(value, _Constant):
        raise RowError(f"{value.name} is not JSON", is_object=True)
    elif isinstance(value, _Repeated):
        raise RowError(f"duplicate key {value.key[:60]!r}", is_object=True)
    elif isinstance(value, list | dict):
        if depth == limits.JSON_DEPTH:
            raise RowError(f"more than {limits.JSON_DEPTH} levels deep", is_object=True)
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(inner, depth + 1)


def _has_half_pair(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _what_is_wrong(text: str, error: json.JSONDecodeError) -> str:
    trimmed = text.strip(_SPACE)
    if not trimmed:
        return "empty"
    if trimmed.startswith("```"):
        return "a code fence around it"
    if error.msg == "Extra data":
        return f"text after the JSON, from character {error.pos + 1:,}"
    if trimmed[0] not in "{[":
        return "text before the JSON" if "{" in trimmed and trimmed.endswith(("}", "```")) else "not JSON"
    if error.pos >= len(text.rstrip(_SPACE)) or error.msg.startswith("Unterminated string"):
        return f"cut off after {len(text):,} characters"
    return f"not JSON: {error.msg.lower()} at character {error.pos + 1:,}"
