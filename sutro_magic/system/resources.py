"""CPU cores and memory available to this process: of the machine, or as limited by a container or JupyterHub."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP = Path("/proc/self/cgroup")
"""Control groups of this process; Linux only."""
CGROUP_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Values above this mean "no limit" in cgroup version 1."""


def cores() -> int:
    """Return the number of available cores, at least 1.

    The minimum of the CPU affinity, the CPU quotas of the control group and its ancestors, and ``CPU_LIMIT``,
    JupyterHub's variable; rounded down.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(allowed)]
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # the quota may be "max"
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            limits.append(int(quota) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            used = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
            if used > 0:  # -1 means no limit
                limits.append(used / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")))
    with suppress(ValueError):
        limits.append(float(os.environ.get("CPU_LIMIT") or allowed))
    return max(1, int(min(limits)))


def memory() -> int | None:
    """Return the bytes of available memory, or None if unknown.

    The minimum of the machine's memory, the limits of the control group and its ancestors, and ``MEM_LIMIT``,
    JupyterHub's variable, also in bytes.
    """
    limits: list[int] = []
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="ascii")))
    with suppress(ValueError):
        limits.append(int(os.environ.get("MEM_LIMIT", "")))
    with suppress(AttributeError, OSError, ValueError):  # not available on every system
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((limit for limit in limits if 0 < limit < _UNLIMITED), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and its ancestors, of both cgroup versions."""
    try:
        lines = CGROUP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Inside a container the path may be the host's, of which only the root is visible.
        inner = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for root in (CGROUP_ROOT / controllers, CGROUP_ROOT / controller) if controllers else (CGROUP_ROOT,):
            for depth in range(len(inner), -1, -1):
                yield root.joinpath(*inner[:depth])
