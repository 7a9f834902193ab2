"""Parts of results: ``r["column"]``, ``r[7]``, ``r[10:20]``, ``r[mask]``."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

from sutro_magic.errors import ArgumentError, did_you_mean, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from sutro_magic.results.selection import ColumnSelection
    from sutro_magic.results.sources import Source

_KEYS = 'Use a name, a list of names, a number, a slice or a boolean mask: r["score"], r[7], r[10:20], r[r["score"] > 3].'


def column(table: pa.Table, schema: pa.Schema, name: str) -> pd.Series[Any]:
    """Return one column with the dtype that `to_pandas` gives it.

    Parameters
    ----------
    table : pyarrow.Table
        All rows.
    schema : pyarrow.Schema
        Types of the results; a mapped table has values where these have dictionaries.
    name : str
    """
    import pyarrow as pa

    from sutro_magic.results.to_pandas import to_pandas

    _check_names([name], schema.names)
    field = schema.field(name)
    table = table.select([name])
    return to_pandas(table.cast(pa.schema([field])) if pa.types.is_dictionary(field.type) else table)[name]


def columns(source: Source, names: Sequence[str], known: Sequence[str]) -> ColumnSelection:
    """Return a source that has only some columns."""
    from sutro_magic.results.selection import ColumnSelection

    _check_names(names, known)
    return ColumnSelection(source, list(dict.fromkeys(names)))


def row(table: pa.Table, names: Sequence[str], key: SupportsIndex) -> dict[str, Any]:
    """Return one row as a dict of Python values."""
    number, total = index(key), table.num_rows
    if not -total <= number < total:
        raise ArgumentError(
            f"There is no row {number:,}: the results have {total:,} rows.",
            hint=f"Rows are numbered from 0 to {total - 1:,}." if total else None,
        )
    found: dict[str, Any] = table.slice(number % total, 1).to_pylist()[0]
    return {name: found[name] for name in names}


def row_numbers(key: object, total: int) -> np.ndarray[Any, Any]:
    """Return the numbers of the rows that a slice or a boolean mask selects."""
    import numpy as np

    if isinstance(key, slice):
        try:
            return np.arange(*key.indices(total), dtype=np.int64)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"{shorten(repr(key))} is not a range of rows.", hint="Like r[10:20]."
            ) from None
    mask = _as_mask(key, total)
    if len(mask) != total:
        raise ArgumentError(
            f"The mask has {len(mask):,} values, and the results have {total:,} rows.",
            hint='Make it of the same results: r[r["score"] > 3].',
        )
    return np.flatnonzero(mask)


def _as_mask(key: object, total: int) -> np.ndarray[Any, Any]:
    """Return a mask as a NumPy array; null counts as False."""
    import pyarrow as pa

    values: Any = _in_order(key, total)
    try:
        stream = hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc")
        mask: Any = pa.chunked_array(values) if stream else pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        mask = None
    if mask is None or not (
        pa.types.is_boolean(mask.type) or (pa.types.is_null(mask.type) and not len(mask))
    ):
        raise ArgumentError(f"Results have no part {shorten(repr(key), 40)}.", hint=_KEYS)
    filled: np.ndarray[Any, Any] = (
        mask.cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False)
        if isinstance(mask, pa.Array)
        else mask.fill_null(False).to_numpy()
    )
    return filled


def _in_order(key: object, total: int) -> object:
    """Bring a pandas mask into the order of the rows: its labels count, not its places."""
    import sys

    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(key, pandas.Series) or key.index.equals(pandas.RangeIndex(total)):
        return key
    if len(key) == total and key.index.is_unique and key.index.isin(range(total)).all():
        return key.reindex(range(total))
    raise ArgumentError(
        "The mask has an index other than that of the rows.",
        hint="Make it of the same results, or give mask.to_numpy().",
    )


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"There is no column {shorten(name)!r}.",
                hint=f"{did_you_mean(name, known)}There are: {shorten(', '.join(known), 200)}.",
            )
