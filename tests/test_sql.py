"""SQL over results and tables of the notebook, in a real kernel: what is read, what is refused, what is bound."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import threading
import time
from decimal import Decimal  # noqa: F401 - in code that is evaluated

import faulty_storage
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from captions import tooltip

from sutro_magic import limits
from sutro_magic.errors import ArgumentError, QueryError
from sutro_magic.query.duckdb_engine import QueryQueue
from sutro_magic.results.handle import Results
from sutro_magic.session import Session
from sutro_magic.sql import answer
from sutro_magic.sql.parameters import Binding
from sutro_magic.sql.statement import READING_FUNCTIONS, run

pytestmark = pytest.mark.slow

WIDGET = "application/vnd.jupyter.widget-view+json"


def shown(reply):
    """The paged table comes as a widget, and as HTML and text that need no program."""
    assert reply.ok, reply.traceback
    others = [*reply.displays, *([reply.result] if reply.result else [])]
    assert [WIDGET in bundle for bundle in others].count(True) == 1
    assert set(others[-1]) == {"text/html", "text/plain"}
    return others[-1]["text/plain"]


def sql(kernel, query, line=""):
    return kernel.run(f"%%sutro_sql {line}\n{query}")


def failed(reply):
    """Two lines: what happened, and what to type next."""
    first, second = reply.traceback.splitlines()
    assert second.startswith("  -> ")
    return first, second[5:]


@pytest.fixture
def films(kernel, demo):
    assert kernel.run("%sutro_results job-demo-films --quiet --name films").ok
    demo.requests.clear()
    return kernel


# --- what is read ---------------------------------------------------------------------------------


def test_two_jobs_are_joined_and_the_answer_is_what_pandas_finds(films):
    query = 'select f.title, m.title as label from "job-demo-films" f join "job-demo-museum" m on f.year = m.acquired.year'
    text = shown(sql(films, query, "--name same"))
    assert text.startswith("same · DataFrame ")
    assert (
        "SQL over Ten thousand films (job-demo-films), Labels of a small museum (job-demo-museum)\n"
        in text.replace("\n  ", " ")
    )
    films.run(
        "%sutro_results job-demo-museum --quiet --name museum\n"
        "museum['year'] = museum['acquired'].struct.field('year')\n"
        "expected = films.merge(museum, on='year')[['title_x', 'title_y']]\n"
        "expected.columns = same.columns\n"
        "both = [frame.sort_values(['title', 'label']).values.tolist() for frame in (same, expected)]"
    )
    assert films.value("len(same) > 100 and both[0] == both[1]") == "True"


def test_a_cached_job_is_read_without_a_request_by_its_id(films, demo):
    query = 'select count(*) as n from "job-demo-films"'
    assert shown(sql(films, query)).splitlines()[-1].strip() == "10000"
    assert not demo.requests
    for name in ("job-demo-fi", "Ten thousand films"):
        text = shown(sql(films, f'select count(*) as n from "{name}"'))
        assert text.splitlines()[-1].strip() == "10000"
    assert not any("results" in path for _, path in demo.requests)


def test_a_beginning_means_the_same_job_as_without_sql(films, demo):
    assert films.run("%sutro_results job-demo-recipes --quiet").ok
    first, hint = failed(sql(films, 'from "job-demo-r"'))
    assert (first, hint) == failed(films.run("%sutro_results job-demo-r --quiet"))
    assert "3 jobs begin with 'job-demo-r'" in first
    demo.set_fault("401")  # only the cache can be asked
    text = shown(sql(films, 'select count(*) as n from "job-demo-fi"'))
    demo.clear_faults()
    assert text.splitlines()[-1].strip() == "10000"


def test_a_whole_id_is_never_another_job_that_begins_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(faulty_storage, "JOB", "job-xy")
    service = faulty_storage.FaultyService(table=pa.table({"outputs": ["of job-xy"]}))
    with faulty_storage.running(service), contextlib.ExitStack() as stack:
        session = Session(service.url, "sk_x", tmp_path / "cache")
        stack.callback(session.close)

        def fetch(request):
            return session.results(request.job_id)

        session.results("job-xy")
        service.table = pa.table({"outputs": ["of job-x"]})
        service.artifact = faulty_storage.parquet_bytes(service.table, version=3)
        for name, text in (("job-x", "of job-x"), ("job-xy", "of job-xy")):
            found = run(f'from "{name}"', session, {}, evaluate=eval, fetch=fetch)
            assert found.to_arrow()["outputs"].to_pylist() == [text]


def test_a_job_that_is_not_cached_is_fetched_and_cached(kernel, demo):
    assert "The capital of France is Paris." in shown(sql(kernel, 'from "job_12345"'))
    assert any("results" in path for _, path in demo.requests)
    demo.requests.clear()
    assert sql(kernel, 'from "job_12345"').ok and not demo.requests


def test_the_cache_gives_all_columns_that_it_has(kernel):
    assert kernel.run("%sutro_results job_12345 --inputs --format csv --quiet --name df").ok
    shown(sql(kernel, 'select inputs, outputs from "job_12345"', "--name x --as results"))
    assert kernel.value("x.columns, x.num_rows") == "(['inputs', 'outputs'], 2)"


FRAMES = {
    "pandas": "__import__('pandas').DataFrame({'genre': ['drama', None], 'points': [3, 4]}, index=[7, 8])",
    "polars": "__import__('polars').DataFrame({'genre': ['drama', None], 'points': [3, 4]})",
    "lazy": "__import__('polars').LazyFrame({'genre': ['drama', None], 'points': [3, 4]})",
    "arrow": "__import__('pyarrow').table({'genre': ['drama', None], 'points': [3, 4]})",
    "batch": "__import__('pyarrow').record_batch({'genre': ['drama', None], 'points': [3, 4]})",
    "duckdb": "__import__('duckdb').sql(\"select unnest(['drama', null]) as genre, unnest([3, 4]) as points\")",
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_a_table_of_the_notebook_is_joined(films, make):
    films.run(f"scores = {make}")
    query = 'select sum(points) as total, count(*) as n from "job-demo-films" join scores using (genre)'
    assert sql(films, query, "--name x").ok
    assert films.value("x.total[0] == 3 * x.n[0] == 3 * (films.genre == 'drama').sum()") == "True"
    assert films.value("str(x.total.dtype)") == "int64", "sums that fit are no decimals"


def test_results_and_what_they_pick_are_read_by_their_variables(films):
    films.run("r = %sutro_results job-demo-broken\nwrong = r.errors")
    assert sql(films, "select count(*) n, min(_row) as first from wrong join r using (_error)", "--name x").ok
    assert films.value("x.n[0] >= wrong.num_rows > 0") == "True"


def test_what_results_pick_is_read_by_its_name(films):
    films.run("r = %sutro_results job-demo-broken\nn = r.errors.num_rows")
    for query in (
        "select 'é' as t, count(errors._row) as n from r.errors", 'select count(e._row) as n from "r"."errors" e',
        "select count(*) as n from r . errors", 'select count(*) as n from "r.errors"', "select (select count(*) from r.errors) as n",
        "with x as (from r.errors) select count(*) as n from x", "select count(*) as n from r.errors a join r.errors as b using (_row)",
    ):  # fmt: skip
        assert sql(films, query, "--name x").ok
        assert films.value("int(x.n[0]) == n > 0") == "True", query
    assert sql(films, "select count(*) as n from r.filtered where {'r.errors'} <> ''", "--name x").ok
    assert films.value("int(x.n[0]) == r.num_rows") == "True"
    for query in ("describe r.errors", "summarize r.errors", "describe from r.errors", 'describe "r.errors"'):
        assert sql(films, query, "--name x").ok
        assert films.value("list(x.column_name) == r.errors.columns") == "True", query
    assert sql(films, "from information_schema.tables").ok
    assert failed(sql(films, "from r.to_pandas")) and failed(sql(films, "from films.errors"))


@pytest.mark.parametrize("cached", [False, True])
def test_a_table_of_the_query_may_be_made_of_a_job_of_its_name(kernel, cached):
    if cached:
        assert kernel.run("%sutro_results job-demo-zoo --quiet").ok
    query = """with recursive "job-demo-zoo" as (from "job-demo-zoo" limit 1), two as (from "job-demo-zoo"),
        n(i) as (select 1 union all select i + 1 from n where i < 3)
        select count(*) as n from two, n, (with two as (select 1) from two), "Job-Demo-Zoo\""""
    assert sql(kernel, query, "--name x").ok
    assert kernel.value("x.n[0]") == "3"


