"""The floors of the house: imports run downward only, and no room grows without end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sutro_magic

PACKAGE = Path(sutro_magic.__file__).parent
FLOORS = [
    {"errors", "models", "typed"},
    {
        "addresses", "batch_rows", "cache", "cache_entry", "canonical", "checking", "client", "connections", "container", "credentials", "csv_rows",
        "disks", "download", "eviction", "formats", "growth", "json_columns", "json_tokens", "locks", "parquet_footer", "parquet_pages", "partials",
        "patience", "places", "private_files", "ranges", "remote_file", "replies", "row_groups", "secrecy", "stopping",
        "thrift_compact", "transfer", "transport", "unexpected", "views",
    },
    {
        "comparable", "comparable_numbers", "comparing", "dask_frames", "engine", "frames", "handling", "job_profile", "json_chunks", "json_row", "json_text", "known_rows", "mapped", "output_plan",
        "output_schema", "packages", "pages", "peek", "picked", "provenance", "questions", "results", "saving", "shape_arrays", "shape_patterns",
        "shapes", "sources", "sql_answers", "sql_tables", "sql_values", "structured", "summaries", "unfolded", "unfolded_file",
    },
    {"fetching", "job_feed", "joining", "looking", "naming", "outcomes", "seen", "session", "sql", "variables", "waiting", "watching", "wider"},
    {"ui"},
    {"arguments", "bound_file", "cache_commands", "completion", "extension", "magics", "parsing", "result_flags", "login", "demo_commands", "settings", "sql_completion", "working"},
]  # fmt: skip
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FRONT_ENDS = {"IPython", "ipywidgets", "itables", "anywidget", "traitlets", "ipykernel"}
LONGEST = 450

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
SCRIPTS = sorted(PACKAGE.rglob("*.js"))
NAMES = [str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".") for path in MODULES]


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Every module that is imported anywhere in a file, functions and type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            # `from sutro_magic import views` names the module only after the `import`.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_used(path):
    parts = [name.split(".") for name in imports_of(path)]
    return {name[1] for name in parts if name[0] == "sutro_magic" and len(name) > 1} & (
        set(FLOOR_OF) | {"demo"}
    )


def test_every_module_has_a_floor():
    assert {room_of(path) for path in MODULES} - {"__init__", "demo"} == set(FLOOR_OF)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_imports_nothing_from_a_higher_floor(path):
    room = room_of(path)
    used = rooms_used(path) - {room}
    if room == "__init__":
        return  # the front door, which leads everywhere
    if room == "demo":
        assert used <= {"errors", "models"}, "the service shares nothing with its client"
        return
    assert {other for other in used if FLOOR_OF.get(other, -1) > FLOOR_OF[room]} == set()
    assert "demo" not in used or room in {"completion", "demo_commands"}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_below_the_widgets_nobody_knows_of_a_front_end(path):
    room = room_of(path)
    if FLOOR_OF.get(room, 0) < FLOOR_OF["ui"]:
        assert not {name.partition(".")[0] for name in imports_of(path)} & FRONT_ENDS


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=[*NAMES, *(path.name for path in SCRIPTS)])
def test_a_module_is_short_enough_to_hold_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
