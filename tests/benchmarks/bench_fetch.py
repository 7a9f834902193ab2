"""Seconds from a job id to its table, next to `curl` and a bare Arrow read of the same artifact.

Run ``python tests/benchmarks/bench_fetch.py [--rounds N] [--job JOB_ID]``. The service is the demo's, in a process of
its own; every measurement is a fresh process with its libraries imported, and ours an empty cache.
Rounds are interleaved, medians count.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = {
    "curl to a file": "curl",
    "curl + first row group": "curl_first",
    "curl + Arrow + pandas": "curl_frame",
    "ours, first rows": "first",
    "ours, a raw DataFrame": "frame",
    "ours, unfolded": "unfolded",
    "ours again, unfolded, in a warm kernel": "again",
}
RATIOS = [
    ("ours, first rows", "curl + first row group"),
    ("ours, a raw DataFrame", "curl + Arrow + pandas"),
]


def by_curl(url: str, key: str, job: str, folder: Path) -> Path:
    """Download the artifact as one does without us."""
    body = folder / "body"
    asked = subprocess.run(
        ["curl", "-s", "-H", f"Authorization: Key {key}", f"{url}/v1/jobs/{job}/results-url?format=parquet"],
        capture_output=True,
        check=True,
    )  # fmt: skip
    signed = json.loads(asked.stdout)["urls"]["get"]
    subprocess.run(["curl", "-s", "-o", body, signed], check=True)
    return body


def measure(way: str, url: str, key: str, job: str, folder: Path) -> float:
    """Do one thing once; return seconds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import sutro_magic
    from sutro_magic import session
    from sutro_magic.formats import reader
    from sutro_magic.results import to_pandas
    from sutro_magic.structured import cached_table, unfold

    assert to_pandas and session and unfold and cached_table and reader  # imports do not count
    ours = sutro_magic.Session(url, key, folder / "cache")
    if way == "again":
        ours.results(job).to_pandas()
    begin = time.perf_counter()
    if way.startswith("curl"):
        body = by_curl(url, key, job, folder)
        if way == "curl_first":
            pq.ParquetFile(body).read_row_group(0)
        elif way == "curl_frame":
            file = pq.ParquetFile(body)
            pa.Table.from_batches(file.iter_batches(), file.schema_arrow).to_pandas()
    elif way == "first":
        ours.results(job, unfold=False).head(100)
    elif way == "frame":
        ours.results(job, unfold=False).to_pandas()
    else:
        ours.results(job).to_pandas()
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--job", default="job-demo-million")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "URL", "KEY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.child:
            way, url, key = options.child
            print(measure(way, url, key, options.job, Path(name)))
            return
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "sutro_magic.demo"], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                url, key = re.findall(r"=(\S+)", server.stdout.readline())
                by_curl(url, key, options.job, Path(name))  # the service makes it when it is first asked for
                compare(options, url, key)
            finally:
                server.terminate()


def compare(options: argparse.Namespace, url: str, key: str) -> None:
    """Measure all ways in turn, and print medians and ratios."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, seconds in taken.items():
            command = [sys.executable, __file__, "--job", options.job, "--child", WAYS[way], url, key]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds.append(float(done.stdout))
    medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
    for way, seconds in taken.items():
        print(f"{way:<40}{medians[way]:7.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})")
    for way, other in RATIOS:
        print(f"{way} / {other}: {medians[way] / medians[other]:.2f}")


if __name__ == "__main__":
    main()