def test_a_variable_comes_before_a_job_and_a_table_of_the_query_before_both(films):
    films.run("import pandas\nglobals()['job-demo-films'] = pandas.DataFrame({'a': [1]})")
    assert "  1" not in shown(sql(films, 'select count(*) n from "job-demo-museum"'))
    assert shown(sql(films, 'select count(*) n from "job-demo-films"')).splitlines()[-1].strip() == "1"
    query = 'with "job-demo-films" as (select 5 as five), nothing_else as (select 1) from "job-demo-films", nothing_else'
    assert shown(sql(films, query)).splitlines()[-1].split() == ["5", "1"]


def test_an_answer_without_a_name_is_a_results_that_pages_and_picks(films):
    reply = sql(films, "from films order by year, title")
    assert shown(reply).startswith("SQL over films · 10,000 × 6 · computed in ")
    assert "--name VAR binds them" in tooltip(reply.result)
    assert films.value("type(_).__name__, _.num_rows, _.part") == "('Results', 10000, 'computed')"
    assert films.value("_.pages.table.num_rows, _.filtered.num_rows") == "(10000, 10000)"


@pytest.mark.parametrize(
    ("as_type", "kind"),
    [("pandas", "DataFrame"), ("polars", "DataFrame"), ("arrow", "Table"), ("duckdb", "DuckDBPyRelation"),
     ("dask", "DataFrame"), ("results", "Results")],
)  # fmt: skip
def test_as_says_what_is_bound(films, as_type, kind):
    assert shown(sql(films, "select genre, year from films limit 3", f"--name x --as {as_type}"))
    assert films.value("type(x).__name__") == kind
    if as_type == "pandas":
        assert films.value("x.attrs") == "{}"


def test_the_setting_says_what_is_bound_where_the_line_does_not(films):
    films.run("%config SutroMagics.as_type = 'polars'")
    assert sql(films, "from films limit 1", "--name x").ok
    films.run("%config SutroMagics.as_type = 'path'")
    first, _ = failed(sql(films, "from films limit 1", "--name x"))
    films.run("%config SutroMagics.as_type = 'pandas'")
    assert "has no path" in first and films.value("type(x).__module__.split('.')[0]") == "polars"


def test_types_of_every_kind_are_shown_and_bound(films):
    query = """select sum(1) as s, 1.50::decimal(5, 2) as d, interval 2 day as i, interval 1 month as m, now() as t,
        current_date as day, time '12:00' as noon, uuid() as u, 'x'::enum ('x') as e, map {'a': 1} as map, null as n,
        '{"a": 1}'::json as j, [1, 2]::int[2] as a, {'k': {'l': 1}} as k, 'x'::blob as b, 2::hugeint ** 0 as p,
        170141183460469231731687303715884105727 // 10 as huge"""
    text = shown(sql(films, query, "--name x --as arrow"))
    assert "Arrow table 1 × 17" in text
    kinds = dict(eval(films.value("[(field.name, str(field.type)) for field in x.schema]")))
    assert kinds["s"] == "int64" and kinds["huge"] == "decimal128(38, 0)"
    assert kinds["i"] == "duration[us]" and kinds["m"] == "string"
    assert films.run("_ = x.to_pandas()").ok
    assert (
        sql(films, query, "--name x").ok
        and films.value("x.i[0].days, x.m[0]") == "(2, '1 months 0 days 0 seconds')"
    )


def test_a_name_that_stands_twice_gets_a_number(films):
    for as_type in ("pandas", "polars", "arrow"):
        query = (
            "select a.title, b.title, 1 as title_2, a.title from films a join films b using (title) limit 3"
        )
        shown(sql(films, query, f"--name x --as {as_type}"))
        names = "x.column_names" if as_type == "arrow" else "list(x.columns)"
        assert films.value(names) == "['title', 'title_3', 'title_2', 'title_4']"


