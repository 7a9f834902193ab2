"""Two columns of numbers in SQL, compared to the last digit: 64-bit integers have more of them than a double."""

from __future__ import annotations

import pyarrow as pa


def equal(a: str, b: str, kinds: list[pa.DataType]) -> str:
    """Return the SQL condition that two values are the same; null is like null, NaN like NaN.

    Parameters
    ----------
    a, b : str
        Expressions.
    kinds : list of pyarrow.DataType
        Of the two columns, of any kind.
    """
    alike = f"({a} is not distinct from {b})"
    if sorted(map(_has_fractions, kinds)) != [False, True] or not all(map(_is_number, kinds)):
        return alike
    # An integer next to a float is rounded to one. Where both are the same then, the float is whole.
    return f"({alike} and ({a} is null or {_whole(a, kinds[0])} is not distinct from {_whole(b, kinds[1])}))"


def mean_difference(a: str, b: str, kinds: list[pa.DataType], table: str) -> str:
    """Return the query for the mean of ``|a - b|``, over the rows where both are numbers; equal ones differ by 0.

    Parameters
    ----------
    a, b, kinds
        As in `equal`; both columns are numbers.
    table : str
        Name of the table.
    """
    x, y = f"cast({a} as double)", f"cast({b} as double)"
    # Decimals of 38 digits may be further apart than integers of 128 bits go.
    exactly = f"try(cast(abs({_whole(a, kinds[0])} - {_whole(b, kinds[1])}) as double))"
    # Infinity minus infinity would be NaN, though both say the same.
    difference = f"case when {equal(a, b, kinds)} then 0 else coalesce({exactly}, abs({x} - {y})) end"
    return f"select avg({difference}) from {table} where not isnan({x}) and not isnan({y})"  # noqa: S608


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind))


def _has_fractions(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal128(kind) and kind.scale > 0))


def _whole(value: str, kind: pa.DataType) -> str:
    """Return a number as an integer of 128 bits; null where it is none."""
    if _has_fractions(kind):
        return f"(case when {value} = trunc({value}) then try_cast({value} as hugeint) end)"
    return f"cast({value} as hugeint)"
