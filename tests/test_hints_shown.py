"""Hints on the screen: tables, tasks, panels and captions follow the magics that are loaded; scripts keep Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sutro_magic
from sutro_magic.errors import ConfigurationError, CorruptResultsError, Hint
from sutro_magic.ui.browser.tasks import Task, Tasks
from sutro_magic.ui.browser.worker import KernelLoop

PACKAGE = Path(sutro_magic.__file__).parent

SHOW = """
import sutro_magic
from sutro_magic.errors import ConfigurationError, Hint
from sutro_magic.ui.browser.panels import error_note
from sutro_magic.ui.browser.tasks import Task, Tasks
from sutro_magic.ui.browser.worker import KernelLoop
from sutro_magic.ui.render import comparison_view, profile_view, views
from sutro_magic.analysis.comparison import compare
from sutro_magic.analysis.profiling import profile

session = sutro_magic.Session()
session.results("job-demo-zoo")
films = session.results("job-demo-zoo", inputs=True)
broken = session.results("job-demo-broken")
no_key = ConfigurationError("There is no key.", hint=(Hint("login"), " asks for one."))

def refuse(_task):
    raise no_key

def of_a_table():
    table = films.table()
    try:
        return table._try(table._answer_prompts, {})["hint"]
    finally:
        table.close()

def of_a_task():
    task = Task("fetch", refuse, Tasks(KernelLoop()), again=lambda: None)
    task._run()
    return task.hint

def of_a_panel():
    return error_note(no_key)["hint"]

def said(caption):
    return " | ".join([*caption.lines, *caption.details])

def of_results():
    return said(views.results_caption(session.results("job-demo-zoo")))

def of_unfolded():
    return said(views.results_caption(broken))

def of_a_peek():
    return said(views.results_caption(session.peek("job-demo-million", 10, inputs=True)))

def of_jobs():
    jobs = session.jobs(limit=3)
    return said(views.jobs_view(jobs).caption)

def of_a_profile():
    return profile_view._checks(profile(broken))["parse errors"]

def of_a_comparison():
    pair = [session.results(job) for job in ("job-demo-reviews", "job-demo-opinion")]
    return said(comparison_view.table_caption(compare(pair)))
"""
SHOWN = {
    "of_a_table": ("Run the cell again.", "Try again."),
    "of_a_task": ("%sutro_login asks for one.", "Session(api_url=..., api_key=...) asks for one."),
    "of_a_panel": ("%sutro_login asks for one.", "Session(api_url=..., api_key=...) asks for one."),
    "of_results": ("--refresh fetches them again", "refresh=True fetches them again"),
    "of_unfolded": ("--raw keeps outputs as they were sent", "unfold=False keeps outputs as they were sent"),
    "of_a_peek": (
        "%sutro_results job-demo-million --inputs fetches all",
        'session.results("job-demo-million", inputs=True) fetches all',
    ),
    "of_jobs": ("there are more: --limit 30 shows them", "there are more: limit=30 shows them"),
    "of_a_profile": (
        "; r = %sutro_results job-demo-broken, then r.errors",
        '; session.results("job-demo-broken").errors',
    ),
    "of_a_comparison": ("most differences first", "most differences first"),
}
MAGIC_SYNTAX = re.compile(
    r"%{1,2}(?:sutro|config|load_ext)|(?:^|[\s(`'\"])--(?!jp-|st-|sb-)[a-z]", re.MULTILINE
)


# --- on the screen -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_shown_follows_the_magics_that_are_loaded(kernel):
    reply = kernel.run(SHOW)
    assert reply.ok, reply.traceback
    everything = f"__import__('json').dumps({{f: globals()[f]() for f in {list(SHOWN)}}})"
    loaded = json.loads(kernel.value(everything))
    kernel.run("%unload_ext sutro_magic")
    plain = json.loads(kernel.value(everything))
    kernel.run("%load_ext sutro_magic")
    again = json.loads(kernel.value(everything))
    for name, (magic, python) in SHOWN.items():
        assert magic in loaded[name] and magic in again[name]
        assert python in plain[name] and not MAGIC_SYNTAX.search(plain[name])


def test_magics_are_shown_until_the_last_shell_unloads_them():
    code = """
from IPython.core.interactiveshell import InteractiveShell
from sutro_magic import errors, load_ipython_extension, unload_ipython_extension
shells = [InteractiveShell(), InteractiveShell()]
shown = [errors.shown_hint(errors.Hint("jobs"))]
for step in (load_ipython_extension, unload_ipython_extension):
    for shell in shells:
        step(shell)
        shown.append(errors.shown_hint(errors.Hint("jobs")))