def test_a_column_without_a_name_is_headed_as_it_was_typed(films):
    assert sql(films, "select {1} + 1, {'title'}, {'title'}, 2", "--name x").ok
    assert films.value("list(x.columns)") == "['({1} + 1)', \"{'title'}\", \"{'title'}_2\", '2']"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("340282366920938463463374607431768211455::uhugeint", "UHUGEINT"), ("[1]::uhugeint[]", "UHUGEINT[]"),
        ("'101'::bit", "BIT"), ("'12:00:00+02'::timetz", "TIME WITH TIME ZONE"),
        ("{'k': '12:00:00+02'::timetz}", "STRUCT(k TIME WITH TIME ZONE)"),
        ("union_value(num := 2)", "UNION(num INTEGER)"), ("[union_value(num := 2)]", "UNION(num INTEGER)[]"),
    ],
)  # fmt: skip
def test_types_that_only_duckdb_has_are_refused_and_fine_as_text(films, value, kind):
    first, hint = failed(sql(films, f"select {value} as odd"))
    assert (
        first == f"QueryError: The column odd is of type {kind}, which only DuckDB has." and "varchar" in hint
    )
    assert sql(films, f"select ({value})::varchar as odd", "--name x").ok
    query = "select now() as \"BIT\", {'BIT': 1, 'UNION': 3, 'x': 'BIT', 'VARIANT x': 2} as b, 'BIT'::enum('BIT') as e"
    assert sql(films, query, "--name x --as arrow").ok


NESTED = {
    "list(td)": "[[datetime.timedelta(days=1), datetime.timedelta(seconds=1)], [None]]",
    "{'k': list(td)}": "[{'k': [datetime.timedelta(days=1), datetime.timedelta(seconds=1)]}, {'k': [None]}]",
    "map {g: any_value(td)}": "[[('a', datetime.timedelta(days=1))], [('b', None)]]",
    "[any_value(td)]::interval[1]": "[[datetime.timedelta(days=1)], [None]]",
    "list(td + interval 1 month)": "[['1 months 0 days 86400 seconds', '1 months 0 days 1 seconds'], [None]]",
    "[[any_value(td)], null]": "[[[datetime.timedelta(days=1)], None], [[None], None]]",
    "case when g = 'b' then {'k': [interval 1 day]} end": "[None, {'k': [datetime.timedelta(days=1)]}]",
    "map {interval 1 day: [g]}": "[[(datetime.timedelta(days=1), ['a'])], [(datetime.timedelta(days=1), ['b'])]]",
    "map {}": "[[], []]",
    "[{'k': map {}, 'n': null}]": "[[{'k': [], 'n': None}], [{'k': [], 'n': None}]]",
}


@pytest.mark.parametrize("value", NESTED)
def test_what_is_nested_in_an_answer_can_be_used(films, tmp_path, value):
    films.run(
        "import datetime, pandas as pd, pyarrow as pa, pyarrow.parquet as pq\n"
        "spans = pd.DataFrame({'g': list('aab'), 'td': pd.to_timedelta(['1d', '1s', None])})"
    )
    query = f"select g, {value} as v from spans group by g order by g"
    for as_type in ("polars", "pandas", "arrow", "results"):
        shown(sql(films, query, f"--name x_{as_type} --as {as_type}"))
    assert films.value(f"x_arrow['v'].to_pylist() == {NESTED[value]}") == "True"
    assert films.value("x_polars['v'].len(), len(x_pandas)") == "(2, 2)"
    for suffix in ("parquet", "csv", "jsonl"):
        assert films.run(f"x_results.save({str(tmp_path / 'x')!r} + '.{suffix}')").ok
    assert (
        films.value(f"pq.read_table({str(tmp_path / 'x.parquet')!r}).to_pylist() == x_arrow.to_pylist()")
        == "True"
    )
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2


def test_values_without_a_type_can_be_used(films, tmp_path):
    query = "select null a, [] b, {'x': null} c, [null] d, map {} m, {'m': [map {}]} n"
    assert shown(sql(films, query, "--name x --as results"))
    films.run("import pyarrow.parquet as pq")
    assert films.run(f"x.to_polars(), x.to_pandas(), x.save({str(tmp_path / 'x.parquet')!r})").ok
    found = "{'a': None, 'b': [], 'c': {'x': None}, 'd': [None], 'm': [], 'n': {'m': [[]]}}"
    assert films.value(f"pq.read_table({str(tmp_path / 'x.parquet')!r}).to_pylist() == [{found}]") == "True"


def test_intervals_of_many_chunks_and_parts_of_them_get_one_type():
    whole = QueryQueue().read(
        "select case when i % 7 > 0 then [interval (i) hour, null] end as l, case when i % 5 > 0 then {'k': map {i: interval (i) day}} end as s,"
        " case when i = 2999 then interval 1 month else interval (i) day end as m from range(3000) r(i)",
        {}, {}, lambda reader: reader.read_all(),
    )  # fmt: skip
    parts = [whole.slice(0, 0), whole.slice(5, 1000), whole.slice(1005, 1995)]
    plain = answer.plain(pa.concat_tables(parts))
    plain.validate(full=True)
    hours = [None if i % 7 == 0 else [dt.timedelta(hours=i), None] for i in range(5, 3000)]
    assert plain["l"].to_pylist() == hours
    assert plain["s"].to_pylist() == [
        None if i % 5 == 0 else {"k": [(i, dt.timedelta(days=i))]} for i in range(5, 3000)
    ]
    assert plain["m"].to_pylist()[::2994] == ["0 months 5 days 0 seconds", "1 months 0 days 0 seconds"]
    assert answer.plain(whole.slice(0, 0)).schema.field("l").type == pa.list_(
        pa.field("l", pa.duration("us"))
    )


# --- values ---------------------------------------------------------------------------------------

NASTY = "x' or 1=1; drop table films; -- \" $1 {films} \\"


