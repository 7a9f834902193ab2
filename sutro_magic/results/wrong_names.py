"""Errors for attributes of `Results` that people guess from other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic.errors import UnknownAttributeError, closest

if TYPE_CHECKING:
    from collections.abc import Iterable

_RIGHT_CALLS = {
    "to_csv": 'r.save("results.csv")',
    "to_parquet": 'r.save("results.parquet")',
    "to_json": 'r.save("results.jsonl")',
    "to_jsonl": 'r.save("results.jsonl")',
    "to_dict": "r.to_arrow().to_pydict()",
    "to_list": "r.to_arrow().to_pylist()",
    "to_pylist": "r.to_arrow().to_pylist()",
    "show": "r.table()",
    "display": "r.table()",
    "df": "r.to_pandas()",
    "data": "r.to_pandas()",
    "pandas": "r.to_pandas()",
    "polars": "r.to_polars()",
    "arrow": "r.to_arrow()",
    "duckdb": "r.to_duckdb()",
    "dask": "r.to_dask()",
    "batches": "r.to_batches()",
    "shape": "(r.num_rows, len(r.columns))",
    "dtypes": "r.schema",
    "id": "r.job_id",
    "sha256": "r.digest",
}


def wrong_name(name: str, public: Iterable[str]) -> UnknownAttributeError:
    """Return the error for an attribute that does not exist, with the call that was likely meant."""
    call = _RIGHT_CALLS.get(name)
    if call is None:
        close = closest(name, public, 0.75)
        call = f"r.{close}" if close else None
    if call is None:
        import pandas as pd

        call = f"r.to_pandas().{name}" if hasattr(pd.DataFrame, name) else None
    return UnknownAttributeError(
        f"Results have no attribute {name!r}.",
        hint=call or "dir(r) lists what there is; r.to_pandas() is a DataFrame.",
    )
