"""The magics in a real kernel: what shows, what binds, what an error looks like."""

from __future__ import annotations

import json
import pathlib
import re
import threading
import time

import pytest
import scripted
from captions import tooltip

WIDGET = "application/vnd.jupyter.widget-view+json"


def table_of(reply):
    """Every table comes twice: as a widget, and as HTML and text that need no program."""
    *others, static = [*reply.displays, *([reply.result] if reply.result else [])]
    # A download that took long on a busy machine has left its one line of progress.
    others = [
        bundle
        for bundle in others
        if set(bundle) != {"text/plain"} and "sutro-progress" not in bundle.get("text/html", "")
    ]
    assert [WIDGET in bundle for bundle in others] == [True]
    assert set(static) == {"text/html", "text/plain"}
    return static["text/plain"]


def asked(demo, seconds=30):
    """Wait until somebody asks the service for results."""
    deadline = time.monotonic() + seconds
    while not any("results" in path for _, path in list(demo.requests)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


# --- what shows and what binds --------------------------------------------------------------------


def test_the_last_line_of_a_cell_shows_the_results_and_keeps_them_in_underscore(kernel):
    reply = kernel.run("%sutro_results job_12345 --format parquet")
    shown = table_of(reply)
    assert "The capital of France is Paris." in shown
    assert re.match(r"[^\n]+ · 2 × 1 · fetched in [\d.]+ s\n", shown)
    assert "--name VAR binds them to a variable" in tooltip(reply.result)
    assert "2 rows, 1 column, " in tooltip(reply.result)
    assert kernel.value("type(_).__name__") == "Results"


def test_assigning_shows_nothing_and_binds_the_results(kernel):
    reply = kernel.run("r = %sutro_results job_12345")
    assert reply.ok and reply.result is None and not reply.displays and not reply.text
    assert kernel.value("r.num_rows, r.columns") == "(2, ['outputs'])"
    assert kernel.run("r").result["text/plain"].startswith("r · Results 2 × 1 · ")


def test_name_shows_at_once_binds_pandas_and_returns_nothing(kernel):
    reply = kernel.run("%sutro_results job_12345 --inputs --logprobs --name df\nprint('after')")
    assert reply.result is None and reply.text == "after\n"
    assert table_of(reply).startswith("df · DataFrame 2 × 3 · ")
    facts = "type(df).__module__.split('.')[0], df.shape, df.attrs['sutro_job']"
    assert kernel.value(facts) == "('pandas', (2, 3), 'job_12345')"


@pytest.mark.parametrize(
    ("as_type", "kind"),
    [
        ("pandas", "DataFrame"),
        ("polars", "DataFrame"),
        ("arrow", "Table"),
        ("duckdb", "DuckDBPyRelation"),
        ("dask", "DataFrame"),
        ("path", "PosixPath"),
        ("results", "Results"),
    ],
)
def test_as_changes_what_is_bound_or_returned_never_what_is_shown(kernel, as_type, kind):
    assert kernel.run(f"x = %sutro_results job_12345 --as {as_type}").ok
    assert kernel.value("type(x).__name__") == kind
    reply = kernel.run(f"%sutro_results job_12345 --as {as_type} --name y")
    assert kernel.value("type(y).__name__") == kind
    assert "The capital of France is Paris." in table_of(reply)


def test_quiet_binds_and_shows_nothing(kernel):
    reply = kernel.run("%sutro_results job_12345 --name df --quiet")
    assert reply.ok and not reply.displays and reply.result is None and not reply.text
    assert kernel.value("len(df)") == "2"


def test_quiet_without_a_name_shows_one_line_the_first_time(kernel):
    reply = kernel.run("%sutro_results job_12345 --quiet")
    assert not reply.displays and reply.result["text/plain"].startswith("<Results of ")
    assert "The capital of France" in table_of(kernel.run("_"))


@pytest.mark.slow
def test_a_slow_download_shows_its_progress_and_leaves_one_line(kernel, demo):
    demo.set_fault("slow", seconds=2)
    reply = kernel.run("r = %sutro_results job-demo-films --format json")
    first, updates = reply.displays[0]["text/plain"], [u["text/plain"] for u in reply.updates]
    assert re.match(r"▕.{20}▏ Downloading: [\d.]+ \w+ of [\d.]+ \w+ \(\d+%\), .*/s, .* left", first)
    assert len(reply.displays) == 1 and len(updates) >= 2
    assert re.fullmatch(r"Downloaded [\d.]+ MB in [\d.]+ s \([\d.]+ kB/s\)", updates[-1])


@pytest.mark.slow
def test_a_request_that_is_tried_again_says_so_at_once(kernel, demo):
    demo.set_fault("503", times=1)
    reply = kernel.run("r = %sutro_results job_12345 --refresh")
    assert reply.ok
    assert reply.displays[0]["text/plain"] == "127.0.0.1: answered 503; trying again"
    # What stays says that it ended well; which of the two depends on how long the retry took.
    last = reply.updates[-1]["text/plain"]
    assert re.fullmatch(r"Done in .* s, after trying again|Downloaded .* in .* s \(.*/s\)", last)


def test_after_a_retry_without_a_download_the_line_says_that_it_is_done(kernel):
    reply = kernel.run(
        "from sutro_magic.ui.render.progress import ProgressLine\n"
        "line = ProgressLine(notebook=True)\nline.on_retry('acme.example: answered 503')\nline.done()"
    )
    assert "trying again" in reply.displays[0]["text/plain"]
    assert re.fullmatch(r"Done in .* s, after trying again", reply.updates[-1]["text/plain"])


@pytest.mark.parametrize("words", ["CSV", "Csv"])
def test_choices_are_taken_in_any_case(kernel, words):
    assert kernel.run(f"r = %sutro_results job_12345 --format {words} --as PANDAS").ok


def test_the_caption_says_where_the_table_came_from(kernel):
    first = kernel.run("%sutro_results job_12345 --format csv").result
    second = kernel.run("%sutro_results job_12345 --format json").result
    assert " · fetched in " in first["text/plain"] and " · from cache\n" in second["text/plain"]
    assert "fetched as csv from http://127.0.0.1" in tooltip(first) and "now cached" in tooltip(first)
    details = tooltip(second)
    assert "read from the cache" in details and "fetched as csv" in details and "--refresh" in details
    assert "the service calls the column outputs job_12345" in details


def test_a_long_table_says_how_many_rows_there_are_in_all(kernel):
    shown = table_of(kernel.run("%sutro_results job-demo-films --name films"))
    assert "films · DataFrame 10,000 × 6 · " in shown and "the first 20 of 10,000 rows" in shown
    assert kernel.value("len(films)") == "10000"


def test_the_page_s_own_flag_names_are_accepted(kernel):
    kernel.run(
        "%sutro_results job_12345 --result-format csv --include-inputs --include-cumulative-logprobs --name df"
    )
    assert kernel.value("list(df.columns)") == "['inputs', 'outputs', 'cumulative_logprobs']"


def test_variables_and_expressions_expand(kernel):
    kernel.run("ids = ['job_12345']\njob = 'job_12345'")
    for line in (
        "%sutro_results {ids[0]} --name a",
        "%sutro_results $job --name b",
        "%sutro_results job_12345 --name c;",
    ):
        assert kernel.run(line).ok
    assert kernel.value("len(a), len(b), len(c)") == "(2, 2, 2)"


@pytest.mark.parametrize(
    "line", ["job_12345   # a comment", "job_12345 # don't mind", "'job_12345' #", "job_12345; # end"]
)
def test_a_comment_after_the_line_is_ignored(kernel, line):
    assert kernel.run(f"r = %sutro_results {line}").ok


def test_a_number_sign_inside_a_name_is_no_comment(kernel):
    assert "has no job 'job # 1'" in kernel.run("%sutro_results 'job # 1'").evalue


def test_what_the_configuration_says_holds_until_a_flag_says_otherwise(kernel):
    kernel.run("%config SutroMagics.inputs = True\n%config SutroMagics.as_type = 'polars'")
    kernel.run("%sutro_results job_12345 --name a\n%sutro_results job_12345 --no-inputs --as pandas --name b")
    assert kernel.value("type(a).__module__.split('.')[0], len(a.columns)") == "('polars', 2)"
    assert kernel.value("type(b).__module__.split('.')[0], len(b.columns)") == "('pandas', 1)"


def test_help_shows_flags_and_examples(kernel):
    for text in (
        kernel.run("%sutro_results --help").text,
        kernel.run("print(get_ipython().find_line_magic('sutro_results').__doc__)").text,
    ):
        assert "JOB_ID" in text and "--format" in text and "%sutro_results job_12345" in text
    for name in ("jobs", "status", "wait", "browse", "cache", "login", "demo"):
        assert f"%sutro_{name}" in kernel.run(f"%sutro_{name} --help").text


# --- errors ---------------------------------------------------------------------------------------

BAD_LINES = [
    ("%sutro_results", "JOB_ID", "%sutro_results?"),
    ("%sutro_results job_12345 --fromat csv", "no flag --fromat", "--format"),
    ("%sutro_results job_12345 --form csv", "no flag --form", "--format"),
    ("%sutro_results job_12345 --format xml", "no format 'xml'", "parquet, csv, json"),
    ("%sutro_results job_12345 --format=parket", "no format 'parket'", "Did you mean parquet"),
    ("%sutro_results job_12345 --as panda", "no type 'panda'", "Did you mean pandas"),
    ("%sutro_results job_12345 --name _", "would hide", "like df"),
    ("%sutro_results job_12345 --name _oh", "would hide", "like my_oh"),
    ("%sutro_results job_12345 --name __builtins__", "would hide", "like my_builtins"),
    ("%sutro_jobs films", "unexpected argument", "--search"),
    ("%sutro_cache clear job_1234", "has no results of", "%sutro_cache list"),
    ("%sutro_cache list job_12345", "does not take a job", "%sutro_cache info job_12345"),
    ("%sutro_demo fautl", "no action 'fautl'", "Did you mean fault"),
    ("%sutro_results job_12345 other", "unexpected argument", "%sutro_results job_12345 --name other"),
    ("%sutro_results $undefined", "undefined is not defined", "defines it"),
    ("%sutro_results {undefined}", "undefined is not defined", "defines it"),
    ("%sutro_results 'job", "quotation mark", "quotes"),
    ("%sutro_results job_12345 --name 1df", "'1df' cannot be the name", "like df"),
    ("%sutro_results job_12345 --name class", "'class' is a keyword", "like my_class"),
    ("%sutro_results job_12345 --save out_{undefined}.csv", "undefined is not defined", "defines it"),
    ("%sutro_results '$df'", "inside single quotes", "Use double quotes"),
    ("%sutro_results job_12345 --name list", "would hide", "like my_list"),
    ("%sutro_results ../../etc/passwd", "has no job", "%sutro_jobs"),
    ("%sutro_results " + "x" * 3000, "3,000 characters", "%sutro_jobs"),
    ("%sutro_results 'a b'", "has no job 'a b'", "%sutro_jobs"),
    ("%sutro_results job-demo-failed", "failed", "%sutro_status"),
    ("%sutro_results job-demo-long", "RUNNING", "%sutro_wait job-demo-long"),
    ("%sutro_jobs --status done", "no status 'done'", "succeeded"),
    ("%sutro_jobs --limit many", "--limit takes a whole number, not 'many'", "%sutro_jobs?"),
    ("%sutro_wait job_12345 --timeout 2m", "--timeout takes a number, not '2m'", "%sutro_wait?"),
    ("%sutro_results job_12345 --save", "--save needs a value", "%sutro_results?"),
    ("%sutro_results job_12345 --inputs=yes", "--inputs takes no value, so not 'yes'", "%sutro_results?"),
    ("%sutro_status", "JOB_ID", "%sutro_status?"),
    ("%sutro_wait job-demo-long --timeout 0.1", "still", "%sutro_wait job-demo-long"),
    ("%sutro_cache clear", "needs a job", "--older-than"),
    ("%sutro_cache clear --older-than soon", "not an age", "30d"),
    ("%sutro_cache info job-nope", "has no results of", "%sutro_cache list"),
    ("%sutro_demo fault slow", "not running", "%sutro_demo"),
    ("%sutro_login", "Cannot ask for the key", "SUTRO_API_KEY"),
    ("%sutro_login sk_typed_by_mistake", "no key on the line", "%sutro_login"),
    ("%sutro_login key=sk_typed_by_mistake", "no key on the line", "%sutro_login"),
    ("%sutro_login --token sk_typed_by_mistake", "no key on the line", "%sutro_login"),
]


@pytest.mark.parametrize(("line", "words", "next_step"), BAD_LINES, ids=[c[0][:60] for c in BAD_LINES])
def test_a_mistake_fails_the_cell_with_two_lines_and_keeps_the_variable(kernel, line, words, next_step):
    kernel.run("df = 'as before'")
    reply = kernel.run(line)
    assert reply.ename.endswith("Error")
    first, second = reply.traceback.splitlines()
    assert words in first and next_step in second
    assert words in reply.evalue
    assert "sk_typed" not in str([content for content in reply.raw if "code" not in content])
    assert len(reply.traceback) < 700
    assert kernel.value("df") == "as before"


def test_a_name_is_bound_as_python_reads_it(kernel):
    assert kernel.run("%sutro_results job_12345 --quiet --name ﬁlms").ok
    assert kernel.value("type(films).__name__") == "DataFrame"


def test_what_cannot_be_shown_is_not_bound(kernel):
    kernel.run("df = 'as before'; shown = get_ipython().magics_manager.registry['SutroMagics'].display")
    kernel.run("shown.show = lambda bundle: 1 / 0")
    reply = kernel.run("%sutro_results job_12345 --name df")
    kernel.run("del shown.show")
    assert not reply.ok and kernel.value("df") == "as before"


def test_an_interrupt_while_the_value_is_made_saves_nothing(kernel, tmp_path):
    kernel.run("from sutro_magic.results.handle import Results; kept = Results.to")
    kernel.run("def interrupted(self, kind): raise KeyboardInterrupt\nResults.to = interrupted")
    reply = kernel.run(f"%sutro_results job_12345 --name df --save {tmp_path / 'out.csv'}")
    kernel.run("Results.to = kept")
    assert "nothing was bound or saved" in reply.traceback and not (tmp_path / "out.csv").exists()


def test_debug_shows_the_whole_traceback(kernel):
    kernel.run("%config SutroMagics.debug = True")
    reply = kernel.run("%sutro_results job-nope")
    kernel.run("%config SutroMagics.debug = False")
    assert "Traceback" in reply.traceback and "session.py" in reply.traceback


def test_interrupting_a_slow_fetch_binds_nothing_and_leaves_the_cache_clean(kernel, demo):
    demo.set_fault("slow", seconds=60)
    kernel.run("df = 'as before'")
    stopper = threading.Thread(target=lambda: asked(demo) and kernel.manager.interrupt_kernel())
    stopper.start()
    reply = kernel.run("%sutro_results job-demo-films --format csv --name df")
    stopper.join()
    demo.clear_faults()
    assert reply.ename == "Interrupted" and "nothing was bound" in reply.traceback
    assert kernel.value("df") == "as before"
    assert "0 results" in kernel.run("%sutro_cache list").displays[0]["text/plain"]
    assert kernel.run("%sutro_results job-demo-films --format csv --name df").ok


# --- the other magics -----------------------------------------------------------------------------


def test_the_status_of_a_cached_job_says_where_it_is_cached(kernel):
    assert "cached" not in kernel.run("%sutro_status job_12345").result["text/plain"]
    kernel.run("r = %sutro_results job_12345 --format csv --no-inputs --quiet\njob = %sutro_status job_12345")
    path = kernel.value("str(r.path).replace(__import__('os').path.expanduser('~'), '~')").strip("'")
    for line in ("%sutro_status job_12345", "job"):
        text = " ".join(kernel.run(line).result["text/plain"].split())
        cached = (
            r"cached 2 × 1 \(outputs\) · [\d.]+ \w+ · fetched as csv from http://127\S+ just now cache file "
        )
        assert re.search(cached, text)
        assert path in text.replace(" ", "")


def test_jobs_are_listed_and_can_be_bound(kernel):
    reply = kernel.run("%sutro_jobs --status succeeded --search demo")
    assert table_of(reply).splitlines()[1].split()[:2] == ["job", "name"]
    assert "job-demo-films" in table_of(reply)
    assert "job-demo-failed" not in str(reply.result)
    reply = kernel.run("%sutro_jobs --limit 3 --name jobs")
    assert reply.result is None and "there are more" in table_of(reply)
    assert kernel.value("jobs.shape[0], 'job_id' in jobs.columns") == "(3, True)"


def test_status_shows_one_job(kernel):
    shown = kernel.run("%sutro_status job-demo-failed").result["text/plain"]
    assert "FAILED" in shown and "failure reason" in shown
    shown = kernel.run("%sutro_status job-demo-films").result["text/plain"]
    assert "$0.1368" in shown
    assert kernel.run("import pathlib\njob = %sutro_status job_12345").result is None
    assert kernel.value("job.num_rows, job.status.value") == "(2, 'SUCCEEDED')"


@pytest.mark.slow
def test_wait_ends_with_the_finished_job(kernel):
    reply = kernel.run("job = %sutro_wait job-demo-queued")
    assert reply.ok
    assert kernel.value("job.status.value") == "SUCCEEDED"
    assert kernel.run("%sutro_results job-demo-queued").ok


def test_the_cache_can_be_listed_looked_into_and_cleared(kernel):
    kernel.run("%sutro_results job_12345 --quiet --name a\n%sutro_results job-abc123 --quiet --name b")
    shown = kernel.run("%sutro_cache").displays[0]["text/plain"]
    assert "2 results" in shown and "job_12345" in shown and "job-abc123" in shown
    assert "results.parquet" in kernel.run("%sutro_cache info job_12345").displays[0]["text/plain"]
    assert "1 result of job_12345 deleted" in kernel.run("%sutro_cache clear job_12345").text
    assert "0 results deleted" in kernel.run("%sutro_cache clear --older-than 1d").text
    assert "1 result deleted" in kernel.run("%sutro_cache clear --all").text
    assert kernel.run("%sutro_cache path").text.strip().endswith("cache")


def test_the_embedded_demo_takes_over_and_gives_the_credentials_back(kernel, demo):
    kernel.run("url = get_ipython().magics_manager.registry['SutroMagics'].session.credentials.base_url")
    assert "no account, no network" in kernel.run("%sutro_demo").text
    assert "already runs" in kernel.run("%sutro_demo").text
    demo.requests.clear()
    assert kernel.run("%sutro_results job_12345 --refresh --quiet --name df").ok
    assert not demo.requests, "the outer service was not asked"
    assert "slow" in kernel.run("%sutro_demo fault").displays[0]["text/plain"]
    assert "Fault on: 500" in kernel.run("%sutro_demo fault 500").text
    assert "Did you mean" in kernel.run("%sutro_demo fault slwo").evalue
    assert "No fault" in kernel.run("%sutro_demo fault off").text
    assert "as new" in kernel.run("%sutro_demo reset").text
    assert "0 results" in kernel.run("%sutro_cache").displays[0]["text/plain"]
    assert "earlier credentials" in kernel.run("%sutro_demo stop").text
    assert "not running" in kernel.run("%sutro_demo stop").text
    now = "get_ipython().magics_manager.registry['SutroMagics'].session.credentials.base_url"
    assert kernel.value(f"url == {now}") == "True"


def test_login_asks_for_the_key_checks_it_and_saves_only_when_told(kernel, demo):
    home = kernel.value("__import__('pathlib').Path.home()")
    config = pathlib.Path(home) / ".sutro" / "config.json"
    wrong = kernel.run(f"%sutro_login --url {demo.url}", answer="sk_wrong")
    assert wrong.ename == "AuthenticationError"
    assert kernel.run("%sutro_jobs --limit 1").ok, "the earlier credentials are still there"
    right = kernel.run(f"%sutro_login --url {demo.url}", answer=demo.api_key)
    assert "Logged in at http://127.0.0.1" in right.text and not config.exists()
    assert kernel.run("%sutro_jobs --limit 1").ok
    saved = kernel.run("%sutro_login --save", answer=demo.api_key)
    assert "only you can read" in saved.text
    assert json.loads(config.read_text())["api_url"] == f"{demo.url}/v1"
    assert demo.api_key not in str([wrong.raw, right.raw, saved.raw])
    config.unlink()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("{nothing_there}", "does not look like a Sutro deployment"),
        pytest.param("http://127.0.0.1:9", "cannot be reached", marks=pytest.mark.slow),  # five tries
    ],
)
def test_login_says_whom_it_asks_and_talks_of_the_flag(kernel, tmp_path, url, why):
    with scripted.scripted(tmp_path) as (service, _):
        url = url.format(nothing_there=service.url)
        reply = kernel.run(f"%sutro_login --url {url}", answer="sk_mine")
    asked, *retried = reply.text.strip().splitlines()
    assert asked == f"Asking {url} whether the key is good…"
    assert len(retried) == (why == "cannot be reached"), "each reason once"
    first, second = reply.traceback.splitlines()
    assert why in first and "--url" in second and "SUTRO_API_URL" not in second
    assert kernel.run("%sutro_jobs --limit 1").ok, "the earlier credentials are still there"