def test_no_value_can_change_the_query(films):
    films.run(f"nasty = {NASTY!r}\nyear = 1999")
    query = "select {nasty} as back, count(*) as n from films where title = {nasty} or year = {year}"
    assert sql(films, query, "--name x").ok
    assert films.value("x.back[0] == nasty, bool(x.n[0] == (films.year == 1999).sum())") == "(True, True)"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from films where title = '{nasty}'", "is inside the string '{nasty}'"),
        ("from films where title like '%{nasty.upper()}%'", "is inside the string"),
        ("from films where title = $${nasty}$$", "is inside the string"),
        ("from films where title = e'\\'{nasty}'", "is inside the string"),
        ('select "{nasty}" from films', 'is inside the name "{nasty}"'),
        ("from {nasty}", "Parser Error"),
        ("from films limit 1 {nasty}", "Parser Error"),
    ],
)
def test_braces_where_no_value_can_stand_are_refused(films, query, said):
    films.run("nasty = 'films'\nx = 1")
    first, hint = failed(sql(films, query, "--name x"))
    assert said in first and films.value("x") == "1"
    assert "value" in first + hint


def test_a_value_where_a_name_was_meant_is_still_only_a_value(films):
    films.run("column = 'year'")
    assert sql(films, "select {column} as what from films limit 1", "--name x").ok
    assert films.value("x.what[0]") == "year"


def bound(text, **variables):
    binding = Binding(text, lambda code: eval(code, variables))
    return binding.sql, list(binding.values.values())  # noqa: PD011 - no pandas


def test_braces_of_sql_itself_stay():
    for text in (
        "select {'a': 1}", "select {a: 1}", "select map {}", "select map {'a': 1, 'b': 2}", "select '{\"a\": 1}'",
        "select regexp_matches(t, '\\d{4}')", "select 1 -- {x}", "select /* {x} /* {y} */ {z} */ 1", "select 'it''s {4}'",
    ):  # fmt: skip
        assert bound(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("map {1: 'a', 2: 'b'}", [(1, "a"), (2, "b")]), ("map {date '2020-01-01': 2}", [(dt.date(2020, 1, 1), 2)]),
        ("map {[1]: 'a'}", [([1], "a")]), ("map {interval '1 day': 1}", [(pa.MonthDayNano([0, 1, 0]), 1)]),
        ("{ /* c */ 'a' -- d }\n : 1}", {"a": 1}), ("{e'a\\'b': 1}", {"a\\'b": 1}), ("MAP /* {x} */ {1: 2}", [(1, 2)]),
        ("map -- {x}\n{-- {x}\n(1 + 1): {x}}", [(2, 7)]), ("map {{x}: {'k': {x + 1}}}", [(7, {"k": 8})]),
        ("map {{'a': 1}: map {-1: [{x}]}}", [({"a": 1}, [(-1, [7])])]), ("map {-1: {nasty}, {x}: '}'}", [(-1, "'} {x}"), (7, "}")]),
        ("[map {true: 1}, map {}][1]", [(True, 1)]), ("{d['map']} -- map\n + {x}", 8), ("{list(map(str, [x]))}", ["7"]),
    ],
)  # fmt: skip
def test_a_map_of_sql_may_have_keys_of_any_type_and_values_of_python(text, found):
    binding = Binding(
        f"select {text} as v", lambda code: eval(code, {"x": 7, "nasty": "'} {x}", "d": {"map": 1}})
    )
    table = QueryQueue().read(binding.sql, {}, binding.values, lambda reader: reader.read_all())
    assert table["v"].to_pylist() == [found]


def test_what_is_python_after_map_is_still_a_value():
    text, values = bound("select map {x} -- map\n, {x}, 'map' {x}, \"map\" {x}, a_map {x}, map({x}) {x}", x=7)
    assert values == [7] * 7 and "{" not in text
    with pytest.raises(QueryError, match="not a Python expression"):
        bound("select a_map {1: 2}")
    begin = time.monotonic()
    with contextlib.suppress(QueryError):
        bound("select {" + "-- a" * 20_000 + "\n" + "/* a */" * 20_000)
    assert time.monotonic() - begin < 5


def test_expressions_may_hold_braces_and_quotes_of_their_own():
    text, values = bound(
        "select {d[\"}\"]}, {{1, 2}}, {f\"{n}}}\"}, {'k': {n + 1}}, '{' || {n}", d={"}": 5}, n=3
    )
    assert values == [5, [1, 2], "3}", 4, 3]
    assert text.count("$") == 5 and "{'k': $" in text


@pytest.mark.parametrize(
    "code",
    ["None", "True", "7", "2.5", "'x'", "b'x'", "__import__('decimal').Decimal('1.5')", "[1, 2]", "(1, 2)", "{'a': 1}",
     "__import__('datetime').date(2026, 1, 2)", "__import__('datetime').datetime(2026, 1, 2)", "range(3)",
     "__import__('numpy').int64(7)", "__import__('numpy').float32(0.5)", "__import__('numpy').bool_(True)",
     "__import__('numpy').datetime64('2026-01-02')", "__import__('numpy').arange(3)", "__import__('pandas').Timestamp('2026')",
     "__import__('pandas').NA", "__import__('pandas').NaT", "__import__('pandas').Series([1, 2])",
     "__import__('polars').Series([1, 2])", "__import__('pyarrow').array([1, 2])", "{1}"],
)  # fmt: skip
def test_values_of_every_kind_reach_duckdb(code):
    binding = Binding("select {value} as v", lambda _: eval(code))
    table = QueryQueue().read(binding.sql, {}, binding.values, lambda reader: reader.read_all())
    assert table.num_rows == 1
    if code in {"7", "2.5", "'x'", "True", "None"}:
        assert table["v"][0].as_py() == eval(code)


