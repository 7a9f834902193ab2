"""`%sutro_profile`: its figures are those that pandas computes, and what it shows is text only."""

from __future__ import annotations

import html
import os
import re
import signal
import threading
import time

import pyarrow as pa
import pytest
from captions import tooltip
from faulty_storage import JOB, FaultyService, running
from test_engines import keep

from sutro_magic.analysis.profiling import profile
from sutro_magic.cache.store import ResultsCache
from sutro_magic.query import duckdb_engine
from sutro_magic.ui.render.plots import histogram, sparkline
from sutro_magic.ui.render.profile_view import to_html, to_text

pytestmark = pytest.mark.slow

JOBS = [
    "job-demo-films",
    "job-demo-broken",
    "job-demo-museum",
    "job-demo-zoo",
    "job-demo-awkward",
    "job-demo-puzzles",
]


@pytest.fixture(params=JOBS)
def results(request, session):
    return session.results(request.param, inputs=True, logprobs=True)


def check_spread(spread, numbers):
    numbers = numbers.dropna().astype(float)
    low, median, high = numbers.quantile([0.25, 0.5, 0.75])
    assert spread.quartiles == pytest.approx((low, median, high))
    assert (spread.summary.lowest, spread.summary.highest) == pytest.approx((numbers.min(), numbers.max()))
    assert spread.summary.mean == pytest.approx(numbers.mean())
    if spread.summary.bins:
        assert sum(spread.summary.bins) == len(numbers)


def test_lengths_and_duplicates_are_those_of_pandas(results):
    found, sent = profile(results), results.raw.to_pandas()
    assert [texts.name for texts in found.texts] == ["inputs", "outputs"]
    assert found.num_rows == len(sent)
    for texts in found.texts:
        column = sent[texts.name].astype(object)
        there = column[column.notna()]
        assert (texts.rows, texts.nulls) == (len(column), column.isna().sum())
        assert texts.empty == (there == "").sum()
        assert texts.distinct == there.nunique()
        assert texts.repeated == there.duplicated().sum()
        check_spread(texts.lengths, there.map(len))
        counts = there.value_counts()
        assert [n for _, n in texts.commonest] == counts[counts > 1].head(5).tolist()
        assert all(
            text.removesuffix("…") in {value[:80] for value in counts.index} for text, _ in texts.commonest
        )


def test_log_probabilities_are_those_of_pandas(results):
    found, column = profile(results), results.to_pandas()["cumulative_logprobs"].astype("Float64")
    check_spread(found.logprobs, column)
    lowest = column.dropna().sort_values(kind="stable").head(5)
    assert found.least_sure == tuple(zip(lowest.index.tolist(), lowest.astype(float).tolist(), strict=True))


def test_fields_are_those_of_pandas(results):
    found, frame = profile(results), results.to_pandas()
    left_out = {"inputs", "cumulative_logprobs", "_raw", "_error"}
    assert [field.name for field in found.fields] == [name for name in frame.columns if name not in left_out]
    for field in found.fields:
        column, summary = frame[field.name], field.summary
        assert (summary.rows, summary.nulls) == (len(column), column.isna().sum()), field.name
        if summary.kind in {"text", "bool", "number"}:
            assert summary.distinct == column.nunique(), field.name
        if summary.kind in {"text", "bool"}:
            counts = column.value_counts()
            assert [n for _, n in summary.commonest] == counts.head(5).tolist()
            assert all(counts[value] == n for value, n in summary.commonest)
        if summary.kind == "number":
            assert summary.lowest == column.min() and summary.highest == column.max()
            assert summary.mean == pytest.approx(float(column.astype("float64").mean()))


def test_integers_of_38_digits_have_a_mean(tmp_path):
    texts = [f'{{"a": {10**37 + i}}}' for i in range(50)]
    results = keep(ResultsCache(tmp_path), pa.table({"outputs": texts}))
    [field] = profile(results).fields
    assert field.type == "decimal128(38, 0)" and field.summary.mean == pytest.approx(1e37)
    assert (field.summary.lowest, field.summary.highest) == (10**37, 10**37 + 49)
    assert field.summary.distinct == 50 and to_text(profile(results))


def test_parse_errors_are_counted_by_reason(session):
    results = session.results("job-demo-broken", inputs=True, logprobs=True)
    found, errors = profile(results), results.errors.to_pandas()["_error"].value_counts()
    assert found.failed == errors.sum() == 30
    assert dict(found.reasons) == errors.to_dict() and len(errors) == 9
    assert [n for _, n in found.reasons] == errors.tolist()
    more = f"and 4 more: {sum(errors.tolist()[5:])} rows"
    assert more in to_html(found) and more in " ".join(to_text(found).split())
    page = to_html(found)
    assert "30 of 180 (16.7%)" in page and html.escape(found.reasons[0][0]) in page


def test_lists_have_items_and_jobs_without_rows_or_log_probabilities_say_so(session):
    vectors = profile(session.results("job-demo-vectors", inputs=True, logprobs=True))
    assert vectors.texts[1].unit == "items" and vectors.texts[1].lengths.quartiles == (8, 8, 8)
    empty = profile(session.results("job-demo-empty"))
    assert empty.num_rows == 0 and empty.texts[0].lengths is None
    assert "profile of 0 rows" in to_text(empty) and "The results have no log probabilities." in to_html(
        empty
    )


