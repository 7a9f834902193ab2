"""What Tab offers inside our magics, asked of a real kernel the way a front end asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sutro_magic.query.duckdb_engine import QueryQueue

STARTUP_FILE = Path(__file__).parents[1] / "jupyter-config/ipython/startup/50-sutro-magic.py"
HEAVY = {"pandas", "numpy", "pyarrow", "requests", "ipywidgets", "itables", "duckdb", "polars"}
MAGICS = "get_ipython().magics_manager.registry['SutroMagics']"


class Completed:
    """The answer to Tab: what is offered, what stands beside it, and the cell if one is taken."""

    def __init__(self, kernel, code):
        before, _, after = code.partition("|")
        reply = kernel.client.complete(before + after, len(before), reply=True, timeout=60)["content"]
        assert reply["status"] == "ok"
        self.offers = reply["matches"]
        types = {c["text"]: c["type"] for c in reply["metadata"].get("_jupyter_types_experimental", [])}
        assert not any(set(text) & set(" -") for text in types.values()), "JupyterLab would break the line"
        self.beside = {key: text.replace("\xa0", " ").replace("\u2011", "-") for key, text in types.items()}
        start, end = reply["cursor_start"], reply["cursor_end"]
        self.cells = [(before + after)[:start] + offer + (before + after)[end:] for offer in self.offers]


@pytest.fixture
def tab(kernel):
    return lambda code: Completed(kernel, code)


@pytest.fixture
def listed(kernel, demo):
    """A kernel in which the jobs were listed once."""
    assert kernel.run("%sutro_jobs --name jobs").ok
    kernel.run("del jobs")
    demo.requests.clear()
    return kernel


# --- every position ------------------------------------------------------------------------------

POSITIONS = {
    "at the beginning": "%sutro_results job_12345 {}",
    "before the job": "%sutro_results {}",
    "after an assignment": "x = %sutro_results job_12345 {}",
    "after an annotated assignment": "x: object = %sutro_results {}",
    "assigned to an attribute": "box.rows[0] = %sutro_results {}",
    "assigned to a key": "frames['a=b'][\"c\"] = %sutro_results {}",
    "indented": "if True:\n    %sutro_results job_12345 {}",
    "indented and assigned": "for job in jobs:\n    x = %sutro_results $job {}\n    print(x)",
    "in the middle of a cell": "import os\n%sutro_results job_12345 {}\nprint(os.sep)",
    "in the body of a cell magic": "%%time\nx = %sutro_results job_12345 {}",
    "in the first line of a cell magic": "%%timeit -n 1 -r 1 x = %sutro_results job_12345 {}\nlen(x.to_pandas())",
    "after another line magic": "%time x = %sutro_results job_12345 {}",
    "before other flags": "%sutro_results job_12345 {} --inputs --name df",
    "before a comment": "%sutro_results job_12345 {} # the first",
    "on a continued line": "x = %sutro_results job_12345 \\\n    --inputs {}",
    "after a quoted name": "%sutro_results 'Ten thousand films' {}",
    "after tabs": "%sutro_results\tjob_12345\t{}",
    "before a semicolon": "%sutro_results job_12345 {};",
}


@pytest.mark.parametrize("cell", POSITIONS.values(), ids=POSITIONS)
def test_a_flag_and_its_value_are_completed_and_nothing_of_python_is_offered(tab, cell):
    done = tab(cell.format("--fo|"))
    assert done.offers == ["--format"]
    assert done.cells == [cell.format("--format")]
    for flag in ("--format=", "--result-format "):
        assert tab(cell.format(flag + "|")).offers == ["parquet", "csv", "json"]
        assert tab(cell.format(flag + "C|")).cells == [cell.format(flag + "csv")]
    for typed in ("--search|", "--name=pri|", "impor|", "--timeout 1|"):
        assert not {"print", "import", "ImportError"} & set(tab(cell.format(typed)).offers)


def test_flags_come_short_ones_first_and_not_twice(tab):
    offers = tab("%sutro_results job_12345 --|").offers
    assert offers[:5] == ["--format", "--inputs", "--logprobs", "--name", "--as"]
    long = ["--result-format", "--include-inputs", "--include-cumulative-logprobs"]
    assert set(long) <= set(offers) and offers[-1] == "--help"
    assert max(offers.index(short) for short in offers[:5]) < min(offers.index(name) for name in long)
    rest = tab("%sutro_results job_12345 --include-inputs --raw --|  --format csv").offers
    given = {
        "--inputs",
        "--no-inputs",
        "--include-inputs",
        "--raw",
        "--unfold",
        "--format",
        "--result-format",
    }
    assert rest and not given & set(rest)


def test_beside_a_flag_stands_what_it_does(tab):
    beside = tab("%sutro_results job_12345 --|").beside
    assert beside["--inputs"] == "include the prompts" and beside["--no-inputs"] == "off: include the prompts"
    assert all(0 < len(text) <= 60 for text in beside.values())


@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("%sutro_results job_12345 --as p|", ["pandas", "polars", "path"]),
        ("%sutro_results job_12345 --as=du|", ["duckdb"]),
        ("%sutro_jobs --status su|", ["succeeded"]),
        ("%sutro_jobs --status=c|", ["cancelling", "cancelled"]),
        ("%sutro_demo |", ["start", "stop", "reset", "fault", "--help"]),
        ("%sutro_demo st|", ["start", "stop"]),
        ("%sutro_demo fault half|", ["half_parquet"]),
        ("%sutro_demo fault o|", ["off"]),
        ("%sutro_demo stop |", ["--help"]),
        ("%sutro_cache cl|", ["clear"]),
        ("%sutro_cache clear --ol|", ["--older-than"]),
        ("%sutro_cache clear --older-than |", []),
        ("%sutro_jobs --search |", []),
        ("%sutro_jobs --limit 1|", []),
        ("%sutro_jobs imp|", []),
        ("%sutro_results job_12345 # --fo|", []),
        ("%sutro_results 'job_\\\n12|", []),
        ("%sutro_login --ur|", ["--url"]),
        ("%sutro_|", [f"%sutro_{name}" for name in ("demo", "jobs", "results", "status", "wait")]),
        ("x = %sutro_res|", ["%sutro_results"]),
        ("%config SutroMagics.form|", ["SutroMagics.format"]),
    ],
)
def test_what_is_offered(tab, typed, offers):
    offered = tab(typed).offers
    # Other magics may join ours; none may be missing.
    assert offered == offers if "sutro_|" not in typed else set(offers) <= set(offered)


def test_every_setting_is_offered(tab):
    offers = tab("%config SutroMagics.|").offers
    assert {"SutroMagics.format", "SutroMagics.cache_dir", "SutroMagics.debug"} <= set(offers)


@pytest.mark.slow  # Jedi takes its time
def test_elsewhere_python_is_completed_as_ever(tab, kernel):
    kernel.run("sutro_films = 1")
    assert "sorted" in tab("%sutro_results job_12345\nsorte|").offers
    assert "sutro_films" in tab("x = sutro_|").offers


@pytest.mark.slow
def test_inside_braces_python_is_completed(tab):
    for line in ("%sutro_results {sorte|", "%sutro_results {'a b' + sorte|"):
        assert "sorted" in [offer.lstrip("{") for offer in tab(line).offers]
    assert tab("%sutro_results {sorted(x)} --fo|").offers == ["--format"]


# --- jobs ----------------------------------------------------------------------------------------


def test_jobs_that_were_listed_are_offered_without_a_request(tab, listed, demo):
    done = tab("r = %sutro_results job-demo-f|")
    assert done.offers == ["job-demo-films", "job-demo-failed"]
    assert done.beside["job-demo-films"].startswith("succeeded ") and "ago" in done.beside["job-demo-films"]
    assert done.beside["job-demo-failed"].startswith("failed ")
    for line in ("%sutro_wait |", "%sutro_status |", "%sutro_cache info |", "%sutro_login --url |"):
        tab(line)
    assert list(demo.requests) == [], "Tab asks nobody"


def test_a_waiting_job_is_the_first_to_wait_for(tab, listed):
    assert tab("%sutro_wait |").offers[0] == "job-demo-queued"
    assert tab("%sutro_results |").offers[0] != "job-demo-queued"


def test_a_job_that_was_looked_at_is_offered_as_it_is_now(tab, kernel):
    assert "job-demo-queued" not in tab("%sutro_results |").offers
    kernel.run("job = %sutro_status job-demo-queued")
    assert tab("%sutro_wait job|").beside["job-demo-queued"].startswith("queued")
    assert kernel.run("job = %sutro_wait job-demo-queued").ok
    assert tab("%sutro_wait job|").beside["job-demo-queued"].startswith("succeeded")


def test_cached_jobs_are_offered_by_the_next_kernel(tab, kernel):
    assert tab("%sutro_cache clear job|").offers == []
    kernel.run("%sutro_results job_12345 --quiet --name df\n%reload_ext sutro_magic")
    assert tab("%sutro_results job|").offers == ["job_12345"]
    assert tab("%sutro_cache clear job|").beside["job_12345"].endswith(", cached")
    assert tab("%sutro_cache list |").offers and "job_12345" not in tab("%sutro_cache list |").offers


def test_jobs_of_another_key_are_not_offered(tab, listed):
    listed.run("%sutro_demo")
    assert tab("%sutro_results job|").offers == []
    listed.run("%sutro_demo stop")
    assert "job-demo-films" in tab("%sutro_results job|").offers


@pytest.mark.parametrize(
    "typed",
    [
        "x = %sutro_results Ten|",
        "x = %sutro_results 'Ten tho|",
        "x = %sutro_results 'ten thousand f|'",
        "x = %sutro_results 'Ten tho|' --quiet",
        'x = %sutro_results "Ten |',
        "x = %sutro_results 'Ten thou| films'",
        "x = %sutro_results thousand|",
    ],
)
def test_a_name_with_spaces_is_quoted_and_the_cell_runs(tab, listed, typed):
    cells = [cell for cell in tab(typed).cells if "films" in cell]
    assert len(cells) == 1, cells
    assert listed.run(cells[0]).ok, cells
    assert listed.value("x.job.job_id") == "job-demo-films"


def test_a_name_says_whose_it_is_and_one_with_both_marks_can_be_used(tab, listed):
    done = tab("x = %sutro_status Awk|")
    [beside] = done.beside.values()
    assert beside.startswith("succeeded") and beside.endswith("job-demo-awkward")
    assert listed.run(done.cells[0]).ok and listed.value("x.job_id") == "job-demo-awkward"


def test_texts_of_the_service_that_could_run_or_mislead_are_not_offered(tab, listed):
    listed.run(
        "from sutro_magic.models import Job\n"
        f"session = {MAGICS}.session\n"
        "bad = ['{print(1)}', '$HOME', '--all', 'a\\nb', '\\x1b[31m', '\\u202eabc', '  ', 'back\\\\slash']\n"
        "for i, text in enumerate(bad):\n"
        "    session.history.add(session.credentials.identity, Job(job_id=f'bad-{i}', name=text))\n"
        "    session.history.add(session.credentials.identity, Job(job_id=text))\n"
        "for i in range(2):\n"
        "    session.history.add(session.credentials.identity, Job(job_id=f'bad-twin-{i}', name='twin'))\n"
    )
    offers = tab("%sutro_status bad|").offers
    assert sorted(offers) == sorted([*(f"bad-{i}" for i in range(8)), "bad-twin-0", "bad-twin-1"])
    everything = " ".join(tab("%sutro_status |").offers)
    assert everything.isprintable() and not set("{}$\\") & set(everything) and "--all" not in everything
    assert "twin" not in tab("%sutro_status twi|").offers, "a name that two jobs share names neither"
    listed.run("del session, bad, Job, text, i")


def test_what_is_remembered_is_bounded(kernel):
    kernel.run("from sutro_magic.jobs.history import JobHistory\nfrom sutro_magic.models import Job")
    kernel.run("history = JobHistory()\nfor i in range(5000): history.add('me', Job(job_id=str(i)))")
    found = kernel.value("len(history.of('me'))")
    assert found == "2000"


# --- variables, addresses, trouble -----------------------------------------------------------------


def test_name_offers_variables_that_hold_data(tab, kernel):
    kernel.run("import os\nfilms = [1]\nfile = 'x'\ndef f(): pass\nclass F: pass\n_films = 2")
    done = tab("%sutro_results job_12345 --name f|")
    assert done.offers == ["file", "films"] and done.beside["films"] == "list"
    assert tab("%sutro_results job_12345 --name=fil|").cells[1] == "%sutro_results job_12345 --name=films"
    assert "os" not in tab("%sutro_jobs --name |").offers
    assert tab("%sutro_results $f|").cells == ["%sutro_results $file"]


def test_login_offers_the_addresses_that_are_configured(tab, kernel, demo):
    assert tab("%sutro_login --url |").offers == [demo.url, "https://api.sutro.sh"]
    home = Path(kernel.value("__import__('pathlib').Path.home()"))
    (home / ".sutro").mkdir(exist_ok=True)
    (home / ".sutro/config.json").write_text('{"api_url": "https://acme.example/v1", "api_key": "sk_mine"}')
    done = tab("%sutro_login --url=https://a|")
    (home / ".sutro/config.json").unlink()
    assert done.offers == ["https://acme.example", "https://api.sutro.sh"]


def test_save_offers_folders_and_files_and_nothing_else(tab, kernel, tmp_path):
    for name in ("data", "my data", "data/deep"):
        (tmp_path / name).mkdir()
    for name in ("films.csv", "my data/a b.csv", "data/films.parquet", ".hidden.csv", "$HOME.csv", "{x}.csv"):
        (tmp_path / name).touch()
    before = kernel.value("__import__('os').getcwd()")
    kernel.run(f"%cd -q {tmp_path}\ndatabase = films = 1")
    try:
        done = tab("%sutro_results job_12345 --save |")
        assert done.offers == ["data/", "'my data/", "films.csv"]
        assert done.beside["data/"] == "folder" and done.beside["films.csv"] == "file"
        for typed, offers in {
            "--save da|": ["data/"],
            "--save=fi|": ["films.csv"],
            "--save fi| --overwrite": ["films.csv"],
            "--save data/|": ["data/deep/", "data/films.parquet"],
            "--save 'my d|": ["'my data/"],
            "--save 'my data/|": ["'my data/a b.csv'"],
            "--save .|": [".hidden.csv"],
            "--save nowhere/|": [],
            "--save prin|": [],
            f"--save {tmp_path}/fil|": [f"{tmp_path}/films.csv"],
        }.items():
            assert tab(f"x = %sutro_results job_12345 {typed}").offers == offers, typed
        home = Path(kernel.value("__import__('pathlib').Path.home()"))
        (home / "kept.csv").touch()
        assert tab("%sutro_results job_12345 --save ~/ke|").offers == ["~/kept.csv"]
        (home / "kept.csv").unlink()
    finally:
        kernel.run(f"%cd -q {before}")


def test_whatever_breaks_tab_gives_nothing_and_says_nothing(tab, listed):
    listed.run(f"{MAGICS}.known = lambda: 1 / 0")
    assert tab("%sutro_results job|").offers == []
    assert tab("%sutro_results job_12345 --fo|").offers == ["--format"]
    listed.run(f"del {MAGICS}.known")
    assert listed.run("1").text == "", "nothing was printed by the way"


@pytest.mark.slow
def test_after_unloading_tab_knows_nothing_of_us(tab, kernel):
    kernel.run("%unload_ext sutro_magic")
    assert "--format" not in tab("%sutro_results --fo|").offers
    kernel.run("%load_ext sutro_magic")
    assert tab("%sutro_results --fo|").offers == ["--format"]


# --- before the first use, and in a terminal ---------------------------------------------------------

BEFORE_FIRST_USE = f"""
import runpy, sys
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
runpy.run_path({str(STARTUP_FILE)!r})
def tab(code):
    with provisionalcompleter():
        return [c.text for c in shell.Completer.completions(code, len(code))]
