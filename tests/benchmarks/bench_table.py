"""Seconds from a question to a page, over a table of ten million rows, next to other ways.

Run ``python tests/benchmarks/bench_table.py [--rows N] [--rounds N] [--memory-limit 300MB]``. The table lies in an Arrow file
on disk, as the cache keeps it. Every way is a process of its own, with its libraries imported; rounds are
interleaved, medians count. A page of ours is what the kernel sends to the browser: 100 rows as JSON, cells cut.
``anonymous`` is the memory of the process that is not the mapped file, at its most, beyond its start.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

STEPS = (
    "open",
    "first page",
    "last page",
    "first sort by a number",
    "page 50,000 of that sort",
    "search one text column",
    "search all text columns",
)
WAYS = ("ours", "pandas", "duckdb", "itables")
LENGTH = 100
BATCH = 100_000
NEEDLE = "W4999"


def make(path: Path, rows: int) -> None:
    """Write ten columns: an id, two labels, numbers, a date and a text of eight words."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(5_000)])
    writer = None
    with pa.OSFile(str(path), "wb") as file:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            batch = pa.record_batch(
                {
                    "id": pa.array([f"id-{start + i}" for i in range(count)], pa.large_string()),
                    "label": pa.array(
                        np.array(["good", "bad", "ok"])[rng.integers(0, 3, count)], pa.large_string()
                    ),
                    "genre": pa.array(np.array(["a", "b"])[rng.integers(0, 2, count)], pa.large_string()),
                    "score": rng.random(count),
                    "n": rng.integers(0, 1_000, count),
                    "year": rng.integers(1950, 2026, count),
                    "logprob": -rng.random(count),
                    "weight": rng.random(count),
                    "when": pa.array(rng.integers(0, 2**40, count), pa.timestamp("us")),
                    "text": pa.array(
                        [" ".join(w) for w in words[rng.integers(0, 5_000, (count, 8))]], pa.large_string()
                    ),
                }
            )
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        assert writer is not None
        writer.close()


