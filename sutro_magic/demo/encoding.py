"""Rows into the three wire formats of ``GET jobs/{job_id}/results``, written to files chunk by chunk.

Formats follow the results page: Parquet with zstd inside, a ZIP that holds one CSV, a JSON object of
parallel arrays. Deployments (``/v1``) compress Parquet with Snappy, as their reference says.
pyarrow is imported with the first file, so that importing the service costs nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

from sutro_magic.demo.job_spec import iter_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from sutro_magic.demo.job_spec import Columns, JobSpec
    from sutro_magic.models import WireFormat

Codec = Literal["zstd", "snappy"]
Defect = Literal["wrong_rows", "half_parquet", "zip_without_csv", "unequal_json"]
"""Faults that spoil the file itself, not its way to the client."""

CONTENT_TYPES: dict[WireFormat, str] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "application/zip",
    "json": "application/json",
}
EXTENSIONS: dict[WireFormat, str] = {"parquet": "parquet", "csv": "zip", "json": "json"}

# A fixed date, so that the same rows give the same bytes at every start.
_MEMBER_DATE = (2026, 1, 1, 0, 0, 0)


def write(
    path: Path,
    spec: JobSpec,
    names: list[str],
    *,
    fmt: WireFormat,
    codec: Codec,
    defect: Defect | None,
    check: Callable[[], None],
) -> None:
    """Write the columns `names` of a job to `path`.

    Parameters
    ----------
    path, spec, names, fmt, codec
        Where, which job, which columns (in wire order), and how.
    defect : str, optional
        What to spoil on purpose.
    check : callable
        Called for every chunk; raises when the service is being stopped.
    """

    def chunks() -> Iterator[Columns]:
        stop = max(0, spec.num_rows - 1) if defect == "wrong_rows" else spec.num_rows
        for columns in iter_columns(spec, names, 0, stop):
            check()
            yield columns

    if fmt == "json":
        _write_json(path, names, chunks(), unequal=defect == "unequal_json")
    elif fmt == "csv":
        _write_csv_zip(path, spec, names, chunks(), without_csv=defect == "zip_without_csv")
    else:
        _write_parquet(path, spec, names, chunks(), codec)
        if defect == "half_parquet":
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)


def _schema(spec: JobSpec, names: list[str], *, vectors: bool) -> pa.Schema:
    """Give the Arrow types of a table; its output column is named by the job id, as the results page says."""
    import pyarrow as pa

    known = {
        "inputs": pa.string(),
        "outputs": pa.list_(pa.float64()) if vectors else pa.string(),
        "cumulative_logprobs": pa.float64(),
        "confidence_score": pa.float64(),
        **{name: pa.int64() if kind == "int64" else pa.string() for name, kind in spec.id_columns.items()},
    }
    return pa.schema([(spec.job_id if name == "outputs" else name, known[name]) for name in names])


def _batch(columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array(values, kind) for values, kind in zip(columns.values(), schema.types, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _write_parquet(
    path: Path, spec: JobSpec, names: list[str], chunks: Iterator[Columns], codec: Codec
) -> None:
    import pyarrow.parquet as pq

    schema = _schema(spec, names, vectors=spec.vectors)
    with pq.ParquetWriter(path, schema, compression=codec) as writer:
        for columns in chunks:
            writer.write_batch(_batch(columns, schema))


def _write_csv_zip(
    path: Path, spec: JobSpec, names: list[str], chunks: Iterator[Columns], *, without_csv: bool
) -> None:
    from pyarrow.csv import CSVWriter, WriteOptions

    member = zipfile.ZipInfo("README.txt" if without_csv else f"{spec.job_id}.csv", _MEMBER_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    schema = _schema(spec, names, vectors=False)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        if without_csv:
            file.write(b"The table is not in here.\n")
            return
        # The page shows bare column names over quoted texts; Arrow would quote both. An empty
        # string is quoted and a null is not, which is the only way to tell them apart in CSV.
        file.write((",".join(map(_csv_name, schema.names)) + "\n").encode())
        with CSVWriter(file, schema, write_options=WriteOptions(include_header=False)) as writer:
            for columns in chunks:
                if spec.vectors:
                    columns["outputs"] = [
                        None if value is None else json.dumps(value) for value in columns["outputs"]
                    ]
                writer.write_batch(_batch(columns, schema))


def _csv_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\r\n') else name


def _write_json(path: Path, names: list[str], chunks: Iterator[Columns], *, unequal: bool) -> None:
    """Write flat parallel arrays, ``outputs`` first; columns are spooled side by side, then joined."""
    ordered = sorted(names, key=lambda name: name != "outputs")
    with ExitStack() as stack:
        spools: dict[str, Any] = {
            name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in ordered
        }
        for columns in chunks:
            for name, spool in spools.items():
                values = columns[name]
                if unequal and name == "outputs" and spool.tell() == 0:
                    values = values[1:]
                if values:
                    text = json.dumps(values, ensure_ascii=False)[1:-1]
                    spool.write((", " + text if spool.tell() else text).encode())
        with path.open("wb") as file:
            for number, (name, spool) in enumerate(spools.items()):
                file.write(f"{', ' if number else '{'}{json.dumps(name, ensure_ascii=False)}: [".encode())
                spool.seek(0)
                shutil.copyfileobj(spool, file)
                file.write(b"]")
            file.write(b"}")
