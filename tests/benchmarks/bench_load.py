"""What ``%load_ext sutro_magic`` costs next to an extension that does nothing.

Run ``python tests/benchmarks/bench_load.py [--runs N]``. Every load happens in a process of its own, the
two kinds in turn, so that a busy machine slows both; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BARE = "def load_ipython_extension(shell):\n    pass\n"
LOAD = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
begin = time.perf_counter()
shell.run_line_magic("load_ext", sys.argv[1])
seconds = time.perf_counter() - begin
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


def load(extension: str, folder: Path) -> tuple[float, list[str]]:
    """Load an extension in a fresh process; return seconds and the modules that it brought."""
    environment = os.environ | {"PYTHONPATH": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, extension],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=environment,
    )
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="loads of each kind (15)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bare_extension.py").write_text(BARE)
        # The package from this tree, without the tree's other modules.
        (folder / "sutro_magic").symlink_to(Path(__file__).parents[2] / "sutro_magic")
        seconds: dict[str, list[float]] = {"bare_extension": [], "sutro_magic": []}
        modules: dict[str, list[str]] = {}
        for extension in seconds:
            load(extension, folder)  # bytecode and disk cache
        for _ in range(runs):
            for extension, taken in seconds.items():
                once, modules[extension] = load(extension, folder)
                taken.append(once)
    medians = {extension: statistics.median(taken) * 1000 for extension, taken in seconds.items()}
    for extension, median in medians.items():
        taken = sorted(seconds[extension])
        print(
            f"{extension:<15} {median:7.2f} ms median of {runs}, {taken[0] * 1000:.2f} to {taken[-1] * 1000:.2f} ms"
        )
    print(f"{'difference':<15} {medians['sutro_magic'] - medians['bare_extension']:7.2f} ms")
    added = sorted(set(modules["sutro_magic"]) - set(modules["bare_extension"]))
    print(f"modules added   {len(added):7}: {', '.join(added)}")


if __name__ == "__main__":
    main()
