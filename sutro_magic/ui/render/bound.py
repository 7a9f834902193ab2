"""Descriptions of the variable that holds results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic.errors import Hint, shown_hint
from sutro_magic.system import humanize
from sutro_magic.ui.render.caption import joined, shape

if TYPE_CHECKING:
    from pathlib import Path

    from sutro_magic.results.handle import Results

TYPE_WORDS = {
    "pandas": "DataFrame",
    "polars": "polars DataFrame",
    "arrow": "Arrow table",
    "duckdb": "DuckDB relation",
    "dask": "Dask DataFrame",
    "path": "path of a Parquet file",
    "results": "Results",
}


@dataclass(frozen=True)
class Bound:
    """A variable that holds results, and as what."""

    name: str
    as_type: str

    def __str__(self) -> str:
        return joined(self.name, TYPE_WORDS[self.as_type])

    def sized(self, rows: int, columns: int) -> str:
        """Return the variable, its type and its size: ``films · DataFrame 10,000 × 7``."""
        return f"{self} {shape(rows, columns)}"

    def errors(self, job_id: str) -> str:
        """Return the expression that gives the rows that could not be unfolded."""
        if self.as_type == "results":
            return f"{self.name}.errors"
        if self.as_type == "pandas":
            return f'{self.name}[{self.name}["_error"].notna()]'
        return shown_hint(Hint("errors", job=job_id))


@dataclass(frozen=True)
class BoundFile(Bound):
    """A variable that holds the path of a file, which need not have the columns of the table that is shown.

    Attributes
    ----------
    rows, columns : int
        Size of the table in the file.
    file : str
        What the file is.
    """

    rows: int
    columns: int
    file: str

    def sized(self, rows: int, columns: int) -> str:  # noqa: ARG002 - those of the table that is shown
        """Return the variable, its type and the size of the table in the file."""
        return super().sized(self.rows, self.columns)


def bound_as(name: str, as_type: str, results: Results) -> Bound:
    """Return the description of a variable that results are bound to.

    Parameters
    ----------
    name, as_type : str
        Of the variable.
    results : Results
        What is shown; of a path, only the end of the file is read.
    """
    if as_type != "path":
        return Bound(name, as_type)
    import pyarrow.parquet as pq

    path = results.path
    metadata = pq.read_metadata(path)
    columns = len(metadata.schema.to_arrow_schema().names)
    file = _describe(path, results.provenance.format)
    return BoundFile(name, as_type, metadata.num_rows, columns, file)


def _describe(path: Path, wire: str) -> str:
    what = (
        "the Parquet artifact as the service made it"
        if wire == "parquet"
        else f"a Parquet file made of the {wire.upper()} that the service sent"
    )
    return f"{what}, {humanize.size(path.stat().st_size)}"
