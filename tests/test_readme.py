"""What the README promises is what a reader gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sutro_magic.magics import flags as magic_flags
from sutro_magic.magics.magics import MAGIC_NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
NOTEBOOK_BLOCKS = [block for block in BLOCKS if block.startswith("%load_ext sutro_magic")]
NEEDS_A_PERSON = "%sutro_login"


def test_every_notebook_example_begins_by_loading_the_extension():
    assert len(NOTEBOOK_BLOCKS) >= 5
    assert all("%sutro_" not in block for block in BLOCKS if block not in NOTEBOOK_BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in NOTEBOOK_BLOCKS if NEEDS_A_PERSON not in b])
def test_every_notebook_example_runs(kernel, block):
    for cell in cells_of(block):
        reply = kernel.run(cell)
        assert reply.ok, f"{cell}\n{reply.traceback}"


def cells_of(block):
    """One cell for each line, as a reader types them; what begins with %% goes on to the next empty line."""
    for part in block.strip().split("\n\n"):
        yield from [part] if part.startswith("%%") else part.splitlines()


def test_the_script_example_runs(kernel, tmp_path):
    [script] = [block for block in BLOCKS if "Session()" in block]
    assert kernel.run(f"%cd -q {tmp_path}").ok
    reply = kernel.run(script)
    assert reply.ok, reply.traceback
    assert kernel.value("frame.shape") == "(2, 2)"
    assert (tmp_path / "capitals.csv").read_text().count("\n") == 3


TABLE = [
    (name, "\n".join(re.findall(r"`([^`]+)`", example)))  # a cell of several lines has <br> between them
    for name, example in re.findall(
        r"^\| `%{1,2}(sutro_\w+)[^|]*\|[^|]*\| ((?:`[^`]+`(?:<br>)?)+) \|$", README, flags=re.MULTILINE
    )
]


def test_every_magic_is_in_the_table_with_an_example():
    assert {name for name, _ in TABLE} == set(MAGIC_NAMES)
    assert all(f"%{name}" in example for name, example in TABLE)


@pytest.mark.parametrize("example", [example for _, example in TABLE])
def test_every_example_of_the_table_runs(kernel, demo, example):
    needs_a_person = NEEDS_A_PERSON in example
    line = re.sub(r"https://\S+", demo.url, example) if needs_a_person else example
    reply = kernel.run(line, answer=demo.api_key if needs_a_person else None)
    kernel.run("%sutro_demo stop")
    assert reply.ok, reply.traceback


def test_every_flag_of_results_is_in_the_table():
    flags = {flag for action in magic_flags.results_parser()._actions for flag in action.option_strings}
    described = set(re.findall(r"--[a-z-]+", README))
    assert {flag for flag in flags if not flag.startswith("--no-")} - {"-h", "--help"} <= described


def test_the_pipeline_runs_the_readme_s_own_test_command():
    [command] = re.findall(r"^python3 -m venv .*pytest$", README, flags=re.MULTILINE)
    pipeline = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in pipeline


def test_links_lead_to_files():
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert targets and all((ROOT / target).exists() for target in targets)
