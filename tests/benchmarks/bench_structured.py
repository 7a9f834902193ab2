"""Seconds and memory from a results file to a frame with a column for each field, next to other ways.

Run ``python tests/benchmarks/bench_structured.py [--rows N] [--rounds N] [--sdk-python PATH]``. Every
measurement is a process of its own, with its libraries imported and one small call done before; rounds are
interleaved, medians count. Memory is the most that the process held beyond its start: resident memory,
and in brackets without the pages of mapped files, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "email": {"type": "string"},
        "score": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age"],
}
KINDS = ("structured", "structured, bad rows", "reasoning")
WAYS = (
    "json.loads",
    "orjson",
    "polars",
    "duckdb",
    "SDK warm",
    "ours, schema",
    "ours, inferred",
    "ours, again",
)
PACKAGES = {"orjson": "orjson", "polars": "polars", "duckdb": "duckdb"}
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
WARM_ROWS = 100
SDK_SCRIPT = """
import json, sys, time, pathlib
import sutro as so
def peak():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
so = so.Sutro()
kind, job = sys.argv[1:]
so.get_job_results("job-warm", unwrap_reasoning=True)
so.get_job_results(job, unwrap_reasoning=True) if kind == "fill" else None
before, begin = peak(), time.perf_counter()
frame = so.get_job_results(job, unwrap_reasoning=True)
seconds = time.perf_counter() - begin
note = "not unfolded" if "inference_result" in frame.columns else ""
print("\\n" + json.dumps({"seconds": seconds, "peak": peak() - before, "anonymous": None, "note": note}))
"""


# --- rows -------------------------------------------------------------------------------------


def make_outputs(kind: str, rows: range) -> list[str]:
    """Make the outputs of some rows; the same for the same rows."""
    rng = random.Random(f"{kind.partition(',')[0]} {rows.start}")
    outputs = []
    for row in rows:
        value = {
            "name": f"{rng.choice(WORDS).title()} {rng.choice(WORDS)}",
            "age": rng.randrange(18, 90),
            "email": f"{rng.choice(WORDS)}{row}@example.com",
            "score": round(rng.random(), 4),
            "tags": rng.choices(WORDS, k=rng.randrange(4)),
        }
        if kind == "reasoning":
            value = {"content": value, "reasoning_content": " ".join(rng.choices(WORDS, k=70))}
        text = json.dumps(value)
        outputs.append(text[: len(text) // 2] if "bad" in kind and row % 1_000 == 500 else text)
    return outputs


def make_file(path: Path, kind: str, rows: int) -> None:
    """Write a results file in one row group, as pyarrow does by default."""
    pq.write_table(pa.table({"outputs": make_outputs(kind, range(rows))}), path, compression="zstd")


# --- ways -------------------------------------------------------------------------------------


def read_column(path: Path) -> pa.ChunkedArray:
    """Read the outputs in the way that is kind to memory."""
    file = pq.ParquetFile(path)
    return pa.Table.from_batches(file.iter_batches(), file.schema_arrow).column(0)


def by_loop(path: Path, kind: str, loads) -> object:
    """Read with a loop over all rows, as documentation and habit have it."""
    import pandas as pd

    values = [loads(text) for text in read_column(path).to_pylist()]
    if kind == "reasoning":
        values = [{**value["content"], "reasoning_content": value["reasoning_content"]} for value in values]
    return pd.DataFrame(values)


def by_polars(path: Path, kind: str) -> object:
    """Ends with a frame of Polars."""
    import polars as pl

    frame = pl.read_parquet(path)["outputs"].str.json_decode(infer_schema_length=None).struct.unnest()
    return frame.unnest("content") if kind == "reasoning" else frame


def by_duckdb(path: Path, kind: str) -> object:
    import duckdb

    con = duckdb.connect()
    con.execute("create table t as select outputs::json as j from read_parquet(?)", [str(path)])
    structure = con.execute("select json_group_structure(j) from t").fetchone()[0]
    relation = con.execute("select unnest(json_transform_strict(j, ?)) from t", [structure])
    if kind == "reasoning":
        relation = con.execute(
            "select unnest(s.content), s.reasoning_content from (select json_transform_strict(j, ?) s from t)",
            [structure],
        )
    return relation.df()


def our_results(path: Path, schema: object, cache: Path):
    """Take a results file into a cache as a fetch does; return a maker of handles on it."""
    from sutro_magic.cache.store import RESULTS_FILE, ResultsCache
    from sutro_magic.formats.columns import CanonicalTable, map_columns
    from sutro_magic.models import Job, ResultsRequest
    from sutro_magic.results.handle import Results

    store, request = ResultsCache(cache), ResultsRequest(job_id="job-1")
    with store.staging() as staged:
        os.link(path, staged / RESULTS_FILE)
        entry = store.commit(
            staged,
            identity="bench",
            request=request,
            deployment="here",
            table=CanonicalTable(
                num_rows=pq.read_metadata(path).num_rows, columns=map_columns(["outputs"], "job-1")
            ),
            job=Job(job_id="job-1", json_schema=schema),
        )
    return lambda: Results.of_entry(
        entry, request, cache=store, identity="bench", unfold=None, from_cache=True, seconds=0
    )


# --- one measurement --------------------------------------------------------------------------


def status_megabytes(name: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


class AnonymousPeak(threading.Thread):
    """Samples the memory that is the process's own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = status_megabytes("RssAnon")
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(0.01):
            self.most = max(self.most, status_megabytes("RssAnon"))