import json
print(json.dumps(shown))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    python, magic = "session.jobs()", "%sutro_jobs"
    assert json.loads(done.stdout.splitlines()[-1]) == [python, magic, magic, magic, python]


@pytest.mark.slow
def test_a_setting_that_is_refused_is_answered_in_magic_syntax(kernel):
    kernel.run("""
from sutro_magic.errors import ConfigurationError, Hint
from sutro_magic.query import duckdb_engine
def refuse(threads, memory_limit):
    if memory_limit == "3GB":
        raise ConfigurationError("It cannot be.", hint=Hint("setting", name="memory_limit", value="2GB"))
configure, duckdb_engine.configure = duckdb_engine.configure, refuse
""")
    said = kernel.run("%config SutroMagics.memory_limit = '3GB'").text
    kernel.run("duckdb_engine.configure = configure")
    assert said.startswith(
        "It cannot be. The setting stays as it was. %config SutroMagics.memory_limit = '2GB'"
    )


# --- beside a button ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (CorruptResultsError("It is cut."), None),
        (ConfigurationError("No.", hint=(Hint("again"), " in a minute.")), None),
        (ConfigurationError("No.", hint=(Hint("results", job="job-1"), " fetches it again.")), None),
        (
            ConfigurationError("No.", hint=(Hint("login"), " asks for a key.")),
            "Session(api_url=..., api_key=...) asks for a key.",
        ),
        (ConfigurationError("No.", hint="Choose another folder."), "Choose another folder."),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_button_that_tries_again_needs_no_hint_that_says_so(error, shown):
    def fail(_task):
        raise error

    with_button = Task("fetch", fail, Tasks(KernelLoop()), again=lambda: None)
    without = Task("save", fail, Tasks(KernelLoop()))
    for task in (with_button, without):
        task._run()
    assert (with_button.state, with_button.hint) == ("failed", shown)
    assert without.hint == error.hint


# --- of an error -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_error_is_text_in_magic_syntax_if_a_magic_raised_it_and_in_python_if_a_session_did(kernel):
    by_a_magic = kernel.run("%sutro_results job-demo-queued")
    assert "\n%sutro_wait job-demo-queued waits for it" in by_a_magic.evalue
    assert "  -> %sutro_wait job-demo-queued waits for it" in by_a_magic.traceback
    kernel.run("""
import sutro_magic
try:
    get_ipython().run_line_magic("sutro_results", "job-demo-queued")
except sutro_magic.SutroError as error:
    by_a_magic = str(error)
try:
    sutro_magic.Session().results("job-demo-queued")
except sutro_magic.SutroError as error:
    by_a_session = str(error)
""")
    assert "\n%sutro_wait job-demo-queued waits for it" in kernel.value("by_a_magic")
    by_a_session = kernel.value("by_a_session")
    assert '\nsession.wait("job-demo-queued") waits for it' in by_a_session
    assert not MAGIC_SYNTAX.search(by_a_session)


@pytest.mark.slow
def test_what_nobody_foresaw_is_text_in_magic_syntax_if_a_magic_raised_it(kernel):
    kernel.run("""
session = get_ipython().magics_manager.registry["SutroMagics"].session
def broken(**_):
    raise LookupError("no")
session.jobs = broken
""")
    reply = kernel.run("%sutro_jobs")
    assert reply.ename == "InternalError" and "%config SutroMagics.debug = True shows where" in reply.evalue
    assert "SutroError.debug" not in reply.evalue + reply.traceback


@pytest.mark.slow
def test_a_magic_without_a_flag_names_the_line_that_has_it(kernel):
    kernel.run("""
from sutro_magic.errors import CorruptResultsError
session = get_ipython().magics_manager.registry["SutroMagics"].session
def cut(*_, **__):
    raise CorruptResultsError("It is cut.")
session.results = cut
""")
    own = kernel.run("%sutro_results job-demo-haiku")
    other = kernel.run("%sutro_profile job-demo-haiku")
    line = "%sutro_results JOB_ID --refresh fetches it again; if the error persists, try %config SutroMagics.format = 'csv'."
    assert own.evalue == "It is cut.\n--refresh fetches it again; if the error persists, try --format csv."
    assert other.evalue == f"It is cut.\n{line}"
    assert other.traceback.splitlines()[1] == f"  -> {line}"


# --- in the source -----------------------------------------------------------------------------------


def test_no_file_of_the_widgets_contains_magic_syntax():
    files = [path for kind in ("*.py", "*.js") for path in (PACKAGE / "ui").rglob(kind)]
    found = [
        f"{path.name}: {line.strip()}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if MAGIC_SYNTAX.search(line)
    ]
    assert len(files) > 20 and found == []
