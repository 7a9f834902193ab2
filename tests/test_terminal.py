"""IPython in a terminal and as a runner of scripts: plain tables, harmless texts, honest exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata

import pytest

from sutro_magic.ui.render.caption import wrapped

pytestmark = pytest.mark.slow  # each starts an IPython of its own


@pytest.fixture
def ipython(demo, tmp_path):
    """Run IPython with a line, a file or typed input."""

    def run(*arguments, typed=None, columns=60):
        environment = os.environ | {
            "SUTRO_API_URL": demo.url,
            "SUTRO_API_KEY": demo.api_key,
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "COLUMNS": str(columns),
            "PYTHONIOENCODING": "utf-8",
        }
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "IPython",
                "--colors=NoColor",
                "--no-banner",
                "--ext=sutro_magic",
                *arguments,
            ],
            check=False,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=tmp_path,
            input=typed,
            stdin=subprocess.DEVNULL if typed is None else None,
            timeout=60,
        )

    return run


def width(line):
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line
    )


def rows_of(text):
    """The lines of the table: the header, the rule under it, and the rows."""
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("─"))
    return lines[rule - 1 :]


@pytest.mark.parametrize("columns", [60, 100])
def test_a_table_is_plain_text_cut_to_the_width_of_the_terminal(ipython, columns):
    done = ipython("-c", "%sutro_results job-demo-films --inputs --name films", columns=columns)
    assert (done.returncode, done.stderr) == (0, "")
    table = rows_of(done.stdout)
    assert len(table) > 10 and "of 10,000 rows" in table[-1]
    assert max(width(line) for line in table) <= columns
    assert max(width(line) for line in table) > columns - 12, "the width is used"
    assert any("…" in line for line in table) and "<" not in table[1]


def test_in_a_narrow_terminal_columns_are_left_out_and_no_number_is_cut(ipython):
    done = ipython("-c", "%sutro_jobs --limit 5", columns=60)
    table = rows_of(done.stdout)
    assert any("  10,000  " in line for line in table) and "of 8 columns" in table[-1]
    done = ipython("-c", "%sutro_jobs --limit 5", columns=40)
    table = rows_of(done.stdout)
    assert max(width(line) for line in table) <= 40 and "rows" not in table[0].split()
    assert any("job-demo-films  " in line for line in table) and "first 4 of 8 columns" in table[-1]


CAPTIONED = {
    "%sutro_results job-demo-broken --inputs --name df": (
        'df · DataFrame 180 × 7 · from cache 30 of 180 outputs did not parse: df[df["_error"].notna()] shows them ',
        "`population` has integers beyond 64 bits, as exact decimals ",
        "Shown: the first 20 of 180 rows",
    ),
    "%sutro_results job-demo-million --peek 5 --name few": (
        "first 5 of 1,000,000 rows: %sutro_results job-demo-million fetches all ",
    ),
    "%sutro_jobs --limit 5 --name jobs": (
        "jobs · DataFrame · 5 jobs · newest first there are more: --limit 50 shows them ",
    ),
    "%sutro_cache list": ("1 result · ", " used job "),
    "p = %sutro_profile job-demo-broken\ndisplay(p)": (
        "Postcards, some of them unreadable · profile of 180 rows ",
    ),
    "%sutro_compare job-demo-reviews job-demo-opinion --name pairs": (
        "A: Film reviews, judged (job-demo-reviews) · gpt-oss-20b ",
        "_row is the place in the jobs, from 0; _differs is the number of fields that differ; A, B are the jobs ",
    ),
}


@pytest.mark.parametrize("columns", [40, 80])
def test_captions_and_notes_break_at_words(ipython, tmp_path, columns):
    lines = "".join(f"print({line!r})\n{line}\n" for line in CAPTIONED)
    (tmp_path / "script.ipy").write_text(f"%sutro_results job-demo-broken --inputs --quiet --name x\n{lines}")
    done = ipython("script.ipy", columns=columns)
    assert done.returncode == 0, done.stderr
    left = done.stdout
    for line, expected in reversed(CAPTIONED.items()):
        left, _, shown = left.partition(f"{line}\n")
        assert max(width(text) for text in shown.splitlines()) <= columns
        for words in expected:
            assert words in " ".join(shown.split())


def test_a_separator_stays_with_the_words_before_it_and_a_size_is_not_broken():
    line = "films · DataFrame 10,000 × 7 · from cache"
    assert wrapped(line, 41) == [line]
    assert wrapped(line, 30) == ["films · DataFrame 10,000 × 7 ·", "  from cache"]
    assert wrapped(line, 24) == ["films · DataFrame", "  10,000 × 7 · from", "  cache"]
    assert wrapped("日本語 日本語 日本語", 15) == ["日本語 日本語", "  日本語"]
    assert wrapped("a" * 25, 10, indent="") == ["a" * 10, "a" * 10, "a" * 5]


def test_a_results_as_the_last_line_shows_itself(ipython):
    done = ipython(typed="%sutro_results job_12345\nprint(type(_).__name__)\n")
    assert "The capital of France is Paris." in done.stdout and " · 2 × 1 · " in done.stdout
    assert "Results\n" in done.stdout and done.stderr == ""


@pytest.mark.parametrize(
    "line", ["%sutro_results job-demo-awkward --inputs --name df", "%sutro_jobs --name jobs"]
)
def test_escape_sequences_in_texts_never_reach_the_terminal(ipython, line):
    done = ipython("-c", line, columns=80)
    assert done.returncode == 0
    printed = done.stdout + done.stderr
    assert not [c for c in printed if unicodedata.category(c) == "Cc" and c != "\n"]
    assert not {"\u202a", "\u202b", "\u202d", "\u202e", "\u2066", "\u2067"} & set(printed)


def test_escape_sequences_are_shown_as_symbols(ipython):
    code = "from IPython import get_ipython as g\nr = g().run_line_magic('sutro_results', 'job-demo-awkward --quiet')\n"
    code += "from sutro_magic.ui.render import static\nrows = [list(row.values()) for row in r.to_arrow().to_pylist()]\n"
    code += "view = static.TableView(columns=r.columns, rows=rows, total=len(rows))\n"
    done = ipython("-c", code + "print(static.to_plain(view, width=80, rows=200))")
    assert done.returncode == 0, done.stderr
    assert "␛[31mred␛[0m" in done.stdout and "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "ename"),
    [
        ("%sutro_results job-nope", "JobNotFoundError"),
        ("%sutro_results job-demo-failed", "JobFailedError"),
        ("%sutro_results job_12345 --fromat csv", "ArgumentError"),
        ("%sutro_wait job-demo-cancelled", "JobCancelledError"),
    ],
)
def test_a_script_fails_with_two_lines_and_a_code_and_stops_there(ipython, tmp_path, line, ename):
    (tmp_path / "script.ipy").write_text(f"print('before')\n{line}\nprint('after')\n")
    done = ipython("script.ipy")
    assert done.returncode != 0
    assert "before\n" in done.stdout and "after" not in done.stdout
    said = (done.stdout.replace("before\n", "") + done.stderr).strip().splitlines()
    assert len(said) == 2, said
    assert said[0].startswith(f"{ename}: ") and said[1].startswith("  -> ")


def test_a_script_that_works_binds_and_exits_with_zero(ipython, tmp_path):
    (tmp_path / "script.ipy").write_text(
        "%sutro_results job_12345 --inputs --name df --quiet\nprint(df.shape, list(df.columns))\n"
        "frame = %sutro_results job_12345 --as arrow\nprint(frame.num_rows)\n"
    )
    done = ipython("script.ipy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "(2, 2) ['inputs', 'outputs']\n2\n"


def test_a_failing_line_given_on_the_command_line_fails(ipython):
    done = ipython("-c", "%sutro_results job-nope")
    assert done.returncode != 0 and "JobNotFoundError: " in done.stdout + done.stderr


def test_without_a_terminal_no_progress_is_written(ipython, demo):
    demo.set_fault("slow", seconds=1)
    done = ipython("-c", "%sutro_results job-demo-films --format csv --name df --quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
