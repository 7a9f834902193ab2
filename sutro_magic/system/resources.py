"""How many cores and how much memory are ours: the machine's, or what a container or JupyterHub grants."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP = Path("/proc/self/cgroup")
"""In which control groups this process is; Linux only."""
CGROUP_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Version 1 says so, roughly, where there is no limit."""


def cores() -> int:
    """Return the cores that are ours, at least 1.

    The fewest of: those this process may run on, the CPU quota of its control group and of those around it, and
    ``CPU_LIMIT``, JupyterHub's variable. Of a fraction, the whole part.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(allowed)]
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            limits.append(int(quota) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            used = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
            if used > 0:  # -1 is no limit
                limits.append(used / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")))
    with suppress(ValueError):
        limits.append(float(os.environ.get("CPU_LIMIT") or allowed))
    return max(1, int(min(limits)))


def memory() -> int | None:
    """Return the bytes of memory that are ours; None where nobody knows.

    The least of: the machine's, the limit of the control group and of those around it, and ``MEM_LIMIT``, JupyterHub's
    variable, in bytes too.
    """
    limits: list[int] = []
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="ascii")))
    with suppress(ValueError):
        limits.append(int(os.environ.get("MEM_LIMIT", "")))
    with suppress(AttributeError, OSError, ValueError):  # not known on every system
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((limit for limit in limits if 0 < limit < _UNLIMITED), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of our control group and of all those around it, of both versions."""
    try:
        lines = CGROUP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Inside a container the path may be the host's, of which only the root is to be seen.
        inner = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for root in (CGROUP_ROOT / controllers, CGROUP_ROOT / controller) if controllers else (CGROUP_ROOT,):
            for depth in range(len(inner), -1, -1):
                yield root.joinpath(*inner[:depth])