def in_duckdb(value):
    """Return a value as it comes back, and the type that it had there."""
    binding = Binding("select {value} as v, typeof({value}) as t", lambda _: value)
    [row] = QueryQueue().read(binding.sql, {}, binding.values, lambda reader: reader.read_all()).to_pylist()
    return row["v"], row["t"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.datetime64("2026-01-02T03:04:05", "ns"), "TIMESTAMP"), (np.datetime64("2026-01-02T03:04:05"), "TIMESTAMP"),
        (np.datetime64("2026"), "DATE"), (np.array(["2026-01-02", "NaT"], "M8[ns]"), "TIMESTAMP[]"),
        (np.array(["2026-01-02"], "M8[D]"), "DATE[]"), (np.timedelta64(36, "h"), "INTERVAL"),
        (np.array([36, 1], "m8[s]"), "INTERVAL[]"), (np.array([[1, 2], [3, 4]]), "INTEGER[][]"),
        (np.longdouble(0.1), "DOUBLE"), (np.array([0.1], np.longdouble), "DOUBLE[]"), (np.str_("x"), "VARCHAR"),
    ],
)  # fmt: skip
def test_values_of_numpy_are_what_they_are_in_python(value, kind):
    assert in_duckdb(value)[1] == kind


@pytest.mark.parametrize("number", [-(2**127), 2**127 - 1])
def test_the_widest_integers_of_sql_are_bound(number):
    assert in_duckdb(number) == (number, "HUGEINT")
    assert in_duckdb([number, None]) == ([number, None], "HUGEINT[]")


def test_times_of_numpy_keep_their_instant():
    assert in_duckdb(np.datetime64("2026-01-02T03:04:05", "ns"))[0] == dt.datetime.fromisoformat(
        "2026-01-02T03:04:05"
    )
    assert in_duckdb(np.array(["2026-01-02", "NaT"], "M8[ns]"))[0] == [
        dt.datetime.fromisoformat("2026-01-02"),
        None,
    ]
    assert in_duckdb(np.datetime64("NaT", "s"))[0] is None


FINE = ["2020-01-01T00:00:00.123456789", "2020-01-01T00:00:00.123456999"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("t = {fine.t[0]}", [1]), ("t in {fine.t}", [1, 2]), ("t = {fine.t.to_numpy()[1]}", [2]), ("t in {fine.t.to_numpy()}", [1, 2]),
        ("t = {pa.scalar(fine.t[1], pa.timestamp('ns'))}", [2]), ("t in {pa.array(fine.t)}", [1, 2]), ("t in {pl.Series(fine.t)}", [1, 2]),
        ("t in {[None, datetime.date(2020, 1, 1), fine.t[1]]}", [2]), ("z = {fine.z[0]}", [1]), ("z in {fine.z}", [1, 2]),
        ("t < {fine.t[1]}", [1]), ("t > {fine.t[0].floor('us')}", [1, 2]), ("t in {fine.t.to_numpy().reshape(2, 1)[0]}", [1]),
        ("t in {np.array(['NaT', fine.t.to_numpy()[0]], 'M8[ns]')}", [1]), ("{'k': t} = {{'k': fine.t[0]}}", [1]),
    ],
)  # fmt: skip
def test_nanoseconds_of_a_time_are_not_cut(films, condition, found):
    films.run(
        "import datetime, numpy as np, pandas as pd, polars as pl, pyarrow as pa\n"
        f"fine = pd.DataFrame({{'t': np.array({FINE}, 'M8[ns]'), 'i': [1, 2]}})\n"
        "fine['z'] = fine['t'].dt.tz_localize('Europe/Berlin')"
    )
    assert sql(films, f"select i from fine where {condition} order by i", "--name x").ok
    assert films.value("x.i.tolist()") == str(found)


@pytest.mark.parametrize(
    "code",
    ["pd.Timedelta('1ns')", "np.timedelta64(1001, 'ns')", "pd.Series(pd.to_timedelta([1000, 1], 'ns'))", "np.array([1, 2], 'm8[ns]')",
     "pl.Series([1], dtype=pl.Duration('ns'))", "pa.scalar(1, pa.duration('ns'))", "[{'k': pd.Timedelta('-1ns')}]",
     "np.datetime64('2020-01-01', 'ps') + np.timedelta64(1, 'ps')", "pl.Series([1], dtype=pl.Time)", "pa.scalar(1, pa.time64('ns'))"],
)  # fmt: skip
def test_what_is_finer_than_sql_has_it_is_refused_and_not_cut(code):
    pl = pytest.importorskip("polars")
    with pytest.raises(ArgumentError, match=r"finer than a|would lose data"):
        Binding("select {value}", lambda _: eval(code, {"pl": pl, "pd": pd, "np": np, "pa": pa}))


@pytest.mark.parametrize(
    "value",
    [pd.Timedelta("1000ns"), np.timedelta64(1000, "ns"), pa.scalar(1000, pa.duration("ns")), pa.array([1000], pa.duration("ns"))[0]],
)  # fmt: skip
def test_a_duration_from_which_nothing_would_be_lost_is_bound(value):
    assert in_duckdb(value) == (pa.MonthDayNano([0, 0, 1000]), "INTERVAL")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("[{n}]", "pa.duration('ns')"), ("[[{n}]]", "pa.list_(pa.duration('ns'))"), ("[[{n}]]", "pa.large_list(pa.duration('ns'))"),
        ("[[{n}]]", "pa.list_(pa.duration('ns'), 1)"), ("[{{'k': {n}}}]", "pa.struct([('k', pa.duration('ns'))])"),
        ("[[('k', {n})]]", "pa.map_(pa.string(), pa.duration('ns'))"),
    ],
)  # fmt: skip
def test_a_column_of_durations_is_read_where_nothing_would_be_lost(films, values, kind):
    films.run("import pyarrow as pa")
    for name, number in (("good", 1000), ("fine", 1001)):
        films.run(f"{name} = pa.table({{'d': pa.array({values.format(n=number)}, {kind})}})")
    assert sql(films, "select count(d) as n from good", "--name x").ok
    first, hint = failed(sql(films, "select d from fine", "--name y"))
    assert "The column d of fine has durations finer than a microsecond" in first
    assert hint.startswith('fine["d"] = fine["d"].dt.round("us")')


