"""Results in every engine: the same values, whichever rows they are, in a cluster and without a cache."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
import pickle
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic.cache.store import RESULTS_FILE, ResultsCache
from sutro_magic.errors import ArgumentError, CacheError
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import Job, ResultsRequest
from sutro_magic.query import mapped_table
from sutro_magic.query.table_query import Order, TableQuery
from sutro_magic.results import to_dask
from sutro_magic.results.handle import Results

pytestmark = pytest.mark.slow

ME = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "store")


def keep(store, table, row_group_size=None, unfold=None):
    """Keep a job's table, as a fetch would."""
    with store.staging() as staged:
        pq.write_table(table, staged / RESULTS_FILE, row_group_size=row_group_size)
        entry = store.commit(
            staged,
            identity=ME,
            request=ResultsRequest(job_id="job-1", inputs=True, logprobs=True),
            deployment="https://acme.example",
            table=CanonicalTable(num_rows=table.num_rows, columns=map_columns(table.column_names, "job-1")),
            job=Job(job_id="job-1"),
        )
    request = ResultsRequest(job_id="job-1", inputs=True, logprobs=True)
    return Results.of_entry(
        entry, request, cache=store, identity=ME, unfold=unfold, from_cache=True, seconds=0
    )


def rows_of(frame, schema):
    """The rows of a pandas DataFrame, by way of Arrow's types."""
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False).to_pylist()


def by_duckdb(results):
    import duckdb

    assert results is not None  # DuckDB finds it by its name
    relation = duckdb.sql("from results")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def by_polars(results):
    import polars as pl

    return pl.DataFrame(results).to_dicts()


def by_narwhals(results):
    import narwhals as nw

    return nw.from_arrow(results, backend="pyarrow").to_native().to_pylist()


ENGINES = {
    "arrow": lambda r: r.to_arrow().to_pylist(),
    "polars": lambda r: r.to_polars().to_dicts(),
    "duckdb": lambda r: [dict(zip(r.columns, row, strict=True)) for row in r.to_duckdb().fetchall()],
    "pandas": lambda r: rows_of(r.to_pandas(), r.schema),
    "dask": lambda r: rows_of(r.to_dask().compute(), r.schema),
    "pa.table(r)": lambda r: pa.table(r).to_pylist(),
    "RecordBatchReader": lambda r: pa.RecordBatchReader.from_stream(r).read_all().to_pylist(),
    "pl.DataFrame(r)": by_polars,
    "from r": by_duckdb,
    "narwhals": by_narwhals,
}
engines = pytest.mark.parametrize("engine", ENGINES)


# --- values -----------------------------------------------------------------------------------

