"""What an error proposes can be typed as it stands: as Python in a script, as the line of a magic in a notebook."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import sutro_magic
from sutro_magic import errors
from sutro_magic.errors import Hint, SutroError, render_hint
from sutro_magic.magics.hints import for_magic, in_magic_syntax

PACKAGE = Path(sutro_magic.__file__).parent
MAY = ("magics/", "__init__.py")  # what is below magics/ knows no magic, but the front page shows some
ODD = 'Ten "thousand" films'


def below_the_magics(*suffixes):
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.suffix in suffixes and not name.startswith(MAY):
            yield name, path.read_text(encoding="utf-8")


# --- one syntax in each place ------------------------------------------------------------------------


def test_no_module_below_the_magics_knows_how_a_magic_is_written():
    found = [
        f"{name}:{text.count(chr(10), 0, line.start()) + 1}: {line[0]}"
        for name, text in below_the_magics(".py", ".js")
        for line in re.finditer(r"%{1,2}(?:sutro|config|load_ext|env|pip)\w*", text)
    ]
    assert found == []


def test_no_text_below_the_magics_names_a_flag():
    found = [
        f"{name}:{node.lineno}: {flag[0].strip()}"
        for name, text in below_the_magics(".py")
        if name != "demo/__main__.py"  # a command line has flags
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for flag in re.finditer(r"(?:^|[\s(`])--(?!jp-)[a-z]+", node.value)
    ]
    assert found == []


def test_nothing_below_the_magics_speaks_of_cells_to_be_run():
    found = [
        f"{name}: {words[0]}"
        for name, text in below_the_magics(".py")
        for words in re.finditer(r"(?i)\brun the cell\b|\bin this cell\b|\bcell of its own\b", text)
    ]
    assert found == []


# --- both syntaxes -----------------------------------------------------------------------------------


ACTIONS = [
    (Hint("results"), 'session.results("JOB_ID")', "%sutro_results JOB_ID"),
    (
        Hint("results", job=ODD, format="csv", refresh=True, inputs=True, logprobs=False),
        'session.results("Ten \\"thousand\\" films", format="csv", refresh=True, inputs=True, logprobs=False)',
        "%sutro_results 'Ten \"thousand\" films' --format csv --refresh --inputs --no-logprobs",
    ),
    (
        Hint("results", job="a b", unfold=False, wait=True),
        'session.results("a b", unfold=False, wait=True)',
        "%sutro_results 'a b' --raw --wait",
    ),
    (Hint("results", job="a\\b"), 'session.results("a\\\\b")', "%sutro_results 'a\\b'"),
    (Hint("results", job="it's"), 'session.results("it\'s")', '%sutro_results "it\'s"'),
    (Hint("results", unfold=True), 'session.results("JOB_ID", unfold=True)', "%sutro_results JOB_ID --unfold"),
    (Hint("results", job="job-1", peek=1), 'session.peek("job-1", rows=1)', "%sutro_results job-1 --peek 1"),
    (Hint("results", as_type="dask"), 'session.results("JOB_ID").to_dask()', "%sutro_results JOB_ID --as dask"),
    (Hint("wait", job="my job"), 'session.wait("my job")', "%sutro_wait 'my job'"),
    (Hint("status", job="my job"), 'session.job("my job")', "%sutro_status 'my job'"),
    (Hint("jobs"), "session.jobs()", "%sutro_jobs"),
    (Hint("jobs", status="succeeded"), 'session.jobs(status="succeeded")', "%sutro_jobs --status succeeded"),
    (Hint("bind", name="df"), "df = ...", "--name df"),
    (
        Hint("errors", job="my job"),
        'session.results("my job").errors',
        "r = %sutro_results 'my job', then r.errors",
    ),
    (Hint("option", refresh=True), "refresh=True", "--refresh"),
    (Hint("option", inputs=False), "inputs=False", "--no-inputs"),
    (Hint("option", format="csv", refresh=True), 'format="csv", refresh=True', "--format csv --refresh"),
    (Hint("option", on="letter id"), 'on="letter id"', "--on 'letter id'"),
    (Hint("option", format=None), "format", "--format"),
    (Hint("value", value="my job"), '"my job"', "'my job'"),
    (
        Hint("setting", name="memory_limit", value="2GB"),
        'sutro_magic.query.configure(memory_limit="2GB")',
        "%config SutroMagics.memory_limit = '2GB'",
    ),
    (
        Hint("setting", name="cache_dir", value="my cache"),
        'Session(cache_dir="my cache")',
        "%config SutroMagics.cache_dir = 'my cache'",
    ),
    (
        Hint("setting", name="cache_limit", value="5GB"),
        'session.cache.limit = "5GB"',
        "%config SutroMagics.cache_limit = '5GB'",
    ),
    (
        Hint("setting", name="debug", value=True),
        "sutro_magic.SutroError.debug = True",
        "%config SutroMagics.debug = True",
    ),
    (Hint("cache", command="list"), "session.cache.entries()", "%sutro_cache list"),
    (Hint("cache", command="path"), "session.cache.directory", "%sutro_cache path"),
    (Hint("cache", command="clear", all=True), "session.cache.clear()", "%sutro_cache clear --all"),
    (Hint("install", package="sutro-magic", upgrade=True), "pip install -U sutro-magic", "%pip install --upgrade sutro-magic"),
    (
        Hint("install", package="sutro-magic[dask]"),
        'pip install "sutro-magic[dask]"',
        "%pip install 'sutro-magic[dask]'",
    ),
    (Hint("login"), "Session(api_url=..., api_key=...)", "%sutro_login"),
    (Hint("login", url=None), "Session(api_url=..., api_key=...)", "%sutro_login --url"),
    (
        Hint("login", url="https://acme.example"),
        'Session(api_url="https://acme.example", api_key=...)',
        "%sutro_login --url https://acme.example",
    ),
    (
        Hint("login", save=True),
        "sutro_magic.api.credentials.save_config(Session(api_url=..., api_key=...).credentials)",
        "%sutro_login --save",
    ),
    (Hint("demo"), "python -m sutro_magic.demo", "%sutro_demo"),
    (Hint("compare"), "compare([first, second])", "%sutro_compare JOB_ID JOB_ID"),
    (Hint("sql"), "help(sutro_magic.sql)", "%%sutro_sql?"),
    (Hint("again"), "Try again", "Run the cell again"),
]  # fmt: skip
COMMANDS = {"install", "demo", "again"}  # of a shell, and words
PARTS = {"option", "value", "bind"}  # of a line that is there already


@pytest.mark.parametrize(("hint", "python", "magic"), ACTIONS, ids=repr)
def test_an_action_is_written_in_the_syntax_of_the_place(hint, python, magic):
    assert render_hint(hint) == python
    assert render_hint(hint, in_magic_syntax) == magic


def test_both_syntaxes_know_the_same_actions_and_all_are_tried_here():
    from sutro_magic.magics import hints

    named = set(re.findall(r"``(\w+)``", Hint.__doc__.partition("**arguments")[0]))
    assert set(errors._PYTHON) == set(hints._MAGICS) == {hint.action for hint, _, _ in ACTIONS} == named


@pytest.mark.parametrize(("hint", "python", "magic"), ACTIONS, ids=repr)
def test_what_is_proposed_can_be_read_by_who_it_is_for(hint, python, magic):
    if hint.action not in COMMANDS:
        ast.parse(f"f({python})" if hint.action == "option" else python)
    words = shlex.split(magic.partition(", then")[0])
    job = hint.arguments.get("job")
    assert job is None or hint.action == "bind" or job in words
    if magic.startswith("%sutro_") and None not in hint.arguments.values():
        parser_of(words[0]).parse_line(magic.partition(" ")[2])
    elif hint.action not in PARTS | COMMANDS:
        assert magic.removeprefix("r = ").startswith("%")


@pytest.mark.parametrize(
    ("hint", "python"),
    [(hint, python) for hint, python, _ in ACTIONS if hint.action in {"results", "wait", "status", "jobs"}],
    ids=repr,
)
def test_a_call_that_is_proposed_fits_the_method(hint, python):
    import inspect

    call = ast.parse(python, mode="eval").body
    call = call.func.value if isinstance(call.func.value, ast.Call) else call  # .to_dask() of it
    method = getattr(sutro_magic.Session, call.func.attr)
    inspect.signature(method).bind(None, *call.args, **{word.arg: word.value for word in call.keywords})


@pytest.mark.parametrize(
    ("magic", "hint", "shown"),
    [
        ("%sutro_results", Hint("option", refresh=True), "--refresh"),
        ("%sutro_profile", Hint("option", refresh=True), "%sutro_results JOB_ID --refresh"),
        ("%sutro_profile", Hint("option", format="csv"), "%config SutroMagics.format = 'csv'"),
        ("%sutro_profile", Hint("option", unfold=False), "%sutro_results JOB_ID --raw"),
        ("%sutro_profile", Hint("wait", job="job-1"), "%sutro_wait job-1"),
    ],
    ids=repr,
)
def test_a_magic_names_only_flags_of_its_own(magic, hint, shown):
    assert render_hint(hint, for_magic(parser_of(magic)._option_string_actions)) == shown


def test_an_error_speaks_python_until_a_magic_raises_it():
    error = errors.JobNotReadyError(
        "It runs.", job_id="a b", hint=(Hint("wait", job="a b"), " waits for it.")
    )
    assert str(error) == 'It runs.\nsession.wait("a b") waits for it.'
    assert error.shown_hint == error.hint
    error.render_with(in_magic_syntax)
    assert str(error) == "It runs.\n%sutro_wait 'a b' waits for it."
    assert error._render_traceback_()[1] == "  -> %sutro_wait 'a b' waits for it."


def test_an_error_can_pass_its_hint_on_in_no_syntax_yet():
    inner = errors.ServiceError("It is down.")
    outer = errors.ArgumentError("There is no such table.", hint=inner.next_step)
    outer.render_with(in_magic_syntax)
    assert inner.hint.startswith("Try again;") and outer.hint.startswith("Run the cell again;")


def test_a_name_with_control_characters_does_nothing_to_a_terminal():
    assert (
        render_hint(Hint("wait", job="a\x1b[31m\n"))
        == 'session.wait("a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}")'
    )


# --- over the demo service ---------------------------------------------------------------------------


JOBS = [
    (
        "job-demo-queued",
        errors.JobNotReadyError,
        'session.wait("job-demo-queued") waits for it; session.results("job-demo-queued", wait=True) fetches it, too.',
        "%sutro_wait job-demo-queued waits for it; %sutro_results job-demo-queued --wait fetches it, too.",
    ),
    (
        "job-demo-failed",
        errors.JobFailedError,
        'session.job("job-demo-failed") shows its details; a failed job has no results.',
        "%sutro_status job-demo-failed shows its details; a failed job has no results.",
    ),
    (
        "job-demo-cancelled",
        errors.JobCancelledError,
        'A cancelled job has no results; session.jobs(status="succeeded") lists those that have.',
        "A cancelled job has no results; %sutro_jobs --status succeeded lists those that have.",
    ),
    (
        "qwertyuiop",
        errors.JobNotFoundError,
        "session.jobs() lists the jobs of this key.",
        "%sutro_jobs lists the jobs of this key.",
    ),
    (
        "zoo",
        errors.JobNotFoundError,
        'Did you mean one of "Zoo mail of this morning", "Letters to the zoo"? session.jobs() lists all.',
        "Did you mean one of 'Zoo mail of this morning', 'Letters to the zoo'? %sutro_jobs lists all.",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", JOBS, ids=lambda case: case[0])
def test_a_script_is_told_in_python_and_a_notebook_in_magics(session, kernel, case):
    job, kind, python, magic = case
    with pytest.raises(kind) as caught:
        session.results(job)
    assert str(caught.value) == f"{caught.value.message}\n{python}"
    first, second = kernel.run(f"%sutro_results {job}").traceback.splitlines()
    assert first.startswith(f"{kind.__name__}: ") and second == f"  -> {magic}"  # a queued job may start


@pytest.mark.parametrize("job", ["job-demo-failed", "job-demo-cancelled", "qwertyuiop"])
def test_what_a_script_is_told_works_as_it_stands(session, job):
    with pytest.raises(SutroError) as caught:
        session.results(job)
    call = re.search(r"session\.\w+\(.*?\)", str(caught.value))[0]
    assert eval(call, {"session": session})


def test_what_a_front_end_shows_follows_the_magics_that_are_loaded(kernel):
    """Captions and widgets speak magic while the extension is loaded; a script's error stays Python."""
    kernel.run(
        "import sutro_magic\nfrom sutro_magic.ui.render.views import results_caption\n"
        "session = sutro_magic.Session()\nsession.results('job-demo-zoo')\nfilms = session.results('job-demo-zoo')\n"
        "def caption(): return ' '.join([*results_caption(films).lines, *results_caption(films).details])"
    )
    loaded = kernel.value("caption()")
    assert "--refresh fetches them again" in loaded and "--name VAR binds them" in loaded
    kernel.run(
        "try: session.results('job-demo-queued')\nexcept sutro_magic.SutroError as caught: said = str(caught)"
    )
    assert 'session.wait("job-demo-queued")' in kernel.value("said")
    kernel.run("%unload_ext sutro_magic")
    plain = kernel.value("caption()")
    assert "refresh=True fetches them again" in plain and "--" not in plain


def parser_of(magic):
    from IPython.core.interactiveshell import InteractiveShell  # noqa: F401 - its module sets magics up

    from sutro_magic.magics.magics import SutroMagics

    name = magic.lstrip("%").rstrip("?")
    methods = SutroMagics.magics["line"] | SutroMagics.magics["cell"]
    return getattr(SutroMagics, methods[name]).parser()
