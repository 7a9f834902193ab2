"""Join results to the frame that the job was made from, by position or by an ID column. The frame is not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sutro_magic.errors import ArgumentError, Hint, closest, shorten
from sutro_magic.sql.tables import is_table, own_names, to_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from sutro_magic.errors import HintText
    from sutro_magic.results.handle import Results

    Kind = Literal["pandas", "polars", "arrow"]

MAX_LISTED = 8
_UNREADABLE = (ArgumentError, OverflowError)
"""Exceptions of `to_arrow`; OverflowError for integers beyond 64 bits."""
_WHICH_FRAME = (Hint("option", join="DF"), ", the variable with the frame that the job was made from")
_KINDS: dict[tuple[str, str], Kind] = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("pyarrow", "Table"): "arrow",
}


class FrameJoin:
    """A frame of the notebook to which results are joined.

    Parameters
    ----------
    name : str
        Name of the variable.
    variables : mapping of str to object
    on : str, optional
        ID column; in pandas, an index level is possible, too. By default, rows are joined by position.

    Attributes
    ----------
    as_type : str
        Type of the frame and of the joined frame.
    how : str
        Description of how rows were matched; set by `join`.
    missing : int
        Number of rows of the frame without a result; set by `join`.

    Raises
    ------
    ArgumentError
        If there is no such frame, or it has no such column.
    """

    def __init__(self, name: str, variables: Mapping[str, Any], on: str | None = None) -> None:
        self.name = name
        self._on = on
        self._frame, self.as_type = _find(name, variables)
        self.how = "by position" if on is None else f"by {shorten(on, 60)}"
        self.missing = 0
        self._label: Any = on
        labels = [*self._columns(), *self._levels()]
        if on is not None and on not in labels:
            # The label is given as a string, but a frame may have a column 0.
            self._label = next((label for label in labels if str(label) == on), None)
            if self._label is None:
                raise _no_column(name, on, labels)

    def join(self, results: Results) -> Any:
        """Return a new frame with the columns of the frame, then those of the results.

        It has all rows of the frame in their order, in pandas with their index. If an ID has no result, the columns of the
        results are null.

        Raises
        ------
        ArgumentError
            If the numbers of rows differ, columns have the same name, or IDs are ambiguous.
        """
        right = [name for name in results.columns if name != self._on]
        self._refuse_conflicts(results, right)
        table = results.to_arrow()
        if self._on is None:
            if table.num_rows != self._rows():
                raise ArgumentError(
                    f"{self.name} has {self._rows():,} rows, but the results have {table.num_rows:,}: they cannot be joined by position.",
                    hint=(
                        "Use the frame that the job was made from, in its order; or join with ",
                        Hint("option", on="COLUMN"),
                        ", by an ID.",
                    ),
                )
        else:
            table = self._matched(table, results, self._on)
        return self._beside(table.select(right), results)

    def shown(self, frame: Any, results: Results) -> Results:
        """Return the joined frame as a `Results` that displays itself.

        Columns that Arrow does not support, or that have mixed types, are shown as text.
        """
        from sutro_magic.results.handle import Results as Handle

        try:
            table = self._read(frame)
        except _UNREADABLE:
            table = self._read(self._as_text(frame))
        return Handle.computed(
            table,
            f"{self.name} beside the results of {results.job.title}, {self.how}",
            results.provenance.seconds,
        )

    # --- internals ----------------------------------------------------------------------------

    def _read(self, frame: Any) -> pa.Table:
        if self.as_type == "polars" and "Object" in map(str, frame.dtypes):
            # Arrow would get their memory addresses.
            raise ArgumentError(f"{self.name} has Python objects.", hint="Give each column a single type.")
        return to_arrow(self.name, frame)

    def _as_text(self, frame: Any) -> Any:
        """Return a frame in which columns that Arrow cannot read are text."""
        converted: dict[Any, list[str | None]] = {}
        for name in frame.columns:
            try:
                self._read(frame[[name]])
            except _UNREADABLE:
                converted[name] = [None if value is None else str(value) for value in frame[name]]
        if self.as_type == "polars":
            import polars as pl

            return frame.with_columns(
                pl.Series(name, values, pl.String) for name, values in converted.items()
            )
        import pandas as pd

        shown = frame.copy(deep=False)
        for name, values in converted.items():
            shown[name] = pd.Series(values, index=frame.index, dtype="str")
        return shown

    def _columns(self) -> list[Any]:
        return list(self._frame.column_names if self.as_type == "arrow" else self._frame.columns)

    def _levels(self) -> list[Any]:
        return (
            [name for name in self._frame.index.names if name is not None] if self.as_type == "pandas" else []
        )

    def _rows(self) -> int:
        return int(self._frame.shape[0])

    def _refuse_conflicts(self, results: Results, right: list[str]) -> None:
        names = set(right)
        both = [name for name in self._columns() if name in names]
        levels = [name for name in self._levels() if name in names and name not in both]
        if not both and not levels:
            return
        renaming = f"{self.name} = {self.name}{self._rename(both, levels, results.columns)}"
        hint: HintText = f"Rename them first: {renaming}"
        if self._on is None and self._rows() != results.num_rows:
            made = set(results.unfolding.columns if results.unfolding else ()) | {
                "outputs",
                "confidence_score",
            }
            likely = next((name for name in [*both, *levels] if name not in made), None)
            if likely is not None:
                hint = (
                    Hint("option", on=str(likely)),
                    f" matches rows by it, if it is an ID. Or rename: {renaming}",
                )
        raise ArgumentError(
            f"{self.name} and the results both have {_listed([*both, *levels])}, but column names must be unique.",
            hint=hint,
        )

    def _rename(self, columns: list[str], levels: list[str], right: list[str]) -> str:
        """Return the call that renames columns, and levels of a pandas index, to unused names."""
        taken = {str(name) for name in (*self._columns(), *self._levels(), *right)}
        new = {}
        for name in (*columns, *levels):
            new[name] = f"{name}_before"
            while new[name] in taken:
                new[name] += "_"
            taken.add(new[name])
        if self.as_type != "pandas":
            call = "rename" if self.as_type == "polars" else "rename_columns"
            return f".{call}({new!r})"
        of_columns, of_levels = ({name: new[name] for name in names} for names in (columns, levels))
        return (f".rename(columns={of_columns!r})" if columns else "") + (
            f".rename_axis(index={of_levels!r})" if levels else ""
        )

    def _matched(self, table: pa.Table, results: Results, on: str) -> pa.Table:
        """Return for each row of the frame the row of the results with its ID, or nulls."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if on not in table.column_names:
            raise _no_column(f"The results of {results.job.title}", on, results.columns)
        theirs = table.column(on)
        mine = self._ids(is_text=_sort_of(theirs.type) == "text")
        if _sort_of(theirs.type) != _sort_of(mine.type):
            raise ArgumentError(
                f"{on} is {mine.type} in {self.name} and {theirs.type} in the results: no IDs would match.",
                hint=(
                    "Give both the same type. IDs that came as CSV are text: ",
                    Hint("option", format="parquet", refresh=True),
                    " keeps their types.",
                ),
            )
        if pa.types.is_string(theirs.type) or theirs.type != mine.type:
            common = pa.large_string() if _sort_of(theirs.type) == "text" else theirs.type
            try:
                theirs, mine = theirs.cast(common), mine.cast(common)
            except pa.ArrowInvalid as error:
                raise ArgumentError(
                    f"{on} of {self.name} has values that are not possible for IDs of the results: {shorten(str(error), 120)}.",
                    hint="Give both the same type.",
                ) from None
        theirs = theirs.combine_chunks()
        valid = theirs.drop_null()
        distinct = len(valid.unique())
        if distinct < len(valid):
            raise ArgumentError(
                f"{on} is not unique in the results: {len(valid):,} IDs, {distinct:,} different.",
                hint=(
                    "Leave out ",
                    Hint("option", on=on),
                    " to join by position, if the frame has the order of the job.",
                ),
            )
        places = pc.index_in(mine, value_set=theirs, skip_nulls=True)
        if isinstance(places, pa.ChunkedArray):
            places = places.combine_chunks()
        self.missing = places.null_count
        if self.missing == len(places) and len(places):
            raise ArgumentError(
                f"No {on} of {self.name} is in the results.",
                hint="Check whether the job was made from this frame.",
            )
        extra = len(theirs) - pc.count_distinct(places).as_py()
        self.how += f" ({self.missing:,} rows without a result, {extra:,} results without a row)"
        wide = [
            field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field
            for field in table.schema
        ]
        return table.cast(pa.schema(wide)).take(
            places
        )  # 64-bit offsets, because take may concatenate all chunks

    def _ids(self, *, is_text: bool) -> pa.ChunkedArray:
        """Return the IDs of the frame; ``is_text`` says whether those of the results are text."""
        import pyarrow as pa

        on, name = self._label, self.name
        if self.as_type == "arrow":
            return self._frame.column(on)
        if self.as_type == "polars":
            return self._ids_of_polars(is_text=is_text)
        column = f"{name}[{on!r}]"
        first = ""
        if on in self._columns():
            values = self._frame[on]
        else:
            values = self._frame.index.get_level_values(on)
            first = f"{name} = {name}.reset_index({on!r}) makes the IDs a column; then "
        try:
            return pa.chunked_array([pa.array(values, from_pandas=True)])
        except OverflowError:
            fitting = f"{name} = {name}[[abs(i or 0) < 2**63 for i in {column}]] drops these rows."
            raise ArgumentError(
                f"{on} of {name} has integers beyond 64 bits, unlike the IDs of the results.",
                hint=first
                + (
                    f"{column} = {column}.astype(str) converts them to text, as in the results."
                    if is_text
                    else fitting
                ),
            ) from None
        except (pa.ArrowException, TypeError, ValueError):
            raise ArgumentError(
                f"{on} of {name} has values of several types, or of a type that cannot be an ID.",
                hint=f"{first}{column} = {column}.astype(str) gives them a single type.",
            ) from None

    def _ids_of_polars(self, *, is_text: bool) -> pa.ChunkedArray:
        import pyarrow as pa

        on, name = self._label, self.name
        ids = self._frame.get_column(on)
        try:
            if str(ids.dtype) != "Object":  # Arrow would get their memory addresses
                return pa.chunked_array([ids.to_arrow()])
        except pa.ArrowException:
            pass  # integers of 128 bits
        column = f"{name}[{on!r}]"
        if not ids.dtype.is_integer():
            how = f"{column}.map_elements(str, return_dtype=str)", "converts them to text."
        elif is_text:
            how = f"{column}.cast(str)", "converts them to text, as in the results."
        else:
            how = f"{column}.cast(int, strict=False)", "converts them; values that do not fit become null."
        raise ArgumentError(
            f"{on} of {name} is of type {ids.dtype}, which cannot be an ID"
            + ("." if is_text else ": IDs of the results have at most 64 bits."),
            hint=f"{name} = {name}.with_columns({how[0]}) {how[1]}",
        )

    def _beside(self, table: pa.Table, results: Results) -> Any:
        if self.as_type == "arrow":
            joined = self._frame
            for name in table.column_names:
                joined = joined.append_column(name, table.column(name))
            return joined
        if self.as_type == "polars":
            import polars as pl

            return self._frame.hstack(pl.DataFrame(table))
        import pandas as pd

        from sutro_magic.results.to_pandas import to_pandas

        right = to_pandas(table)
        right.index = self._frame.index
        joined = pd.concat([self._frame, right], axis=1)
        joined.attrs = {**self._frame.attrs, "sutro_job": results.job_id}
        return joined


