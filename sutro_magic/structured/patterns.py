r"""Regular expressions that match JSON texts of a known shape.

A row that matches is one complete and valid JSON object of that shape, by RFC 8259, and Arrow can read it without
type inference. A row that does not match is not necessarily bad: it is read with Python's parser. RE2, which
runs the expressions, needs linear time.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sutro_magic.structured.shapes import Kind, Shape

_HEX = "[0-9A-Fa-f]"
_SPACE = r"[ \t\n\r]*"
# Surrogates only in pairs: an unpaired one is not valid text.
_ESCAPE = (
    rf'\\(?:["\\/bfnrt]|u(?:[0-9A-Ca-cEFef]{_HEX}{{3}}|[Dd][0-7]{_HEX}{{2}}'
    rf"|[Dd][89ABab]{_HEX}{{2}}\\u[Dd][C-Fc-f]{_HEX}{{2}}))"
)
_SCALARS: dict[Kind, str] = {
    "null": "null",
    "bool": "(?:true|false)",
    # Only as many digits as certainly fit.
    "int": "-?(?:0|[1-9][0-9]{0,17})",
    "long": "-?(?:0|[1-9][0-9]{0,17})",
    "big": "-?(?:0|[1-9][0-9]{0,37})",
    # Integers only where a float is exact; exponents that neither overflow nor underflow.
    "float": r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?",
    "text": rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"',
}


def row_pattern(shape: Shape, *, complete: bool) -> str:
    """Return the regular expression of complete rows of a shape.

    Parameters
    ----------
    shape : Shape
        Shape of an object without `MIXED`.
    complete : bool
        Whether all keys must be present, in the order of the shape; otherwise any of them, in any order, possibly more
        than once. Nested objects that are not loose are always complete.
    """
    return f"^{_SPACE}{_object(shape, complete=complete)}{_SPACE}$"


def _value(shape: Shape, *, complete: bool) -> str:
    if shape.kind == "list" and shape.item:
        item = _value(shape.item, complete=complete)
        text = _between(r"\[", f"(?:{item}(?:{_SPACE},{_SPACE}{item})*)?", r"\]")
    elif shape.kind == "object":
        text = _object(shape, complete=complete or not shape.loose)
    else:
        text = _SCALARS[shape.kind]
    return f"(?:{text}|null)" if shape.nullable else text


def _object(shape: Shape, *, complete: bool) -> str:
    fields = [
        f"{_key(key)}{_SPACE}:{_SPACE}{_value(inner, complete=complete)}" for key, inner in shape.fields
    ]
    if complete:
        inside = f"{_SPACE},{_SPACE}".join(fields)
    elif fields:
        field = f"(?:{'|'.join(fields)})"
        inside = f"(?:{field}(?:{_SPACE},{_SPACE}{field})*)?"
    else:
        inside = ""
    return _between(r"\{", inside, r"\}")


def _between(left: str, inside: str, right: str) -> str:
    return f"{left}{_SPACE}{inside}{_SPACE}{right}"


def _key(key: str) -> str:
    spellings = {json.dumps(key, ensure_ascii=False), json.dumps(key)}
    return f"(?:{'|'.join(_literal(text) for text in sorted(spellings))})"


def _literal(text: str) -> str:
    # RE2 has fewer escapes than Python: everything but letters, digits and _ is written as a code point.
    return re.sub(r"[^0-9A-Za-z_]", lambda match: f"\\x{{{ord(match[0]):x}}}", text)