VALUES = {
    "int64": pa.array([2**63 - 1, -(2**63), 2**53 + 1], pa.int64()),
    "int64 with nulls": pa.array([2**63 - 1, None, 2**53 + 1], pa.int64()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "int8 with nulls": pa.array([-128, None, 127], pa.int8()),
    "bool": pa.array([True, False, True]),
    "bool with nulls": pa.array([True, None, False]),
    "float64": pa.array([0.1, -0.0, 1e300]),
    "float64 with nulls": pa.array([0.1, None, 1e300]),
    "decimal": pa.array([Decimal(10**38 - 1), None, Decimal(-1)], pa.decimal128(38, 0)),
    "money": pa.array([Decimal("0.10"), None, Decimal("99.99")], pa.decimal128(12, 2)),
    "timestamp": pa.array([dt.datetime(2024, 2, 29, 1, 2, 3, 4), None, dt.datetime(1969, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
    "timestamp with zone": pa.array([dt.datetime(2024, 2, 29, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
    "date": pa.array([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)]),
    "text with nulls": pa.array(["", None, "NA"]),
    "lists": pa.array([["", None], [], None]),
    "embeddings": pa.array([[0.5, 1.0], None, []], pa.list_(pa.float32())),
    "objects": pa.array([{"a": [{"b": 1}], "c": None}, None, {"a": [], "c": "x"}], pa.struct([("a", pa.list_(pa.struct([("b", pa.int64())]))), ("c", pa.string())])),
    "nothing": pa.nulls(3, pa.string()),
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("group", [None, 1], ids=["one part", "three parts"])
def test_a_carried_column_has_the_same_values_in_every_engine(store, kind, group):
    table = pa.table({"id": VALUES[kind], "outputs": pa.array(["x", None, ""])})
    results = keep(store, table, group)
    for engine, rows in ENGINES.items():
        assert rows(results) == table.to_pylist(), engine
    for engine, rows in ENGINES.items():
        assert rows(results.filtered) == [{"_row": i, **row} for i, row in enumerate(table.to_pylist())], (
            engine
        )


def test_nan_and_null_stay_two_things(store):
    table = pa.table({"id": pa.array([math.nan, None, 1.0]), "outputs": pa.array(["x", "y", "z"])})
    for group in (None, 1):
        results = keep(store, table, group)
        for engine, rows in ENGINES.items():
            nan, null, one = (row["id"] for row in rows(results))
            assert math.isnan(nan) and null is None and one == 1.0, engine


def test_a_row_group_with_very_much_text_is_several_dask_parts(store, monkeypatch):
    rows = 2_000
    prompts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 10_000])
    table = pa.table({"id": range(rows), "inputs": prompts.cast(pa.string()), "outputs": ["a"] * rows})
    results = keep(store, table, 1_500)
    assert results.to_dask().npartitions == 2
    monkeypatch.setattr(to_dask, "PART_BYTES", 4_000_000)
    frame = results.to_dask()
    lengths = frame.map_partitions(len).compute(scheduler="sync").tolist()
    assert lengths == [399, 399, 399, 303, 399, 101]
    assert frame.divisions == (0, 399, 798, 1197, 1500, 1899, 1999)
    whole = frame.compute(scheduler="sync")
    assert whole["id"].tolist() == whole.index.tolist() == list(range(rows))
    assert whole.to_dict("list") == results.to_pandas().to_dict("list")
    assert frame[["id"]].compute(scheduler="sync")["id"].tolist() == list(range(rows))
    assert frame.partitions[1]["id"].compute(scheduler="sync").tolist() == list(range(399, 798))
    monkeypatch.setattr(to_dask, "PART_BYTES", 1)  # as if the file claimed very much
    assert results.to_dask().npartitions == 2 * to_dask._MAX_PARTS


@pytest.mark.parametrize("nulls_first", [True, False])
def test_columns_of_one_name_have_the_types_that_dask_says(store, nulls_first):
    numbers = [pa.array([None, 2, 3]), pa.array([1, 2, 3])]
    columns = numbers if nulls_first else numbers[::-1]
    table = pa.Table.from_arrays([*columns, pa.array(["a"] * 3)], names=["id", "id", "outputs"])
    frame = keep(store, table, 2).to_dask()
    assert list(frame.columns) == ["id", "id.2", "outputs"]
    whole = frame.compute(scheduler="sync")
    assert whole.dtypes.equals(frame.dtypes)
    assert [whole[name].sum() for name in ("id", "id.2")] == ([5, 6] if nulls_first else [6, 5])


def test_all_parts_of_a_dask_column_have_one_type(store):
    table = pa.table(
        {
            "id": pa.array([1, None, 3, 4]),
            "score": pa.array([0.5, 1.0, None, 2.0]),
            "outputs": pa.array(["a"] * 4),
        }
    )
    for results in (keep(store, table, 2), keep(store, table, 2).filtered):
        frame = results.to_dask()
        for part in frame.to_delayed():
            assert part.compute().dtypes.equals(frame.dtypes)


@pytest.mark.parametrize("kind", ["arrow", "lists in the wire"])
def test_outputs_that_are_stored_in_another_type_are_what_the_table_shows(store, kind):
    outputs = (
        pa.array(["a", None, "b"]).dictionary_encode()
        if kind == "arrow"
        else pa.array([{"a": 1}, None, {"a": 2}])
    )
    results = keep(store, pa.table({"outputs": outputs}), unfold=False)
    assert results.schema.field("outputs").type == pa.string()
    expected = results.to_arrow().to_pylist()
    for engine, rows in ENGINES.items():
        assert rows(results) == expected, engine


# --- which rows -------------------------------------------------------------------------------


def kinds_of_results(session):
    films = session.results("job-demo-films", inputs=True)
    films.touch(films.pages, TableQuery(order=(Order(1, descending=True),)))
    films.ticked = (7, 3)
    broken = session.results("job-demo-broken")
    fresh = session.results("job-demo-museum")
    return {
        "unfolded": films,
        "raw": films.raw,
        "filtered": films.filtered,
        "selected": films.selected,
        "no errors": films.errors,
        "with errors": broken,
        "errors": broken.errors,
        "nested": fresh,
        "all rows, with numbers": fresh.filtered,
        "none selected": fresh.selected,
        "empty": session.results("job-demo-empty"),
        "text": session.results("job_12345", inputs=True, logprobs=True),
        "errors of errors": broken.errors.filtered,
    }


@engines
def test_every_kind_of_results_in_every_engine(session, engine):
    for kind, results in kinds_of_results(session).items():
        assert ENGINES[engine](results) == results.to_arrow().to_pylist(), kind


def test_no_rows_keep_their_types(session):
    import polars as pl

    for kind in ("none selected", "empty", "no errors"):
        results = kinds_of_results(session)[kind]
        assert len(results) == 0
        assert (
            list(results.to_pandas().columns) == list(results.to_dask().compute().columns) == results.columns
        )
        assert list(results.to_dask().dtypes) == list(results.to_dask().compute().dtypes)
        assert pa.table(results).schema == results.schema
        assert pl.DataFrame(results).columns == results.to_duckdb().columns == results.columns


def test_errors_of_rows_that_were_picked_are_those_of_them_that_did_not_parse(session):
    broken = session.results("job-demo-broken", inputs=True)
    errors = broken.errors
    rows = {row["_row"]: row for row in errors.to_polars().to_dicts()}
    assert len(rows) > 2
    broken.touch(broken.pages, TableQuery(order=(Order(0, descending=True),)))
    assert broken.filtered.errors.to_polars().to_dicts() == [
        rows[place] for place in broken.filtered.to_arrow()["_row"].to_pylist() if place in rows
    ]
    good = next(place for place in range(broken.num_rows) if place not in rows)
    broken.ticked = (max(rows), good, min(rows))
    expected = [rows[max(rows)], rows[min(rows)]]
    for some in (broken.selected.errors, broken.selected.filtered.errors, broken.selected.errors.errors):
        assert some.columns == errors.columns and some.to_polars().to_dicts() == expected
    assert errors.errors.to_polars().equals(errors.to_polars())
    assert errors.filtered.errors.to_polars().equals(errors.to_polars())


def test_errors_have_each_column_once_whatever_they_are_of(session):
    for kind, results in kinds_of_results(session).items():
        names = results.errors.columns
        assert len(names) == len(set(names)) and {"_row", "_raw", "_error"} <= set(names), kind
        assert results.errors.to_polars().columns == names, kind
    computed = Results.computed(session.results("job-demo-broken").errors.to_arrow(), "a query", 0.0)
    assert computed.errors.columns == computed.columns and computed.errors.num_rows == 0


# --- streams ----------------------------------------------------------------------------------


def test_a_stream_reads_no_more_than_is_asked_for(store, monkeypatch):
    results = keep(store, pa.table({"outputs": pa.array([str(i) for i in range(300_000)])}), 50_000)
    given, batches = [], results.to_batches

    def counted(*arguments):
        for batch in batches(*arguments):
            given.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(results, "to_batches", counted)
    reader = pa.RecordBatchReader.from_stream(results)
    assert reader.read_next_batch().num_rows == given[0] and len(given) == 1
    assert sum(batch.num_rows for batch in reader) + given[0] == 300_000


def test_sql_over_a_handle_joins_and_counts(session):
    import duckdb

    films, again = session.results("job-demo-films"), session.results("job-demo-films", unfold=False)
    assert films.num_rows == again.num_rows
    sql = "select count(*), sum(year) from films where title in (select json_extract_string(outputs, '$.title') from again)"
    assert duckdb.sql(sql).fetchall() == [(10_000, films.to_pandas()["year"].sum())]


def test_relations_combine_with_each_other_and_with_the_default_connection(session):
    import duckdb

    films, museum = (
        session.results("job-demo-films").to_duckdb(),
        session.results("job-demo-museum").to_duckdb(),
    )
    mine = duckdb.sql("select 'drama' as genre")
    assert films.join(mine, "genre").aggregate("count(*) > 0").fetchall() == [(True,)]
    assert museum.project("title").union(films.project("title")).aggregate("count(*)").fetchall() > [
        (10_000,)
    ]
    assert duckdb.sql("select count(*) from films").fetchall() == [(10_000,)]


def test_in_threads_the_way_that_the_guide_names_works(session):
    from concurrent.futures import ThreadPoolExecutor

    import duckdb

    results = session.results("job-demo-films")
    code = "con.from_arrow(r.to_arrow())"
    for text in (
        (Path(__file__).parents[1] / "sutro_magic/guide/python.md").read_text(encoding="utf-8"),
        Results.to_duckdb.__doc__,
    ):
        assert "default connection" in text and code.partition(".")[2] in text

    def count(_):
        with duckdb.connect() as con:
            return eval(code, {"con": con, "r": results}).aggregate("count(*)").fetchall()[0]

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(count, range(40))) == {(10_000,)}


def test_pandas_takes_a_handle(session):
    import pandas as pd

    if not hasattr(pd.DataFrame, "from_arrow"):
        pytest.skip("pandas before 3 takes no stream")
    films = session.results("job-demo-films")
    frame = pd.DataFrame.from_arrow(films)
    assert frame["title"].tolist() == films.to_pandas()["title"].tolist()
    assert list(frame.columns) == films.columns


def test_a_stream_of_what_is_gone_says_so_in_our_words(session):
    import polars as pl

    results = session.results("job_12345")
    session.cache.clear()
    for use in (pa.table, pl.DataFrame):
        with pytest.raises(CacheError, match="no longer in the cache"):
            use(results)


def test_a_relation_and_a_stream_outlive_the_cache(session, store, monkeypatch):
    monkeypatch.setattr(mapped_table, "SMALL_BYTES", 0)
    monkeypatch.setattr(
        mapped_table.open_mapped, "__kwdefaults__", {**mapped_table.open_mapped.__kwdefaults__, "small": 0}
    )
    for results, cache in (
        (session.results("job-demo-films"), session.cache),
        (session.results("job-demo-films", unfold=False), session.cache),
        (keep(store, pa.table({"outputs": pa.array([str(i) for i in range(300_000)])})), store),
    ):
        relation, reader, count = (
            results.to_duckdb(),
            pa.RecordBatchReader.from_stream(results),
            results.num_rows,
        )
        cache.clear()
        assert relation.aggregate("count(*)").fetchall() == [(count,)]
        assert reader.read_all().num_rows == count
        if cache is session.cache:
            session.results("job-demo-films")


# --- dask -------------------------------------------------------------------------------------


@pytest.fixture
def large(store):
    """Of several parts, unfolded and not."""
    count = 250_000
    outputs = pa.array([json.dumps({"n": i, "kind": "abc"[i % 3]}) for i in range(count)])
    return keep(store, pa.table({"id": pa.array(range(count)), "outputs": outputs}), 100_000)


def kinds_of_large(large):
    large.touch(large.pages, TableQuery(order=(Order(0, descending=True),)))
    return {"unfolded": large, "raw": large.raw, "filtered": large.filtered}


def test_a_graph_is_small_and_reads_the_columns_that_are_needed(large, monkeypatch):
    for kind, results in kinds_of_large(large).items():
        frame = results.to_dask()
        assert frame.npartitions >= 2, kind
        assert len(pickle.dumps(frame.optimize().dask)) < 20_000, kind
        one = frame[["id"]].optimize()
        part = one.dask[one.__dask_keys__()[0]]
        assert "outputs" not in repr(part), kind
        assert len(frame) == 250_000
        assert list(frame.loc[249_998:].compute().index) == [249_998, 249_999]


def test_a_frame_whose_file_is_gone_gives_one_clear_error(large, store):
    frames = {kind: results.to_dask() for kind, results in kinds_of_large(large).items()}
    store.clear()
    for kind in ("unfolded", "raw"):
        with pytest.raises(CacheError, match="no longer in the cache") as caught:
            frames[kind].compute()
        assert 'session.results("JOB_ID").to_dask()' in caught.value.hint
        pickle.loads(pickle.dumps(caught.value))
    assert len(frames["filtered"]) == 250_000, "what was picked has a file of its own"


@pytest.mark.slow
def test_a_cluster_of_processes_counts_groups_and_filters(large, store):
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        for kind, results in kinds_of_large(large).items():
            frame = results.to_dask()
            assert len(frame) == 250_000, kind
            if kind == "raw":
                assert (
                    frame[frame["id"] < 5]["outputs"].compute().tolist()
                    == results.head(5)["outputs"].to_pylist()
                )
                continue
            sums = frame.groupby("kind")["n"].sum().compute()
            assert sums.to_dict() == {k: sum(range(i, 250_000, 3)) for i, k in enumerate("abc")}, kind
            assert len(frame[frame["n"] % 50_000 == 0].compute()) == 5, kind
        workers = client.run(lambda: __import__("os").getpid())
        assert len(set(workers.values())) == 2
        frame = large.to_dask()
        store.clear()
        with pytest.raises(CacheError, match="no longer in the cache"):
            frame.compute()


def test_parts_are_of_whole_batches_of_enough_rows(monkeypatch):
    monkeypatch.setattr(to_dask, "PART_ROWS", 10)
    assert to_dask._parts([4, 4, 4, 20, 3]) == ([0, 3, 4], [3, 4, 5])
    assert to_dask._parts([]) == to_dask._parts([0]) == ([], [])


def test_columns_of_views_of_text_are_like_any_text(store):
    """Polars writes them so."""
    texts = ["a", None, "long enough to stand outside of the view"]
    results = keep(store, pa.table({"id": pa.array(texts, pa.string_view()), "outputs": texts}))
    assert results.to_arrow()["id"].to_pylist() == texts
    assert results.to_dask().compute()["id"].to_list()[::2] == texts[::2]
    assert [row["id"] for row in by_duckdb(results)] == texts
    assert results.table().results is results


def test_what_does_not_fit_into_memory_is_mapped_from_a_file(store, monkeypatch):
    size, rows = 1_000_000, 40
    monkeypatch.setattr(mapped_table, "HELD_BYTES", 10 * size)
    monkeypatch.setenv("MEM_LIMIT", str(rows * size))
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    results = keep(store, pa.table({"job-1": repeated}), unfold=False)
    before = pa.total_allocated_bytes()
    table = results.to_arrow()
    assert pa.total_allocated_bytes() - before < 5 * size
    assert table["outputs"].to_pylist() == ["x" * size] * rows
    assert results.to_pandas()["outputs"].str.len().eq(size).all()
    assert results.head(3).num_rows == 3


# --- wrong use --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [-1, "a", 1.5, None, True, b"3"])
def test_what_is_no_number_of_rows_is_refused_in_our_words(store, rows):
    with pytest.raises(ArgumentError, match=r"There are no .* first rows"):
        keep(store, pa.table({"outputs": ["a"]})).head(rows)


def test_integers_of_any_kind_are_numbers_of_rows(store):
    import numpy as np

    assert keep(store, pa.table({"outputs": ["a", "b"]})).head(np.int64(1)).num_rows == 1


@pytest.mark.parametrize("path", [None, 5, b"x.csv", ["x.csv"]])
def test_what_is_no_path_is_refused_in_our_words(store, path):
    with pytest.raises(ArgumentError, match=r"must be a string or a pathlib\.Path, not of type"):
        keep(store, pa.table({"outputs": ["a"]})).save(path)


@pytest.mark.parametrize("how", [pickle.dumps, copy.deepcopy])
def test_results_that_read_from_the_cache_say_that_they_are_not_pickled(session, how):
    computed = []
    for kind, results in kinds_of_results(session).items():
        if results.part == "errors":
            computed.append(results)
            continue
        with pytest.raises(ArgumentError, match="pickled") as refused:
            how(results)
        assert "r.to_arrow()" in refused.value.hint and "r.path" in refused.value.hint, kind
        assert copy.copy(results).columns == results.columns
    computed.append(Results.computed(pa.table({"n": [1]}), "a query", 0.0))
    assert len(computed) == 3
    for results in computed:  # whose rows are in memory
        again = copy.deepcopy(results) if how is copy.deepcopy else pickle.loads(how(results))
        assert again.to_arrow().equals(results.to_arrow())