def test_login_with_a_url_that_cannot_be_talks_of_the_flag_before_it_asks_for_a_key(kernel):
    for url in ("acme.example", "http://acme.example", "''"):
        first, second = kernel.run(f"%sutro_login --url {url}").traceback.splitlines()
        assert "The deployment URL cannot be used" in first and "Check the address after --url" in second


def test_an_embedded_demo_s_results_outlive_its_port_and_key(kernel):
    kernel.run("%sutro_demo\n%sutro_results job_12345 --quiet --name a\n%sutro_demo stop\n%sutro_demo")
    assert " · from cache" in kernel.run("%sutro_results job_12345").result["text/plain"]
    kernel.run("%sutro_demo reset\n%sutro_demo stop")


def test_limits_for_tables_are_settings_and_a_wrong_one_is_refused(kernel):
    assert kernel.run("%config SutroMagics.memory_limit = '1GB'\n%config SutroMagics.threads = 1").ok
    for wrong in ("'a lot'", "'0 GB'", "'-1GB'", "2"):
        reply = kernel.run(f"%config SutroMagics.memory_limit = {wrong}")
        assert "It stays '1GB'." in reply.text
    assert kernel.value("get_ipython().magics_manager.registry['SutroMagics'].memory_limit") == "1GB"
    kernel.run("%config SutroMagics.memory_limit = ''\n%config SutroMagics.threads = 0")


