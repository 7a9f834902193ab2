"""What a variable holds that ``--as path`` binds: a file that is not the table as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic.system import humanize
from sutro_magic.ui.display import Bound

if TYPE_CHECKING:
    from pathlib import Path

    from sutro_magic.results.handle import Results


@dataclass(frozen=True)
class BoundFile(Bound):
    """A variable that holds the path of a file, and what that file is."""

    file: str
    shown: str

    def __str__(self) -> str:
        # The size of the table that is shown follows, which need not be that of the file.
        return f"{self.name}: path of {self.file}; {self.shown}"


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
