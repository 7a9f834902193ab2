"""Many processes on one cache, and processes that are killed at any instant.

The whole sweep: ``pytest tests/test_cache_processes.py --sweep -s``, which prints its seed and counts;
``SUTRO_TEST_SEED`` repeats one.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import random
import secrets
import signal
import subprocess
import sys
import time

import pytest
from test_cache import leftovers

from sutro_magic.cache import store as cache_store
from sutro_magic.cache.store import ENTRY_FILE, LOCKS_FOLDER, RESULTS_FILE
from sutro_magic.demo import server

FILMS, REVIEWS = "job-demo-films", "job-demo-reviews"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills")


def digest(table):
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


# --- eight at once --------------------------------------------------------------------------------

FETCH = """
import hashlib, os, sys
from sutro_magic import Session
from sutro_magic.system import locks
import pyarrow.parquet, sutro_magic.structured.cached_table
{patch}
url, key, folder, job, form = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
said = []
results = Session(url, key, folder).results(job, form, inputs=True, on_notice=said.append)
table = results.to_arrow()
print(hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest(), results.from_cache, len(said))
"""
NO_LOCKS = "import fcntl; fcntl.flock = lambda _handle, _how: None"


def count_bodies(monkeypatch):
    """Count the bytes of results that leave the service."""
    sent = [0]
    paced = server._paced

    def counted(request, reply):
        for block in paced(request, reply):
            if request.path.startswith("/storage/") or request.path.endswith("/results"):
                sent[0] += len(block)
            yield block

    monkeypatch.setattr(server, "_paced", counted)
    return sent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "locks_work"),
    [("parquet", True), ("csv", True), ("parquet", False)],
    ids=["parquet", "csv", "flock does nothing"],
)
def test_eight_processes_that_want_the_same_job_all_get_it_and_one_fetches_it(
    session, demo, monkeypatch, form, locks_work
):
    sent = count_bodies(monkeypatch)
    right = digest(session.results(FILMS, form, inputs=True).to_arrow())
    once, sent[0] = sent[0], 0
    session.cache.clear()
    demo.set_fault("slow", seconds=2)  # so that all of them come while it is under way
    code = FETCH.format(patch="" if locks_work else NO_LOCKS)
    command = [sys.executable, "-c", code, demo.url, demo.api_key, str(session.cache.directory), FILMS, form]
    fetchers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for fetcher in fetchers:
        assert fetcher.stdout.readline() == "ready\n"
    for fetcher in fetchers:
        fetcher.stdin.write("go\n")
        fetcher.stdin.flush()
    got = []
    for fetcher in fetchers:
        said, complaints = fetcher.communicate(timeout=120)
        assert (fetcher.returncode, complaints) == (0, "")
        got.append(said.split())
    waited = sum(int(notices) for _, _, notices in got)
    print(
        f"{form}: {sent[0] / once:.2f} times the artifact left the service; {waited} of 8 said that they wait"
    )
    assert {table for table, _, _ in got} == {right}
    assert len(session.cache.entries()) == 1 and leftovers(session.cache) == []
    assert session.results(FILMS, form, inputs=True).from_cache
    if locks_work:
        assert sent[0] == once and waited == 7
        assert [from_cache for _, from_cache, _ in got].count("False") == 1
        assert list((session.cache.directory / LOCKS_FOLDER).iterdir()) == []
    else:
        assert sent[0] > once, "without a lock several fetch, which is all that it costs"


# --- killed at any instant ------------------------------------------------------------------------

# Imports once, then forks for each round. A round is killed from outside after a time, or by itself
# before its n-th touch of the cache's files, which finds the short instants as often as the long ones.
VICTIM = """
import os, signal, sys
from sutro_magic import Session
import pyarrow.csv, pyarrow.parquet, pandas, sutro_magic.structured.cached_table, sutro_magic.structured.unfold, sutro_magic.formats.json
url, key, folder = sys.argv[1:]
events = 0

def work(form, inputs, last):
    def hook(name, arguments):
        global events
        if name == "open" or name.startswith(("os.", "shutil.")):
            if any(isinstance(a, str) and a.startswith(folder) for a in map(str, arguments)):
                events += 1
                if events == last:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    session = Session(url, key, folder)
    session.cache.limit = 1
    for job in {jobs!r}:
        results = session.results(job, form, inputs=inputs, refresh=True)
        results.prepare()
        del results

