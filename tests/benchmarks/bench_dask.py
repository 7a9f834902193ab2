"""A table that is larger than the memory of all workers, on a `distributed` cluster of processes of this machine.

Run ``python tests/benchmarks/bench_dask.py [--rows N] [--memory-limit SIZE] [--folder PATH]``. The job is put into a cache of its
own, its JSON outputs are unfolded, and then ``len``, a group-by, a filter and a filter of whole texts are
asked of the unfolded table and of the texts as they came. Workers that go over the limit are killed, by Dask's own rules,
and the script fails. Every answer is checked.
"""

from __future__ import annotations

import argparse
import pickle
import re
import tempfile
import time
from pathlib import Path

import distributed
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sutro_magic.cache.store import RESULTS_FILE, ResultsCache
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import Job, ResultsRequest
from sutro_magic.results.handle import Results

GROUP = 100_000
REVIEW = "a review of some length, as a model writes it when it is asked for one, with a number in it: "


def make(path: Path, rows: int) -> None:
    """Write a results file with an id and JSON outputs of four fields."""
    schema = pa.schema([("id", pa.int64()), ("outputs", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, GROUP):
            ids = pa.array(np.arange(start, min(start + GROUP, rows)))
            number = ids.cast(pa.string())
            kind = pa.array(np.array(["good", "bad", "so so"])[np.asarray(ids) % 3])
            pieces = [
                '{"kind":"',
                kind,
                '","n":',
                number,
                ',"score":0.5,"review":"',
                REVIEW,
                number,
                '"}',
                "",
            ]
            writer.write_batch(pa.record_batch([ids, pc.binary_join_element_wise(*pieces)], schema=schema))


def keep(cache: ResultsCache, rows: int) -> Results:
    """Put the job into the cache."""
    request = ResultsRequest(job_id="job-large")
    with cache.staging() as staged:
        make(staged / RESULTS_FILE, rows)
        entry = cache.commit(
            staged,
            identity="0" * 32,
            request=request,
            deployment="https://acme.example",
            table=CanonicalTable(num_rows=rows, columns=map_columns(["id", "outputs"], "job-large")),
            job=Job(job_id="job-large"),
        )
    return Results.of_entry(
        entry, request, cache=cache, identity="0" * 32, unfold=None, from_cache=True, seconds=0
    )


def memory() -> float:
    """Return the most that this process has ever held, in MB (of Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) / 1e3


def ask(results: Results, rows: int) -> None:
    """Ask all questions, and print how long each took."""
    whole = results.unfolding is not None
    began = time.perf_counter()
    frame = results.to_dask()
    graph = len(pickle.dumps(frame.optimize().dask))
    print(
        f"  frame of {frame.npartitions} parts in {time.perf_counter() - began:.2f} s, graph of {graph:,} bytes"
    )
    text = frame["review" if whole else "outputs"]
    queries = {
        "len": (lambda: len(frame), rows),
        "filter": (lambda: len(frame[frame["id"] % 1_000_000 == 7].compute()), rows // 1_000_000),
        "filter of texts": (lambda: int(text.str.contains("it: 77777").sum().compute()), None),
    }
    if whole:
        sums = {k: sum(range(i, rows, 3)) for i, k in enumerate(("good", "bad", "so so"))}
        queries["group-by"] = (lambda: frame.groupby("kind")["n"].sum().compute().to_dict(), sums)
    for name, (query, answer) in queries.items():
        began = time.perf_counter()
        found = query()
        print(f"  {name}: {time.perf_counter() - began:.1f} s")
        assert answer is None or found == answer, f"{name}: {found} is not {answer}"


def main() -> None:
    """Make the job, then ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--memory-limit", default="700MB", help="of each of two workers")
    parser.add_argument("--folder", help="where the cache is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        cache = ResultsCache(Path(folder) / "cache")
        results = keep(cache, options.rows)
        began = time.perf_counter()
        results.prepare()
        size = results._source.stored().nbytes
        print(f"{options.rows:,} rows, {size / 1e9:.2f} GB unfolded (in {time.perf_counter() - began:.0f} s)")
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                memory_limit=options.memory_limit,
                dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            names = set(client.scheduler_info()["workers"])
            for which in (results, results.raw):
                print("unfolded" if which is results else "raw")
                ask(which, options.rows)
                print(
                    "  workers at most:", ", ".join(f"{used:,.0f} MB" for used in client.run(memory).values())
                )
            assert set(client.scheduler_info()["workers"]) == names, "no worker died"


if __name__ == "__main__":
    main()
