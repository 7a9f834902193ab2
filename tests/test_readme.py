"""README and guide: every example runs, every link resolves, and what they list is complete.

The word after a fence says what an example is; `sutro_magic/guide/contributing.md` lists the words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import sutro_magic
from sutro_magic.demo import DemoService
from sutro_magic.magics import flags as magic_flags
from sutro_magic.magics.help import PAGES
from sutro_magic.magics.magics import MAGIC_NAMES

ROOT = Path(__file__).parents[1]
GUIDE = Path(sutro_magic.__file__).parent / "guide"
DOCUMENTS = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")
KINDS = {"ipython", "ipython fails", "python", "sh", "text"}
NEEDS_A_PERSON = "%sutro_login"
MAGIC_LINE = re.compile(r"^\s*(?:\w+ = )?%", re.MULTILINE)
MAX_README_LINES = 200


class Example(NamedTuple):
    """One fenced block."""

    kind: str
    code: str


def examples_of(path):
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [Example(*each) for each in found]


def cells_of(code):
    """Split a block into cells as a reader types them: one for each line, with the indented lines below it.

    A cell that starts with ``%%`` reaches to the next empty line.
    """
    for part in code.strip().split("\n\n"):
        yield from [part] if part.startswith("%%") else re.split(r"\n(?!\s)", part)


def page(name):
    return (GUIDE / f"{name}.md").read_text(encoding="utf-8")


documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)


# --- examples ----------------------------------------------------------------------------------------


@documents
def test_examples_are_of_a_known_kind_and_the_first_cell_loads_the_extension(path):
    examples = examples_of(path)
    assert {example.kind for example in examples} <= KINDS
    assert path.read_text(encoding="utf-8").count("```") == 2 * len(examples)
    notebook = [example.code for example in examples if example.kind.startswith("ipython")]
    assert all(code.startswith("%load_ext sutro_magic\n") for code in notebook[:1])
    assert not any(MAGIC_LINE.search(example.code) for example in examples if example.kind == "python")


@pytest.mark.slow
@documents
def test_examples_run(kernel, demo, path, tmp_path):
    """The demo service of the tests stands in for that of the kernel: it makes its files once for all pages."""
    examples = [example for example in examples_of(path) if example.kind not in {"sh", "text"}]
    needs_its_own = any("%sutro_demo fault" in example.code for example in examples)
    assert kernel.run(f"%cd -q {tmp_path}").ok
    for kind, code in examples:
        if kind == "python":
            run_cell(
                kernel, demo, f"exec(compile({code!r}, 'example.py', 'exec'), {{'__name__': '__main__'}})"
            )
            continue
        cells = [cell for cell in cells_of(code) if needs_its_own or cell.split()[:1] != ["%sutro_demo"]]
        for cell in cells:
            run_cell(kernel, demo, cell, fails=kind == "ipython fails" and cell is cells[-1])
    kernel.run("%sutro_demo stop")


def run_cell(kernel, demo, cell, *, fails=False):
    answer = None
    if NEEDS_A_PERSON in cell:
        cell, answer = re.sub(r"https://\S+", demo.url, cell), demo.api_key
    reply = kernel.run(cell, seconds=200, answer=answer)  # a busy machine makes a million rows in a minute
    assert reply.ok is not fails, f"{cell}\n{reply.traceback}"


# --- the table of magics -----------------------------------------------------------------------------

TABLE = [
    (name, "\n".join(re.findall(r"`([^`]+)`", example)))  # a cell of several lines has <br> between them
    for name, example in re.findall(
        r"^\| `%{1,2}(sutro_\w+)[^|]*\|[^|]*\| ((?:`[^`]+`(?:<br>)?)+) \|$", README, flags=re.MULTILINE
    )
]


def test_every_magic_is_in_the_table_with_an_example():
    assert [name for name, _ in TABLE] == list(MAGIC_NAMES)
    assert all(f"%{name}" in example for name, example in TABLE)


@pytest.mark.parametrize("example", [example for _, example in TABLE])
def test_every_example_of_the_table_runs(kernel, demo, example):
    run_cell(kernel, demo, example)
    kernel.run("%sutro_demo stop")


# --- completeness ------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MAX_README_LINES


def test_every_page_is_known_to_the_help_and_linked_from_the_readme():
    assert {path.stem for path in GUIDE.iterdir()} == set(PAGES)
    linked = re.findall(r"\]\(sutro_magic/guide/([\w-]+)\.md", README)
    assert set(linked) == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_starts_with_a_title_and_one_sentence(name):
    title, sentence, _ = page(name).split("\n\n", 2)
    assert re.fullmatch(r"# \S.*", title)
    assert "\n" not in sentence and re.fullmatch(r"[^.]+\.", sentence)


@documents
def test_relative_links_resolve(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name
        assert file.is_file(), target
        headings = (
            re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE) if anchor else []
        )
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


def test_every_flag_of_results_is_described():
    flags = {flag for action in magic_flags.results_parser()._actions for flag in action.option_strings}
    described = set(re.findall(r"--[a-z-]+", page("fetching")))
    assert {flag for flag in flags if not flag.startswith("--no-")} - {"-h", "--help"} <= described


def test_every_setting_is_described():
    from sutro_magic.magics.settings import Settings

    described = set(re.findall(r"^\| `(\w+)`", page("configuration"), flags=re.MULTILINE))
    assert set(Settings.class_trait_names(config=True)) <= described


def test_every_fault_is_described():
    described = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| .*", page("faults"), flags=re.MULTILINE)))
    assert set(DemoService.FAULTS) <= set(described)


def test_every_package_is_described():
    described = set(re.findall(r"^\| `([\w/]+)/` ", page("contributing"), flags=re.MULTILINE))
    root = GUIDE.parent
    packages = {file.parent.relative_to(root).as_posix() for file in root.rglob("*/__init__.py")}
    assert described == packages | {"guide"}


def test_the_pipeline_runs_the_readme_s_own_test_command():
    [command] = re.findall(r"^python3 -m venv .*pytest$", README, flags=re.MULTILINE)
    pipeline = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in pipeline
