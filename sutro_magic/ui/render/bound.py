"""What is said of the variable that holds results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic.errors import Hint, shown_hint
from sutro_magic.system import humanize

if TYPE_CHECKING:
    from pathlib import Path

    from sutro_magic.results.handle import Results

TYPE_WORDS = {
    "pandas": "pandas DataFrame",
    "polars": "polars DataFrame",
    "arrow": "Arrow table",
    "duckdb": "DuckDB relation",
    "dask": "Dask DataFrame",
    "path": "path of the Parquet file",
    "results": "Results",
}


@dataclass(frozen=True)
class Bound:
    """A variable that holds results, and as what."""

    name: str
    as_type: str

    def __str__(self) -> str:
        return f"{self.name}: {TYPE_WORDS[self.as_type]}"

    def errors(self, job_id: str) -> str:
        """Say what to type to see the rows that could not be unfolded."""
        if self.as_type == "results":
            return f"{self.name}.errors"
        if self.as_type == "pandas":
            return f'{self.name}[{self.name}["_error"].notna()]'
        return shown_hint(Hint("errors", job=job_id))


@dataclass(frozen=True)
class BoundFile(Bound):
    """A variable that holds the path of a file, and what that file is."""

    file: str
    shown: str

    def __str__(self) -> str:
        # The size of the table that is shown follows, which need not be that of the file.
        return f"{self.name}: path of {self.file}; {self.shown}"


def bound_line(bound: object, size: str) -> str:
    """Return the first line of a caption: the variable and the size of what it holds, or how to bind one."""
    if bound:
        return f"{bound}, {size}"
    return shown_hint(("not bound (", Hint("bind", name="VAR"), " binds it)"))


def bound_as(name: str, as_type: str, results: Results) -> Bound:
    """Return what is said of a variable that results are bound to.

    Parameters
    ----------
    name, as_type : str
        Of the variable.
    results : Results
        What is shown; of a path, only the end of the file is read for it.
    """
    if as_type != "path":
        return Bound(name, as_type)
    shown = "the table below"
    if results.unfolding is not None and results.unfolding.unfolded:
        shown += ", with outputs unfolded"
    return BoundFile(name, as_type, _describe(results.path, results.provenance.format), shown)


def _describe(path: Path, wire: str) -> str:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    columns = len(metadata.schema.to_arrow_schema().names)
    what = (
        "the Parquet artifact as the service made it"
        if wire == "parquet"
        else f"a Parquet file made of the {wire.upper()} that the service sent"
    )
    shape = f"{humanize.count(metadata.num_rows, 'row')} x {humanize.count(columns, 'column')}"
    return f"{what}, {humanize.size(path.stat().st_size)}, {shape}"
