"""Ctrl-C in a real kernel and in a script, killed processes, and memory."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faulty_storage import JOB, FaultyService, make_table, running
from sweep_faults import leftovers
from test_cache_processes import NO_LOCKS

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, threading, time
from sutro_magic import Session
session = Session(sys.argv[1], "sk_x", sys.argv[2])
said = []
try:
    results = session.results("job-x", on_kept=said.append)
except KeyboardInterrupt:
    names = [thread.name for thread in threading.enumerate()]
    print("interrupted", said, [name for name in names if name.startswith("sutro-fetch")], flush=True)
else:
    print("fetched", results.num_rows, flush=True)
"""


@pytest.fixture
def service():
    with running(FaultyService()) as made:
        yield made


def wait_until(fact, seconds=30):
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def sent(service):
    return sum(seen.sent for seen in service.storage())


def script(service, folder, first=""):
    return subprocess.Popen(
        [sys.executable, "-c", first + SCRIPT, service.url, folder],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def test_ctrl_c_in_a_script_keeps_the_partial_and_leaves_no_thread(service, tmp_path):
    service.rate = 100_000
    with script(service, tmp_path) as process:
        wait_until(lambda: sent(service) > 60_000)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        said = process.stdout.readline().split()
        print(f"stopped after {time.monotonic() - begin:.2f} s: {said}")
    assert said[0] == "interrupted" and said[2] == "[]"
    kept = int(said[1].strip("[],"))
    assert kept > 30_000
    service.rate = None
    service.seen.clear()
    with script(service, tmp_path) as process:
        assert process.stdout.read().split() == ["fetched", str(len(service.table))]
    assert sent(service) == len(service.artifact) - kept


def test_a_killed_process_leaves_a_partial_that_the_next_one_claims(service, tmp_path):
    service.rate = 100_000
    with script(service, tmp_path) as process:
        wait_until(lambda: list(tmp_path.glob("partials/*/*/state.json")))
        process.kill()
    (left,) = leftovers(tmp_path)
    assert "~" in left.name
    service.rate = None
    service.seen.clear()
    with script(service, tmp_path) as process:
        assert process.stdout.read().split() == ["fetched", str(len(service.table))]
    assert service.storage()[0].range is not None and sent(service) < len(service.artifact)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(3, id="sample"),
        pytest.param(60, marks=[pytest.mark.sweep, pytest.mark.timeout(1800)], id="60 rounds"),
    ],
)
def test_killed_at_any_instant_of_a_download_the_next_one_fetches_the_rest(service, tmp_path, rounds):
    seed = int(os.environ.get("SUTRO_TEST_SEED") or secrets.randbelow(10**9))
    rng, gone_on, spared = random.Random(seed), 0, 0
    print(f"seed {seed}")
    for number in range(rounds):
        folder = tmp_path / str(number)
        service.rate, instant = 90_000, rng.randrange(len(service.artifact))
        service.seen.clear()
        with script(service, folder) as process:
            wait_until(lambda: sent(service) >= instant)  # noqa: B023 - called at once
            process.kill()
        kept = 0
        for state in folder.glob("partials/*/*/state.json"):
            kept = sum(end - start for start, end in json.loads(state.read_text())["ranges"])
        service.rate = None
        service.seen.clear()
        with script(service, folder) as process:
            said = process.stdout.read().split()
        assert said == ["fetched", str(len(service.table))], f"seed {seed}, round {number}"
        assert sent(service) == len(service.artifact) - kept, f"seed {seed}, round {number}"
        assert leftovers(folder) == [], f"seed {seed}, round {number}"
        gone_on, spared = gone_on + bool(kept), spared + kept
    print(
        f"{gone_on} of {rounds} went on where a killed one was; {spared / rounds / len(service.artifact):.0%} spared"
    )
    assert gone_on or rounds < 10


@pytest.mark.skipif(sys.platform == "win32", reason="switches flock off")
def test_the_partial_of_a_living_process_is_left_alone(service, tmp_path):
    service.rate = 20_000
    with script(service, tmp_path, NO_LOCKS) as slow:
        wait_until(lambda: list(tmp_path.glob("partials/*/*/state.json")))
        with script(service, tmp_path, NO_LOCKS) as other:
            wait_until(lambda: len(service.storage()) > 1)
            service.rate = None
            assert other.stdout.read().split() == ["fetched", str(len(service.table))]
        assert slow.stdout.read().split() == ["fetched", str(len(service.table))]
    assert [seen.range for seen in service.storage()] == [None, None]


