"""Convert Arrow tables to pandas DataFrames without changing a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def to_pandas(table: pa.Table, nullable: Collection[str] | None = None) -> pd.DataFrame:
    """Return a DataFrame with one column per column of ``table``; names may repeat.

    Text becomes pandas' ``str`` type. Numbers and booleans become numpy if the column has no nulls and pandas' nullable
    types otherwise, because numpy would turn 64-bit integers into floats and null into NaN. Lists, structs and other
    types keep their Arrow type.

    Parameters
    ----------
    table : pyarrow.Table
    nullable : collection of str, optional
        For a part of a table: the columns with nulls in any part, so that all parts have the same types. Floats among them
        keep Arrow's type, because another part may contain NaN.
    """
    columns = [
        _series(table.column(i), None if nullable is None else name in nullable)
        for i, name in enumerate(table.column_names)
    ]
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(table.num_rows))
    frame.columns = pd.Index(table.column_names)
    return frame


def _series(column: pa.ChunkedArray, nullable: bool | None) -> pd.Series[Any]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_arrow(column.cast(pa.large_string()), pd.StringDtype("pyarrow", na_value=float("nan")))
    if kind in _NULLABLE:
        holds_nulls = bool(column.null_count) if nullable is None else nullable
        if not holds_nulls:
            values = column.to_numpy()
            # A copy, so that the frame is writable.
            return pd.Series(values if values.flags.writeable else values.copy())
        if not (_has_nan(column) if nullable is None else pa.types.is_floating(kind)):
            return _from_arrow(column, _NULLABLE[kind]())
    return _from_arrow(column, pd.ArrowDtype(kind))


def _has_nan(column: pa.ChunkedArray) -> bool:
    # Only Arrow's type distinguishes NaN from null; pandas' Float64 converts both to <NA>.
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())


def _from_arrow(column: pa.ChunkedArray, dtype: Any) -> pd.Series[Any]:
    return pd.Series(dtype.__from_arrow__(column))


_NULLABLE: dict[pa.DataType, Callable[[], Any]] = {
    pa.bool_(): pd.BooleanDtype,
    pa.int8(): pd.Int8Dtype,
    pa.int16(): pd.Int16Dtype,
    pa.int32(): pd.Int32Dtype,
    pa.int64(): pd.Int64Dtype,
    pa.uint8(): pd.UInt8Dtype,
    pa.uint16(): pd.UInt16Dtype,
    pa.uint32(): pd.UInt32Dtype,
    pa.uint64(): pd.UInt64Dtype,
    pa.float32(): pd.Float32Dtype,
    pa.float64(): pd.Float64Dtype,
}
