"""Arrow tables as Dask DataFrames; on a cluster, each worker maps the file itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from sutro_magic.unfolded import UnfoldedTable


def dask_of(table: pa.Table, opened: UnfoldedTable | None) -> Any:
    """Return a Dask DataFrame: by parts of the file that holds the table, in one part if none does."""
    import dask.dataframe

    from sutro_magic.frames import to_pandas

    names = table.column_names
    dataframe: Any = dask.dataframe  # its functions have no types
    if opened is None or opened.path is None:
        return dataframe.from_pandas(to_pandas(table), npartitions=1)
    step = max(1, table.column(0).num_chunks and -(-table.num_rows // table.column(0).num_chunks))
    starts = list(range(0, max(table.num_rows, 1), step))
    return dataframe.from_map(
        _read_part,
        starts,
        rows=step,
        path=str(opened.path),
        mark=opened.token,
        names=names,
        meta=to_pandas(table.slice(0, 0)),
    )


def _read_part(start: int, *, rows: int, path: str, mark: str, names: list[str]) -> Any:
    from pathlib import Path

    from sutro_magic.frames import to_pandas
    from sutro_magic.unfolded_file import read_unfolded

    return to_pandas(read_unfolded(Path(path), mark).select(names).slice(start, rows))