@pytest.mark.parametrize(
    "value",
    [pd.Series(["x", None]), pd.Series(["x", None], dtype=object), pd.Series(["x", None], dtype="category"),
     pd.Index(["x", None]), np.array(["x", np.nan], object), ["x", float("nan")]],
)  # fmt: skip
def test_no_text_is_no_text_in_sql(value):
    assert in_duckdb(value) == (["x", None], "VARCHAR[]")
    assert in_duckdb(value[1:]) == ([None], '"NULL"[]') or isinstance(value, list)


def test_no_number_stays_as_it_is():
    _, [values] = bound("select {numbers}", numbers=np.array([1.5, np.nan]))
    assert np.isnan(values[1])


HOLDS_ITSELF: list = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


class Odd:
    def tolist(self):
        return self

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "code",
    ["object()", "1j", "2**200", "2**127", "-2**127 - 1", "len", "HOLDS_ITSELF", "Odd()", "{Odd(): 1}", "np.complex64(1)", "np.timedelta64(5, 'Y')",
     "np.datetime64('20000-01-01')", "(1 / 0 for _ in [1])", "Decimal(10**38)", "[Decimal('0.1') ** 39]", "Decimal('1e50')"],
)  # fmt: skip
def test_values_that_sql_does_not_have_are_refused(code):
    with pytest.raises(ArgumentError, match=r"\{value\}"):
        Binding("select {value}", lambda _: eval(code))


def test_an_interval_of_any_length_is_an_answer(films):
    films.run("import datetime\nlong = datetime.timedelta.max")
    assert sql(films, "select {long} as v", "--name x").ok
    assert films.value("x.v[0]").startswith("0 months 999999999 days")


def test_an_expression_that_fails_or_is_none_says_so(films):
    first, hint = failed(sql(films, "from films where year > {yaer}"))
    assert "{yaer} could not be evaluated: NameError: name 'yaer' is not defined." in first
    assert "Define it first" in hint
    first, hint = failed(sql(films, "from films where year > {1/0}"))
    assert "{1/0} could not be evaluated: ZeroDivisionError: division by zero." in first
    assert hint == "Run 1/0 by itself to see where it fails."
    films.run("class Odd(Exception):\n    def __str__(self): raise self\ndef fail(): raise Odd")
    assert "{fail()} could not be evaluated: Odd." in failed(sql(films, "select {fail()}"))[0]
    first, _ = failed(sql(films, "from films where year > {films}"))
    assert first.endswith("{films} is a table, not a value.")
    with pytest.raises(QueryError, match="not a Python expression"):
        bound("select {1 +}")


def test_an_error_shows_no_key_that_a_value_held(films):
    films.run("key = 'sk_' + 'live_0123456789'")
    first, _ = failed(sql(films, "select {key}::int"))
    assert "Could not convert string" in first and "0123456789" not in first


def test_a_list_is_looked_through(films):
    films.run("genres = {'drama', 'horror'}")
    assert sql(films, "select count(*) as n from films where genre in {genres}", "--name x").ok
    assert films.value("x.n[0] == films.genre.isin(genres).sum()") == "True"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('{path}')", "from '{path}'", 'from "{path}"', "from read_text('{path}')", "from glob('/*')",
        "select * from query('from read_text(''{path}'')')", "attach '{path}.db'", "copy (select 1) to '{path}.csv'",
        "copy films to '{path}.csv'", "install httpfs", "load httpfs", "set threads = 1", "reset threads", "create table t as select 1",
        "create temp view v as from films", "drop view films", "insert into films select * from films", "update films set year = 0",
        "delete from films", "pragma database_list", "call pragma_version()", "checkpoint", "begin", "export database '{path}'",
        "explain analyze copy (select 1) to '{path}.csv'", "select 1; drop view films", "from 'https://acme.example/x.parquet'",
        "from sniff_csv('{path}')", "from enable_logging(storage='file', storage_config={'path': '{path}.d'})",
        "from enable_logging()", "from EnAble_Logging(level='debug')", "from system.main.enable_profiling()", "from disable_logging()",
        "select (select count(*) from enable_logging())", "with e as (from enable_logging()) from e", "describe from enable_logging()",
        "from force_checkpoint()", "from query_table('films')", "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "from query('from enable_logging()')", "from histogram(films, year)", "select write_log('x')", "select getenv('HOME')", "use memory", "vacuum", "prepare p as select 1", "pivot films on genre",
    ],
)  # fmt: skip
def test_sql_only_reads_and_reads_no_file(films, tmp_path, query):
    secret = tmp_path / "secret"
    secret.write_text("a\nsecret\n")
    films.run("x = 1")
    first, _ = failed(sql(films, query.replace("{path}", str(secret)), "--name x"))
    assert first.split(":")[0] in {"QueryError", "ArgumentError"}
    assert sorted(tmp_path.iterdir()) == [secret]
    assert films.value("x, len(films)") == "(1, 10000)"


def test_what_was_refused_has_changed_no_setting_and_harmless_functions_run(films):
    assert failed(sql(films, "from enable_logging(level='debug')"))
    query = """select current_setting('enable_logging') as logging, r, s, u, j.value as j, x
        from range(1) a(r), generate_series(2, 2) b(s), unnest([3]) c(u), json_each('[4]') j, repeat(5, 1) d(x)"""
    assert sql(films, query, "--name x").ok
    assert films.value("[str(value) for value in x.values[0]]").casefold() in (
        "['0', '0', '2', '3', '4', '5']",
        "['false', '0', '2', '3', '4', '5']",
    )


def test_every_function_that_may_make_a_table_gives_all_its_columns(films):
    calls = {
        "range": "(3)", "generate_series": "(3)", "unnest": "([1])", "repeat": "(1, 2)",
        "repeat_row": "(1, 2, num_rows = 3)", "json_each": "('[1]')", "json_tree": "('[1]')",
    }  # fmt: skip
    for name in READING_FUNCTIONS:
        reply = sql(films, f"select * from {name}{calls.get(name, '()')}", "--name x --as arrow")
        assert reply.ok, (name, reply.traceback)
    first, _ = failed(sql(films, "select * from duckdb_settings()"))
    assert first == "QueryError: duckdb_settings(…) is not allowed: SQL only reads tables."


