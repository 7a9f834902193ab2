"""`ResultsTable` without a browser: its messages, its traits, and what comes back to the `Results`."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa
import pytest

from sutro_magic.query.pages import Pages
from sutro_magic.results.sources import ResultsFile
from sutro_magic.ui import ResultsTable
from sutro_magic.ui.table.paged_table import PagedTable
from sutro_magic.ui.table.rows import PAGE_BYTES, detail, encode, page_lengths, pretty_json

pytestmark = pytest.mark.slow


class Asked:
    """A table whose answers are kept; there is no event loop here, so each is there at once."""

    def __init__(self, table):
        self.table = table
        self.sent = []
        table.send = lambda content, buffers=None: self.sent.append((content, buffers))

    def ask(self, kind, **content):
        self.table._handle_custom_msg({"kind": kind, "id": "1", **content}, [])
        assert self.sent, "no answer"
        return self.sent.pop()[0]


@pytest.fixture
def results(session):
    return session.results("job-demo-films")


@pytest.fixture
def asked(results):
    table = results.table()
    yield Asked(table)
    table.close()


def page(start=0, length=10, **query):
    return {"start": start, "length": length, "query": query}


def test_it_is_a_widget_like_any_other(results):
    import ipywidgets

    table = ResultsTable(results)
    box = ipywidgets.VBox([table])
    assert box.children == (table,)
    assert table.results is results
    assert (table.selected_rows, table.num_filtered) == ([], 10_000)
    assert "Ministry" not in repr(table)


def test_what_is_shown_and_ticked_comes_back_over_all_rows(asked, results):
    frame = results.to_pandas()
    assert results.filtered.num_rows == 10_000 and results.filtered.columns[0] == "_row"
    assert results.selected.num_rows == 0
    answer = asked.ask("page", **page(order=[[2, "desc"]], search="horror"))
    wanted = frame[frame.genre == "horror"].sort_values("year", ascending=False, kind="stable")
    assert answer["found"] == len(wanted) == asked.table.num_filtered
    assert [row[0] for row in answer["rows"]] == wanted.index[:10].tolist()
    assert results.filtered.to_pandas()["_row"].tolist() == wanted.index.tolist()
    assert results.filtered.to_pandas().drop(columns="_row").to_numpy().tolist() == wanted.to_numpy().tolist()
    asked.table.selected_rows = [9_999, 3, 3, -1, 10_000]
    assert asked.table.selected_rows == [3, 9_999]
    assert results.selected.to_arrow().column("_row").to_pylist() == [3, 9_999]
    assert results.selected.to_polars()["title"].to_list() == frame.title[[3, 9_999]].tolist()
    assert results.selected.to_duckdb().fetchall()[0][1] == frame.title[3]
    assert len(results.selected.to_dask()) == 2


def test_rows_picked_from_picked_rows_keep_their_place_in_the_job(session):
    errors = session.results("job-demo-broken").errors
    asked = Asked(errors.table())
    asked.table.selected_rows = [2]
    assert errors.selected.columns == errors.columns
    assert errors.selected.to_arrow().column("_row").to_pylist() == [
        errors.to_arrow().column("_row")[2].as_py()
    ]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"kind": "page", "start": 0, "length": 10, "query": {"order": [[77, "asc"]]}}, "invalid query"),
        ({"kind": "page", "start": "x", "length": 10}, "ValueError"),
        ({"kind": "place", "row": 10_000}, "There is no row 10,000"),
        ({"kind": "place", "row": 0, "query": {"search": "no such film"}}, "not among the rows found"),
        ({"kind": "bind", "name": "x", "as": "pandas"}, "binds no variables"),
    ],
)
def test_what_goes_wrong_is_said_in_the_table(asked, message, error):
    answer = asked.ask(message.pop("kind"), **message)
    assert error in answer["error"]
    assert asked.ask("page", **page())["found"] == 10_000


def test_nonsense_is_not_answered(asked):
    for content in ("x", None, {"kind": "close"}, {"kind": 5}, {}):
        asked.table._handle_custom_msg(content, [])
    assert asked.sent == []


def test_the_bundle_is_sent_once_to_a_page_and_is_no_state(asked):
    asked.table._handle_custom_msg({"kind": "bundle", "id": "1", "page": "one"}, [])
    asked.table._handle_custom_msg({"kind": "bundle", "id": "2", "page": "one"}, [])
    asked.table._handle_custom_msg({"kind": "bundle", "id": "3", "page": "two"}, [])
    assert [content["to"] for content, buffers in asked.sent if buffers] == ["1", "3"]
    state = json.dumps(asked.table.get_state(), default=str)
    assert len(state) < 70_000
    assert "<script" not in state and "<!--" not in state  # what breaks an exported page


def test_no_key_and_no_signed_address_is_in_the_state(asked, session):
    asked.ask("page", **page(search="horror"))
    asked.ask("prompts_size")
    state = json.dumps(asked.table.get_state(), default=str) + json.dumps(asked.sent, default=str)
    assert session.credentials.key.reveal() not in state
    assert "signature" not in state.lower()


def test_what_is_used_of_the_bundle_is_there():
    import gzip

    from sutro_magic.ui.table import datatables

    script, style = (gzip.decompress(part).decode() for part in datatables.packed())
    exports = script[script.rindex("export{") :]
    assert all(f" as {name}" in exports for name in datatables.EXPORTS)
    assert "serverSide" in script
    assert ".dt-container" in style


def test_closing_a_table_frees_its_memory(asked):
    asked.ask("page", **page(order=[[1, "asc"]]))
    pages = asked.table._pages
    assert pages._kept
    asked.table.close()
    assert not pages._kept and pages._table is None and pages._numbers is None


def test_prompts_are_offered_with_their_size_and_come(session):
    results = session.results("job-demo-reviews")
    asked = Asked(results.table())
    size = asked.ask("prompts_size")["said"]
    assert size.endswith("kB to fetch.")
    asked.table.selected_rows = [5]
    asked.ask("prompts")
    assert "inputs" in asked.table.results.columns
    assert asked.table.results.selected.num_rows == 1
    assert "inputs" in [column["name"] for column in asked.table._setup["columns"]]
    assert not asked.table._setup["prompts"]
    again = Asked(session.results("job-demo-reviews").table())
    assert again.ask("prompts_size")["said"] == "They are in the cache already."


def test_what_people_hold_follows_the_table_after_prompts_came_too(session):
    results = session.results("job-demo-reviews")
    asked = Asked(results.table())
    asked.table.selected_rows = [5]
    asked.ask("page", **page(search="a"))
    assert results.filtered.num_rows < 2_000
    asked.ask("prompts")
    assert results.filtered.num_rows == 2_000  # the table that came instead is not searched
    asked.table.selected_rows = [5, 7]
    found = asked.ask("page", **page(order=[[0, "desc"]]))
    for held in (results, asked.table.results):
        assert held.selected.to_arrow()["_row"].to_pylist() == [5, 7]
        assert held.filtered.to_arrow()["_row"].to_pylist()[:10] == [row[0] for row in found["rows"]]


def test_times_that_python_cannot_hold_are_shown_all_the_same():
    far = pa.array([2**62, 0, None, 1_500_000], pa.timestamp("us"))
    table = pa.table({"when": far, "inside": pa.StructArray.from_arrays([far], ["when"])})
    asked = Asked(PagedTable(Pages(lambda: table), table, num_rows=4))
    shown = [row[1] for row in asked.ask("page", **page())["rows"]]
    assert "4611686018427387904" in shown[0]
    assert shown[1:] == ["1970-01-01 00:00:00", None, "1970-01-01 00:00:01.500000"]
    detail = asked.ask("row", row=0)["values"]
    assert all("4611686018427387904" in value["text"] for value in detail)
    assert asked.ask("summary", column=0)["summary"]["lowest"] == "1970-01-01 00:00:00"


def test_a_table_whose_view_is_gone_lets_go_of_its_memory_and_goes_on(asked):
    first = asked.ask("page", **page(order=[[1, "asc"]]))
    pages = asked.table._pages
    asked.table._handle_custom_msg({"kind": "rest", "id": "2"}, [])
    assert asked.sent == [] and not pages._kept and pages._table is None and pages._numbers is None
    assert asked.ask("page", **page(order=[[1, "asc"]])) == first


@pytest.mark.parametrize(
    "cells",
    [
        [["\u6771" * 5_000] * 25] * 10, [['<"&' * 500] * 25] * 10, [['"\\' * 500] * 25] * 10, [["y" * 5_000] * 300] * 10, [[1 / 3] * 300] * 10,
    ],
)  # fmt: skip
def test_five_tables_add_less_than_a_megabyte_to_a_notebook_that_is_saved(cells):
    from sutro_magic.ui.render import views as words
    from sutro_magic.ui.render.static import TableView

    columns = [f"a column {i}" for i in range(len(cells[0]))]
    table = pa.table([pa.array(column) for column in zip(*cells, strict=True)], names=columns)
    widget = PagedTable(Pages(lambda: table), table, num_rows=10)
    view = TableView(columns=columns, rows=cells, total=10)
    saved = {
        "a": {"b": {"c": {"d": {"state": widget.get_state(), "output": words.mimebundle(view, html=True)}}}}
    }
    assert len(json.dumps(saved, default=str, ensure_ascii=False, indent=1).encode()) < 200_000


def test_a_widget_of_its_own_has_plain_rows_for_where_no_program_runs(results):
    data, _ = results.table()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "The Ministry of Naps" in data["text/html"] and "The Ministry of Naps" in data["text/plain"]
    assert "<style>" not in data["text/html"]  # which would hide what stands above it


def test_prompts_that_cannot_be_fetched_leave_the_table_as_it_was(session, demo):
    asked = Asked(session.results("job-demo-reviews").table())
    demo.set_fault("half_parquet")
    assert asked.ask("prompts")["error"]
    demo.clear_faults()
    assert asked.ask("page", **page())["found"] == 2_000


def test_itables_options_are_honoured(results, monkeypatch):
    from itables import options

    monkeypatch.setattr(options, "lengthMenu", [5, 20], raising=False)
    monkeypatch.setattr(options, "classes", "display compact mine")
    setup = ResultsTable(results)._setup
    assert setup["lengths"] == [5, 10, 20]
    assert "mine" in setup["classes"]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({f"c{i}": ["x" * 5_000] * 100 for i in range(8)}),
        pa.table({f"c{i}": ["\u6771" * 300] * 100 for i in range(20)}),
        pa.table({f"c{i}": [1.0 / 3] * 10 for i in range(300)}),
        pa.table({"a": ["y" * 100_000] * 1_000}),
        pa.table({"list": [[0.1] * 3_000] * 100}),
    ],
)
def test_a_page_is_small_whatever_it_holds(table):
    rows = table.slice(0, max(page_lengths(table.num_columns, [10, 25, 50, 100, 1_000])))
    found = encode(range(rows.num_rows), rows)
    assert len(found) == rows.num_rows
    assert len(json.dumps(found, ensure_ascii=False).encode()) <= PAGE_BYTES * 1.1


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,{"b":"x, {y"}],"c":{},"d":[],"n":1.50e3,"a":9007199254740993123}', "[]", "[[[]]]", '{"\\u0041\\"":null}', "[1,\n2 , 3]",
    ],
)  # fmt: skip
def test_json_is_laid_out_and_not_changed(text):
    def pairs(value):
        return json.loads(value, object_pairs_hook=list, parse_int=str, parse_float=str)

    assert pairs(pretty_json(text)) == pairs(text)


@pytest.mark.parametrize("text", ["", "x", "1", '"x"', "{", "[" * 100_000, '{"a": 1} x'])
def test_what_is_no_json_is_not_laid_out(text):
    assert pretty_json(text) is None


def test_a_large_raw_table_is_laid_out_beside_the_results_once(session, monkeypatch):
    monkeypatch.setattr(
        "sutro_magic.query.mapped_table.open_mapped.__kwdefaults__",
        {"small": 0, "on_rows": lambda _d, _t: None},
    )
    results = session.results("job-demo-greetings", inputs=True)
    source = results._source.file if hasattr(results._source, "file") else results._source
    assert isinstance(source, ResultsFile)
    table = source.mapped()
    laid_out = source.entry.folder / "raw.arrow"
    assert laid_out.stat().st_mode & 0o777 == 0o600
    written = laid_out.stat().st_mtime_ns
    assert source.mapped().equals(table) and table.equals(source.stored())
    assert laid_out.stat().st_mtime_ns == written
    assert session.cache.entries(session.credentials.identity)[0].table_size >= laid_out.stat().st_size
    laid_out.unlink()  # not over it: it is mapped
    laid_out.write_bytes(b"damaged")
    assert source.mapped().equals(table)
    assert (
        Pages(source.mapped).take([3, 1]).column("outputs").to_pylist()[1]
        == table.column("outputs")[1].as_py()
    )


def test_a_table_of_jobs_has_no_ticks_and_no_row_numbers():
    rows = pa.table({"job": ["a", "b"]})
    setup = PagedTable(Pages(lambda: rows), rows, num_rows=2, noun="job")._setup
    assert not setup["ticks"] and not setup["numbered"]


def test_durations_and_bytes_are_shown_to_their_last_digit():
    seconds = [0, -5, 86_399.7, 432_003, None]
    shown = ["0:00:00", "-0:00:05", "23:59:59.7", "5 days 0:00:03", None]
    micros = [None if value is None else round(value * 1e6) for value in seconds]
    table = pa.table(
        {"d": pa.array(micros, pa.duration("us")), "n": pa.array([1, -1, 0, None, 2], pa.duration("ns"))}
    )
    rows = encode(range(5), table)
    assert [row[1] for row in rows] == shown
    assert [row[2] for row in rows] == [
        "0:00:00.000000001",
        "-0:00:00.000000001",
        "0:00:00",
        None,
        "0:00:00.000000002",
    ]
    assert [detail(table.slice(i, 1))[0]["text"] for i in range(5)] == shown
    data = bytes(range(256)) * 400
    held = pa.table({"b": [data], "nested": [{"b": b"\xff\x00", "t": timedelta(seconds=1.5)}]})
    cut, nested = detail(held)
    assert cut["cut"] and data.hex(" ").startswith(cut["text"]) and len(cut["text"]) > 100_000
    assert detail(held, whole=0)[0]["text"] == data.hex(" ")
    assert json.loads(nested["text"]) == {"b": "ff 00", "t": "0:00:01.5"}
    assert encode([0], held)[0][1].endswith("… (102,400 bytes)")


def test_small_numbers_are_written_out_and_the_smallest_with_an_exponent():
    values = [1.4e-05, -6e-06, 1.25e-09, 5e-324, 1e16, 0.1]
    shown = ["0.000014", "-0.000006", "0.00000000125", "5e-324", "1e+16", "0.1"]
    rows = encode(range(6), pa.table({"x": values}))
    assert [row[1] for row in rows] == shown and [float(text) for text in shown] == values


def test_a_table_without_text_offers_no_search(session):
    vectors = ResultsTable(session.results("job-demo-vectors"))
    assert not vectors._setup["searchable"]
    assert ResultsTable(session.results("job-demo-films"))._setup["searchable"]


def test_two_tables_of_the_same_results_do_not_take_away_the_ticks_of_each_other(session):
    results = session.results("job-demo-films")
    first, second = ResultsTable(results), ResultsTable(results)
    first.selected_rows = [3, 5]
    asked = Asked(second)
    asked.ask("page", **page(search="horror"))
    second._bind = lambda name, part, _as_type: f"{name}: {part.num_rows}"
    assert asked.ask("bind", name="x", part="filtered", query={"search": "horror"}, **{"as": "pandas"})[
        "said"
    ]
    assert list(results.ticked) == [3, 5]
