"""`%sutro_help`: the list of topics, pages of the guide, the help of magics."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sutro_magic.errors import ArgumentError
from sutro_magic.magics.flags import PARSERS
from sutro_magic.magics.help import PAGES, read_page, show_help, topics
from sutro_magic.magics.magics import MAGIC_NAMES
from sutro_magic.magics.markdown_text import to_text

IN_A_TERMINAL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "sutro_magic")
for line in sys.argv[1:]:
    shell.run_cell(line)
"""


def in_a_terminal(*lines, width):
    done = subprocess.run(
        [sys.executable, "-c", IN_A_TERMINAL, *lines],
        env=os.environ | {"COLUMNS": str(width)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# --- in a notebook -----------------------------------------------------------------------------------


def test_without_a_topic_every_magic_and_every_page_has_one_line(kernel):
    [shown] = kernel.run("%sutro_help").displays
    assert set(shown) == {"text/markdown", "text/plain"}
    lines = shown["text/markdown"].splitlines()
    for name in (*(parser().prog for parser in PARSERS.values()), *PAGES):
        assert len([line for line in lines if line.startswith(f"| `{name}` | ")]) == 1, name
    assert all(name in shown["text/plain"] for name in topics())


def test_a_page_is_markdown_and_plain_text(kernel):
    reply = kernel.run("%sutro_help cache")
    [shown] = reply.displays
    assert reply.result is None and not reply.text
    assert shown["text/markdown"].startswith("# The cache\n") and "```ipython" in shown["text/markdown"]
    assert shown["text/plain"].startswith("The cache\n=========\n") and "```" not in shown["text/plain"]


@pytest.mark.parametrize("topic", ["sutro_wait", "%sutro_wait", "wait", "%SUTRO_WAIT", "sutro_wait?"])
def test_the_name_of_a_magic_shows_its_help(kernel, topic):
    assert (
        kernel.run(f"%sutro_help {topic} #").text == kernel.run("%sutro_wait --help").text.rstrip("\n") + "\n"
    )


def test_the_cell_magic_has_help_too(kernel):
    assert "usage: %%sutro_sql" in kernel.run("%sutro_help sutro_sql").text
    assert "usage: %%sutro_sql" in kernel.run("%sutro_help %%sutro_sql").text
    assert kernel.run("%sutro_help sql").displays[0]["text/markdown"].startswith("# SQL\n")


@pytest.mark.parametrize(
    ("topic", "meant"),
    [("fetchin", "fetching"), ("structured", "structured-outputs"), ("sutro_resluts", "sutro_results"), ("profle", "profile"), ("xyzzy", None)],
)  # fmt: skip
def test_an_unknown_topic_is_one_error_with_the_closest_and_the_list(kernel, topic, meant):
    reply = kernel.run(f"%sutro_help {topic}")
    first, second = reply.traceback.splitlines()
    assert first == f"ArgumentError: There is no topic '{topic}'."
    assert (f"Did you mean {meant}? " in second) if meant else ("Did you mean" not in second)
    assert all(name in second for name in topics())


def test_more_than_one_topic_is_an_error(kernel):
    assert "%sutro_help lists them" in kernel.run("%sutro_help cache sql").traceback


def test_it_explains_itself(kernel):
    assert "TOPIC" in kernel.run("%sutro_help --help").text
    reply = kernel.client.inspect("%sutro_help", reply=True, timeout=60)["content"]
    assert reply["found"] and "a page of the guide" in reply["data"]["text/plain"]


def test_tab_completes_topics(kernel):
    def tab(code):
        return kernel.client.complete(code, reply=True, timeout=60)["content"]["matches"]

    assert tab("%sutro_help s") == ["structured-outputs", "sql", "security", *MAGIC_NAMES]
    assert tab("%sutro_help con") == ["configuration", "contributing"]
    assert tab("%sutro_help %sutro_de") == ["%sutro_demo"]
    assert tab("%sutro_help cache ") == ["--help"]


def test_pages_link_to_lines_that_can_be_typed():
    for name in PAGES:
        markdown = read_page(name).markdown
        assert ".md)" not in markdown, name
    assert "SQL (`%sutro_help sql`)" in read_page("structured-outputs").markdown
    assert "[anywidget](https://anywidget.dev)" in read_page("configuration").markdown


def test_a_script_may_ask_only_for_topics_that_exist():
    with pytest.raises(ArgumentError):
        show_help("no such page", None)


# --- in a terminal -----------------------------------------------------------------------------------


def test_a_terminal_gets_text_wrapped_at_its_width():
    narrow, wide = (
        in_a_terminal(*(f"%sutro_help {name}" for name in PAGES), width=width) for width in (60, 110)
    )
    for text, width in ((narrow, 60), (wide, 110)):
        long = [line for line in text.splitlines() if len(line) > width]
        assert all(line.startswith("    ") or len(line.split()) == 1 for line in long), long
        assert "\x1b" not in text and "**" not in text and "```" not in text and "|--" not in text
    words = [word for word in narrow.split() if set(word) - set("=-")]
    assert words == [word for word in wide.split() if set(word) - set("=-")]


def test_the_list_fits_into_a_terminal():
    text = in_a_terminal("%sutro_help", width=100)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    for name in topics():
        assert len([line for line in lines if line.lstrip("%").startswith(f"{name}  ")]) == 1, name


def test_loading_the_extension_reads_no_guide():
    code = IN_A_TERMINAL + "import json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "sutro_magic.magics.flags" in loaded
    assert not {"sutro_magic.magics.help", "sutro_magic.magics.markdown_text"} & loaded


# --- Markdown as text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# A `b` c\n\nd", "A b c\n=====\n\nd"),
        ("## Ab\n\n### C", "Ab\n--\n\nC"),
        ("some **bold** words\nand `a **b` code", "some bold words and a\n**b code"),
        ("[a](https://b.c) [d `e`](f)", "a (https://b.c) d e (f)"),
        ("- one two three four five\n  six\n- seven", "- one two three four\n  five six\n- seven"),
        ("1. a\n2. b", "1. a\n2. b"),
        ("```sh\na  b\n\n    c" + " d" * 20 + "\n```\ne", "    a  b\n\n        c" + " d" * 20 + "\n\ne"),
        ("| a | b |\n|---|---|\n| `c\\|d` | e |\n| f | one two three four five six |", "c|d  e\nf    one two three four\n     five six"),
        ("| a | b |\n|---|---|\n| a longer first cell | x<br>y |", "a longer first cell\n    x\n    y"),
        ("a-long-word-that-stays-whole-always", "a-long-word-that-stays-whole-always"),
    ],
)  # fmt: skip
def test_markdown_becomes_text(markdown, text):
    assert to_text(markdown, 24) == text