def test_a_robbed_download_still_ends_in_the_right_table(service, tmp_path, monkeypatch):
    """As when the clocks of two machines that share a folder do not agree."""
    from sutro_magic import Session

    monkeypatch.setattr("sutro_magic.cache.partial._is_abandoned", lambda _path: True)
    service.rate = 150_000
    first, second = (Session(service.url, "sk_x", tmp_path) for _ in range(2))
    tables = []
    thread = threading.Thread(target=lambda: tables.append(first.results(JOB)))
    thread.start()
    wait_until(lambda: list(tmp_path.glob("partials/*/*/state.json")))
    tables.append(second.results(JOB, refresh=True))
    thread.join()
    assert service.storage()[1].range is not None, "the partial was taken over"
    assert [results.to_arrow().equals(service.table) for results in tables] == [True, True]
    assert leftovers(tmp_path) == []


def test_interrupting_a_cell_says_what_is_kept_and_running_it_again_goes_on(kernel, service):
    assert kernel.run(
        f"import os\nsaved = dict(os.environ)\nos.environ.update(SUTRO_API_URL={service.url!r}, SUTRO_API_KEY='sk_x')"
    ).ok
    try:
        service.rate = 100_000

        def interrupt():
            wait_until(lambda: sent(service) > 100_000)
            kernel.manager.interrupt_kernel()
            times.append(time.monotonic())

        times = []
        thread = threading.Thread(target=interrupt)
        thread.start()
        kernel.run("df = 'as it was'")
        reply = kernel.run(f"%sutro_results {JOB} --name df")
        thread.join()
        print(f"stopped after {time.monotonic() - times[0]:.2f} s")
        assert reply.ename == "Interrupted"
        assert "nothing was bound, and" in reply.traceback
        assert "kB of the download are kept. Run the cell again to go on from there." in reply.traceback
        assert kernel.value("df") == "as it was"
        alive = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('sutro-fetch')]"
        assert kernel.value(alive) == "[]"
        service.seen.clear()
        again = kernel.run(f"%sutro_results {JOB} --name df")
        assert again.ok and kernel.value("len(df)") == str(len(service.table))
        assert service.storage()[0].range is not None
        assert any("were here from before" in str(update) for update in [*again.displays, *again.updates])
    finally:
        kernel.run("os.environ.clear()\nos.environ.update(saved)")


# --- memory ---------------------------------------------------------------------------------------

PEAK = r"""
import re, sys
from sutro_magic import Session
results = Session(sys.argv[1], "sk_x", sys.argv[2]).results("job-x", format=sys.argv[3])
# Not what getrusage says, which begins with the memory of whoever started this process.
print(results.num_rows, int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""
MEGABYTE = 1_000_000


def large(wire, times, folder):
    """An artifact of `times` 10 MB, and its rows."""
    table = make_table(100_000)
    path = Path(folder) / "large"
    if wire == "parquet":
        with pq.ParquetWriter(
            path, table.rename_columns([JOB]).schema, compression="none", use_dictionary=False
        ) as writer:
            for _ in range(times):
                writer.write_table(table.rename_columns([JOB]))
    else:
        lines = "\n".join("" if text is None else text for text in table["outputs"].to_pylist()) + "\n"
        with (
            zipfile.ZipFile(path, "w") as archive,
            archive.open(f"{JOB}.csv", "w", force_zip64=True) as member,
        ):
            member.write(f"{JOB}\n".encode())
            for _ in range(times):
                member.write(lines.encode())
    return path.read_bytes(), len(table) * times


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("wire", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_artifact(wire, tmp_path):
    peaks = []
    for times in (2, 20):
        body, rows = large(wire, times, tmp_path)
        with running(FaultyService(table=make_table(10), artifact=body)) as service:
            service.bodies["csv"] = body
            service.rows = rows
            done = subprocess.run(
                [sys.executable, "-c", PEAK, service.url, tmp_path / f"cache-{times}", wire],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
        got, peak = map(int, done.stdout.split())
        assert got == rows
        peaks.append(peak)
        print(f"{wire}: {len(body) / MEGABYTE:.0f} MB, peak {peak / MEGABYTE:.0f} MB")
    assert peaks[1] - peaks[0] < 64 * MEGABYTE