def anonymous() -> float:
    """Return the megabytes of this process that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Peak:
    """The most anonymous memory since the start, looked at every 5 ms."""

    def __init__(self) -> None:
        self.start = self.most = anonymous()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.005)


def steps_of_ours(path: str, memory_limit: str):
    from sutro_magic.query import duckdb_engine
    from sutro_magic.query.pages import Pages
    from sutro_magic.query.table_query import Filter, Order, TableQuery
    from sutro_magic.ui.table.rows import encode

    duckdb_engine.configure(memory_limit=memory_limit)
    source = pa.memory_map(path)
    pages = Pages(lambda: pa.ipc.open_file(source).read_all())

    def page(query, start):
        numbers = pages.page(query, start, LENGTH)
        found = encode(list(numbers), pages.take(numbers))
        return len(json.dumps(found, ensure_ascii=False).encode())

    total = pa.ipc.open_file(source).read_all().num_rows
    by_score = TableQuery(order=(Order(3, descending=True),))
    return [
        lambda: pages.table,
        lambda: page(TableQuery(), 0),
        lambda: page(TableQuery(), total - LENGTH),
        lambda: page(by_score, 0),
        lambda: page(by_score, total // 2),
        lambda: page(TableQuery(filters=(Filter(9, "contains", (NEEDLE,)),)), 0),
        lambda: page(TableQuery(search=NEEDLE), 0),
    ]


def steps_of_pandas(path: str, _memory_limit: str):
    from sutro_magic.results.to_pandas import to_pandas

    kept: dict[str, object] = {}

    def load():
        with pa.memory_map(path) as source:
            kept["frame"] = to_pandas(pa.ipc.open_file(source).read_all())

    def sort():
        kept["sorted"] = kept["frame"].sort_values("score", ascending=False)
        return kept["sorted"].head(LENGTH)

    def search(*columns):
        frame = kept["frame"]
        found = np.zeros(len(frame), bool)
        for column in columns:
            found |= frame[column].str.contains(NEEDLE, case=False, regex=False).to_numpy(bool)
        return frame[found].head(LENGTH)

    return [
        load,
        lambda: kept["frame"].head(LENGTH),
        lambda: kept["frame"].tail(LENGTH),
        sort,
        lambda: kept["sorted"].iloc[len(kept["sorted"]) // 2 :].head(LENGTH),
        lambda: search("text"),
        lambda: search("id", "label", "genre", "text"),
    ]


def steps_of_duckdb(path: str, memory_limit: str):
    import duckdb

    connection = duckdb.connect(
        config={"memory_limit": memory_limit or "4GB", "temp_directory": tempfile.gettempdir()}
    )

    def load():
        connection.register("t", pa.ipc.open_file(pa.memory_map(path)).read_all())

    def query(rest):
        return lambda: connection.execute(f"select * from t {rest} limit {LENGTH}").fetchall()

    def deep(rest):
        def run():
            (count,) = connection.execute("select count(*) from t").fetchone()
            offset = count - LENGTH if not rest else count // 2
            return connection.execute(f"select * from t {rest} limit {LENGTH} offset {offset}").fetchall()

        return run

    order = "order by score desc"
    texts = " or ".join(f"{name} ilike '%{NEEDLE}%'" for name in ("id", "label", "genre", "text"))
    return [
        load,
        query(""),
        deep(""),
        query(order),
        deep(order),
        query(f"where text ilike '%{NEEDLE}%'"),
        query(f"where {texts}"),
    ]


def steps_of_itables(path: str, memory_limit: str):
    from itables.widget import ITable

    load, *_ = steps_of_pandas(path, memory_limit)
    frame: dict[str, object] = {}

    def show():
        with pa.memory_map(path) as source:
            from sutro_magic.results.to_pandas import to_pandas

            frame["frame"] = to_pandas(pa.ipc.open_file(source).read_all())
        table = ITable(frame["frame"])
        return len(json.dumps(table.get_state(), default=str))

    return [load, show]  # it keeps some hundred rows, and sorts and searches those in the browser


def child(way: str, path: str, memory_limit: str) -> None:
    steps = globals()[f"steps_of_{way}"](path, memory_limit)
    peak = Peak()
    seconds, sizes = [], []
    for step in steps:
        begin = time.perf_counter()
        made = step()
        seconds.append(time.perf_counter() - begin)
        sizes.append(made if isinstance(made, int) else 0)
    print(json.dumps({"seconds": seconds, "bytes": max(sizes), "anonymous": peak.most - peak.start}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-limit", default="300MB")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "PATH"))
    options = parser.parse_args()
    if options.child:
        child(*options.child, options.memory_limit)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.arrow"
        make(path, options.rows)
        print(
            f"{options.rows:,} rows x 10 columns, {path.stat().st_size / 1e6:,.0f} MB, memory_limit {options.memory_limit}"
        )
        runs: dict[str, list[dict]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                command = [
                    sys.executable,
                    __file__,
                    "--memory-limit",
                    options.memory_limit,
                    "--child",
                    way,
                    str(path),
                ]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[way].append(json.loads(answer.stdout.splitlines()[-1]))
    print(f"{'seconds':28}" + "".join(f"{way:>12}" for way in WAYS))
    for i, step in enumerate(STEPS):
        cells = [
            f"{statistics.median(run['seconds'][i] for run in runs[way]):12.3f}"
            if i < len(runs[way][0]["seconds"])
            else f"{'-':>12}"
            for way in WAYS
        ]
        print(f"{step:28}" + "".join(cells))
    print(
        f"{'anonymous memory, MB':28}"
        + "".join(f"{statistics.median(r['anonymous'] for r in runs[w]):12.0f}" for w in WAYS)
    )
    print(f"{'largest page, bytes':28}" + "".join(f"{max(r['bytes'] for r in runs[w]):12,}" for w in WAYS))


if __name__ == "__main__":
    main()
