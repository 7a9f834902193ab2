"""SQL to compare two columns of numbers exactly: 64-bit integers have more digits than a double."""

from __future__ import annotations

import pyarrow as pa


def equal(a: str, b: str, kinds: list[pa.DataType]) -> str:
    """Return the SQL condition that two values are equal; null equals null, and NaN equals NaN.

    Parameters
    ----------
    a, b : str
        SQL expressions.
    kinds : list of pyarrow.DataType
        Types of the two columns.
    """
    alike = f"({a} is not distinct from {b})"
    if sorted(map(_has_fractions, kinds)) != [False, True] or not all(map(_is_number, kinds)):
        return alike
    # Beside a float, an integer is rounded to a float. If both are equal then, also compare them as integers.
    return f"({alike} and ({a} is null or {_whole(a, kinds[0])} is not distinct from {_whole(b, kinds[1])}))"


def mean_difference(a: str, b: str, kinds: list[pa.DataType], table: str) -> str:
    """Return the query for the mean of ``|a - b|`` over the rows where both are numbers; equal values differ by 0.

    Parameters
    ----------
    a, b, kinds
        As in `equal`; both columns are numbers.
    table : str
        Name of the table.
    """
    x, y = f"cast({a} as double)", f"cast({b} as double)"
    # The difference of decimals of 38 digits may exceed 128 bits.
    exactly = f"try(cast(abs({_whole(a, kinds[0])} - {_whole(b, kinds[1])}) as double))"
    # Infinity minus infinity would be NaN, although both are equal.
    difference = f"case when {equal(a, b, kinds)} then 0 else coalesce({exactly}, abs({x} - {y})) end"
    return f"select avg({difference}) from {table} where not isnan({x}) and not isnan({y})"  # noqa: S608


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind))


def _has_fractions(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal128(kind) and kind.scale > 0))


def _whole(value: str, kind: pa.DataType) -> str:
    """Return the expression of a number as a 128-bit integer; null if it has a fraction."""
    if _has_fractions(kind):
        return f"(case when {value} = trunc({value}) then try_cast({value} as hugeint) end)"
    return f"cast({value} as hugeint)"
