"""`%sutro_compare`: jobs over the same inputs, with the figures that pandas computes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from captions import tooltip
from test_engines import keep

from sutro_magic.analysis import comparison
from sutro_magic.analysis.comparison import compare
from sutro_magic.cache.store import ResultsCache
from sutro_magic.errors import ArgumentError, SupersededError
from sutro_magic.models import Job, JobStatus
from sutro_magic.query.duckdb_engine import QueryQueue
from sutro_magic.results.handle import Results
from sutro_magic.results.provenance import Provenance
from sutro_magic.results.selection import InMemoryRows
from sutro_magic.structured.unfold import Unfolding
from sutro_magic.ui.render.comparison_view import to_html, to_text

pytestmark = pytest.mark.slow

JOBS = ("job-demo-reviews", "job-demo-opinion")
PAIR = "%sutro_compare job-demo-reviews job-demo-opinion"


def job(job_id, **columns):
    """Results of a made-up job, its columns being the unfolded fields."""
    table = pa.table(columns)
    fields = tuple(name for name in columns if name != "inputs")
    source = InMemoryRows(table)
    source.unfolding = Unfolding(
        unfolded=True, fits=True, rows=len(table), nulls=0, objects=len(table), columns=fields
    )
    return Results(
        source,
        job=Job(job_id=job_id, status=JobStatus.SUCCEEDED, num_rows=len(table)),
        job_id=job_id,
        from_cache=True,
        provenance=Provenance(
            deployment="here", format="parquet", fetched=datetime.now(UTC), size=0, seconds=0
        ),
    )


@pytest.fixture
def two(session):
    return [session.results(name, inputs=True) for name in JOBS]


def test_agreement_and_confusion_are_those_of_pandas(two):
    found = compare(two)
    a, b = (each.to_pandas() for each in two)
    assert found.num_rows == 2_000 and found.inputs_differ == 0
    label, confidence = found.fields
    for compared in (label, confidence):
        same = (a[compared.name] == b[compared.name]).sum()
        assert 0 < same < 2_000
        assert compared.agree == compared.pairs[0].agree == same
    assert found.differing == ((a["label"] != b["label"]) | (a["confidence"] != b["confidence"])).sum()
    [pair] = label.pairs
    table = pd.crosstab(a["label"], b["label"])
    assert set(pair.labels) == {"positive", "mixed", "negative"}
    for left, row in zip(pair.labels, pair.confusion, strict=True):
        assert list(row) == [table.loc[left, right] for right in pair.labels]
    both = a["label"].value_counts() * b["label"].value_counts()
    chance, agreed = both.sum() / 2_000**2, label.agree / 2_000
    assert pair.kappa == pytest.approx((agreed - chance) / (1 - chance))
    assert confidence.pairs[0].mean_difference == pytest.approx(
        (a["confidence"] - b["confidence"]).abs().mean()
    )
    assert confidence.pairs[0].confusion == ()


def test_the_rows_that_differ_come_first_and_each_is_there_once(two):
    frame = compare(two).rows.to_pandas()
    a, b = (each.to_pandas() for each in two)
    assert list(frame.columns) == [
        "_row", "_differs", "inputs", "label_A", "label_B", "confidence_A", "confidence_B"
    ]  # fmt: skip
    assert frame["_differs"].is_monotonic_decreasing and frame["_differs"].iloc[0] == 2
    assert all(part["_row"].is_monotonic_increasing for _, part in frame.groupby("_differs"))
    frame = frame.set_index("_row").sort_index()
    assert frame.index.tolist() == list(range(2_000))
    for name in ("label", "confidence"):
        assert frame[f"{name}_A"].tolist() == a[name].tolist()
        assert frame[f"{name}_B"].tolist() == b[name].tolist()
    assert (frame["inputs"] == a["inputs"]).all()
    differs = (a["label"] != b["label"]).astype(int) + (a["confidence"] != b["confidence"]).astype(int)
    assert (frame["_differs"] == differs).all()


def test_large_tables_are_laid_out_in_a_file(two, monkeypatch):
    small = compare(two).rows.new_pages().table
    monkeypatch.setattr(comparison, "SMALL_BYTES", 0)
    assert compare(two).rows.new_pages().table.equals(small)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("left", "right", "agree", "mean"),
    [
        (pa.array([2**63 - 1, 2**53 + 1]), pa.array([2**63 + 1, 2**53], pa.uint64()), 0, 1.5),
        (pa.array([2**53 + 1, 2**53, 1, None]), pa.array([2.0**53, 2.0**53, 1.5, None]), 2, 0.5),
        (pa.array([16777217, 5]), pa.array([16777216.0, 5.0], pa.float32()), 1, 0.5),
        (pa.array([INF, 1.0, NAN]), pa.array([INF, 3.0, NAN]), 2, 1.0),
        (pa.array([INF, 1.0]), pa.array([-INF, 3.0]), 0, INF),
        (pa.array([1, 2]), pa.array([INF, NAN]), 0, INF),
        (pa.array([2**63 - 1] * 2), pa.array([Decimal(2**70), Decimal(2**63 - 1)], pa.decimal128(38, 0)), 1, (2**70 - 2**63 + 1) / 2),
        (pa.array([Decimal(10**38 - 1)]), pa.array([Decimal(1 - 10**38)]), 0, 2e38),
        (pa.array([Decimal(2**53 + 1)]), pa.array([2.0**53]), 0, 1.0),
        (pa.array([Decimal("0.10")]), pa.array([0.1]), 1, 0.0),
        (pa.array([Decimal("2.50")]), pa.array([2]), 0, 0.5),
        (pa.array([None, 1]), pa.array([1.0, None]), 0, None),
    ],
)  # fmt: skip
def test_numbers_are_compared_to_the_last_digit(left, right, agree, mean):
    for a, b in ((left, right), (right, left)):
        [field] = compare([job("one", n=a), job("two", n=b)]).fields
        assert (field.agree, field.pairs[0].mean_difference) == (agree, pytest.approx(mean))


def test_null_equals_null_and_counts_as_a_value():
    nan = float("nan")
    found = compare(
        [
            job("one", kind=["x", None, None, "y"], size=[1, 2, 3, 4], score=[nan, 1.5, None, 0.0]),
            job("two", kind=["x", None, "x", "x"], size=[1.0, 2.5, 3.0, 4.0], score=[nan, 1.5, 2.0, None]),
        ]
    )
    kind, size, score = found.fields
    assert (kind.agree, size.agree, score.agree) == (2, 3, 2)
    assert kind.pairs[0].labels == ("x", "y", None)
    assert kind.pairs[0].confusion == ((1, 0, 0), (1, 0, 0), (1, 0, 1))
    assert size.pairs[0].mean_difference == pytest.approx(0.125)
    assert score.pairs[0].mean_difference == 0 and score.pairs[0].confusion == ()
    assert found.inputs_differ is None and found.differing == 3
    assert "Inputs were not compared" in to_text(found)


def test_three_jobs_have_every_pair_and_other_inputs_are_counted():
    found = compare(
        [
            job("one", inputs=["a", "b", "c"], ok=[True, True, False], only=[1, 2, 3]),
            job("two", inputs=["a", "b", "x"], ok=[True, False, False]),
            job("three", inputs=["a", "b", "c"], ok=[True, False, True]),
        ]
    )
    [field] = found.fields
    assert field.agree == 1
    assert [(pair.left, pair.right, pair.agree) for pair in field.pairs] == [(0, 1, 2), (0, 2, 1), (1, 2, 2)]
    assert found.inputs_differ == 1
    text = to_text(found)
    assert "1 of 3 inputs are not the same in all jobs" in text
    assert "Not compared, because not in all jobs: only of A." in text


def test_values_of_different_types_are_compared_as_text():
    found = compare([job("one", v=["1", "true", None]), job("two", v=[1, 2, None])])
    assert found.fields[0].agree == 2
    mixed = compare([job("one", v=[[1, 2], [3]]), job("two", v=[[1, 2], [4]])])
    assert mixed.fields[0].agree == 1 and mixed.fields[0].pairs[0].kappa is None


def test_always_the_same_value_has_no_kappa():
    [field] = compare([job("one", v=["x", "x"]), job("two", v=["x", "x"])]).fields
    assert field.agree == 2 and field.pairs[0].kappa is None


def test_names_of_columns_do_not_collide():
    rows = compare([job("one", v=["x"], v_A=["y"]), job("two", v=["x"], v_A=["z"])]).rows
    assert rows.columns == ["_row", "_differs", "v_A", "v_B", "v_A_A", "v_A_B"]
    rows = compare(
        [job("one", v=["x"], v_A=["y"], v_A_A=["q"]), job("two", v=["x"], v_A=["z"], v_A_A=["q"])]
    ).rows
    assert len(set(rows.columns)) == len(rows.columns) == 8


def test_many_values_have_no_matrix():
    values = [f"value {i}" for i in range(comparison.MAX_VALUES + 1)]
    [field] = compare([job("one", v=values), job("two", v=values)]).fields
    assert field.pairs[0].confusion == () and field.agree == len(values)
    [field] = compare([job("one", v=values[:-1]), job("two", v=values[:-1])]).fields
    assert len(field.pairs[0].confusion) == comparison.MAX_VALUES


def test_jobs_without_a_common_field_are_compared_as_sent(session):
    broken = session.results("job-demo-broken", inputs=True)
    other = session.results("job-demo-broken", inputs=True, unfold=False)
    other._job_id = "job-demo-other"
    found = compare([broken, other])
    assert [field.name for field in found.fields] == ["outputs"] and found.fields[0].agree == 180
    assert "no common field" in found.notes[0]


def test_jobs_without_rows_have_nothing_to_say():
    found = compare([job("one", v=pa.array([], pa.string())), job("two", v=pa.array([], pa.string()))])
    assert found.num_rows == found.differing == 0 and "0 rows" in to_text(found)
    assert to_html(found) and found.rows.num_rows == 0


def test_what_jobs_hold_is_text_only():
    evil = ["<img src=x onerror=alert(1)>", "\x1b[2Jgone", "$x^2$"]
    found = compare([job("<b>one</b>", **{"<i>f</i>": evil}), job("two", **{"<i>f</i>": evil[::-1]})])
    page, plain = to_html(found), to_text(found)
    assert set(re.findall(r"<\s*/?\s*([a-zA-Z!]+)", page)) <= {
        "div", "table", "tbody", "thead", "tr", "th", "td", "span",
    }  # fmt: skip
    assert "&lt;img" in page and "&lt;i&gt;f" in page and "tex2jax_ignore" in page
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", plain + page)


def test_the_magic_shows_figures_and_the_rows(kernel):
    shown = kernel.run(PAIR)
    assert shown.ok, shown.traceback
    figures, widget = [d for d in shown.displays if "sutro-progress" not in d.get("text/html", "")]
    kernel.run(
        "a = %sutro_results job-demo-reviews --as pandas\nb = %sutro_results job-demo-opinion --as pandas"
    )
    agree = int(kernel.value("(a['label'] == b['label']).sum()"))
    mixed = int(kernel.value("((a['label'] == 'mixed') & (b['label'] == 'negative')).sum()"))
    for text in (figures["text/plain"], figures["text/html"]):
        assert (
            f"{agree:,} of 2,000" in text
            and "A: Film reviews, judged (job-demo-reviews) · gpt-oss-20b" in text
        )
        assert "label: A down, B across" in text and str(mixed) in text
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "label_A" in shown.result["text/html"]
    assert "All inputs are the same." in tooltip(figures)
    assert shown.result["text/plain"].startswith("Aligned rows · 2,000 × ")


def test_the_magic_binds_the_aligned_rows(kernel):
    assert kernel.run(f"{PAIR} --name pairs").result is None
    assert kernel.value("type(pairs).__name__, pairs.shape") == "('DataFrame', (2000, 7))"
    assert kernel.run(f"{PAIR} --name t --as arrow --no-inputs").ok
    assert kernel.value("t.column_names[:3]") == "['_row', '_differs', 'label_A']"
    assert kernel.run(f"c = {PAIR}").ok
    assert kernel.value("repr(c)") == "<Comparison of 2 jobs: 2,000 rows, 2 fields>"
    assert kernel.run(f"r = {PAIR} --as results\nr").result is not None
    assert kernel.run("%config SutroMagics.as_type = 'path'").ok
    assert kernel.run(f"{PAIR} --name again").ok and kernel.value("len(again)") == "2000"
    kernel.run("%config SutroMagics.as_type = 'pandas'")


def test_a_mean_of_absolute_differences_is_called_so(kernel):
    told = kernel.run("%sutro_compare --help").text
    assert "Mean abs. difference, of numbers: the mean of |A - B|" in told and "bind all aligned rows" in told
    guide = (Path(__file__).parents[1] / "sutro_magic/guide/analysis.md").read_text(encoding="utf-8")
    # On a busy machine a progress bar comes first.
    figures = next(shown for shown in kernel.run(PAIR).displays if "Downloading" not in shown["text/plain"])
    for text in (figures["text/plain"], figures["text/html"], guide):
        assert "mean abs. difference" in text and "mean difference" not in text
    assert "`--name` binds all aligned rows" in guide


def test_mistakes_are_one_clear_error_and_bind_nothing(kernel):
    kernel.run("kept = 'as it was'")
    for line, said in {
        "job-demo-reviews job-demo-zoo": "job-demo-reviews has 2,000, job-demo-zoo has 600",
        "job-demo-reviews job-demo-reviews": "compared with itself",
        "job-demo-reviews": "takes 2 to 6 jobs, not 1",
        "job-demo-reviews job-demo-failed": "job-demo-failed",
        "": "JOB_ID",
    }.items():
        reply = kernel.run(f"%sutro_compare {line} --name kept")
        assert not reply.ok and said in reply.traceback, line
        assert kernel.value("kept") == "as it was"
    assert "no flag --nam" in kernel.run(f"{PAIR} --nam x").traceback
    with pytest.raises(ArgumentError, match="2 to 6"):
        compare([])


def test_jobs_are_completed_in_every_position(kernel):
    kernel.run("%sutro_jobs")
    for line in ("%sutro_compare job-demo-opi", f"{PAIR.removesuffix('nion')}", f"{PAIR} job-demo-opi"):
        reply = kernel.client.complete(line, reply=True, timeout=30)
        assert "job-demo-opinion" in reply["content"]["matches"], line


def outputs_of(store, *jobs, **columns):
    """Results as they are made of a file: outputs, one list a job, are unfolded."""
    made = []
    for number, outputs in enumerate(jobs):
        texts = [each if isinstance(each, str | None) else json.dumps(each) for each in outputs]
        results = keep(store, pa.table({**columns, "outputs": pa.array(texts, pa.string())}))
        results._job_id = f"job-{number}"
        results.prepare()
        made.append(results)
    return made


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        ("yes", 7),  # the whole column is then JSON text
        (1, "1?"),
        (2.0, "n/a"),
        (True, 3),
        ([1, 2], [1, 2.5]),
        ({"country": "FR"}, {"country": "FR", "city": "Paris"}),
        ({"a": 1, "b": [{"c": 1}]}, {"b": [{"c": 1.5}], "a": 2**70}),
    ],
)
def test_one_odd_value_is_one_row_that_differs(tmp_path, usual, odd):
    jobs = outputs_of(
        ResultsCache(tmp_path), [{"l": usual}] * 100, [{"l": usual}] * 99 + [{"l": odd}], [{"l": usual}] * 100
    )
    found = compare(jobs)
    assert [pair.agree for pair in found.fields[0].pairs] == [99, 100, 99]
    assert found.fields[0].agree == 99 and found.differing == 1


def test_what_is_the_same_is_the_same_however_it_is_written(tmp_path):
    store = ResultsCache(tmp_path)
    for number, (one, other) in enumerate(
        [
            ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}),
            ([1, 2], [1.0, 2.0]),
            ({"a": 1, "b": None}, {"a": 1}),
            ([{"a": None, "b": 1}], [{"b": 1}]),
            ("1", 1),
            ("1.50", 1.5),
        ]
    ):
        folder = ResultsCache(tmp_path / str(number)) if number else store
        found = compare(outputs_of(folder, [{"l": one}, {"l": None}], [{"l": other}, {"l": None}]))
        assert found.fields[0].agree == 2, (one, other)
    versions = outputs_of(ResultsCache(tmp_path / "texts"), [{"l": "1.10"}] * 2, [{"l": "1.1"}, {"l": 2}])
    assert compare(versions).fields[0].agree == 0  # two texts are no numbers


def test_a_third_job_changes_nothing_between_two(tmp_path):
    jobs = outputs_of(
        ResultsCache(tmp_path),
        [{"l": 1}, {"l": 2}],
        [{"l": 1.0}, {"l": 2.0}],
        [{"l": "1"}, {"l": "x"}],
    )
    [field] = compare(jobs).fields
    assert [pair.agree for pair in field.pairs] == [2, 1, 1] and field.agree == 1


def test_outputs_that_could_not_be_parsed_agree_only_where_their_texts_do(tmp_path):
    good = [{"l": "a"}, {"l": "b"}, {"l": None}] * 20
    jobs = outputs_of(
        ResultsCache(tmp_path),
        [*good, *["{cut A"] * 40, "same", None],
        [*good, *["I cannot"] * 39, {"l": None}, "same", None],
    )
    found = compare(jobs)
    [field] = found.fields
    assert field.agree == field.pairs[0].agree == 62 and found.differing == 40
    assert sum(map(sum, field.pairs[0].confusion)) == 61  # null is a value, an error is none
    assert "could not be parsed: 41 of A, 40 of B" in to_text(found) and "_raw_A" in found.rows.columns
    first = found.rows.head(1).to_pylist()[0]
    assert (first["_raw_A"], first["_raw_B"]) == ("{cut A", "I cannot")


def test_values_are_made_comparable_once_for_each_job_and_no_longer_than_wanted(tmp_path, monkeypatch):
    jobs = outputs_of(ResultsCache(tmp_path), *([{"l": kind}] * 3 for kind in ({"a": 1}, {"b": 1}, [1])))
    made = []
    real = comparison.comparison_keys
    monkeypatch.setattr(comparison, "comparison_keys", lambda *a, **k: made.append(a) or real(*a, **k))
    assert compare(jobs).fields[0].agree == 0 and len(made) == 3
    sides = [comparison._Side.of(each) for each in jobs]
    queue = QueryQueue()
    asked = comparison._Asked(queue, 3)
    queue.cancel()  # as Ctrl-C does
    with pytest.raises(SupersededError):
        asked.columns(*sides[:2], "l")