assert "%timeit" in tab("%timei") and "sutro_magic" not in sys.modules
assert tab("%sutro_res") in (["%sutro_results"], []) and "sutro_magic" not in sys.modules  # [] before IPython 9
assert tab("x = %sutro_results --fo") == ["--format"]
assert tab("%sutro_results job") == []
assert not {HEAVY!r} & set(sys.modules)
assert tab("x = %sutro_results --fo") == ["--format"] and len(shell.Completer.custom_matchers) == 1
shell.run_line_magic("unload_ext", "sutro_magic")
assert shell.Completer.custom_matchers == []
"""


def test_the_first_tab_loads_the_extension_and_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_FIRST_USE], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is needed")
def test_tab_in_a_terminal(demo, tmp_path):
    import pexpect

    environment = os.environ | {
        "SUTRO_API_URL": demo.url, "SUTRO_API_KEY": demo.api_key, "TERM": "xterm", "IPYTHONDIR": str(tmp_path),
    }  # fmt: skip
    arguments = ["-m", "IPython", "--no-banner", "--colors=NoColor", "--ext=sutro_magic"]
    terminal = pexpect.spawn(
        sys.executable, arguments, env=environment, encoding="utf-8", timeout=30, dimensions=(40, 120)
    )
    try:
        terminal.expect(r"In \[1\]")
        terminal.send("r = %sutro_results job_12345 --inp\t")
        terminal.expect("uts")
        terminal.send(" --result-f\t")
        terminal.expect("ormat")  # only what changes is sent
        terminal.send(" js\t")
        terminal.expect("on")
        terminal.send("\rprint(r.columns, 'came')\r")
        terminal.expect(r"\['inputs', 'outputs'\] came")
    finally:
        terminal.close(force=True)


@pytest.mark.slow
def test_files_are_offered_where_a_file_is_meant_and_tables_where_a_table_is(tab, kernel, tmp_path):
    (tmp_path / "answers.csv").write_text("")
    kernel.run("import pandas as pd; letters = pd.DataFrame({'a': [1]}); level = 1")
    assert tab("%sutro_results job_12345 --join le|").offers == ["letters"]
    assert any(
        offer.endswith("answers.csv")
        for offer in tab(f"%sutro_results job_12345 --save {tmp_path}/ans|").offers
    )


# --- the body of %%sutro_sql ---------------------------------------------------------------------

SQL = "%%sutro_sql --name best\n"


@pytest.fixture
def filmed(listed):
    """A kernel that has the films, unfolded, and two frames."""
    assert listed.run("%sutro_results job-demo-films --name films --quiet").ok
    listed.run("import pandas as pd\nletters = pd.DataFrame({'first': ['a'], 'Last one': ['z']})\nlevel = 1")
    yield listed
    listed.run("del films, letters, level, pd")


def test_tables_are_offered_after_from_and_nothing_of_python(tab, filmed):
    assert tab(SQL + "from le|").cells[0] == SQL + "from letters"
    assert "level" not in tab(SQL + "from |").offers
    assert tab(SQL + 'select title\nfrom "job-demo-fi|').cells == [
        SQL + 'select title\nfrom "job-demo-films"'
    ]
    assert tab(SQL + 'from "job-demo-fi|" limit 3').cells == [SQL + 'from "job-demo-films" limit 3']
    done = tab(SQL + "from letters join job|")
    assert '"job-demo-films"' in done.offers and "cached" in done.beside['"job-demo-films"']
    assert '"Ten thousand films"' in tab(SQL + "from ten|").offers
    assert tab(SQL + "select pri|").offers == []


def test_columns_are_offered_of_the_tables_that_are_named(tab, filmed):
    assert tab(SQL + 'select ti| from "job-demo-films"').cells == [SQL + 'select title from "job-demo-films"']
    assert tab(SQL + 'from "Ten thousand films" where ge|').offers == ["genre"]
    assert tab(SQL + "from letters select |").offers == ["first", '"Last one"']
    assert tab(SQL + 'from letters order by "la|').cells == [SQL + 'from letters order by "Last one"']
    assert tab(SQL + "from films where ye|").offers == ["year"]
    assert tab(SQL + "select fi| from nowhere").offers == []


def test_words_that_sql_reserves_are_offered_in_quotes(tab, filmed):
    filmed.run("order = pd.DataFrame({'group': [1], 'select': [2], 'left': [3], 'value': [4]})")
    assert tab(SQL + "from ord|").offers[0] == '"order"'
    assert tab(SQL + 'select | from "order"').offers == ['"group"', '"select"', '"left"', "value"]
    assert tab(SQL + 'select gr| from "order"').cells == [SQL + 'select "group" from "order"']
    filmed.run("del order")


def test_every_word_of_sql_is_offered_as_sql_takes_it(tab, filmed):
    words = [word for (word,) in QueryQueue().rows("select distinct keyword_name from duckdb_keywords()", {})]
    filmed.run(f"keywords = pd.DataFrame({{word: [1] for word in {words}}})")
    offers = [offer for word in words for offer in tab(SQL + f"select {word[:-1]}| from keywords").offers]
    filmed.run("del keywords")
    assert {offer.strip('"') for offer in offers} == set(words)
    for offer in set(offers):
        name = offer.strip('"')
        query = f'select {offer}, 2 from (select 41 as "{name}") where {offer} = 41 group by {offer}'
        assert QueryQueue().rows(query, {}) == [(41, 2)]
        assert QueryQueue().rows(f'with "{name}" as (select 1 as a) select a from {offer} limit 1', {}) == [
            (1,)
        ]


def test_after_a_column_and_a_dot_no_column_is_offered(tab, filmed):
    assert filmed.run("%sutro_results job-demo-museum --quiet").ok
    museum = ' from "job-demo-museum" m'
    assert tab(SQL + f"select m.acq|{museum}").offers == ["acquired"]
    assert tab(SQL + f'select "job-demo-museum".acq|{museum}').offers == ["acquired"]
    assert tab(SQL + f"select m.acquired.|{museum}").offers == []
    assert tab(SQL + f"select acquired.|{museum}").offers == []
    assert tab(SQL + f'select m . "acquired" . "|{museum}').offers == []
    assert "title" in tab(SQL + f"select m.|{museum}").offers
    assert tab(SQL + "select first.| from letters as first").offers == ["first", '"Last one"']


def test_texts_comments_and_expressions_are_left_alone(tab, filmed):
    assert tab(SQL + "from letters where first = 'fi|'").offers == []
    assert tab(SQL + "from letters -- fi|").offers == []
    assert tab(SQL + "from letters /* from */ where fi|").offers == ["first"]
    assert tab(SQL + "from letters where first = {lev|").offers == ["level"]
    assert tab("%%sutro_sql --na|\nfrom letters").offers == ["--name"]
    assert "print" in tab("pri|\n%%sutro_sql").offers


def test_the_columns_of_the_frame_are_offered_after_on(tab, filmed):
    line = "%sutro_results job-demo-films --join letters --on "
    assert tab(line + "|").offers == ["first", "'Last one'"]
    assert tab("%sutro_results job-demo-films --on=F| --join letters").offers == ["first"]
    assert tab("%sutro_results job-demo-films --on |").offers == []