def measure(way: str, kind: str, path: Path, warm: Path) -> dict[str, object]:
    """Do one thing once."""
    folder = path.parent / f"cache-{os.getpid()}"
    schema = SCHEMA if way == "ours, schema" else None
    if way.startswith("ours"):
        our_results(warm, schema, folder / "warm")().to_pandas()
        make = our_results(path, schema, folder / "cold")
        if way == "ours, again":
            # Made by another process, so that this one's memory does not know of it.
            child = os.fork()
            if child == 0:
                make().prepare()
                os._exit(0)
            os.waitpid(child, 0)
        work = lambda _path: make().to_pandas()  # noqa: E731
    elif way == "json.loads":
        work = lambda file: by_loop(file, kind, json.loads)  # noqa: E731
    elif way == "orjson":
        import orjson

        work = lambda file: by_loop(file, kind, orjson.loads)  # noqa: E731
    else:
        work = lambda file: {"polars": by_polars, "duckdb": by_duckdb}[way](file, kind)  # noqa: E731
    if not way.startswith("ours"):
        work(warm)
    before, own_before, sampler = status_megabytes("VmHWM"), status_megabytes("RssAnon"), AnonymousPeak()
    sampler.start()
    note, begin = "", time.perf_counter()
    try:
        frame = work(path)
    except Exception as error:  # noqa: BLE001 - that it raises is the result
        frame, note = None, f"raises {type(error).__name__}"
    seconds = time.perf_counter() - begin
    sampler.stopping.set()
    sampler.join()
    peak = status_megabytes("VmHWM") - before
    if frame is not None and way.startswith("ours"):
        check(frame, kind)
    return {
        "seconds": seconds,
        "peak": peak,
        "anonymous": sampler.most - own_before,
        "note": note,
    }


def check(frame, kind: str) -> None:
    """Hold every hundredth row against Python's own parser."""
    rows = frame.iloc[::100]
    for place, row in zip(rows.index, rows.to_dict("records"), strict=True):
        if "bad" in kind and place % 1_000 == 500:
            assert isinstance(row["_raw"], str) and row["_error"].startswith("cut off")
    texts = make_outputs(kind, range(len(frame)))[::100]
    for text, row in zip(texts, rows.to_dict("records"), strict=True):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        value = {**value.pop("content", {}), **value}
        assert all(list(row[key]) == v if isinstance(v, list) else row[key] == v for key, v in value.items())


# --- the SDK ----------------------------------------------------------------------------------