def _find(name: str, variables: Mapping[str, Any]) -> tuple[Any, Kind]:
    value = variables.get(name)
    for base in type(value).__mro__:
        kind = _KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if kind is None:
            continue
        columns = value.column_names if kind == "arrow" else list(value.columns)  # type: ignore[union-attr]
        if getattr(getattr(value, "columns", None), "nlevels", 1) > 1 or len(set(columns)) < len(columns):
            raise ArgumentError(
                f"The columns of {name} have several levels, or duplicate names.",
                hint=own_names(name, is_arrow=kind == "arrow"),
            )
        return value, kind
    if name in variables:
        hint = {"LazyFrame": f"{name} = {name}.collect()", "Results": f"{name} = {name}.to_pandas()"}.get(
            type(value).__name__
        )
        raise ArgumentError(
            f"The frame to join: {shorten(name)} is of type {type(value).__name__}, not a frame of pandas or Polars or an Arrow table.",
            hint=hint or _WHICH_FRAME,
        )
    close = closest(name, [key for key, other in variables.items() if key[:1] != "_" and is_table(other)])
    raise ArgumentError(
        f"The frame to join: there is no variable {shorten(name)}.",
        hint=("Did you mean ", Hint("option", join=close), " instead?") if close else _WHICH_FRAME,
    )


def _no_column(where: str, on: str, columns: Iterable[Any]) -> ArgumentError:
    names = [str(name) for name in columns]
    close = closest(on, names)
    return ArgumentError(
        f"{where} has no column {shorten(on)}; there {'is' if len(names) == 1 else 'are'} {_listed(names) or 'none'}.",
        hint=("Did you mean ", Hint("option", on=close), " instead?")
        if close
        else "Name the ID column that both have; or none, to join by position.",
    )


def _listed(names: list[Any]) -> str:
    shown = ", ".join(shorten(str(name), 40) for name in names[:MAX_LISTED])
    return shown + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")


def _sort_of(kind: pa.DataType) -> str:
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _sort_of(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "number" if types.is_integer(kind) or types.is_floating(kind) else str(kind)