def test_a_table_of_a_kernel_answers_a_browser(kernel):
    """The messages of a browser, over a real kernel's comm."""
    reply = kernel.run("r = %sutro_results job-demo-films\nt = r.table()\nt")
    assert reply.ok, reply.traceback
    comm = kernel.value("t.comm.comm_id")
    query = {"order": [[2, "asc"]], "search": "horror", "filters": [], "seed": None}
    content = {"kind": "page", "id": "7", "start": 0, "length": 10, "query": query}
    message = kernel.client.session.msg(
        "comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": content}}
    )
    kernel.client.shell_channel.send(message)
    while True:
        found = kernel.client.get_iopub_msg(timeout=30)
        data = found["content"].get("data", {})
        if found["msg_type"] == "comm_msg" and data.get("content", {}).get("to") == "7":
            break
    assert data["content"]["found"] == int(kernel.value("(r.to_pandas().genre == 'horror').sum()"))
    assert kernel.value("r.filtered.num_rows") == str(data["content"]["found"])


COLAB = """
import sys, types
output = types.ModuleType("google.colab.output")
output.enable_custom_widget_manager = lambda: None
output._widgets = types.SimpleNamespace(_installed_url="https://colab.example/manager.js")
sys.modules["google.colab.output"] = output
"""


def test_colab_is_told_where_widgets_come_from(kernel):
    widget = "application/vnd.jupyter.widget-view+json"
    kernel.run(COLAB)
    try:
        for code in ("%sutro_results job-demo-films", "%sutro_jobs", "%sutro_browse"):
            reply = kernel.run(code)
            told = [
                metadata[widget]["colab"]["custom_widget_manager"]["url"]
                for data, metadata in zip(reply.displays, reply.metadata, strict=True)
                if widget in data
            ]
            assert told == ["https://colab.example/manager.js"], code
    finally:
        kernel.run("del sys.modules['google.colab.output']")