@pytest.mark.parametrize(
    ("query", "said", "hint"),
    [
        ("", "The query is empty.", 'select * from "job-demo-films" limit 10'),
        ("\n  -- later\n", "The query is empty.", "select"),
        ("from flims", "Table flims not found: no table of this notebook has that name, and no job.", "mean films?"),
        ('from "job-demo-flims"', "Table job-demo-flims not found", 'Did you mean "job-demo-films"?'),
        ("from weather", "Table weather not found", 'Did you mean "A million lines of weather"?'),
        ("from 'films.csv'", "Table films.csv not found", "load a file first"),
        ('from "Ten thousnd films"', "Table Ten thousnd films not found", 'Did you mean "Ten thousand films"?'),
        ("from number", "number is a variable of type int, not a table", "%sutro_jobs"),
        ("from job-demo-films", 'Parser Error: syntax error at or near "-" (line 1).', '"job-demo-films"'),
        ("select titel\nfrom films", 'Referenced column "titel" not found', "describe NAME"),
        ("select inputs from films", 'Referenced column "inputs"', "--inputs"),
        ("select 1\nfrom films\nwhere", "Parser Error", "%%sutro_sql?"),
        ("from films where year > $year", "Values were not provided", "{year}"),
        ("select $1::int + {1}", "Mixing named and positional", "Values are written in braces"),
        ("select 1; select 2", "There are 2 statements, but only one", "with a as"),
        ("select 'a\x1b[31m'::int", "Could not convert string 'a\ufffd[31m'", "%%sutro_sql?"),
        ("select error('no ' || 'way')", "no way", "%%sutro_sql?"),
    ],
)  # fmt: skip
def test_a_mistake_is_two_lines(films, query, said, hint):
    films.run("number = 7")
    first, second = failed(sql(films, query))
    assert said in first and hint in second


def test_an_error_in_a_late_row_is_two_lines_too(films):
    films.run("x = 1")
    query = "select case when i = 1999999 then 'x' else '1' end::int as n from range(2000000) t(i)"
    first, _ = failed(sql(films, query, "--name x"))
    assert "Could not convert string 'x' to INT32" in first and films.value("x") == "1"


def test_names_that_differ_only_in_case_are_not_mixed_up(films):
    films.run("FILMS = films.head(1)")
    first, _ = failed(sql(films, "select * from films, FILMS"))
    assert "differ only in case" in first
    assert "(1, " in films.value("FILMS.shape")


def test_columns_that_sql_would_mix_up_are_refused(films):
    films.run("import pandas\ndf = pandas.DataFrame({'a': [1, 3], 'A': [2, 4]})\nx = 1")
    first, hint = failed(sql(films, 'select a, "A" as big from df', "--name x"))
    assert "'a' and 'A' would be the same column of df" in first and "df = df.rename(columns={…})" in hint
    films.run("df = pandas.DataFrame([[1, 2]], columns=['a', 'a'])")
    assert failed(sql(films, "from df", "--name x"))
    films.run("df = pandas.DataFrame({'': [1], 'b': [2]})")
    assert "has an empty name" in failed(sql(films, "from df", "--name x"))[0]
    assert films.value("x") == "1"
    films.run("df = pandas.DataFrame({'É': [1], 'é': [2]})")  # DuckDB folds A to Z only
    assert sql(films, 'select "é", "É" from df', "--name x").ok
    assert films.value("x.values.tolist()") == "[[2, 1]]"


def test_fields_that_sql_would_mix_up_are_refused(films):
    films.run("import pyarrow\nx = 1\nt = pyarrow.table({'n': [1], 's': [[{'b': {'a': 1, 'A': 2}}]]})")
    first, hint = failed(sql(films, 'select s[1].b.a, s[1].b."A" from t', "--name x"))
    assert (
        "the fields 'a' and 'A' in 's' of t would be the same" in first and "t = t.drop(columns='s')" in hint
    )
    assert films.value("x") == "1"
    films.run("t = pyarrow.table({'n': [1], 's': [{'a': 1, 'b': {'A': 2}}]})")
    assert sql(films, 'select s.a, s.b."A" as b from t', "--name x").ok


def test_a_frame_that_cannot_be_read_says_why(films):
    films.run(
        "import pandas\nmixed = pandas.DataFrame({'a': [1, {'b': 2}]})\nbare = pandas.DataFrame(index=[1, 2])"
    )
    first, hint = failed(sql(films, "from mixed"))
    assert "mixed cannot be read as a table" in first and "column a" in first and "astype(str)" in hint
    assert "bare has no columns" in failed(sql(films, "from bare"))[0]
    films.run("far = %sutro_results job-demo-films --as dask")
    assert "far = far.compute()" in failed(sql(films, "from far"))[1]


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        ("__import__('pandas').DataFrame({'a': [2**70]})", "its column a: Python int too large", 'F["a"] = F["a"].astype(str)'),
        ("__import__('pandas').DataFrame({'b': 1, 'a b': [1 + 2j]})", "column a b ", 'F["a b"] = F["a b"].astype(str)'),
        ("__import__('pandas').DataFrame({'b': 1, 0: [2**70]})", "its column 0: ", "F[0] = F[0].astype(str)"),
        ("__import__('pandas').DataFrame([[1, 2]], columns=['a', 'a'])", "Duplicate column names", "F.columns = ["),
        ("__import__('polars').DataFrame({'b': 1, 'a': [1]}, schema_overrides={'a': __import__('polars').Int128})",
         "its column a: ", 'F = F.with_columns(F["a"].cast(str))'),
        ("__import__('polars').DataFrame({'b': 1, 'a': [[1]]}, schema_overrides={'a': __import__('polars').List(__import__('polars').Int128)})",
         "its column a: ", 'F = F.drop("a")'),
        ("__import__('polars').LazyFrame({'a': [1]}).select('zzz')", 'unable to find column "zzz"', "F.collect()"),
        ("__import__('polars').LazyFrame({'a': [1]}).map_batches(lambda _: 1 / 0)", "division by zero", "F.collect()"),
        ("__import__('duckdb').sql(\"select error('boom') a\")", "boom", "F.df()"),
        ("__import__('polars').DataFrame({'a': [object()]})", "The column a of F contains Python objects", 'F.drop("a")'),
        ("__import__('pandas').DataFrame({'a': __import__('pandas').period_range('2020', periods=2)})",
         "The column a of F contains periods", 'F["a"] = F["a"].astype(str)'),
    ],
)  # fmt: skip
def test_a_frame_whose_values_sql_does_not_have_is_two_lines(films, make, said, hint):
    films.run(f"F = {make}\nx = 1")
    first, second = failed(sql(films, "from F", "--name x"))
    assert first.startswith("ArgumentError: ") and said in first and hint in second
    assert films.value("x") == "1"
    if code := re.search(r"(F\S* = .*?)(?= makes| drops| converts|; or|$)", second):  # as a reader types it
        assert films.run(code[1]).ok
        reply = sql(films, "from F", "--name x")
        assert reply.ok or "no columns" in reply.traceback, code[1]


