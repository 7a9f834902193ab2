"""Rows as sent to the browser: a cell is null, a string, or the beginning of a string and its length.

Whatever the rows hold, a page of them stays small.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic import limits
from sutro_magic.formats.json import tokens
from sutro_magic.query.table_query import kind_of
from sutro_magic.ui.render.cells import LONGEST_CELL, cell_text, in_lines, in_one_line, plain_value, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_BYTES = 90_000
"""Of one page as JSON, at most; where it would be more, cells are cut shorter."""
STATE_BYTES = 50_000
"""Of the first page, at most, which is saved with a notebook."""
SHORTEST_LIMIT = 4
LONGEST_LIST = 40
"""Elements of a list that are shown in a cell."""

Cell = str | list[Any] | None


def encode(rows: Sequence[int], table: pa.Table, most: int = PAGE_BYTES) -> list[list[Any]]:
    """Return rows for a browser.

    Parameters
    ----------
    rows : sequence of int
        Their numbers.
    table : pyarrow.Table
        Just these rows.
    most : int
        Bytes as JSON.

    Returns
    -------
    list of list
        Of each row its number, then its cells: None, a text, or ``[beginning, length]``.
    """
    limit = LONGEST_CELL
    while True:
        columns = [_cells(table.column(i), limit) for i in range(table.num_columns)]
        found = [list(row) for row in zip(map(int, rows), *columns, strict=True)]
        size = len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode())
        if size <= most or limit <= SHORTEST_LIMIT:
            return found
        limit = max(SHORTEST_LIMIT, min(limit // 2, limit * most // size))


def page_lengths(columns: int, wanted: Sequence[int]) -> list[int]:
    """Return the page lengths at which a table of so many columns has pages that stay small."""
    most = max(10, 9_000 // (columns + 1))
    return sorted({length for length in wanted if 0 < length <= most} or {min(*wanted, most)})


def detail(table: pa.Table, *, whole: int | None = None) -> list[dict[str, Any]]:
    """Return all of one row: for each column its text, laid out over lines.

    Parameters
    ----------
    table : pyarrow.Table
        One row.
    whole : int, optional
        Place of a column whose value is given whole, however long.
    """
    return [
        _property(table.column(i), None if i == whole else limits.DETAIL_CHARACTERS)
        for i in range(table.num_columns)
    ]


def pretty_json(text: str) -> str | None:
    """Indent JSON text token by token, without changing numbers, keys or escapes; None if it is not JSON."""
    try:
        if not isinstance(json.loads(text), dict | list):
            return None
    except (ValueError, RecursionError):
        return None
    out: list[str] = []
    depth = 0
    previous = ""
    for part in tokens(text):
        if part in "}]":
            depth -= 1
            out.append(part if previous in {"{", "["} else "\n" + "  " * depth + part)
        else:
            if previous in {"{", "[", ","}:
                out.append("\n" + "  " * depth)
            out.append(": " if part == ":" else part)
            depth += part in "{["
        previous = part
    return "".join(out)


def _property(column: pa.ChunkedArray, limit: int | None) -> dict[str, Any]:
    value = value_of(column[0])
    if value is None:
        return {"text": None}
    kind = kind_of(column.type)
    if kind == "text":
        cut = value if limit is None else value[:limit]
        pretty = pretty_json(value) if len(value) <= limits.DETAIL_CHARACTERS else None
        return {
            "text": in_lines(cut),
            "length": len(value),
            "cut": len(cut) < len(value),
            **({"pretty": in_lines(pretty)} if pretty and pretty != value else {}),
        }
    if kind == "nested":
        text = json.dumps(value, ensure_ascii=False, default=plain_value)
        pretty = json.dumps(value, ensure_ascii=False, default=plain_value, indent=2)
        cut = pretty if limit is None else pretty[:limit]
        return {
            "text": in_lines(text[:limit]),
            "length": len(text),
            "cut": len(cut) < len(pretty),
            "pretty": in_lines(cut),
        }
    if isinstance(value, bytes):
        most = len(value) if limit is None else limit // 3
        return {"text": value[:most].hex(" "), "length": 3 * len(value), "cut": most < len(value)}
    return {"text": text_of(value)}


def _cells(column: pa.ChunkedArray, limit: int) -> list[Cell]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if kind_of(kind) == "text":
        lengths = pc.utf8_length(column).to_pylist()
        starts = pc.utf8_slice_codeunits(column.cast(pa.large_string()), 0, limit).to_pylist()
        return [
            None if text is None else _cut(text, length, limit)
            for text, length in zip(starts, lengths, strict=True)
        ]
    if kind_of(kind) == "nested":
        return [_nested(scalar, limit) for scalar in column]
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):
        values = [value_of(scalar) for scalar in column]
    return [None if value is None else text_of(value) for value in values]


def _nested(scalar: pa.Scalar, limit: int) -> Cell:
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        values = scalar.values
        if len(values) > LONGEST_LIST:
            text = json.dumps(values[:LONGEST_LIST].to_pylist(), ensure_ascii=False, default=plain_value)
            return [in_one_line(text[: min(limit, len(text) - 1)]), f"{len(values):,} elements"]
    text = json.dumps(value_of(scalar), ensure_ascii=False, default=plain_value)
    return _cut(text[:limit], len(text), limit)


def _cut(start: str, length: int, limit: int) -> Cell:
    text = in_one_line(start)
    return text if length <= limit else [text, length]


def text_of(value: object) -> str:
    """Return a value that is not a string as text; only long binary values are cut."""
    from datetime import datetime

    if isinstance(value, bytes):
        return value[:40].hex(" ") + (f" … ({len(value):,} bytes)" if len(value) > 40 else "")  # noqa: PLR2004
    if isinstance(value, datetime) and value.microsecond:
        whole = cell_text(value)  # to the second, perhaps with a zone behind it
        return f"{whole[:19]}.{value.microsecond:06d}{whole[19:]}"
    return cell_text(value, 10_000)