for line in sys.stdin:
    form, inputs, last = line.split()
    child = os.fork()
    if not child:
        work(form, inputs == "True", int(last))
        os._exit(0 if last != "-1" else min(events, 255))
    print(child, flush=True)
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Victim:
    def __init__(self, demo, folder):
        code = VICTIM.replace("{jobs!r}", repr([FILMS, REVIEWS]))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, demo.url, demo.api_key, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, form, inputs, *, last=0, seconds=None):
        """Return the exit code, negative where it was killed, and how long it took."""
        begin = time.monotonic()
        self.process.stdin.write(f"{form} {inputs} {last}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):  # it was done
                os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline()), time.monotonic() - begin

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def found_in(staging):
    """Say what a killed process was doing, by what it has left."""
    names = {path.name for folder in staging for path in [folder, *folder.rglob("*")]}
    if any(name.startswith("gone-") for name in names):
        return "deletion"
    for name, stage in (("entry", "commit"), (RESULTS_FILE, "conversion"), ("table.arrow", "unfolding")):
        if name in names:
            return stage
    return "download" if names else "between"


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(8, marks=pytest.mark.slow, id="sample"),
        pytest.param(100, marks=[pytest.mark.sweep, pytest.mark.timeout(1800)], id="100 rounds"),
    ],
)
def test_killed_at_any_instant_the_next_run_succeeds_and_leaves_no_orphan(session, demo, monkeypatch, rounds):
    seed = int(os.environ.get("SUTRO_TEST_SEED") or secrets.randbelow(10**9))
    rng = random.Random(seed)
    print(f"seed {seed}")
    right = {
        (job, wide): digest(session.results(job, inputs=wide).raw.to_arrow())
        for job in (FILMS, REVIEWS)
        for wide in (True, False)
    }
    store = session.cache
    victim = Victim(demo, store.directory)
    code, _ = victim.run("csv", True)
    assert code == 0
    code, typical = victim.run("csv", True)
    assert code == 0
    touches, _ = victim.run("csv", True, last=-1)
    print(f"a round takes {typical:.2f} s and touches {touches} files")
    stages = {}
    killed = resumable = 0
    for number in range(rounds):
        form, wide = rng.choice(["parquet", "csv", "json"]), rng.random() < 0.5
        if number % 2:
            code, _ = victim.run(form, wide, last=rng.randint(1, touches))
        else:
            code, _ = victim.run(form, wide, seconds=rng.uniform(0, typical))
        killed += code == -signal.SIGKILL
        partials = list(store.directory.glob("partials/*/*"))
        assert len(partials) <= 1, f"seed {seed}, round {number}: {partials}"
        stage = found_in([*leftovers(store), *partials])
        resumable += any((partial / "state.json").exists() for partial in partials)
        stages[stage] = stages.get(stage, 0) + 1
        monkeypatch.setattr(cache_store, "STALE_SECONDS", -1)  # as if a day had passed
        for job in rng.sample([FILMS, REVIEWS], 2):
            for again in (False, True):
                got = session.results(job, form, inputs=wide, refresh=again)
                assert digest(got.raw.to_arrow()) == right[job, wide], f"seed {seed}, round {number}, {stage}"
        monkeypatch.undo()
        del got
        gc.collect()
        assert len(leftovers(store)) <= 1, f"seed {seed}, round {number}, {stage}"
        for entry in store.entries():
            assert store.verify(entry)
        folders = [path for path in store.directory.glob("*/*-i?-l?-*") if path.is_dir()]
        assert all((folder / ENTRY_FILE).exists() for folder in folders)
        assert {p.name for p in store.directory.iterdir()} == {
            "CACHEDIR.TAG", "partials", "staging", LOCKS_FOLDER, session.credentials.identity,
        }  # fmt: skip
        assert list(store.directory.glob("partials/*/*")) == []
        assert list((store.directory / LOCKS_FOLDER).iterdir()) == []
    victim.close()
    print(f"{killed} of {rounds} rounds were killed; under way was {dict(sorted(stages.items()))}")
    print(f"{resumable} left a download that can be gone on with")
    assert killed >= rounds // 2