def test_names_that_differ_in_case_are_renamed_with_the_library_of_the_frame(films):
    for library, how in (
        ("polars", "Polars: F = F.rename({…})"),
        ("pandas", "pandas: F = F.rename(columns={…})"),
    ):
        films.run(f"F = __import__('{library}').DataFrame({{'a': [1], 'A': [2]}})")
        assert how in failed(sql(films, "from F"))[1]
    films.run("F = __import__('polars').DataFrame({'s': [{'a': 1, 'A': 2}], 'n': 3})")
    code = failed(sql(films, "from F"))[1].partition("Polars: ")[2]
    assert code == "F = F.drop('s')" and films.run(code).ok and sql(films, "from F").ok


def test_without_a_service_a_misspelled_name_is_still_explained(films, demo):
    demo.set_fault("401")
    first, hint = failed(sql(films, "from flims"))
    demo.clear_faults()
    assert "Table flims not found" in first and "the service could not be asked" in first and "films?" in hint


def test_lines_that_cannot_be_read_say_so_before_anything_runs(films, demo):
    for line, said in (
        ("--name 1x", "cannot be the name"),
        ("--nam x", "no flag --nam"),
        ("--as path", "no type 'path'"),
    ):
        assert said in failed(sql(films, 'from "job_12345"', line))[0]
    assert "The SQL begins on the line below" in failed(sql(films, "from films", "select 1"))[1]
    assert not demo.requests


# --- help, completion -----------------------------------------------------------------------------


def test_help_and_a_question_mark_show_flags_and_examples(films):
    for cell in ("%%sutro_sql --help", "%%sutro_sql --help\nfrom films"):
        assert "--name VAR" in films.run(cell).text
    sent = films.client.execute("%%sutro_sql?", reply=True, timeout=60)
    assert "%%sutro_sql\n  select genre" in sent["content"]["payload"][0]["data"]["text/plain"]


def test_tab_completes_the_line_of_the_magic(films):
    def offers(code):
        return films.client.complete(code, reply=True, timeout=60)["content"]["matches"]

    assert offers("%%sutro_sql --") == ["--name", "--as", "--help"]
    assert offers("%%sutro_sql --as po") == ["polars"]
    assert "path" not in offers("%%sutro_sql --as ")
    assert offers("%%sutro_sql --name fil") == ["films"]


# --- long queries ---------------------------------------------------------------------------------


WHEN_IT_RUNS = """
import pathlib, threading
def tell_when_it_runs(path):
    def wait():
        while not any(thread.name == "sutro-queries" for thread in threading.enumerate()):
            time.sleep(0.01)
        pathlib.Path(path).touch()
    import time
    threading.Thread(target=wait, daemon=True).start()
    return 7
x = 'as before'
"""


def test_interrupting_a_query_ends_it_and_binds_nothing(films, tmp_path):
    assert films.run(WHEN_IT_RUNS).ok
    running = tmp_path / "running"

    def interrupt():
        while not running.exists():
            time.sleep(0.01)
        films.manager.interrupt_kernel()

    stopper = threading.Thread(target=interrupt)
    stopper.start()
    query = "select count(*) from range(10000000) a(i), range(10000000) b(j) where (i * j) %% {tell_when_it_runs(%r)} = 1"
    reply = sql(films, query % str(running), "--name x")  # of hours
    stopper.join()
    assert reply.ename == "Interrupted" and "nothing was bound" in reply.traceback
    assert (
        films.value("x, any(thread.name == 'sutro-queries' for thread in threading.enumerate())")
        == "('as before', False)"
    )
    assert sql(films, "select 1 as one", "--name x").ok


def test_a_long_query_says_how_long_it_takes(films):
    reply = sql(films, "select max(hash(i)) from range(400000000) t(i)")
    lines = [bundle["text/plain"] for bundle in [*reply.displays, *reply.updates]]
    assert reply.ok
    if "in 0." not in reply.result["text/plain"]:
        assert any(line.startswith("Querying: ") for line in lines)


def test_a_beginning_of_a_large_answer_costs_no_more_than_of_a_small_one():
    seconds = {}
    for rows in (1_000, 5_000_000):
        results = Results.computed(pa.table({"i": np.arange(rows)}), "SQL", 0.0)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            assert results.head(10).num_rows == 10
            times.append(time.perf_counter() - begin)
        seconds[rows] = min(times)
    assert seconds[5_000_000] < 50 * seconds[1_000]


def test_a_large_answer_is_kept_in_a_file_and_is_the_same(monkeypatch):
    query = "select i, 'text ' || i as t, [i] as l from range(300000) r(i)"
    counts = []
    in_memory = QueryQueue().read(query, {}, {}, lambda reader: answer.collect(reader, counts.append))
    monkeypatch.setattr(limits, "ANSWER_MEMORY_BYTES", 1_000_000)
    before = pa.total_allocated_bytes()
    in_file = QueryQueue().read(query, {}, {}, lambda reader: answer.collect(reader, counts.append))
    assert in_file.equals(in_memory) and counts[-1] == 300_000
    assert pa.total_allocated_bytes() - before < in_file.nbytes / 4, "it is mapped, not read"
