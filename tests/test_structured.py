"""Unfolded results as a user meets them: when, which columns, in which types, kept where, for how long."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic.cache.store import RESULTS_FILE, TABLE_FILE, ResultsCache
from sutro_magic.errors import ArgumentError, CacheError, SutroError
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import Job, ResultsRequest
from sutro_magic.results import to_dask
from sutro_magic.results.handle import Results
from sutro_magic.structured import cached_table
from sutro_magic.structured import unfold as unfolding_module

ME = "0123456789abcdef0123456789abcdef"
CHUNK = unfolding_module.CHUNK_ROWS


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "store")


def put(store, outputs, schema=None, **columns):
    """Keep a job with these outputs, as a fetch would."""
    texts = [text if isinstance(text, str | None) else json.dumps(text) for text in outputs]
    data = {**columns, "outputs": pa.array(texts, pa.string())}
    with store.staging() as staged:
        pq.write_table(pa.table(data), staged / RESULTS_FILE)
        return store.commit(
            staged,
            identity=ME,
            request=ResultsRequest(job_id="job-1"),
            deployment="https://acme.example",
            table=CanonicalTable(num_rows=len(texts), columns=map_columns(list(data), "job-1")),
            job=Job(job_id="job-1", json_schema=schema),
        )


def ask(store, entry, unfold=None, **columns):
    request = ResultsRequest(job_id="job-1", **columns)
    return Results.of_entry(
        entry, request, cache=store, identity=ME, unfold=unfold, from_cache=True, seconds=0
    )


def of(store, outputs, schema=None, unfold=None, **columns):
    return ask(store, put(store, outputs, schema, **columns), unfold, inputs=True, logprobs=True)


def schema_of(**kinds):
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}


# --- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "schema", "unfolds"),
    [
        ([{"a": 1}, "text"], None, True),
        ([{"a": 1}, "text", "text"], None, False),
        ([{"a": 1}, None, None, None], None, True),
        (["text", "cut"], schema_of(a="integer"), True),
        (["text", {"a": 1}, "text"], {"type": "array"}, False),
        ([None, None], None, False),
        ([None, None], schema_of(a="integer"), True),
        ([], None, False),
        ([], schema_of(a="integer"), True),
        (["{not", "{json", "{}"], None, False),
        (["[1]", "2", "null"], None, False),
        ([{"a": 1, "b": 1e999}, {"a": 2}, "text", "text"], None, True),
    ],
)
def test_outputs_unfold_by_their_schema_or_if_half_of_them_are_objects(store, outputs, schema, unfolds):
    results = of(store, outputs, schema)
    assert ("outputs" in results.columns) != unfolds
    assert results.unfolding.unfolded == unfolds
    assert of(store, outputs, schema, unfold=False).columns == ["outputs"]
    something = schema is not None or any(outputs)
    assert ("outputs" not in of(store, outputs, schema, unfold=True).columns) == something


@pytest.mark.parametrize(
    ("outputs", "columns", "forced"),
    [
        ([{}, {}], {}, None),
        ([{}, None], {"id": [1, 2]}, None),
        ([{}, {}], {}, True),
        ([None, None], {}, True),
    ],
)
def test_objects_without_a_key_stay_as_they_are(store, outputs, columns, forced):
    results = of(store, outputs, unfold=forced, **columns)
    assert results.num_rows == results.to_arrow().num_rows == len(results.to_pandas()) == 2
    assert results.to_duckdb().fetchall() == [tuple(row.values()) for row in results.to_arrow().to_pylist()]
    assert results.columns == [*columns, "outputs"] and results.unfolding.reason == "they have no keys"
    again = of(store, [*outputs, {"a": 1}], unfold=forced, **{name: [1, 2, 3] for name in columns})
    assert again.columns == [*columns, "a"]


@pytest.mark.slow
def test_all_rows_count_and_not_only_the_first(store):
    texts, objects = ["some text"] * (CHUNK + 10), [{"a": 1}] * (CHUNK + 20)
    assert of(store, texts + objects).unfolding.objects == CHUNK + 20
    assert of(store, texts + objects).columns == ["a", "_raw", "_error"]
    results = of(store, objects[5:] + texts)
    assert results.columns == ["a", "_raw", "_error"]
    assert of(store, objects[:CHUNK] + texts).columns == ["outputs"]


def test_text_says_how_many_objects_are_in_it_and_unfolds_when_told_to(store):
    entry = put(store, [{"a": 1}, "x", "y", None])
    found = ask(store, entry).unfolding
    assert (found.unfolded, found.objects, found.nulls, found.rows) == (False, 1, 1, 4)
    assert ask(store, entry, unfold=True).to_arrow()["a"].to_pylist() == [1, None, None, None]
    assert ask(store, entry).columns == ["outputs"], "another request is not bound by that"
    assert ask(store, entry, unfold=True).errors.num_rows == 2


def test_lists_as_outputs_stay_lists(session):
    for unfold in (None, True, False):
        results = session.results("job-demo-vectors", unfold=unfold)
        assert results.columns == ["outputs"] and len(results.to_arrow()["outputs"][0]) == 8
        assert results.errors.num_rows == 0


@pytest.mark.slow
def test_too_many_keys_are_no_columns(store, monkeypatch):
    results = of(store, [{f"key {i}": i} for i in range(1_500)])
    assert results.columns == ["outputs"]
    assert "more than 1,000 different keys" in results.unfolding.reason
    monkeypatch.setattr(unfolding_module, "CHUNK_ROWS", 1_000)
    more_and_more = [{"a": 1}] * 2_000
    for place in (11, 1_511):  # each in a chunk of its own, and in no sample
        more_and_more[place] = {f"key {place} {i}": i for i in range(600)}
    assert of(store, more_and_more).columns == ["outputs"]
    many = of(store, [{f"key {i}": i for i in range(900)}] * 3)
    assert len(many.columns) == 900


# --- which columns ----------------------------------------------------------------------------


def test_columns_stand_in_one_order_and_only_those_asked_for(store):
    rows = {"id": [7], "inputs": ["in"], "cumulative_logprobs": [-0.5], "confidence_score": [0.9]}
    entry = put(store, [{"b": 1, "a": 2}], **rows)
    names = ["id", "inputs", "b", "a", "cumulative_logprobs", "confidence_score"]
    assert ask(store, entry, inputs=True, logprobs=True).columns == names
    assert ask(store, entry).columns == ["id", "b", "a", "confidence_score"]
    assert ask(store, entry).to_arrow().schema.names == ["id", "b", "a", "confidence_score"]
    entry = put(store, [{"b": 1}, "cut"], schema_of(a="integer", b="integer"))
    assert ask(store, entry).columns == ["a", "b", "_raw", "_error"]


def test_a_declared_column_is_there_and_has_its_type_even_if_nobody_filled_it(store):
    schema = schema_of(n="integer", x="number", t="string", f="boolean")
    results = of(store, [{}, {"more": "yes"}], schema)
    assert results.schema == pa.schema(
        [("n", pa.int64()), ("x", pa.float64()), ("t", pa.string()), ("f", pa.bool_()), ("more", pa.string())]
    )


def test_no_name_is_lost_or_taken_twice(store):
    fields = [
        "inputs", "outputs", "cumulative_logprobs", "confidence_score", "_raw", "_error", "_row", "id", "output.inputs",
        "output.id", "", "a.b", 'q"uote', "line\nbreak", "é", "content", "Name", "name",
    ]  # fmt: skip
    value = {name: number for number, name in enumerate(fields)}
    results = of(store, [value], id=["7"], _raw=["carried"])
    row = results.to_arrow().to_pylist()[0]
    assert row.pop("id") == "7" and row.pop("_raw.carried") == "carried"
    assert list(row.values()) == list(range(len(fields)))
    taken = {"inputs": "output.inputs.2", "id": "output.id.2"}
    prefixed = {"outputs", "cumulative_logprobs", "confidence_score", "_raw", "_error", "_row"}
    assert list(row) == [taken.get(name, f"output.{name}" if name in prefixed else name) for name in fields]
    assert results.to_pandas().shape == results.to_polars().shape == (1, len(fields) + 2)
    assert len(results.to_duckdb().fetchall()[0]) == len(fields) + 2


# --- reasoning --------------------------------------------------------------------------------


def envelope(content, reasoning="why"):
    return {"content": content, "reasoning_content": reasoning}


def test_fields_of_the_content_come_before_the_reasoning(store):
    results = of(store, [envelope({"fruit": "plum"}), envelope('{"fruit": "fig"}', None)])
    assert results.to_arrow().to_pydict() == {"fruit": ["plum", "fig"], "reasoning_content": ["why", None]}


def test_plain_content_is_a_column(store):
    results = of(store, [envelope("owl"), envelope('{"answer": "owl"}'), envelope("cat")])
    assert results.to_arrow()["content"].to_pylist() == ["owl", '{"answer": "owl"}', "cat"]
    assert results.columns == ["content", "reasoning_content"]


def test_a_schema_that_declares_both_names_describes_data(store):
    results = of(
        store, [envelope("a")], schema_of(content="string", reasoning_content="string", more="integer")
    )
    assert results.columns == ["content", "reasoning_content", "more"]


def test_the_schema_is_one_of_the_content(store):
    outputs = [envelope({"n": 1}), envelope({"n": "one"}), envelope('{"n": 3}'), envelope(None), {"n": 4}]
    results = of(store, outputs, schema_of(n="integer"))
    assert results.to_arrow()["n"].to_pylist() == [1, None, 3, None, None]
    assert results.errors.to_arrow()["_row"].to_pylist() == [1, 3, 4]


def test_an_inner_field_called_like_the_reasoning_gives_way(store):
    results = of(store, [envelope({"reasoning_content": "inner", "id": 1})], id=["7"])
    row = {"id": "7", "output.reasoning_content": "inner", "output.id": 1, "reasoning_content": "why"}
    assert results.to_arrow().to_pylist() == [row]


@pytest.mark.slow
def test_what_only_the_first_rows_look_like_does_not_decide(store, monkeypatch):
    monkeypatch.setattr(unfolding_module, "CHUNK_ROWS", 300)
    objects, plain, no_envelopes = [envelope({"n": 1})] * 300, [envelope("text")] * 700, [{"n": 1}] * 700
    results = of(store, objects + plain)
    assert (results.columns, results.unfolding.failed) == (["content", "reasoning_content"], 0)
    results = of(store, objects + no_envelopes)
    assert (results.columns, results.unfolding.failed) == (["content", "reasoning_content", "n"], 0)
    results = of(store, objects * 3 + plain)
    assert (results.unfolding.failed, results.errors.num_rows) == (700, 700)


# --- errors -----------------------------------------------------------------------------------


def test_errors_are_results_with_their_places(store):
    outputs = [{"a": 1}, "cut {", None, {"a": 2}, "[1]"]
    results = of(store, outputs, inputs=list("vwxyz"), id=[10, 11, 12, 13, 14])
    assert results.errors.to_arrow().to_pydict() == {
        "_row": [1, 4],
        "id": [11, 14],
        "inputs": ["w", "z"],
        "_raw": ["cut {", "[1]"],
        "_error": ["not JSON", "an array, not an object"],
    }
    for frame in (
        results.errors.to_pandas(),
        results.errors.to_polars(),
        results.errors.to_dask(),
        results.errors.to_duckdb(),
    ):
        assert len(frame) == 2
    assert results.errors.job_id == "job-1" and results.errors.raw.num_rows == 2
    assert results.to_arrow()["_error"].null_count == 3
    with pytest.raises(ArgumentError) as error:
        _ = results.errors.path
    assert ".to_pandas()" in error.value.hint


def test_raw_has_the_texts_and_knows_a_missing_key_from_null(store):
    results = of(store, ['{"a":1}', '{"a": null}', "{}"])
    assert results.to_arrow()["a"].to_pylist() == [1, None, None]
    assert results.raw.to_arrow()["outputs"].to_pylist() == ['{"a":1}', '{"a": null}', "{}"]
    assert results.raw.to_arrow() == of(store, ['{"a":1}', '{"a": null}', "{}"], unfold=False).to_arrow()
    assert results.raw.unfolding is None and results.raw.errors.num_rows == 0


# --- types ------------------------------------------------------------------------------------

TYPED = [
    {"t": "x", "i": 1, "ni": 2, "f": 0.5, "nf": 1, "b": True, "nb": False, "l": [1], "o": {"k": "v"}, "big": 2**64, "mix": 1},
    {"t": None, "i": -(2**63), "ni": None, "f": 1, "nf": None, "b": False, "nb": None, "l": [], "o": None, "big": 1, "mix": "1"},
]  # fmt: skip


def test_types_in_pandas_are_those_that_keep_every_value(store):
    frame = of(store, TYPED).to_pandas()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "t": "str", "i": "int64", "ni": "Int64", "f": "float64", "nf": "Int64", "b": "bool", "nb": "boolean",
        "l": "list<item: int64>[pyarrow]", "o": "struct<k: string>[pyarrow]", "big": "decimal128(38, 0)[pyarrow]", "mix": "str",
    }  # fmt: skip
    assert frame["big"].tolist() == [Decimal(2**64), 1] and frame["mix"].tolist() == ["1", '"1"']
    assert frame["i"][1] == -(2**63) and frame["ni"].isna().tolist() == [False, True]


@pytest.mark.parametrize("job", ["job-demo-museum", "job-demo-broken", "job-demo-films", "job-demo-puzzles"])
def test_every_type_holds_the_same_values(session, job):
    results = session.results(job, inputs=True, logprobs=True)
    rows = results.to_arrow().to_pylist()
    assert [dict(zip(results.columns, row, strict=True)) for row in results.to_duckdb().fetchall()] == rows
    assert results.to_polars().to_dicts() == rows
    for frame in (results.to_pandas(), results.to_dask().compute()):
        assert list(frame.columns) == results.columns
        assert pa.Table.from_pandas(frame, schema=results.schema, preserve_index=False).to_pylist() == rows
    assert pa.Table.from_batches(results.to_batches(7), results.schema).to_pylist() == rows
    assert results.head(3).to_pylist() == rows[:3]


def test_dask_reads_in_parts_with_one_index(store, monkeypatch):
    monkeypatch.setattr(to_dask, "PART_ROWS", CHUNK)
    rows = [{"n": i} for i in range(CHUNK + 5)]
    frame = of(store, rows).to_dask()
    assert frame.npartitions == 2
    assert frame["n"].sum().compute() == sum(range(CHUNK + 5))
    assert frame.compute().index.equals(of(store, rows).to_pandas().index)


def test_a_frame_can_be_written_to_and_outlives_the_cache(session):
    results = session.results("job-demo-museum")
    frame, before = results.to_pandas(), results.to_polars().to_dicts()
    session.cache.clear()
    frame.loc[0, "title"] = "mine"
    frame.loc[0, "on_display"] = not frame["on_display"][0]
    frame["new"] = range(len(frame))
    assert frame["title"].tolist()[1:] == [row["title"] for row in before[1:]]
    assert results.to_polars().to_dicts() == before, "what is in hand stays"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ({"a": 0.5}, pa.float64()),
        ({"a": 2**53 + 1}, pa.int64()),
        ({"a": 2**64}, pa.decimal128(38, 0)),
        ({"a": "one"}, pa.string()),
        ({"a": True}, pa.string()),
        ({"a": None}, pa.int64()),
        ({"new": 1}, pa.int64()),
        ({"a": [1]}, pa.string()),
    ],
)
def test_a_last_row_that_widens_a_column_changes_no_earlier_one(store, last, kind):
    count = CHUNK * 2 + 10
    results = of(
        store, [*({"a": i, "l": [], "n": None} for i in range(count)), last | {"l": ["x"], "n": "late"}]
    )
    table = results.to_arrow()
    assert table.schema.field("a").type == kind
    values = table["a"].to_pylist()
    read = [json.loads(value) for value in values[:-1]] if kind == pa.string() else values[:-1]
    assert read == list(range(count))
    for name, value in last.items():
        found = table[name].to_pylist()[-1]
        assert (json.loads(found) if kind == pa.string() else found) == value
    assert table["l"].to_pylist() == [[]] * count + [["x"]]
    assert table["n"].to_pylist() == [None] * count + ["late"]


def test_texts_become_json_text_when_the_last_row_is_none(store):
    results = of(store, [*({"s": "x"} for _ in range(CHUNK + 1)), {"s": 1}])
    assert results.to_arrow()["s"].to_pylist() == ['"x"'] * (CHUNK + 1) + ["1"]


def test_floats_and_integers_that_are_exact_in_no_common_type_stay_text(store):
    results = of(store, [*({"a": 2**53 + i} for i in range(CHUNK + 1)), {"a": 0.5}])
    assert [json.loads(text) for text in results.to_arrow()["a"].to_pylist()][-3:] == [
        2**53 + CHUNK - 1,
        2**53 + CHUNK,
        0.5,
    ]
    assert "`a` stays JSON text" in results.unfolding.notes[0]
    small = [{"a": i} for i in range(CHUNK)]
    small[5] = {"a": 2**53 + 1}  # among so many small ones that no sample has it
    assert json.loads(of(store, [*small, {"a": 0.5}]).to_arrow()["a"][5].as_py()) == 2**53 + 1


# --- kept -------------------------------------------------------------------------------------


def test_the_second_look_decodes_nothing(store, monkeypatch):
    entry = put(store, [{"a": 1}, "cut"])
    first = ask(store, entry).to_arrow()
    monkeypatch.setattr(cached_table, "unfold", None)
    again = ask(store, entry)
    assert again.to_arrow() == first and again.unfolding.failed == 1
    assert (entry.folder / TABLE_FILE).stat().st_mode & 0o777 == 0o600
    text = put(store, ["text"])
    monkeypatch.undo()
    assert ask(store, text).columns == ["outputs"]
    monkeypatch.setattr(cached_table, "unfold", None)
    assert ask(store, text).columns == ["outputs"], "that there is nothing to unfold is remembered too"


@pytest.mark.parametrize("file", [TABLE_FILE, cached_table.NOTE_FILE])
@pytest.mark.parametrize("harm", ["gone", "cut", "empty", "other", "noise"])
def test_a_table_that_is_not_what_it_was_is_made_again(store, file, harm):
    other = put(store, [{"a": "other"}, {"a": "rows"}])
    ask(store, other).prepare()
    foreign = (other.folder / file).read_bytes()
    entry = put(store, [{"a": 1}, {"a": 2}])
    before = ask(store, entry).to_arrow()
    path = entry.folder / file
    data = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(
            {"cut": data[: len(data) // 2], "empty": b"", "other": foreign, "noise": b"\x00" * len(data)}[
                harm
            ]
        )
    assert ask(store, entry).to_arrow() == before


def test_results_that_were_fetched_anew_never_meet_the_old_table(store):
    old = ask(store, put(store, [{"a": 1}]))
    assert old.to_arrow()["a"].to_pylist() == [1]
    new = ask(store, put(store, [{"a": 2}]))
    assert new.to_arrow()["a"].to_pylist() == [2]
    assert old.to_arrow()["a"].to_pylist() == [1], "what is in hand stays"


@pytest.mark.slow
def test_results_that_are_gone_say_so(store):
    results = of(store, [{"a": 1}])
    store.clear()
    with pytest.raises(CacheError, match="no longer in the cache") as error:
        results.to_pandas()
    assert 'session.results("job-1")' in error.value.hint


@pytest.mark.slow
def test_many_may_unfold_the_same_at_once(store):
    entry = put(store, [{"a": i} for i in range(CHUNK * 2)])
    sums = []

    def read():
        sums.append(sum(ask(store, entry).to_arrow()["a"].to_pylist()))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(CHUNK * 2))] * 6
    assert list((store.directory / "staging").iterdir()) == []


def test_where_the_cache_cannot_be_written_the_table_lives_elsewhere(store, tmp_path):
    entry = put(store, [{"a": 1}])
    blocked = ResultsCache(tmp_path / "store")
    (tmp_path / "store" / "staging").rmdir()
    (tmp_path / "store" / "staging").write_text("no folder")
    results = ask(blocked, entry)
    assert results.to_arrow()["a"].to_pylist() == [1]
    assert len(results.to_dask()) == 1
    assert not (entry.folder / TABLE_FILE).exists()


def test_an_interrupt_leaves_nothing_behind_and_the_next_try_works(store):
    entry = put(store, [{"a": i} for i in range(CHUNK * 3)])
    results = ask(store, entry)
    before = set(threading.enumerate())

    def interrupt(done, _total):
        if done > CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.prepare(interrupt)
    assert list((store.directory / "staging").iterdir()) == []
    assert not (entry.folder / TABLE_FILE).exists()
    seen = []
    results.prepare(lambda done, total: seen.append((done, total)))
    assert seen[-1] == (CHUNK * 3, CHUNK * 3)
    assert results.to_arrow()["a"].to_pylist() == list(range(CHUNK * 3))
    assert set(threading.enumerate()) <= before


def test_a_damaged_results_file_is_one_clear_error(store):
    entry = put(store, [{"a": 1}] * 1_000)
    data = entry.path.read_bytes()
    entry.path.write_bytes(data[:40] + b"\xff" * 40 + data[80:])
    with pytest.raises(SutroError, match=r"damaged|cannot be read"):
        ask(store, entry).to_pandas()


def test_long_texts_are_decoded_a_few_at_a_time(store, monkeypatch):
    monkeypatch.setattr(unfolding_module, "CHUNK_BYTES", 100_000)
    outputs = [{"a": "x" * 10_000, "n": i} for i in range(300)]
    results = of(store, outputs)
    assert results.to_arrow()["n"].to_pylist() == list(range(300))
    assert max(len(batch) for batch in results.to_batches()) < 60
