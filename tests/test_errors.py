"""Every error says what happened and what to type next, and none says too much."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import traceback
from pathlib import Path

import pytest

import sutro_magic
from sutro_magic import errors
from sutro_magic.errors import SutroError
from sutro_magic.magics.hints import in_magic_syntax
from sutro_magic.system.error_mapping import explain

PACKAGE = Path(sutro_magic.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
MAGICS = "get_ipython().magics_manager.registry['SutroMagics']"
SECRETS = ("sk_topsecret", "abcdef0123", "Signature")


def kinds(root=SutroError):
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


def made():
    """Every place where one of our errors is made: file, line, class and call."""
    names = {kind.__name__ for kind in kinds()}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield path.relative_to(PACKAGE), node.lineno, node.func.id, node


# --- the tree ------------------------------------------------------------------------------------


def test_the_tree_at_the_head_of_the_module_is_the_tree():
    for module in pkgutil.walk_packages(sutro_magic.__path__, "sutro_magic."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    drawn, path = {}, []
    for indent, name in re.findall(
        r"^ {4}((?:[│ ] {3})*(?:[├└]── ))?(\w+Error)\b", errors.__doc__, re.MULTILINE
    ):
        depth = len(indent) // 4
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else None
    ours = [kind for kind in kinds() if kind.__module__.startswith("sutro_magic")]
    real = {kind.__name__: kind.__bases__[0].__name__ if kind is not SutroError else None for kind in ours}
    assert drawn == real


def test_every_error_is_raised_somewhere():
    groups = {"SutroError", "JobError"}  # they only hold others together
    assert {name for _, _, name, _ in made()} | groups == {kind.__name__ for kind in kinds()}


def test_every_error_says_what_to_do_next():
    usual = {kind.__name__ for kind in kinds() if kind.usual_hint}
    without = [
        f"{path}:{line} {name}"
        for path, line, name, call in made()
        if name not in usual and not any(keyword.arg == "hint" for keyword in call.keywords)
    ]
    assert without == []


def test_a_hint_of_its_own_wins_over_the_usual_one():
    error = errors.CorruptResultsError("It is cut.")
    assert "refresh=True" in error.hint
    error.suggest("Try tomorrow.")
    error.suggest("Or never.")
    assert error.hint == "Try tomorrow." and str(error) == "It is cut.\nTry tomorrow."


# --- what nobody foresaw ---------------------------------------------------------------------------


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "kind", "words", "next_step"),
    [
        (
            OSError(28, "No space left on device", "/cache/x"),
            "ResourceError",
            "/cache/x",
            "session.cache.entries()",
        ),
        (PermissionError(13, "Permission denied", "/x"), "ResourceError", "Permission denied", "cache_dir"),
        (OSError(24, "Too many open files"), "ResourceError", "Too many open", "restart"),
        (TimeoutError(110, "Connection timed out"), "ResourceError", "timed out", "Try again"),
        (MemoryError(), "ResourceError", "Out of memory", "free some memory"),
        (ModuleNotFoundError("No module named 'duckdb'"), "MissingPackageError", "duckdb", "pip install -U"),
        (KeyError("rows"), "InternalError", "KeyError at test_errors.py:", "This is a bug"),
        (OSError("an odd library's own"), "InternalError", "an odd library's own", "This is a bug"),
        (
            RuntimeError("GET https://store.example/x?Signature=abcdef0123 with 'Key sk_topsecret' failed"),
            "InternalError",
            "https://store.example/x?…",
            "This is a bug",
        ),
        (ValueError("x" * 5000 + "\x1b[31m"), "InternalError", "xxx…", "debug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_nobody_foresaw_is_two_honest_lines(error, kind, words, next_step):
    explained = explain(raised(error))
    first, second = explained._render_traceback_()
    assert first.startswith(f"{kind}: ") and words in first and next_step in second
    assert len(first) < 400 and first.isprintable()
    assert not [secret for secret in SECRETS if secret in first + second]


def test_a_bug_in_a_magic_fails_the_cell_with_two_lines_and_debug_shows_where(kernel):
    kernel.run(
        "def broken(**_):\n    signed = 'https://s.example/x?Signature=abcdef0123'\n"
        "    raise LookupError(f'no {signed} for Key sk_topsecret')\n"
        f"{MAGICS}.session.jobs = broken\ndf = 'as before'"
    )
    reply = kernel.run("%sutro_jobs --name df")
    assert reply.ename == "InternalError" and len(reply.traceback.splitlines()) == 2
    assert "LookupError" in reply.evalue and "This is a bug" in reply.traceback
    assert kernel.value("df") == "as before"
    kernel.run("%config SutroMagics.debug = True")
    whole = kernel.run("%sutro_jobs")
    kernel.run("%config SutroMagics.debug = False\n%xmode Verbose")
    verbose = kernel.run("%sutro_jobs")
    kernel.run("%xmode Context")
    assert "in broken" in whole.traceback and "magics.py" in whole.traceback
    assert len(verbose.traceback.splitlines()) == 2
    said = reply.traceback + reply.evalue + verbose.traceback + whole.evalue
    assert "sk_topsecret" not in said and "abcdef0123" not in said
    assert "LookupError: no https://s.example/x?… for Key ***" in whole.traceback


def test_an_error_of_ours_keeps_its_traceback_for_debugging():
    error = raised(errors.ArgumentError("no", hint="yes"))
    assert "raised" in "".join(traceback.format_exception(error))
    assert error._render_traceback_() == ["ArgumentError: no", "  -> yes"]


# --- what did not expand ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words", "next_step"),
    [
        ("%sutro_results $nowhere", "$nowhere was not replaced: nowhere is not defined", "defines it"),
        ("%sutro_results --name=$nowhere job_12345", "nowhere is not defined", "defines it"),
        (
            "%sutro_results {here} --name {nowhere}",
            "{nowhere} was not replaced: nowhere is not",
            "defines it",
        ),
        ("%sutro_results {nowhere['a b']}", "nowhere is not defined", "defines it"),
        ("%sutro_results {here[99]}", "{here[99]} was not replaced: IPython could not", "print(here[99])"),
        ("%sutro_results {len(here) / 0}", "IPython could not evaluate it", "print(len(here) / 0)"),
    ],
)
def test_a_variable_that_is_not_there_is_named(kernel, line, words, next_step):
    kernel.run("here = 'job_12345'")
    reply = kernel.run(line)
    first, second = reply.traceback.splitlines()
    assert reply.ename == "ArgumentError" and words in first and next_step in second


# --- closest matches, help -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("%sutro_results job_12345 --logprob", "--logprobs"),
        ("%sutro_results job_12345 --as polar", "polars"),
        ("%sutro_results job_12354", "job_12345"),
        ("%sutro_results 'Ten thousand filns'", "Ten thousand films"),
        ("%sutro_status job-demo-flims", "job-demo-films"),
        ("%sutro_jobs --status suceeded", "succeeded"),
        ("%sutro_cache claer", "clear"),
        ("%sutro_cache info job_12354", "job_12345"),
        ("%sutro_demo strat", "start"),
        ("%sutro_demo fault half_parket", "half_parquet"),
    ],
)
def test_the_closest_match_is_offered(kernel, line, meant):
    kernel.run(
        "%sutro_results job_12345 --quiet --name df\n%sutro_demo"
        if "fault" in line
        else "df = %sutro_results job_12345"
    )
    reply = kernel.run(line)
    kernel.run("%sutro_demo stop" if "fault" in line else "")
    _, second = reply.traceback.splitlines()
    assert re.search(rf"Did you mean '?{re.escape(meant)}\b", second), second


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("%sutro_results 'Ten thousand filmz'", "%sutro_results 'Ten thousand films'"),
        ("%sutro_results films", "%sutro_results 'Ten thousand films'"),
        ("%sutro_results 'films TEN' --name films  # mine", "%sutro_results 'Ten thousand films' --name films"),
        ("%sutro_results films --name=films --quiet;", "%sutro_results 'Ten thousand films' --name=films --quiet"),
        pytest.param(
            "%sutro_results million --peek 3", "%sutro_results 'A million lines of weather' --peek 3", marks=pytest.mark.slow
        ),
        ("%sutro_status https://acme.example/jobs/job-demo-films", "%sutro_status job-demo-films"),
        ("%sutro_results JOB-DEMO-FILMS --raw", "%sutro_results job-demo-films --raw"),
        ("%sutro_results which --quiet", "%sutro_results {which} --quiet"),
        ("%sutro_status wether", "%sutro_status 'A million lines of weather'"),
        ("%sutro_status awk", "%sutro_status 'Awkward texts <b>\"quoted\"</b>, & more'"),
        ("%sutro_profile museum", "%sutro_profile 'Labels of a small museum'"),
        ("%sutro_compare job-demo-reviews job-demo-opinon", "%sutro_compare job-demo-reviews job-demo-opinion"),
        ("%sutro_cache info films", "%sutro_cache info 'Ten thousand films'"),
        ("%sutro_results Ten thousand films --raw", "%sutro_results 'Ten thousand films'"),
        ("%sutro_results job_12345 df", "%sutro_results job_12345 --name df"),
        ("%sutro_status job_12345 job-demo-zoo", "%sutro_status job_12345"),
        ("%sutro_demo fault half_parket", "%sutro_demo fault half_parquet"),
    ],
)  # fmt: skip
def test_a_command_that_a_hint_proposes_runs_as_it_stands(kernel, line, command):
    kernel.run("%sutro_demo" if "fault" in line else "")
    kernel.run("%sutro_results job-demo-films --quiet --name x" if "cache" in line else "which = 'job_12345'")
    _, second = kernel.run(line).traceback.splitlines()
    proposed = second[second.index(" %sutro_") + 1 :]
    again = kernel.run(proposed)
    kernel.run("%sutro_demo stop" if "fault" in line else "")
    assert proposed == command
    assert again.ok, again.traceback


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("%sutro_results zoo", "one of 'Zoo mail of this morning', 'Letters to the zoo'? %sutro_jobs"),
        ("%sutro_results qwertyuiop", "%sutro_jobs lists the jobs"),
        ("%sutro_results job-demo-running", "%sutro_jobs lists the jobs"),  # only job-demo- is alike
        ("%sutro_results job_12345 -n x", "Did you mean --name? "),
        ("%sutro_results job_12345 -r", "Did you mean --raw or --refresh? "),
        ("%sutro_results job_12345 --include", "Did you mean --include-inputs? "),
        ("%sutro_results job_12345 --csv", "Did you mean --format csv? "),
        ("%sutro_results job_12345 --pandas", "Did you mean --as pandas? "),
        ("%sutro_results job_12345 -", "%sutro_results? shows"),
        ("%sutro_demo fault nosuch", "There are: slow, cut, "),
    ],
)
def test_a_guess_is_good_or_left_out(kernel, line, hint):
    kernel.run("%sutro_demo" if "fault" in line else "")
    reply = kernel.run(line)
    kernel.run("%sutro_demo stop" if "fault" in line else "")
    assert (
        reply.traceback.splitlines()[1]
        .removeprefix("  -> ")
        .removeprefix("Did you mean ")
        .startswith(hint.removeprefix("Did you mean "))
    ), reply.traceback


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("%sutro_results", "this is missing: JOB_ID", "%sutro_jobs lists the jobs"),
        ("%sutro_results job_12345 --name", "--name needs a value", "Like this: --name VAR"),
        ("%sutro_results job_12345 --format", "--format needs a value", "Choose one of parquet, csv, json."),
        ("%sutro_results job_12345 --name ''", "The name of the variable is empty", "like df"),
        ("%sutro_results job_12345 --name 'my var'", "'my var' cannot be", "like my_var"),
        ("%sutro_results job_12345 --name 2x", "'2x' cannot be", "like df_2x"),
        ("%sutro_results job_12345 --name 'not '", "'not ' cannot be", "like df"),
        ("%sutro_results job_12345 --save ''", "The path of the file is empty", "films.csv"),
        ("%sutro_results job_12345 --save /proc/x.csv", "/proc/x.csv could not be saved", "Choose a writable folder"),
        ("%sutro_results job_12345 --raw --unfold", "--unfold and --raw do not go together", "%sutro_results?"),
        ("%sutro_results job_12345 csv", "unexpected argument csv", "Did you mean --format csv?"),
        ("%sutro_cache info job_12345 x", "unexpected argument x", "%sutro_cache?"),
        ("%sutro_cache --all", "--all is for clear; nothing was deleted", "%sutro_cache clear --all deletes"),
        ("%sutro_cache list --older-than 3d", "--older-than is for clear", "clear --older-than 3d deletes"),
        ("%sutro_cache clear --older-than 999999999d", "No cache entry is as old", "--older-than 12h"),
        ("%sutro_cache clear --older-than ²d", "is not an age", "--older-than 12h"),
        ("%sutro_compare job_12345", "2 to 6 jobs, not 1", "%sutro_compare JOB_ID JOB_ID"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_is_fetched(kernel, demo, line, said, hint):
    first, second = kernel.run(line).traceback.splitlines()
    assert said in first and hint in second
    assert list(demo.requests) == []


@pytest.mark.parametrize(
    "fault", [pytest.param("short", marks=pytest.mark.slow), "expired_url"]
)  # many tries
def test_no_hint_names_a_flag_that_the_magic_does_not_have(kernel, demo, fault):
    demo.set_fault(fault)
    named = kernel.run("%sutro_results job-demo-zoo").traceback.splitlines()[1]
    other = kernel.run("%sutro_profile job-demo-zoo").traceback.splitlines()[1]
    demo.clear_faults()
    assert "--format" in named
    assert "--" not in other and "%config SutroMagics.format = 'csv'" in other
    for kind, hint in (
        (errors.CorruptResultsError, "%sutro_results JOB_ID --refresh"),
        (errors.ArgumentError, "x"),
    ):
        error = kind("It is so.", hint=None if kind is errors.CorruptResultsError else "x")
        parser = magic_functions()["sutro_profile"].parser()
        parser.improve_hint("job", error, {})
        assert hint in error.hint


def test_whoever_has_a_wrong_address_is_told_both_ways_to_set_it(session, demo):
    demo.set_fault("410")
    with pytest.raises(errors.ServiceGoneError) as gone:
        session.jobs()
    nowhere = sutro_magic.Session(api_url="http://127.0.0.1:9", api_key="sk_mine")
    nowhere.client.retry = type(session.client.retry)(tries=1)
    with pytest.raises(errors.ServiceUnreachableError) as unreachable:
        nowhere.jobs()
    for caught in (gone, unreachable):
        assert "Session(api_url=" in caught.value.hint and "SUTRO_API_URL" in caught.value.hint
        caught.value.render_with(in_magic_syntax)
        assert "%sutro_login --url" in caught.value.hint


def test_a_name_that_cannot_be_typed_is_not_proposed():
    from sutro_magic.jobs.lookup import likely

    jobs = [
        ("job-1", "weather {now}"),
        ("job-2", "a $weather"),
        ("--all", "weather"),
        ("a", "same"),
        ("b", "same"),
    ]
    assert likely("weather", jobs) == ["job-1", "job-2"]
    assert likely("wether {now}", jobs) == ["job-1"]
    assert likely("same", jobs) == ["a", "b"], "a name that two jobs share names neither"


def test_of_many_guesses_the_first_are_named_and_that_there_are_more():
    from sutro_magic.jobs.lookup import meant_instead, unknown_job

    jobs = [(f"job-{i}", f"Reviews, part {i}") for i in range(4)]
    hints = [meant_instead(unknown_job("reviews", "here"), jobs[:count]).hint for count in (3, 4)]
    assert '"Reviews, part 2"?' in hints[0] and '"Reviews, part 2", …?' in hints[1]


def magic_functions():
    from IPython.core.interactiveshell import InteractiveShell  # noqa: F401 - its module sets magics up

    from sutro_magic.magics.magics import SutroMagics

    return {
        name: getattr(SutroMagics, method)
        for kind in ("line", "cell")
        for name, method in SutroMagics.magics[kind].items()
    }


TO_RUN = {name: function.parser().examples for name, function in magic_functions().items()}


def test_every_magic_has_examples_and_says_so_in_its_docstring():
    for name, function in magic_functions().items():
        parser = function.parser()
        assert parser.examples and all(f"%{name}" in line for line in parser.examples)
        assert all(line in function.__doc__ for line in parser.examples)
        flags = [flag for action in parser._actions for flag in action.option_strings]
        assert all(flag in function.__doc__ for flag in flags)
        assert all(action.help for action in parser._actions)


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_RUN)
def test_the_examples_of_every_help_run_as_they_are_in_their_order(kernel, demo, name, tmp_path):
    kernel.run(f"import os; os.chdir({str(tmp_path)!r})")  # where an example may save a file
    kernel.run("%sutro_demo\n%sutro_demo fault off\n%sutro_cache clear --all")
    kernel.run("for name in ('letters', 'job_id', 'df', 'pd', 'r', 'films'): globals().pop(name, None)")
    is_login = name == "sutro_login"
    if is_login:
        kernel.run("%sutro_demo stop")
    for example in TO_RUN[name]:
        shown = f"  {example}"
        assert shown in magic_functions()[name].__doc__
        if is_login:
            shown = re.sub(r"https://\S+", demo.url, shown)
        reply = kernel.run(shown, answer=demo.api_key if is_login else None)
        assert reply.ok, f"{shown}\n{reply.traceback}"
    home = Path(kernel.value("__import__('pathlib').Path.home()"))
    (home / ".sutro/config.json").unlink(missing_ok=True)
    kernel.run("%sutro_demo stop")


def test_a_question_mark_shows_flags_and_examples(kernel):
    sent = kernel.client.execute("%sutro_results?", reply=True, timeout=60)
    page = sent["content"]["payload"][0]["data"]["text/plain"]
    assert "--format" in page and "%sutro_results job_12345" in page