def test_prompts_are_left_out_when_they_were_not_fetched(session):
    found = profile(session.results("job-demo-zoo"))
    assert [texts.name for texts in found.texts] == ["outputs"]
    assert "inputs" not in to_text(found)


def test_what_a_job_holds_is_text_only(session):
    found = profile(session.results("job-demo-awkward", inputs=True, logprobs=True))
    page, plain = to_html(found), to_text(found)
    # Whatever tags are there are ours.
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z!]+)", page))
    assert tags <= {
        "div",
        "b",
        "table",
        "tbody",
        "thead",
        "tr",
        "th",
        "td",
        "span",
        "svg",
        "rect",
        "title",
        "line",
    }
    assert "&lt;b&gt;" in page and "<b>&quot;quoted" not in page
    assert "tex2jax_ignore" in page
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", plain + page)


def test_plots_take_their_colours_from_the_theme():
    drawn = histogram([0, 1, 1000], 'from "a" to <b>')
    assert "currentColor" in drawn and "var(--jp-brand-color1" in drawn
    assert 'aria-label="from &quot;a&quot; to &lt;b&gt;"' in drawn
    heights = [float(h) for h in re.findall(r'<rect [^>]* height="([\d.]+)"', drawn)]
    assert heights[0] == 0 and heights[1] >= 1 and heights[2] == max(heights)
    assert sparkline([0, 1, 1000]) == "▁▂█" and sparkline([]) == ""


def test_the_magic_shows_and_returns_a_profile(kernel):
    shown = kernel.run("%sutro_profile job-demo-films")
    assert shown.ok, shown.traceback
    plain, page = shown.result["text/plain"], shown.result["text/html"]
    films = "get_ipython().run_line_magic('sutro_results', 'job-demo-films --as pandas')"
    assert kernel.run(f"films = {films}").ok
    for genre in ("thriller", "comedy"):
        count = kernel.value(f"(films['genre'] == {genre!r}).sum()")
        assert f"{genre} {int(count):,}" in plain and f"{int(count):,} · " in page
    assert "Ten thousand films · profile of 10,000 rows\n" in plain and "(job-demo-films)" in tooltip(
        shown.result
    )
    assert page.count("<svg") >= 5
    assert kernel.run("p = %sutro_profile job-demo-films").result is None
    assert kernel.value("repr(p)") == "<Profile of job-demo-films: 10,000 rows, 6 fields>"
    assert kernel.value("p.fields[1].summary.distinct == films['genre'].nunique()") == "True"


def test_without_inputs_no_prompt_is_fetched(kernel, demo):
    assert kernel.run("p = %sutro_profile job-demo-zoo --no-inputs --no-logprobs").ok
    assert kernel.value("[t.name for t in p.texts], p.logprobs") == "(['outputs'], None)"
    assert kernel.value("[e.table.select(inputs=True, logprobs=True)[-1].name for e in "
                        "get_ipython().magics_manager.registry['SutroMagics'].session.cache.entries()]") == "['confidence_score']"  # fmt: skip


def test_a_column_that_the_service_does_not_send_is_left_out_by_the_flag_that_is_named(kernel):
    saved = "import os\nsaved = dict(os.environ)\n"
    with running(FaultyService(table=pa.table({"outputs": ['{"a": 1}', '{"a": 2}']}))) as service:
        kernel.run(f"{saved}os.environ.update(SUTRO_API_URL={service.url!r}, SUTRO_API_KEY='sk_x')")
        try:
            kernel.run("%reload_ext sutro_magic")
            for line, flag in {
                f"%sutro_profile {JOB}": "--no-inputs does without it",
                f"%sutro_profile {JOB} --no-inputs": "--no-logprobs does without it",
                f"%sutro_compare {JOB} job-y": "--no-inputs does without it",
                f"%sutro_results {JOB} --inputs": "Leave out --inputs",
            }.items():
                reply = kernel.run(line)
                assert reply.ename == "CorruptResultsError" and flag in reply.traceback, line
            assert kernel.run(f"%sutro_profile {JOB} --no-inputs --no-logprobs").ok
        finally:
            kernel.run("os.environ.clear()\nos.environ.update(saved)")


def test_mistakes_are_one_clear_error(kernel):
    reply = kernel.run("%sutro_profile")
    assert reply.ename == "ArgumentError" and "JOB_ID" in reply.traceback
    reply = kernel.run("%sutro_profile job-demo-film --no-input")
    assert "Did you mean --no-inputs?" in reply.traceback
    reply = kernel.run("%sutro_profile job-demo-failed")
    assert reply.ename == "JobFailedError"


def test_ctrl_c_ends_a_query_at_once():
    """A query that runs in the main thread would hear of no signal before its end."""
    queue, table = duckdb_engine.QueryQueue(), pa.table({"c0": range(1_000_000)})
    endless = "select count(*) from t a, t b where a.c0 * 7 % 11 < b.c0 % 13"  # would take an hour
    began = threading.Event()

    def work():
        with queue.turn():
            began.set()
            queue.rows(endless, {"t": table})

    def interrupt():
        began.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    threading.Thread(target=interrupt, daemon=True).start()
    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            duckdb_engine.interruptibly(queue, work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("sutro-queries")]
    with queue.turn():
        assert queue.rows("select 1", {}) == [(1,)], "the queue is free for the next query"
