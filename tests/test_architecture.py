"""The layer contract of ``pyproject.toml`` holds, no imports form a cycle, and the root stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import sutro_magic

PACKAGE = Path(sutro_magic.__file__).parent
ROOT_MODULES = {"__init__", "_registry", "_version", "errors", "limits", "models", "session"}


def test_imports_follow_the_layer_contract():
    if not (PACKAGE.parent / "pyproject.toml").exists():
        pytest.skip("needs a checkout")
    # In a process of its own: it configures logging.
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_each_other_in_a_circle():
    """Function-level and type-checking imports count."""
    graph = grimp.build_graph("sutro_magic", cache_dir=None)
    left = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := {module for module, imported in left.items() if not imported & left.keys()}:
        for module in free:
            del left[module]
    assert left == {}


def test_the_root_of_the_package_holds_nothing_else():
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_MODULES
