"""Threads and memory are those that the container grants, not those of the machine around it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sutro_magic import limits
from sutro_magic.query import duckdb_engine
from sutro_magic.system import resources

pytestmark = pytest.mark.slow

MACHINE = 8
GB = 10**9


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Pretend to be in a control group, whose files are real files."""
    for name in ("CPU_LIMIT", "MEM_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _pid: range(MACHINE), raising=False)
    monkeypatch.setattr(resources, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "CGROUP_ROOT", tmp_path / "sys")

    def write(lines, files):
        (tmp_path / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        for name, text in files.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


@pytest.mark.parametrize(
    ("lines", "files", "cores", "memory"),
    [
        (["0::/"], {"cpu.max": "200000 100000", "memory.max": 4 * GB}, 2, 4 * GB),
        (["0::/"], {"cpu.max": "max 100000", "memory.max": "max"}, MACHINE, None),
        (["0::/"], {"cpu.max": "150000 100000"}, 1, None),
        (["0::/"], {"cpu.max": "10000 100000"}, 1, None),
        (["0::/"], {"cpu.max": "nonsense", "memory.max": ""}, MACHINE, None),
        # The tightest limit on the way up counts.
        (
            ["0::/user/pod/me"],
            {
                "user/pod/me/cpu.max": "max 100000",
                "user/pod/cpu.max": "300000 100000",
                "user/cpu.max": "600000 100000",
                "user/pod/me/memory.max": 6 * GB,
                "user/pod/memory.max": 3 * GB,
                "user/memory.high": 2 * GB,
            },
            3,
            2 * GB,
        ),
        # A path of the host, of which the container sees only its own root.
        (["0::/docker/4f2a"], {"cpu.max": "200000 100000", "memory.max": GB}, 2, GB),
        (["0::/../../escape"], {"cpu.max": "200000 100000"}, 2, None),
        # Version 1, and both at once.
        (
            ["4:memory:/me", "2:cpu,cpuacct:/me", "0::/"],
            {
                "memory/me/memory.limit_in_bytes": GB,
                "cpu,cpuacct/me/cpu.cfs_quota_us": 250000,
                "cpu,cpuacct/me/cpu.cfs_period_us": 100000,
            },
            2,
            GB,
        ),
        (["4:memory:/me", "2:cpu:/"], {"memory/memory.limit_in_bytes": 9223372036854771712, "cpu/cpu.cfs_quota_us": -1}, MACHINE, None),
        ([], {}, MACHINE, None),
    ],
)  # fmt: skip
def test_the_limits_of_the_control_group_and_of_those_around_it(group, lines, files, cores, memory):
    group(lines, files)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert resources.cores() == duckdb_engine.default_threads() == cores
    assert resources.memory() == min(memory or machine, machine)
    assert duckdb_engine.default_memory() == max(
        limits.DUCKDB_MIN_MEMORY_BYTES, min(4 * 2**32, resources.memory()) // 4
    )


def test_jupyterhub_s_variables_count_too(group, monkeypatch):
    group(["0::/"], {"cpu.max": "400000 100000", "memory.max": 4 * GB})
    monkeypatch.setenv("CPU_LIMIT", "2.5")
    monkeypatch.setenv("MEM_LIMIT", str(GB))
    assert resources.cores() == 2 and resources.memory() == GB
    monkeypatch.setenv("CPU_LIMIT", "6")
    monkeypatch.setenv("MEM_LIMIT", str(64 * GB))
    assert resources.cores() == 4 and resources.memory() == 4 * GB
    monkeypatch.setenv("CPU_LIMIT", "several")
    monkeypatch.setenv("MEM_LIMIT", "0")
    assert resources.cores() == 4 and resources.memory() == 4 * GB


ARROW = """
import pyarrow as pa
pa.set_cpu_count(6); pa.set_io_thread_count(8)
from sutro_magic import Session
from sutro_magic.system import resources
from sutro_magic.query import duckdb_engine
resources.cores = lambda: {cores}
Session()
print(pa.cpu_count(), pa.io_thread_count())
duckdb_engine.configure(threads=5)
Session()
print(pa.cpu_count(), pa.io_thread_count())
duckdb_engine.configure()
print(pa.cpu_count(), pa.io_thread_count())
"""


@pytest.mark.parametrize(("cores", "said"), [(1, "1 2 5 8 1 2"), (3, "3 6 5 8 3 6"), (16, "6 8 5 8 6 8")])
def test_arrow_takes_no_more_threads_than_are_ours(cores, said):
    code = ARROW.format(cores=cores)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == said.split()