def serve(folder: Path, rows: int, python: str):
    """Start a demo service with these jobs; return a function that lets the SDK read one."""
    from sutro_magic.demo import DemoService, job_states
    from sutro_magic.demo.job_spec import JobSpec

    def spec(job_id: str, kind: str, count: int) -> JobSpec:
        def columns(_rng: random.Random, chunk: range) -> dict[str, list[object]]:
            nothing: list[object] = [""] * len(chunk)
            return {"inputs": nothing, "outputs": make_outputs(kind, chunk), "cumulative_logprobs": nothing}

        return JobSpec(
            job_id=job_id, name="", description="", model="m", num_rows=count, rows=columns, age=60
        )

    specs = [spec(f"job-{number}", kind, rows) for number, kind in enumerate(KINDS)]
    job_states.SAMPLES = (*specs, spec("job-warm", "structured", WARM_ROWS))
    service = DemoService().start()
    home = folder / "sdk-home"
    home.mkdir()

    def read(kind: str, step: str) -> dict[str, object]:
        environment = os.environ | {
            "HOME": str(home),
            "SUTRO_API_URL": service.url,
            "SUTRO_API_KEY": service.api_key,
        }
        command = [python, "-c", SDK_SCRIPT, step, f"job-{KINDS.index(kind)}"]
        said = subprocess.check_output(command, env=environment, cwd=home, text=True, timeout=600)
        return json.loads(said.strip().splitlines()[-1])

    for kind in KINDS:
        read(kind, "fill")
    return service, read


# --- all of them ------------------------------------------------------------------------------


def report(found: dict[tuple[str, str], list[dict[str, object]]], ways: list[str], rows: int) -> None:
    """Print what was found; what breaks on bad rows is held against the loop over good ones."""
    for kind in KINDS:
        of = kind.partition(",")[0]
        print(f"\n{rows:,} rows, {kind}, median of {len(found[kind, ways[0]])}")
        print(f"{'':16} {'seconds':>9} {'from':>8} {'to':>8} {'times as fast':>14} {'MB':>7} {'(own)':>8}")
        base = statistics.median(run["seconds"] for run in found[of, "json.loads"])
        for way in ways:
            runs = found[kind, way]
            seconds = [run["seconds"] for run in runs]
            middle = statistics.median(seconds)
            memory = statistics.median(run["peak"] for run in runs)
            own = [run["anonymous"] for run in runs if run["anonymous"] is not None]
            print(
                f"{way:16} {middle:9.3f} {min(seconds):8.3f} {max(seconds):8.3f} {base / middle:14.1f} {memory:7.0f}"
                f" {f'({statistics.median(own):.0f})' if own else '':>8} {runs[0]['note']}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sdk-python", help="interpreter of an environment with sutro==0.1.67")
    parser.add_argument("--run", nargs=3, metavar=("WAY", "KIND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        way, kind, folder = arguments.run
        number = KINDS.index(kind)
        warm = Path(folder) / f"warm-{number}.parquet"
        print(json.dumps(measure(way, kind, Path(folder) / f"{number}.parquet", warm)))
        return

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, kind in enumerate(KINDS):
            make_file(folder / f"{number}.parquet", kind, arguments.rows)
            make_file(folder / f"warm-{number}.parquet", kind.partition(",")[0], WARM_ROWS)
        ways = [way for way in WAYS if way not in PACKAGES or find_spec(PACKAGES[way])]
        service = None
        if arguments.sdk_python:
            service, sdk = serve(folder, arguments.rows, arguments.sdk_python)
        else:
            ways.remove("SDK warm")
        for way in set(WAYS) - set(ways):
            print(f"left out: {way}, which is not installed")
        found: dict[tuple[str, str], list[dict[str, object]]] = {}
        for _ in range(arguments.rounds):
            for kind in KINDS:
                for way in ways:
                    if way == "SDK warm":
                        result = sdk(kind, "read")
                    else:
                        command = [sys.executable, __file__, "--run", way, kind, name]
                        result = json.loads(subprocess.check_output(command, timeout=900))
                    found.setdefault((kind, way), []).append(result)
        if service is not None:
            service.stop()
    report(found, ways, arguments.rows)


if __name__ == "__main__":
    main()
