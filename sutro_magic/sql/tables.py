"""Convert tables of the notebook to Arrow for SQL: results, and frames of pandas, Polars, Arrow, DuckDB and others."""

from __future__ import annotations

import json
from typing import Any

from sutro_magic.errors import ArgumentError, SutroError, shorten


def is_table(value: object) -> bool:
    """Return whether SQL can read a value by name: it has columns and can be exported to Arrow."""
    kind = type(value)
    if not hasattr(kind, "columns"):
        return False
    return any(
        hasattr(kind, how) for how in ("__arrow_c_stream__", "__arrow_c_array__", "collect_schema")
    ) or is_dask(value)


def is_dask(value: object) -> bool:
    """Return whether a value is a Dask DataFrame, which must be computed first."""
    return type(value).__module__.startswith("dask") and hasattr(type(value), "compute")


def column_names(table: Any) -> list[str]:
    """Return the column names of a table for which `is_table` holds; of results only if they are known already."""
    from sutro_magic.results.handle import Results

    if isinstance(table, Results):
        return table.known_columns
    if hasattr(type(table), "column_names"):
        names = table.column_names
    else:
        names = table.collect_schema() if hasattr(type(table), "collect_schema") else table.columns
    return [name for name in names if isinstance(name, str)]


def to_arrow(name: str, value: Any) -> Any:
    """Return a table of the notebook as a `pyarrow.Table` that DuckDB can read, without the pandas index.

    Parameters
    ----------
    name : str
        Name of the variable, for messages.
    value : object
        A table for which `is_table` holds.

    Raises
    ------
    ArgumentError
        If it cannot be read as a table.
    """
    import pyarrow as pa

    from sutro_magic.results.handle import Results

    if is_dask(value):
        raise ArgumentError(
            f"{name} is a Dask frame, which may be larger than memory.",
            hint=f"{name} = {name}.compute() loads it.",
        )
    try:
        if isinstance(value, Results):
            table = value.new_pages().table
        elif type(value).__module__.startswith("polars"):
            table = _of_polars(name, value)
        elif type(value).__module__.startswith("pandas"):
            table = pa.Table.from_pandas(value, preserve_index=False)
        elif hasattr(type(value), "__arrow_c_stream__"):
            table = pa.table(value)
        else:
            table = pa.Table.from_batches([pa.record_batch(value)])
    except (SutroError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk error, explained elsewhere
        raise _cannot_be_read(name, value, error) from None
    if not table.num_columns:
        raise ArgumentError(f"{name} has no columns.", hint="Add a column, or remove it from the query.")
    _check_names(name, table.schema, is_polars=type(value).__module__.startswith("polars"))
    return _readable(name, table)


def _cannot_be_read(name: str, value: Any, error: Exception) -> ArgumentError:
    reason = shorten(" ".join(" ".join(str(part) for part in error.args).split()), 200).rstrip(".")
    lazily = next((how for how in ("collect", "df") if hasattr(type(value), how)), None)
    if lazily:
        hint = f"Run {name}.{lazily}() by itself to see where it fails."
    else:
        column, hint = _unreadable(name, value)
        if column and f"column {column} " not in reason:
            reason = f"its column {shorten(column, 60)}: {reason}"
    return ArgumentError(f"{name} cannot be read as a table: {reason}.", hint=hint)


def _check_fields(name: str, column: str, kind: Any, *, is_polars: bool) -> None:
    """Raise `ArgumentError` for struct fields that differ only in case: DuckDB would merge them."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        seen: dict[bytes, str] = {}
        for field in kind:
            folded = field.name.encode().lower()
            if folded in seen:
                both = f"{shorten(seen[folded], 40)!r} and {shorten(field.name, 40)!r}"
                frame = shorten(name, 40) if name.isidentifier() else "df"
                raise ArgumentError(
                    f"SQL ignores case, so the fields {both} in {shorten(column, 40)!r} of {shorten(name)} would be the same.",
                    hint=f"Drop it in Polars: {frame} = {frame}.drop({shorten(column, 40)!r})"
                    if is_polars
                    else f"Drop it in pandas: {frame} = {frame}.drop(columns={shorten(column, 40)!r}), then from {frame}",
                )
            seen[folded] = field.name
    for place in range(kind.num_fields):
        _check_fields(name, column, kind.field(place).type, is_polars=is_polars)


def _check_names(name: str, schema: Any, *, is_polars: bool) -> None:
    """Raise `ArgumentError` for empty column names, and for names that differ only in the case of A to Z."""
    frame = shorten(name, 40)
    how = f"{frame} = {frame}.rename({'{…}' if is_polars else 'columns={…}'})"
    hint = f"Rename it in {'Polars' if is_polars else 'pandas'}: " + (
        how if name.isidentifier() else "df = df.rename(columns={…}), then from df"
    )
    seen: dict[bytes, str] = {}
    for field in schema:
        column = field.name
        if not column:
            raise ArgumentError(
                f"A column of {shorten(name)} has an empty name, which SQL does not allow.", hint=hint
            )
        folded = column.encode().lower()  # on bytes: only A to Z, like DuckDB
        if folded in seen:
            both = f"{shorten(seen[folded], 40)!r} and {shorten(column, 40)!r}"
            raise ArgumentError(
                f"SQL ignores case, so {both} would be the same column of {shorten(name)}.", hint=hint
            )
        seen[folded] = column
        _check_fields(name, column, field.type, is_polars=is_polars)


def _unreadable(name: str, value: Any) -> tuple[str, str]:
    """Return the column of a frame that cannot be read, if it is a single one, and a hint."""
    import pyarrow as pa

    kind = type(value).__module__.partition(".")[0]
    columns = list(value.columns) if kind in {"pandas", "polars"} else []
    if len(set(columns)) < len(columns):
        return "", own_names(name)
    for place, column in enumerate(columns):
        try:
            if kind == "polars":
                _of_polars(name, value.select(column))
            else:
                pa.Table.from_pandas(value.iloc[:, [place]], preserve_index=False)
        except Exception:  # noqa: BLE001 - any error is due to this column
            return str(column), as_text(name, value, column)
    return "", "Give each column a single type and a unique name."


def own_names(name: str, *, is_arrow: bool = False) -> str:
    """Return a hint with code that gives each column of a frame a unique name."""
    names = f'[f"{{column}}_{{i}}" for i, column in enumerate({name}.{"column_names" if is_arrow else "columns"})]'
    how = f"{name} = {name}.rename_columns({names})" if is_arrow else f"{name}.columns = {names}"
    return f"Rename them: {how} makes the names unique."


def as_text(name: str, frame: Any, column: Any) -> str:
    """Return a hint with code that converts a column of a frame to text, or drops it if that is not possible."""
    shown = _quoted(column) if isinstance(column, str) else repr(column)
    cell = f"{name}[{shown}]"
    if not type(frame).__module__.startswith("polars"):
        return f"Give each column a single type: {cell} = {cell}.astype(str)"
    if frame.schema[column].is_nested():
        return f"{name} = {name}.drop({shown}) drops it."
    return f"{name} = {name}.with_columns({cell}.cast(str)) converts it to text."


def _quoted(column: str) -> str:
    return json.dumps(column, ensure_ascii=False)  # also a valid Python string


def _of_polars(name: str, value: Any) -> Any:
    """Return a Polars frame, lazy or not, in types that all Arrow functions support."""
    import polars as pl

    frame = value.collect() if hasattr(value, "collect") else value
    for column, kind in frame.schema.items():
        if kind == pl.Object:  # Arrow would export memory addresses
            raise ArgumentError(
                f"The column {shorten(column, 60)} of {name} contains Python objects, which SQL does not support.",
                hint=f'{name} = {name}.drop("{shorten(column, 40)}") drops it; or convert them to text or numbers.',
            )
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _readable(name: str, table: Any) -> Any:
    """Return a table without types that DuckDB or the paged table does not support."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
        column = table.column(place)
        if getattr(field.type, "extension_name", "") == "pandas.period":  # stored as integers
            raise ArgumentError(
                f"The column {shorten(field.name, 60)} of {name} contains periods, which SQL does not support.",
                hint=f"Convert it to text: {name}[{_quoted(field.name)}] = {name}[{_quoted(field.name)}].astype(str)",
            )
        if kind != field.type:
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
        if pa.types.is_float16(kind):
            column = column.cast(pa.float32())
        elif pa.types.is_string_view(kind):
            column = column.cast(pa.large_string())
        elif (coarse := _in_microseconds(kind)) != kind:
            try:
                column = column.cast(coarse)
            except pa.ArrowInvalid:  # DuckDB would silently truncate them
                own = f'{name if name.isidentifier() else "df"}["{shorten(field.name, 40)}"]'
                raise ArgumentError(
                    f"The column {shorten(field.name, 60)} of {name} has durations finer than a microsecond, which SQL does not support.",
                    hint=f'{own} = {own}.dt.round("us") rounds them; .astype("int64") converts them to numbers.',
                ) from None
        if column.type != field.type:
            table = table.set_column(place, field.name, column)
    return table.replace_schema_metadata(None)


def _in_microseconds(kind: Any) -> Any:
    """Return a type with durations in microseconds, DuckDB's unit, instead of nanoseconds, at any depth."""
    import pyarrow as pa

    def within(field: Any) -> Any:
        return field.with_type(_in_microseconds(field.type))

    kinds, new = pa.types, kind
    if kind == pa.duration("ns"):
        new = pa.duration("us")
    elif kinds.is_struct(kind):
        new = pa.struct([within(field) for field in kind])
    elif kinds.is_map(kind):
        new = pa.map_(within(kind.key_field), within(kind.item_field), kind.keys_sorted)
    elif kinds.is_fixed_size_list(kind):
        new = pa.list_(within(kind.value_field), kind.list_size)
    elif kinds.is_list(kind):
        new = pa.list_(within(kind.value_field))
    elif kinds.is_large_list(kind):
        new = pa.large_list(within(kind.value_field))
    return new
