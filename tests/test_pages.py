"""Pages of a table: the same rows, in the same order, as pandas finds."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import threading
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sutro_magic.errors import ArgumentError, ResourceError, SupersededError, SutroError
from sutro_magic.query import duckdb_engine, summaries
from sutro_magic.query.pages import Pages
from sutro_magic.query.summaries import list_values, summarize
from sutro_magic.query.table_query import Filter, Order, TableQuery, parse_query
from sutro_magic.results.selection import RowSelection

pytestmark = pytest.mark.slow

# Letters whose lower case is one letter, so that Python and DuckDB mean the same by "in any case".
LETTERS = st.text(st.sampled_from("aAbBéÉñßΩωЖж東 😀%_'\"\\\n\x00.*"), max_size=6)
TEXTS = st.one_of(
    st.none(), LETTERS, st.sampled_from(["", "null", "NaN", "a" * 5_000 + "Z", "common", "Common"])
)
FLOATS = st.one_of(
    st.none(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5]), st.floats(-100, 100)
)
INTS = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1]))
ROWS = st.lists(st.tuples(TEXTS, TEXTS, FLOATS, INTS, st.one_of(st.none(), st.booleans())), max_size=40)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("large", pa.large_string()),
        ("float", pa.float64()),
        ("int", pa.int64()),
        ("bool", pa.bool_()),
    ]
)

ORDERS = st.lists(st.builds(Order, st.integers(0, 4), st.booleans()), max_size=3).map(tuple)
FILTERS = st.lists(
    st.one_of(
        st.builds(
            Filter, st.integers(0, 1), st.sampled_from(["contains", "equals", "starts"]), st.tuples(LETTERS)
        ),
        st.builds(Filter, st.integers(0, 1), st.just("empty")),
        st.builds(Filter, st.integers(0, 4), st.sampled_from(["null", "not null"])),
        st.builds(
            Filter, st.just(2), st.just("range"), st.tuples(*[st.one_of(st.none(), st.floats(-50, 50))] * 2)
        ),
        st.builds(
            Filter,
            st.just(3),
            st.just("range"),
            st.tuples(*[st.one_of(st.none(), st.integers(-2, 2**53 + 1))] * 2),
        ),
        st.builds(Filter, st.just(3), st.just("values"), st.lists(INTS, max_size=3).map(tuple)),
        st.builds(Filter, st.just(0), st.just("values"), st.lists(TEXTS, max_size=3).map(tuple)),
        st.builds(
            Filter,
            st.just(4),
            st.just("values"),
            st.lists(st.sampled_from([None, True, False]), max_size=3).map(tuple),
        ),
    ),
    max_size=3,
).map(tuple)
QUESTIONS = st.builds(
    TableQuery,
    ORDERS,
    st.one_of(st.just(""), LETTERS),
    FILTERS,
    st.one_of(st.none(), st.none(), st.integers(0, 9)),
)


def table_of(rows, chunk=7):
    batches = [
        pa.record_batch(
            [pa.array(column, f.type) for column, f in zip(zip(*part, strict=True), SCHEMA, strict=True)],
            schema=SCHEMA,
        )
        for part in (rows[i : i + chunk] for i in range(0, len(rows), chunk))
    ]
    return pa.Table.from_batches(batches, SCHEMA)


def is_null(value):
    return value is None


def holds(asked, value):  # noqa: PLR0911 - one line for each kind
    if asked.kind == "null":
        return is_null(value)
    if asked.kind == "values":
        return value in asked.values  # noqa: PD011 - not a frame's
    if is_null(value):
        return False
    if asked.kind == "not null":
        return True
    if asked.kind == "empty":
        return value == ""
    if asked.kind == "range":
        low, high = asked.values  # noqa: PD011
        return value == value and (low is None or value >= low) and (high is None or value <= high)  # noqa: PLR0124 - NaN
    (text,) = asked.values  # noqa: PD011
    return {
        "contains": text.lower() in value.lower(),
        "equals": value == text,
        "starts": value.startswith(text),
    }[asked.kind]


def expected(rows, query):
    """The same by pandas, and by Python where pandas does not tell null from NaN."""
    frame = pd.DataFrame({i: pd.Series([row[i] for row in rows], dtype=object) for i in range(5)})
    keep = [
        all(holds(f, row[f.column]) for f in query.filters)
        and (not query.search or any(v is not None and query.search.lower() in v.lower() for v in row[:2]))
        for row in rows
    ]
    if query.seed is not None:
        order = np.random.default_rng(query.seed).permutation(len(rows))
        return [i for i in order if keep[i]]
    found = frame[pd.Series(keep, dtype=bool)] if len(rows) else frame
    for key in reversed(query.order):  # the last key first: each sort keeps what the one before did
        values = found[key.column]
        if key.column in {0, 1}:
            values = values.map(lambda v: v if v is None else v.encode())  # by code points
        real = values[[v is not None and v == v for v in values]]  # noqa: PLR0124 - NaN
        nans = values[[v is not None and v != v for v in values]]  # noqa: PLR0124
        nulls = values[[v is None for v in values]]
        ordered = real.sort_values(ascending=not key.descending, kind="stable")
        found = found.loc[[*ordered.index, *nans.index, *nulls.index]]
    return list(found.index)


@settings(max_examples=400, deadline=None, print_blob=True)
@given(ROWS, QUESTIONS, st.integers(0, 40), st.integers(1, 10))
def test_pages_are_what_pandas_finds(rows, query, start, length):
    pages = Pages(lambda: table_of(rows))
    wanted = expected(rows, query)
    assert pages.count(query) == len(wanted)
    numbers = pages.page(query, start, length)
    assert numbers.tolist() == wanted[start : start + length]
    found = pages.take(numbers)
    assert found.num_rows == len(numbers)
    for number, text in zip(numbers, found.column("text").to_pylist(), strict=True):
        assert text == rows[number][0]
    for row in wanted[:3]:
        assert pages.place(query, row) == wanted.index(row)
    pages.close()


@pytest.fixture
def many():
    rng = np.random.default_rng(5)
    rows = 100_000
    table = pa.table(
        {"n": rng.random(rows), "group": rng.integers(0, 10, rows), "text": [f"row {i}" for i in range(rows)]}
    )
    return Pages(lambda: table)


def test_a_few_rows_that_were_found_are_sorted_like_all_of_them(many):
    search = TableQuery(search="row 123", order=(Order(1), Order(0, descending=True)))
    few = many.rows(search).tolist()
    many.rows(TableQuery(order=search.order))  # now there is an order of all rows to pick from
    many._kept.pop(("view", search))
    assert many.rows(search).tolist() == few
    assert len(few) == len([i for i in range(100_000) if "row 123" in f"row {i}"])


def test_a_search_and_contains_are_in_any_case_and_the_others_as_written():
    table = pa.table({"text": ["Émile", "émile", "other", None]})
    pages = Pages(lambda: table)
    assert pages.rows(TableQuery(search="ÉM")).tolist() == [0, 1]
    for kind, found in (("contains", [0, 1]), ("starts", [1]), ("equals", [])):
        assert pages.rows(TableQuery(filters=(Filter(0, kind, ("ém",)),))).tolist() == found


def test_turning_pages_sorts_once(many):
    query = TableQuery(order=(Order(0),))
    first = many.rows(query)
    assert many.rows(query) is first
    assert many.page(query, 99_995, 10).tolist() == first[99_995:].tolist()


def test_what_is_kept_has_a_bound(many, monkeypatch):
    monkeypatch.setattr("sutro_magic.query.pages.KEPT_BYTES", 1_000_000)
    for seed in range(20):
        many.rows(TableQuery(seed=seed))
    assert sum(rows.nbytes for rows in many._kept.values()) <= 1_000_000


def test_a_closed_table_lets_go_of_its_memory_and_opens_again(many):
    query = TableQuery(order=(Order(0),))
    first = many.page(query, 0, 3).tolist()
    many.close()
    assert not many._kept and many._table is None and many._numbers is None
    assert many.page(query, 0, 3).tolist() == first


def test_a_newer_question_cancels_the_one_that_runs():
    rows = 3_000_000
    rng = np.random.default_rng(1)
    table = pa.table({"text": pa.array(rng.integers(0, 10**12, rows)).cast(pa.string())})
    pages = Pages(lambda: table)
    pages.take([0])
    ends = []

    def slow(ticket, descending):
        try:
            pages.rows(TableQuery(order=(Order(0, descending=descending),)), ticket)
            ends.append("done")
        except SupersededError:
            ends.append("superseded")

    looks = []
    look = pages.queue._raise_if_stale

    def looked(ticket):
        look(ticket)
        looks.append(threading.current_thread())

    pages.queue._raise_if_stale = looked
    first = threading.Thread(target=slow, args=(pages.queue.ticket(), False))
    first.start()
    deadline = time.monotonic() + 30
    # It looks twice whether it is stale, the second time just before its query: that must be interrupted.
    while looks.count(first) < 2 and first.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(pages.rows(TableQuery(search="123456"), pages.queue.ticket())) > 0
    first.join()
    assert ends == ["superseded"]


def test_every_type_of_column_can_be_shown_and_those_with_an_order_sorted():
    when = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    table = pa.table(
        {
            "date": pa.array([when.date(), None], pa.date32()),
            "time": pa.array([dt.time(1), None], pa.time64("us")),
            "stamp": pa.array([when, None], pa.timestamp("us", "Europe/Berlin")),
            "duration": pa.array([dt.timedelta(seconds=5), None], pa.duration("s")),
            "decimal": pa.array([Decimal(2**70), None], pa.decimal128(38, 0)),
            "dictionary": pa.array(["b", "a"]).dictionary_encode(),
            "half": pa.array(np.array([1.5, 2], np.float16)),
            "list": pa.array([["x"], None]),
            "struct": pa.array([{"a": {"b": "needle"}}, None]),
            "binary": pa.array([b"\xff", None]),
            "null": pa.nulls(2),
            "view": pa.array(["v", None], pa.string_view()),
        }
    )
    pages = Pages(lambda: table)
    for place, field in enumerate(table.schema):
        asked = {"order": [[place, "desc"]]}
        if field.name == "null":
            with pytest.raises(ArgumentError, match="cannot be sorted"):
                parse_query(asked, table.schema)
        else:
            assert (
                pages.rows(parse_query(asked, table.schema)).tolist() == [0, 1]
                if field.name != "half"
                else [1, 0]
            )
        summarize(pages.queue, table, place)
        list_values(pages.queue, table, place)
    assert pages.rows(TableQuery(search="NEEDLE")).tolist() == [0]
    assert pages.rows(TableQuery(order=(Order(5),))).tolist() == [1, 0]  # by text, not by code
    for column, low, high in (
        (2, "2026-01-31T13:00", "2026-01-31T13:00"),  # as its cell says it
        (2, "2026-01-31T13:00+01:00", ""),
        (0, "2026-01-31", "2026-01-31"),
        (1, "01:00", ""),
    ):
        asked = {"filters": [{"column": column, "kind": "range", "min": low, "max": high}]}
        assert pages.rows(parse_query(asked, table.schema)).tolist() == [0], asked


def test_a_day_in_a_column_with_a_zone_has_the_hours_that_it_has_there():
    hours = [dt.datetime(2026, 3, 28, tzinfo=dt.UTC) + dt.timedelta(minutes=30 * i) for i in range(192)]
    hours += [moment.replace(month=10, day=moment.day - 5) for moment in hours if moment.month == 3]
    table = pa.table({"at": pa.array(hours, pa.timestamp("us", "Europe/Berlin"))})
    local = table["at"].to_pandas()
    pages = Pages(lambda: table)
    for day in ("2026-03-28", "2026-03-29", "2026-10-25"):
        asked = {"filters": [{"column": 0, "kind": "range", "min": day, "max": day}]}
        found = pages.rows(parse_query(asked, table.schema))
        assert len(found) == (local.dt.strftime("%Y-%m-%d") == day).sum() > 0
    asked = {
        "filters": [{"column": 0, "kind": "range", "min": "2026-10-25 02:00", "max": "2026-10-25 02:30"}]
    }
    assert len(pages.rows(parse_query(asked, table.schema))) == 4  # the hour is there twice


def test_a_search_where_there_is_no_text_finds_nothing():
    table = pa.table({"a": [1, 2], "v": [[1.5], [2.5]]})
    assert len(Pages(lambda: table).rows(TableQuery(search="1"))) == 0


def test_a_range_is_refused_where_nothing_can_lie_in_it_and_a_day_has_all_its_hours():
    table = pa.table(
        {
            "when": pa.array(["2026-01-31 18:30", "2026-02-01 00:00"]).cast(pa.timestamp("us")),
            "n": [1, 2],
        }
    )

    def found(column, low, high):
        asked = {"filters": [{"column": column, "kind": "range", "min": low, "max": high}]}
        return Pages(lambda: table).rows(parse_query(asked, table.schema)).tolist()

    assert found(0, "2026-01-31", "2026-01-31") == [0]
    assert found(0, "2026-01-31", "2026-01-31 18:00") == []
    assert found(1, "1", "1.5") == [0]
    for column, low, high in ((0, "2026-02-01", "2026-01-31"), (1, "3", "2.5")):
        with pytest.raises(ArgumentError, match=f"No value is between {low} and {high}"):
            found(column, low, high)
    for day in ("2026-02-30", "yesterday", "31.1.2026"):
        with pytest.raises(ArgumentError, match=f"'{day}' is not a time, like 2026-01-31"):
            found(0, day, "")


@pytest.mark.parametrize("bound", ["2,5", "1990,5", "12,34", "1,2345", "1234,567"])
def test_a_comma_that_may_stand_for_decimals_is_not_guessed_at(bound):
    asked = {"filters": [{"column": 3, "kind": "range", "min": bound}]}
    with pytest.raises(ArgumentError, match="is ambiguous") as caught:
        parse_query(asked, SCHEMA)
    assert "2.5" in caught.value.hint
    [fine] = parse_query({"filters": [{"column": 2, "kind": "range", "min": "1,234,567.5"}]}, SCHEMA).filters
    assert 1234567.5 in fine.values  # noqa: PD011 - no frame


@pytest.mark.parametrize("bound", ["x", "1_0", "1e999999999", "nan", "inf", "1" * 60])
def test_a_bound_that_is_no_number_is_said(bound):
    asked = {"filters": [{"column": 3, "kind": "range", "min": bound}]}
    with pytest.raises(ArgumentError) as caught:
        parse_query(asked, SCHEMA)
    assert caught.value.hint == "Correct the bound."


@pytest.mark.parametrize(
    "asked",
    [
        {"order": [[99, "asc"]]}, {"order": [["0", "asc"]]}, {"order": 5}, {"seed": "x"},
        {"filters": [{"column": 0, "kind": "drop table"}]}, {"filters": [{}]}, {"filters": [{"column": 0, "kind": "equals"}]},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(asked):
    with pytest.raises(ArgumentError, match="invalid query"):
        parse_query(asked, SCHEMA)


def test_summaries_are_what_pandas_counts():
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=5_000)
    numbers[:10] = math.nan
    words = rng.choice(["a", "b", "c"], 5_000, p=[0.5, 0.3, 0.2])
    table = pa.table({"n": pa.array(numbers), "w": pa.array(words)}).set_column(
        1, "w", pa.array([None, *words[1:]], pa.string())
    )
    pages = Pages(lambda: table)
    found = summarize(pages.queue, table, 0)
    series = pd.Series(numbers)
    assert (found.nulls, found.nans, found.lowest, found.highest) == (0, 10, series.min(), series.max())
    assert found.mean == pytest.approx(series.mean())
    counts, _ = np.histogram(numbers[10:], bins=16)
    assert sum(found.bins) == 4_990 and np.abs(np.array(found.bins) - counts).max() <= 1
    assert (found.distinct, found.is_estimate) == (4_991, False)
    values = pd.Series(words[1:]).value_counts()
    assert summarize(pages.queue, table, 1).commonest == list(values.items())
    assert list_values(pages.queue, table, 1) == [*values.items(), (None, 1)]
    assert list_values(pages.queue, table, 0) is None


def test_different_values_are_counted_unless_that_takes_long(monkeypatch):
    table = pa.table(
        {"year": [1950 + i % 76 for i in range(20_000)], "id": [f"id {i}" for i in range(20_000)]}
    )
    queue = Pages(lambda: table).queue
    for rows, values, estimated in [(20_000, 100, False), (1_000, 100, True), (1_000, 100_000, False)]:
        monkeypatch.setattr(summaries, "COUNTED_ROWS", rows)
        monkeypatch.setattr(summaries, "COUNTED_VALUES", values)
        year, ids = summarize(queue, table, 0), summarize(queue, table, 1)
        assert (year.distinct, year.is_estimate) == (76, False)
        assert ids.is_estimate == estimated and ids.distinct == pytest.approx(20_000, rel=0.1)
        assert estimated or ids.distinct == 20_000


def test_summaries_of_durations_and_of_numbers_without_end():
    table = pa.table(
        {
            "took": pa.array([dt.timedelta(seconds=70), dt.timedelta(seconds=5), None], pa.duration("us")),
            "logprob": [-math.inf, -4.0, -1.0],
            "only infinite": [math.inf, math.inf, None],
        }
    )
    queue = Pages(lambda: table).queue
    took = summarize(queue, table, 0)
    assert (took.lowest, took.highest, took.nulls) == (dt.timedelta(seconds=5), dt.timedelta(seconds=70), 1)
    logprob = summarize(queue, table, 1)
    assert logprob.lowest == -math.inf and sum(logprob.bins) == 2 and logprob.bins[0] == logprob.bins[-1] == 1
    assert summarize(queue, table, 2).bins == []


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_page_of_very_long_texts_is_not_copied(kind):
    texts = [f"{i}" * 1_000_000 for i in range(60)]
    chunks = [pa.array(part, kind) for part in (texts[:7], [None, ""], texts[7:])]
    table = pa.table({"a": pa.chunked_array(chunks), "n": range(62)}).slice(1)
    expected = table.to_pylist()
    pages = Pages(lambda: table)
    rows = [60, 0, 7, 7, *range(30, 60), 3, 6]
    before = pa.total_allocated_bytes()
    taken = pages.take(rows)
    assert pa.total_allocated_bytes() - before < 100_000
    assert taken.to_pylist() == [expected[row] for row in rows]


def test_without_any_memory_a_question_says_so_and_later_ones_are_answered():
    duckdb_engine.forget()  # other tables stay with the database they have
    queue = duckdb_engine.QueryQueue()
    queue.rows("select 1", {})
    many_texts = pa.table({"a": range(100_000), "b": [f"text {i}" for i in range(100_000)]})
    try:
        duckdb_engine._database.cursor().execute("set memory_limit = '1MB'")  # settings refuse it
        # A sort of this much cannot begin; whether one row fits is up to chance.
        with pytest.raises(ResourceError, match="Out of memory"):
            queue.rows("select max(a) from (from t order by b)", {"t": many_texts})
    finally:
        duckdb_engine.configure()
    assert queue.rows("from t", {"t": pa.table({"a": [2]})}) == [(2,)]


def test_limits_are_set_and_a_wrong_one_changes_nothing(many):
    try:
        duckdb_engine.configure(threads=1, memory_limit="300MiB")
        assert many.count(TableQuery(search="row 5")) > 0
        with many.queue.turn():
            said = many.queue.rows("select current_setting('threads'), current_setting('memory_limit')", {})
        assert said == [(1, "300.0 MiB")]
        with pytest.raises(SutroError, match="memory_limit"):
            duckdb_engine.configure(memory_limit="a lot")
        assert many.count(TableQuery(search="row 6")) > 0
    finally:
        duckdb_engine.configure()


def test_the_default_limits_follow_the_container(monkeypatch):
    monkeypatch.setenv("CPU_LIMIT", "1.0")
    monkeypatch.setenv("MEM_LIMIT", str(2 * 2**30))
    assert duckdb_engine.default_threads() == 1
    assert duckdb_engine.default_memory() == 2**29


NESTED = pa.struct([("a", pa.string()), ("b", pa.list_(pa.large_string())), ("n", pa.int64())])
CELLS = st.lists(
    st.one_of(
        st.none(),
        st.fixed_dictionaries({"a": TEXTS, "b": st.one_of(st.none(), st.lists(TEXTS, max_size=3)), "n": INTS}),
    ),
    max_size=20,
)  # fmt: skip


def bytes_of_texts(value):
    if isinstance(value, str):
        return len(value.encode())
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(bytes_of_texts, values))


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(CELLS, min_size=1, max_size=3), start=st.integers(0, 5), most=st.integers(1, 12_000))
def test_rows_are_cut_by_the_bytes_of_their_texts(parts, start, most):
    chunks = [pa.array(part, NESTED) for part in parts]
    table = pa.table({"s": pa.chunked_array(chunks), "l": pa.chunked_array([
        pa.array([[cell] for cell in part], pa.list_(NESTED)) for part in parts])}).slice(start)  # fmt: skip
    rows = np.arange(table.num_rows)[::-1]
    sizes = [2 * bytes_of_texts(cell) for cell in table["s"].to_pylist()][::-1]
    found = list(Pages(lambda: table).runs(rows, most))
    assert np.array_equal(np.concatenate([*found, rows[:0]]), rows)
    ends = np.cumsum([0, *map(len, found)])
    sums = [sum(sizes[first:end]) for first, end in itertools.pairwise(ends)]
    assert all(size <= most or len(run) == 1 for size, run in zip(sums, found, strict=True))
    # None of them could have had the next row, too.
    assert all(size + sizes[end] > most for size, end in zip(sums, ends[1:-1], strict=False))


def test_the_few_long_rows_of_a_table_come_in_small_batches():
    rows = 60_000
    texts = pa.array(["short"] * rows + ["x" * 3_000_000] * 20)
    pages = Pages(lambda: pa.table({"outputs": texts}))
    assert all(
        batch.nbytes < 20_000_000 for batch in RowSelection(pages, np.arange(rows, rows + 20)).batches(65_536)
    )
    whole = pa.Table.from_batches(RowSelection(pages, None).batches(65_536))
    assert whole["outputs"].combine_chunks().equals(texts)
    assert whole["_row"].to_pylist() == list(range(rows + 20))
