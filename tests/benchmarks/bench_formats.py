"""Seconds and memory from a wire body to the canonical Parquet file, next to a naive reader.

Run ``python tests/benchmarks/bench_formats.py [ROWS]``; every measurement is a process of its own.
The naive reader ends with a table in memory and no file: that is what it would be used for.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

JOB = "job-4f2a"
FORMATS = ("csv", "json", "parquet")
WAYS = ("import", "canonicalize", "naive")


def make_bodies(folder: Path, rows: int) -> None:
    """Write the same made-up job in every format, with prompts and log probabilities."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    rng = random.Random(7)
    words = [
        "alpha",
        "beta",
        "gamma,",
        "delta",
        "Ångström",
        "épsilon",
        "«zeta»",
        "eta\n",
        "theta",
        "iota",
        "kappa",
    ]

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=length))

    block = 50_000
    schema = pa.schema([("inputs", pa.string()), (JOB, pa.string()), ("cumulative_logprobs", pa.float64())])
    csv_path = folder / "rows.csv"
    with (
        pq.ParquetWriter(folder / "parquet", schema, compression="zstd") as writer,
        pa_csv.CSVWriter(csv_path, schema) as csv,
    ):
        for start in range(0, rows, block):
            count = min(block, rows - start)
            columns = [
                [text(8) for _ in range(count)],
                [text(25) if rng.random() > 0.01 else None for _ in range(count)],
                [-rng.random() * 100 for _ in range(count)],
            ]
            table = pa.table(columns, schema)
            writer.write_table(table)
            csv.write_table(table)
    with zipfile.ZipFile(folder / "csv", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(csv_path, "results.csv")
    csv_path.unlink()
    with (folder / "json").open("w", encoding="utf-8") as file:
        for i, (name, key) in enumerate(
            [(JOB, "outputs"), ("inputs", "inputs"), ("cumulative_logprobs",) * 2]
        ):
            file.write(("{" if i == 0 else ", ") + json.dumps(key) + ": ")
            for j, batch in enumerate(pq.ParquetFile(folder / "parquet").iter_batches(columns=[name])):
                file.write(
                    ("[" if j == 0 else ", ")
                    + json.dumps(batch.column(0).to_pylist(), ensure_ascii=False)[1:-1]
                )
            file.write("]")
        file.write("}")


def run(wire: str, way: str, folder: Path) -> None:
    """Do one thing and say how long it took and how much memory the process ever had."""
    from sutro_magic.formats import normalize
    from sutro_magic.models import ResultsRequest

    body, target = folder / wire, folder / "target"
    if way == "canonicalize" and wire == "parquet":
        body = folder / "moved"  # a Parquet body is moved, so it gets another name first
        body.hardlink_to(folder / wire)
    if way == "naive":
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq
    begin = time.perf_counter()
    if way == "canonicalize":
        normalize.canonicalize(body, target, request=ResultsRequest(job_id=JOB, inputs=True, logprobs=True))
    elif way == "naive" and wire == "csv":
        pd.read_csv(body, compression="zip", dtype=str, keep_default_na=False)
    elif way == "naive" and wire == "json":
        pa.table(json.loads(body.read_bytes()))
    elif way == "naive":
        pq.read_table(body)
    seconds = time.perf_counter() - begin
    target.unlink(missing_ok=True)
    print(json.dumps({"seconds": seconds, "peak": peak_megabytes()}))


def peak_megabytes() -> float:
    """Most memory that this process had; getrusage would count what the parent had at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform == "darwin" else 1 << 10
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--run", nargs=3, metavar=("WIRE", "WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        wire, way, folder = arguments.run
        run(wire, way, Path(folder))
        return

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bodies(folder, arguments.rows)
        print(f"{arguments.rows:,} rows; MB above imports")
        print(
            f"{'wire':8} {'body MB':>8} {'ours s':>8} {'naive s':>8} {'ratio':>6} {'ours MB':>8} {'naive MB':>9} {'ratio':>6}"
        )
        for wire in FORMATS:
            found = {}
            for way in WAYS:
                command = [sys.executable, __file__, "--run", wire, way, name]
                runs = [json.loads(subprocess.check_output(command)) for _ in range(arguments.repeat)]
                runs.sort(key=lambda r: r["seconds"])
                found[way] = runs[len(runs) // 2]
            ours, naive, base = found["canonicalize"], found["naive"], found["import"]["peak"]
            memory, naive_memory = ours["peak"] - base, naive["peak"] - base
            size = (folder / wire).stat().st_size / 1e6
            print(
                f"{wire:8} {size:8.1f} {ours['seconds']:8.3f} {naive['seconds']:8.3f} {ours['seconds'] / naive['seconds']:6.2f}"
                f" {memory:8.0f} {naive_memory:9.0f} {memory / naive_memory:6.2f}"
            )


if __name__ == "__main__":
    main()
