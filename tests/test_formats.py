"""Bodies of the wire -> canonical Parquet: what a user gets, and what a user is told."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_tables import read_table

from sutro_magic import limits
from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError
from sutro_magic.formats import csv as csv_module
from sutro_magic.formats import json as json_module
from sutro_magic.formats import normalize, writer
from sutro_magic.formats.columns import map_columns
from sutro_magic.formats.normalize import BodyKind, CanonicalTable, canonicalize, sniff
from sutro_magic.models import ResultsRequest

JOB = "job-4f2a"


class Bench:
    """Makes bodies and reads them back."""

    def __init__(self, folder):
        self.body = folder / "body"
        self.target = folder / "results.parquet"

    def parquet(self, table, **options):
        pq.write_table(pa.table(table) if isinstance(table, dict) else table, self.body, **options)
        return self

    def csv(self, content, name="results.csv", method=zipfile.ZIP_DEFLATED):
        data = content if isinstance(content, bytes) else content.encode()
        return self.zip({name: data}, method)

    def zip(self, members, method=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(self.body, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return self

    def json(self, value):
        return self.bytes(value if isinstance(value, str) else json.dumps(value))

    def bytes(self, data):
        self.body.write_bytes(data if isinstance(data, bytes) else data.encode())
        return self

    def canonicalize(self, *, expected_rows=None, **asked):
        return canonicalize(
            self.body, self.target, request=ResultsRequest(job_id=JOB, **asked), expected_rows=expected_rows
        )

    def read(self, *, expected_rows=None, inputs=False, logprobs=False):
        table = self.canonicalize(expected_rows=expected_rows, inputs=inputs, logprobs=logprobs)
        return read_table(self.target, table, inputs=inputs, logprobs=logprobs)

    def rows(self, **asked):
        return self.read(**asked).to_pydict()

    def outputs(self):
        return self.read().column("outputs").to_pylist()

    def refusal(self, kind=CorruptResultsError, **asked):
        with pytest.raises(kind) as caught:
            self.canonicalize(**asked)
        assert not self.target.exists()
        assert caught.value.hint
        return caught.value


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# --- what a body is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04rest", BodyKind.ZIP),
        (b"PK\x05\x06" + bytes(18), BodyKind.ZIP),
        (b"PAR1rest", BodyKind.PARQUET),
        (b'{"outputs": []}', BodyKind.JSON),
        (b"\xef\xbb\xbf \r\n\t{}", BodyKind.JSON),
        (b"[]", BodyKind.JSON),
        (b"\n <!doctype html>", BodyKind.HTML),
        (b"", BodyKind.EMPTY),
        (b" \n", BodyKind.EMPTY),
        (b"Not Found", BodyKind.UNKNOWN),
        (b"\x1f\x8b\x08", BodyKind.UNKNOWN),
    ],
)
def test_sniff(tmp_path, data, kind):
    path = tmp_path / "body"
    path.write_bytes(data)
    assert sniff(path) is kind


def test_a_web_page_is_named_by_a_short_printable_title(bench):
    bench.bytes(f"<html><title>\x1b[31mSign   in &amp; {'x' * 500}</title><body>secret</body>")
    message = bench.refusal().message
    assert 'a web page titled "[31mSign in & xxx' in message
    assert "\x1b" not in message and "secret" not in message and len(message) < 150


def test_empty_and_unknown_bodies_are_refused_without_echo(bench):
    assert "empty body" in bench.bytes(b"").refusal().message
    refusal = bench.bytes(b"token=abc123").refusal()
    assert "neither Parquet nor a ZIP archive nor JSON" in refusal.message and "abc123" not in str(refusal)
    assert f'session.results("{JOB}", refresh=True)' in refusal.hint


def test_content_counts_not_the_format_asked_for(bench):
    bench.parquet({JOB: ["a"]})
    table = bench.canonicalize(format="csv")
    assert read_table(bench.target, table, inputs=False, logprobs=False).to_pydict() == {"outputs": ["a"]}


# --- names and order ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [JOB, "outputs", f"{JOB} outputs", f"{JOB}_outputs", "inference_result", "answer"]
)
def test_the_outputs_column_may_have_any_of_its_names(bench, name):
    assert bench.parquet({"inputs": ["q"], name: ["a"]}).rows() == {"outputs": ["a"]}
    assert bench.csv(f"inputs,{name}\nq,a\n").rows() == {"outputs": ["a"]}
    assert bench.json({"inputs": ["q"], name: ["a"]}).rows() == {"outputs": ["a"]}


def test_columns_come_in_canonical_order(bench):
    bench.parquet(
        {
            "confidence_score": [1],
            JOB: ["a"],
            "z": [1],
            "cumulative_logprobs": [-1.5],
            "inputs": ["q"],
            "b": ["c"],
        }
    )
    table = bench.read(inputs=True, logprobs=True)
    assert table.column_names == ["z", "b", "inputs", "outputs", "cumulative_logprobs", "confidence_score"]
    assert table.schema.field("confidence_score").type == pa.float64()


def test_columns_not_asked_for_are_known_but_not_shown(bench):
    table = bench.parquet({"inputs": ["q"], JOB: ["a"], "cumulative_logprobs": [-1.5]}).canonicalize()
    assert table.has_inputs and table.has_logprobs and not table.has_carried
    assert normalize.read_schema(bench.target, table, inputs=False, logprobs=True).names == [
        "outputs",
        "cumulative_logprobs",
    ]
    assert read_table(bench.target, table, inputs=True, logprobs=False).column_names == [
        "inputs",
        "outputs",
    ]


def test_outputs_next_to_the_job_id_column_is_carried_under_another_name(bench):
    rows = {"outputs": ["mine"], JOB: ["a"], "outputs.carried": ["x"]}
    expected = {"outputs.carried": ["mine"], "outputs.carried.2": ["x"], "outputs": ["a"]}
    assert bench.parquet(rows).rows() == expected
    assert bench.json(rows).rows() == expected
    assert bench.csv(f"outputs,{JOB},outputs.carried\nmine,a,x\n").rows() == expected


def test_columns_of_one_name_are_all_kept(bench):
    columns = [("id", ["1"]), (JOB, ["a"]), ("id", ["2"]), ("inputs", ["q"]), ("inputs", ["r"])]
    wire = pa.Table.from_arrays([pa.array(v) for _, v in columns], names=[n for n, _ in columns])
    expected = {"id": ["1"], "id.2": ["2"], "inputs.carried": ["r"], "inputs": ["q"], "outputs": ["a"]}
    assert bench.parquet(wire).rows(inputs=True) == expected
    assert bench.csv(f"id,{JOB},id,inputs,inputs\n1,a,2,q,r\n").rows(inputs=True) == expected
    assert "`id` more than once" in bench.json('{"outputs": ["a"], "id": [1], "id": [2]}').refusal().message


def test_a_name_that_begins_another_name_reads_only_its_own_column(bench):
    wire = {"outputs": ["a"], "outputs.x": ["b"], "inputs": ["q"], "a": [{"b": 1}], "a.b": [2]}
    assert bench.parquet(wire).rows() == {"outputs.x": ["b"], "a": [{"b": 1}], "a.b": [2], "outputs": ["a"]}


def test_a_nameless_column_gets_a_name(bench):
    assert bench.csv(f",{JOB}\n0,a\n").rows() == {"column_1": ["0"], "outputs": ["a"]}


def test_plural_confidence_is_confidence(bench):
    assert bench.json({"outputs": ["a"], "confidence_scores": [1]}).rows() == {
        "outputs": ["a"],
        "confidence_score": [1.0],
    }


def test_pandas_row_labels_are_no_column(bench):
    import pandas as pd

    frame = pd.DataFrame({"id": ["x", "y"], JOB: ["a", None]}, index=[7, 9])
    frame.to_parquet(bench.body)
    table = bench.read()
    assert table.to_pydict() == {"id": ["x", "y"], "outputs": ["a", None]}
    assert table.schema.metadata is None


def test_when_the_outputs_cannot_be_told_nothing_is_guessed(bench):
    assert "2 other columns" in bench.parquet({"a": ["x"], "b": ["y"]}).refusal().message
    assert "No column holds outputs" in bench.parquet({"inputs": ["x"]}).refusal().message


@pytest.mark.parametrize(("asked", "column"), [("inputs", "inputs"), ("logprobs", "cumulative_logprobs")])
def test_asked_for_but_not_sent(bench, asked, column):
    for body in (
        lambda: bench.parquet({JOB: ["a"]}),
        lambda: bench.csv(f"{JOB}\na\n"),
        lambda: bench.json({"outputs": ["a"]}),
    ):
        refusal = body().refusal(**{asked: True})
        assert f"`{column}`" in refusal.message and f"Leave out {asked}=True" in refusal.hint


def test_row_count_must_be_that_of_the_job(bench):
    for body in (bench.parquet, bench.json):
        message = body({"outputs": ["a", "b"]}).refusal(expected_rows=1000).message
        assert message == "The job has 1,000 rows, the body has 2."
    assert "has 2" in bench.csv("outputs\na\nb\n").refusal(expected_rows=3).message
    assert bench.json({"outputs": []}).read(expected_rows=0).num_rows == 0


def test_no_rows(bench):
    for body in (
        lambda: bench.parquet(
            {JOB: pa.array([], pa.string()), "cumulative_logprobs": pa.array([], pa.float64())}
        ),
        lambda: bench.csv(f"{JOB},cumulative_logprobs"),
        lambda: bench.csv(f"{JOB},cumulative_logprobs\r\n"),
        lambda: bench.json({"outputs": [], "cumulative_logprobs": []}),
    ):
        table = body().read(logprobs=True)
        assert table.num_rows == 0
        assert table.schema == pa.schema([("outputs", pa.string()), ("cumulative_logprobs", pa.float64())])


def test_the_description_survives_json(bench):
    table = bench.parquet({"id": [1], JOB: ["a"]}).canonicalize()
    assert CanonicalTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    good = table.to_json()
    column = good["columns"][0]
    for bad in (
        None, [], {}, {**good, "num_rows": -1}, {**good, "num_rows": "2"}, {**good, "columns": None},
        {**good, "columns": [None]}, {**good, "columns": []}, {**good, "columns": [{**column, "kind": "outputs?"}]},
        {**good, "columns": [*good["columns"], column]}, {**good, "columns": [{**column, "extra": 1}]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not the description"):
            CanonicalTable.from_json(bad)


# --- CSV ----------------------------------------------------------------------------------------


def test_the_documented_csv(bench):
    bench.csv(
        'inputs,job-4f2a,cumulative_logprobs\n"Name a red fruit","Strawberry",-0.31\n'
        '"Write two lines","First line\nsecond line, with a comma",-2.75\n'
    )
    assert bench.rows(inputs=True, logprobs=True) == {
        "inputs": ["Name a red fruit", "Write two lines"],
        "outputs": ["Strawberry", "First line\nsecond line, with a comma"],
        "cumulative_logprobs": [-0.31, -2.75],
    }


@pytest.mark.parametrize(
    ("rows", "outputs"),
    [
        ("NA\nnull\n007\n1e5\nTrue\nnan\n", ["NA", "null", "007", "1e5", "True", "nan"]),
        ('""\n\nx\n', ["", None, "x"]),
        ("\nx\n\n\n", [None, "x", None, None]),
        ("x\r\n\r\ny\r\n\r\n", ["x\r", "\r", "y\r", "\r"]),
        (" x \n\tx\n", [" x ", "\tx"]),
        ('"a\rb"\n"\r"\n"\r\n"\n"a\nb"\n', ["a\rb", "\r", "\r\n", "a\nb"]),
        ("a\rb\n\r\nc\r\n", ["a\rb", "\r", "c\r"]),
        ('"say ""hi"""\n""""\n', ['say "hi"', '"']),
        ("x\x00y\n\x01\n", ["x\x00y", "\x01"]),
        ("\ufeffx\n\u202eabc\n😀\n", ["\ufeffx", "\u202eabc", "😀"]),
        ("no newline at the end", ["no newline at the end"]),
        ('"quoted, no newline at the end"', ["quoted, no newline at the end"]),
        ("back\\slash\\\n", ["back\\slash\\"]),
    ],
)
def test_csv_text_is_never_guessed_at(bench, rows, outputs):
    assert bench.csv(f"{JOB}\n{rows}").outputs() == outputs
    quoted = bench.csv(f'\ufeff"{JOB}"\n{rows}')
    assert quoted.outputs() == outputs


def test_csv_with_dos_line_ends(bench):
    bench.csv(f'{JOB},id\r\n"x\r\ny",1\r\na\rb,2\r\n,""\r\n"z",4')
    assert bench.rows() == {"id": ["1", "2", "", "4"], "outputs": ["x\r\ny", "a\rb", None, "z"]}


def test_csv_numbers(bench):
    bench.csv(f'{JOB},cumulative_logprobs\na,-0.5\nb,\nc,""\nd,1e-3\ne, 2 \n')
    assert bench.rows(logprobs=True)["cumulative_logprobs"] == [-0.5, None, None, 0.001, 2.0]
    refusal = bench.csv(f"{JOB},cumulative_logprobs\na,-0.5\nb,private\n").refusal()
    assert "`cumulative_logprobs`" in refusal.message and "row 2" in refusal.message
    assert "private" not in str(refusal)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("outputs,id\na,1\nb\n", "Row 2 of the CSV has 1 fields, its header has 2"),
        ("outputs,id\na,1\nb,2,3\n", "Row 2 of the CSV has 3 fields, its header has 2"),
        ("outputs,id\na,1\n\nb,2\n", "blank line where 2 fields"),
        ("outputs,id\n\na,1\n", "blank line where 2 fields"),
        ('outputs\na\n"b\n', "inside a quoted cell"),
        ('outputs\na\n"b', "inside a quoted cell"),
        ('outputs\na\n"', "inside a quoted cell"),
        ('outputs\na\n"b""', "inside a quoted cell"),
        ('outputs,id\na,"b\n', "CSV"),
        (b"outputs\na\n\xff\n", "not UTF-8"),
        (b"outputs\na\xc3", "not UTF-8"),
        (b"\xffutputs\na\n", "column names"),
        ("", "column names"),
        ("\noutputs\na\n", "column names"),
        ('"outputs\na\n', "column names"),
        ("outputs\ra\rb\r", "column names"),
    ],
)
def test_csv_that_is_cut_or_crooked_is_refused(bench, content, words):
    refusal = bench.csv(content).refusal()
    assert words in refusal.message
    assert 'format="parquet"' in refusal.hint


@pytest.mark.slow
@pytest.mark.parametrize("header", ["x" * (2 << 20), '"' + "\n" * (6 << 20), "x\r" * (1 << 20)])
def test_a_header_without_end_is_refused_at_once(bench, header):
    assert "column names" in bench.csv(header).refusal().message


def test_all_null_rows_are_no_blank_lines(bench):
    assert bench.csv('outputs,id\n,\n"x\n\ny",\n,\n').rows() == {
        "id": [None] * 3,
        "outputs": [None, "x\n\ny", None],
    }


def test_csv_errors_do_not_quote_the_row(bench):
    assert "private" not in str(bench.csv("outputs,id\nprivate\n").refusal())


@pytest.mark.slow
def test_csv_rows_across_chunks(bench, monkeypatch):
    cells = ["a", "x\r\ny", "", 'say "hi"', "\r", "\n\n", "z" * 100, '"', ",", "é😀", "\r\n", None]
    quoted = ["" if c is None else '"' + c.replace('"', '""') + '"' for c in cells]
    for newline in ("\n", "\r\n"):
        body = newline.join([JOB, *quoted * 3]) + newline
        for chunk in range(1, 40):
            monkeypatch.setattr(csv_module, "CHUNK_BYTES", chunk)
            assert bench.csv(body).outputs() == cells * 3


def test_a_cell_of_many_chunks(bench, monkeypatch):
    monkeypatch.setattr(csv_module, "CHUNK_BYTES", 1 << 10)
    giant = 'line "one"\r\n' * 200_000
    bench.csv(f'{JOB}\nx\n"{giant.replace(chr(34), chr(34) * 2)}"\ny\n')
    assert bench.outputs() == ["x", giant, "y"]


def test_a_row_beyond_the_limit_is_refused(bench, monkeypatch):
    monkeypatch.setattr(csv_module, "CHUNK_BYTES", 1 << 10)
    monkeypatch.setattr(limits, "CSV_ROW_BYTES", 1 << 12)
    body = bench.csv(f'{JOB}\n"{"x" * 50_000}"\n')
    assert "longer than 4,096 bytes" in body.refusal(ResultsTooLargeError).message


# --- ZIP ----------------------------------------------------------------------------------------


def test_which_member_is_read(bench):
    csv = b"outputs\na\n"
    assert bench.zip(
        {"readme.txt": b"x", "out/": b"", "__MACOSX/._r.csv": b"y", "out/R.CSV": csv, "s.csv": b"z"}
    ).outputs() == ["a"]
    assert bench.zip({"out/": b"", "results": csv, "other": b"x"}).outputs() == ["a"]
    assert bench.zip({"._r.csv": b"\0\5", "r.csv": csv}).outputs() == ["a"]
    for members in ({}, {"out/": b""}, {"__MACOSX/r.csv": csv}, {"README.txt": csv}):
        assert "contains no CSV" in bench.zip(members).refusal().message


def test_member_names_reach_no_file(bench, tmp_path):
    before = {path.name for path in tmp_path.parent.iterdir()}
    assert bench.csv("outputs\na\n", name="../../escaped.csv").outputs() == ["a"]
    assert {path.name for path in tmp_path.parent.iterdir()} == before


def test_a_zip_that_is_cut_or_changed_is_refused(bench):
    rows = "".join(f"row {i * 7919 % 10007}\n" for i in range(3000))
    whole = bench.csv(f"outputs\n{rows}").body.read_bytes()
    for size in (4, 30, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        assert "truncated or damaged" in bench.bytes(whole[:size]).refusal().message
    for place in range(60, len(whole) - 300, 97):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        bench.bytes(bytes(changed)).refusal()


def test_every_changed_byte_of_a_small_zip_ends_in_the_right_table_or_a_refusal(bench):
    whole = bench.csv("outputs\nfirst\nsecond\n").body.read_bytes()
    for place in range(4, len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        try:
            rows = bench.bytes(bytes(changed)).outputs()
        except (CorruptResultsError, ResultsTooLargeError):
            assert not bench.target.exists()
        else:
            assert rows == ["first", "second"]
            bench.target.unlink()


def test_an_encrypted_archive_is_refused(bench):
    data = bytearray(bench.csv("outputs\na\n").body.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in bench.bytes(bytes(data)).refusal().message


def test_an_archive_that_unpacks_without_end_is_refused(bench, monkeypatch):
    bench.csv("outputs\n" + "a\n" * 100_000)
    monkeypatch.setattr(limits, "ZIP_ALWAYS_ALLOWED_BYTES", 0)
    monkeypatch.setattr(limits, "ZIP_EXPANSION_RATIO", 10)
    assert "would unpack to 200,008 bytes" in bench.refusal(ResultsTooLargeError).message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(bench, method):
    assert bench.csv("outputs\na\n", method=method).outputs() == ["a"]


# --- JSON ---------------------------------------------------------------------------------------


def test_json_with_and_without_wrapper(bench):
    flat = {"outputs": ["a", None], "inputs": ["q", ""], "cumulative_logprobs": [-1, None]}
    expected = {"inputs": ["q", ""], "outputs": ["a", None], "cumulative_logprobs": [-1.0, None]}
    assert bench.json(flat).rows(inputs=True, logprobs=True) == expected
    wrapped = {
        "message": "ok",
        "job_id": JOB,
        "rows": 2,
        "usage": {"n": [1]},
        "results": flat,
        "inputs_url": None,
    }
    assert bench.json(wrapped).rows(inputs=True, logprobs=True) == expected
    assert bench.json({"results": ["a", "b"]}).rows() == {"outputs": ["a", "b"]}
    assert bench.json({"outputs": ["a"], "results": ["r"]}).rows() == {"results": ["r"], "outputs": ["a"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"outputs": ["a"]', "truncated"),
        ('{"outputs": ["a", "b', "truncated"),
        ('{"outputs": ["a", 1', "truncated"),
        ('{"outputs": ["a"]} x', "data after its end"),
        ('{"outputs": ["a",]}', "JSON is"),
        ('{"outputs": [,"a"]}', "JSON is"),
        ('{"outputs": ["a" "b"]}', "JSON is"),
        ('{"outputs": ["a"] "id": [1]}', "JSON is"),
        ('{"outputs": ["a"],}', "JSON is"),
        ('{outputs: ["a"]}', "JSON is"),
        ('{"outputs": ["a\nb"]}', "JSON is"),
        ('{"outputs": ["a"], "inputs": ["q", "r"]}', "`outputs` has 1 values, `inputs` has 2"),
        ('{"outputs": null, "id": [1]}', "`outputs` of the JSON is not an array"),
        ('{"outputs": "a"}', "`outputs` of the JSON is not an array"),
        ('{"job-4f2a": 1, "id": [1]}', "`job-4f2a` of the JSON is not an array"),
        ('{"outputs": ["a"], "inputs": "q"}', "`inputs` of the JSON is not an array"),
        ('{"detail": "Not Found"}', "may be an error message"),
        ("{}", "no columns"),
        ('["a"]', "not an object"),
        ('{"outputs": ["a", "\\ud83d"]}', "an unpaired surrogate in row 2"),
        ('{"outputs": ["a", {"k": "\\ud83d"}]}', "an unpaired surrogate in row 2"),
        ('{"outputs": ["a"], "\\ud83d": [1]}', "not valid Unicode"),
        ('{"outputs": [' + "[" * 100_000, "nested too deeply"),
        ('{"outputs": [' + "9" * 5000 + "]}", "JSON is"),
        ('{"outputs": ["a"], "cumulative_logprobs": ["x"]}', "`cumulative_logprobs` cannot be read in row 1"),
    ],
)
def test_json_that_is_cut_or_crooked_is_refused(bench, body, words):
    refusal = bench.json(body).refusal()
    assert words in refusal.message
    assert 'format="parquet"' in refusal.hint


def test_json_that_is_not_utf8_is_refused(bench):
    assert "not UTF-8" in bench.bytes(b'{"outputs": ["\xff"]}').refusal().message
    assert "not UTF-8" in bench.bytes(b'{"outputs": ["\xed\xa0\xbd"]}').refusal().message


def test_optional_columns_may_be_null(bench):
    bench.json({"outputs": ["a"], "inputs": None, "confidence_score": None})
    assert bench.rows() == {"outputs": ["a"]}
    assert "`inputs` was requested" in bench.refusal(inputs=True).message


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 3], pa.int64(), None),
        ([-(2**63), 2**63 - 1], pa.int64(), None),
        ([1.5, 2], pa.float64(), None),
        ([2**63], pa.string(), ["9223372036854775808"]),
        ([2**53 + 1, 0.5], pa.string(), ["9007199254740993", "0.5"]),
        (["a", "007"], pa.string(), None),
        ([True, None, False], pa.bool_(), None),
        ([True, 2], pa.string(), ["true", "2"]),
        (["a", 1, {"é": [None]}], pa.string(), ["a", "1", '{"é": [null]}']),
        ([{"a": 1}], pa.string(), ['{"a": 1}']),
        ([[1, 2], [0.5], None, []], pa.list_(pa.float64()), None),
        ([["a", None], []], pa.list_(pa.string()), None),
        ([[1, "a"], []], pa.string(), ['[1, "a"]', "[]"]),
        ([[{"a": 1}]], pa.string(), ['[{"a": 1}]']),
        ([None, None], pa.null(), None),
    ],
)
def test_types_of_json_columns(bench, monkeypatch, values, kind, expected):
    for chunk in (1 << 20, 4):
        monkeypatch.setattr(json_module, "CHUNK_BYTES", chunk)
        column = bench.json({"id": values, "outputs": ["x"] * len(values)}).read().column("id")
        assert column.type == kind
        assert column.to_pylist() == (expected or values)


def test_outputs_and_inputs_of_json_are_text_or_lists(bench):
    bench.json({"outputs": [1, True, None, "x", {"a": 1}], "inputs": [{"q": "é"}, ["a"], "t", None, 2.5]})
    assert bench.rows(inputs=True) == {
        "inputs": ['{"q": "é"}', '["a"]', "t", None, "2.5"],
        "outputs": ["1", "true", None, "x", '{"a": 1}'],
    }
    assert bench.json({"outputs": [7, None]}).rows() == {"outputs": ["7", None]}
    assert bench.json({"outputs": [[0.5, 1], None]}).read().schema.field("outputs").type == pa.list_(
        pa.float64()
    )
    assert bench.json({"outputs": [["a", "b"]], "inputs": [["m"]]}).rows(inputs=True) == {
        "inputs": ['["m"]'],
        "outputs": [["a", "b"]],
    }


def test_json_elements_across_chunks(bench, monkeypatch):
    texts = [
        "a",
        "",
        None,
        '",',
        '"',
        "\\",
        ",x",
        "], [",
        "😀é\u202e",
        "\u2028",
        "1",
        "x" * 50,
        "😀",
    ]
    numbers = [-1.5, None, 12345678901, 0, 1e-7, 3] * 2 + [10]
    lists = [[1, 2], [], None, [3.5]] * 3 + [[4]]
    value = {"outputs": texts, "cumulative_logprobs": numbers, "embedding": lists}
    expected = {"embedding": lists, "outputs": texts, "cumulative_logprobs": numbers}
    for body in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, indent=3),
        json.dumps(value, separators=(",", ":")),
    ):
        for chunk in range(1, 50):
            monkeypatch.setattr(json_module, "CHUNK_BYTES", chunk)
            assert bench.bytes("\ufeff" + body).rows(logprobs=True) == expected


def test_every_cut_of_a_json_body_is_refused(bench, monkeypatch):
    body = json.dumps({"outputs": ["a", "b, ]}"], "n": [1, 25], "results": {"id": [[1], None]}}).encode()
    for chunk in (3, 1 << 20):
        monkeypatch.setattr(json_module, "CHUNK_BYTES", chunk)
        assert bench.bytes(body).read().num_rows == 2
        bench.target.unlink()
        for size in range(1, len(body)):
            bench.bytes(body[:size]).refusal()


def test_a_large_json_body_points_to_parquet(bench, monkeypatch):
    monkeypatch.setattr(limits, "JSON_BYTES", 10)
    refusal = bench.json({"outputs": ["a"]}).refusal(ResultsTooLargeError)
    assert "small results" in refusal.message and 'format="parquet"' in refusal.hint


# --- Parquet ------------------------------------------------------------------------------------


def test_a_parquet_body_is_moved_as_it_is(bench):
    before = bench.parquet({"inputs": ["q"], JOB: ["a"]}, compression="snappy").body.read_bytes()
    bench.canonicalize()
    assert bench.target.read_bytes() == before and not bench.body.exists()


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_any_compression(bench, compression):
    assert bench.parquet({JOB: ["a", None, ""]}, compression=compression).outputs() == ["a", None, ""]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()), pa.json_(),
    ],
    ids=str,
)  # fmt: skip
def test_any_type_of_text(bench, kind):
    texts = pa.array(["é", None, "", "é"])
    if pa.types.is_dictionary(kind):
        array = texts.cast(kind.value_type).dictionary_encode().cast(kind)
    elif isinstance(kind, pa.BaseExtensionType):
        array = pa.ExtensionArray.from_storage(kind, texts)
    else:
        array = texts.cast(kind)
    table = bench.parquet({"inputs": array, JOB: array}).read(inputs=True)
    assert table.schema == pa.schema([("inputs", pa.string()), ("outputs", pa.string())])
    assert table.column("outputs").to_pylist() == table.column("inputs").to_pylist() == ["é", None, "", "é"]


def test_outputs_that_are_no_text(bench):
    assert bench.parquet({JOB: pa.nulls(2)}).read() == pa.table({"outputs": pa.nulls(2, pa.string())})
    assert bench.parquet({JOB: [7, None]}).outputs() == ["7", None]
    assert bench.parquet({JOB: [True, None]}).outputs() == ["true", None]
    assert bench.parquet({JOB: [{"a": "é", "b": 1}, None]}).outputs() == ['{"a": "é", "b": 1}', None]
    assert bench.parquet({JOB: [["a"], None]}).outputs() == [["a"], None]
    assert bench.parquet({JOB: [[{"a": 1}]]}).outputs() == ['[{"a": 1}]']


@pytest.mark.skipif(
    int(pa.__version__.partition(".")[0]) < 26, reason="Arrow before 26 cannot read it (apache/arrow#35692)"
)
def test_a_null_among_vectors_of_a_fixed_size(bench):
    vectors = pa.array([[0.5, 1], None], pa.list_(pa.float32(), 2))
    assert bench.parquet({JOB: vectors}).outputs() == [[0.5, 1], None]


def test_numbers_of_other_types(bench):
    logprobs = pa.array([-0.5, None], pa.float32())
    table = bench.parquet(
        {JOB: ["a", "b"], "cumulative_logprobs": logprobs, "confidence_score": [1, 2]}
    ).read(logprobs=True)
    assert table.schema.types == [pa.string(), pa.float64(), pa.float64()]
    assert table.column("cumulative_logprobs").to_pylist() == [-0.5, None]


def test_bytes_that_are_no_text_name_their_row(bench):
    good, bad = [b"good"] * 500, [b"\xff"]
    broken_text = pa.Array.from_buffers(pa.string(), 501, pa.array(good + bad, pa.binary()).buffers())
    for array in (pa.array(good + bad), broken_text):
        table = bench.parquet({JOB: array}).canonicalize()
        with pytest.raises(CorruptResultsError, match="`outputs` cannot be read in row 501") as caught:
            read_table(bench.target, table, inputs=False, logprobs=False)
        assert "refresh=True" in caught.value.hint


def test_a_parquet_file_that_is_cut_is_refused(bench):
    whole = bench.parquet({JOB: [f"row {i}" for i in range(5000)]}, row_group_size=1000).body.read_bytes()
    for size in (4, 8, 11, 12, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        refusal = bench.bytes(whole[:size]).refusal()
        assert (
            "truncated or damaged" in refusal.message
            and f'session.results("{JOB}", refresh=True)' in refusal.hint
        )
    # The right end behind the wrong start: what a resumed download of a changed file looks like.
    assert "does not fit" in bench.bytes(whole[:4] + whole[len(whole) // 2 :]).refusal().message


def test_damage_inside_is_told_when_it_is_read(bench):
    table = bench.parquet({JOB: [f"row {i * 7919}" for i in range(5000)]}).canonicalize()
    data = bytearray(bench.target.read_bytes())
    data[10:2000] = bytes(1990)
    bench.target.write_bytes(data)
    with pytest.raises(CorruptResultsError, match="damaged"):
        read_table(bench.target, table, inputs=False, logprobs=False)
    bench.target.unlink()
    with pytest.raises(FileNotFoundError):  # whoever keeps the file knows what to say
        normalize.read_schema(bench.target, table, inputs=False, logprobs=False)


def test_another_file_in_its_place_is_noticed(bench):
    table = bench.parquet({"id": [1, 2], JOB: ["a", "b"]}).canonicalize()
    pq.write_table(pa.table({"id": [1], JOB: ["a"]}), bench.target)
    with pytest.raises(CorruptResultsError, match="1 rows, but had 2"):
        read_table(bench.target, table, inputs=False, logprobs=False)
    pq.write_table(pa.table({JOB: ["a", "b"]}), bench.target)
    with pytest.raises(CorruptResultsError, match="lost a column"):
        read_table(bench.target, table, inputs=False, logprobs=False)


# --- the file -----------------------------------------------------------------------------------


def test_row_groups_compression_and_mode(bench, monkeypatch):
    monkeypatch.setattr(csv_module, "CHUNK_BYTES", 100_000)
    rows = 250_001
    bench.csv("outputs\n" + "".join(f"{i}\n" for i in range(rows)))
    umask = os.umask(0)
    try:
        table = bench.canonicalize(expected_rows=rows)
    finally:
        os.umask(umask)
    metadata = pq.ParquetFile(bench.target).metadata
    assert [metadata.row_group(i).num_rows for i in range(3)] == [100_000, 100_000, 50_001]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert stat.S_IMODE(bench.target.stat().st_mode) == 0o600
    view = read_table(bench.target, table, inputs=False, logprobs=False)
    assert view.column(0).to_pylist() == [str(i) for i in range(rows)]


def test_long_texts_make_smaller_row_groups(bench, monkeypatch):
    monkeypatch.setattr(writer, "ROW_GROUP_BYTES", 10_000)
    monkeypatch.setattr(csv_module, "CHUNK_BYTES", 5_000)
    bench.csv("outputs\n" + ("x" * 1000 + "\n") * 100).canonicalize(expected_rows=100)
    assert pq.ParquetFile(bench.target).metadata.num_row_groups > 5


def test_an_interrupt_leaves_no_file(bench, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    bench.csv("outputs\na\n")
    monkeypatch.setattr(normalize, "_check_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.canonicalize()
    assert not bench.target.exists() and bench.body.exists()


def test_batches_are_no_larger_than_asked_for(bench):
    table = bench.parquet({JOB: [str(i) for i in range(1000)]}).canonicalize()
    batches = list(normalize.read_batches(bench.target, table, inputs=False, logprobs=False, batch_size=300))
    assert [batch.num_rows for batch in batches] == [300, 300, 300, 100]


@pytest.mark.slow
def test_text_beyond_one_arrow_column_comes_in_several_batches(bench):
    # 2,100 times the same MB: small in the file, 2.1 GB when written out, where Arrow holds 2 GB at most.
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2100, pa.int32()), pa.array(["x" * (1 << 20)]))
    table = bench.parquet({JOB: texts}).canonicalize()
    rows = [b.num_rows for b in normalize.read_batches(bench.target, table, inputs=False, logprobs=False)]
    assert sum(rows) == 2100 and len(rows) > 1


def test_pandas_is_not_imported(tmp_path):
    import subprocess
    import sys

    table, body = pa.table({JOB: ["a"], "cumulative_logprobs": [-1.0]}), tmp_path / "body"
    pq.write_table(table, body)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("r.csv", f"{JOB},cumulative_logprobs\na,-1\n")
    (tmp_path / "zip").write_bytes(archive.getvalue())
    program = f"""
import sys
from pathlib import Path
from sutro_magic.formats import normalize
from sutro_magic.models import ResultsRequest
for name in ("body", "zip"):
    target = Path({str(tmp_path)!r}) / "target"
    table = normalize.canonicalize(target.with_name(name), target, request=ResultsRequest(job_id={JOB!r}))
    for batch in normalize.read_batches(target, table, inputs=True, logprobs=True):
        batch.num_rows
print("pandas" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


@pytest.mark.parametrize(
    ("texts", "keeps"),
    [
        (["a", None, ""], True),
        (["a", "", "b"], False),  # some writers have no other word for null
        (["a", None], True),
        (["a"], True),
        (["[1.5]", "[2]"], False),
    ],
)
def test_a_csv_stands_for_other_formats_only_where_it_says_all_that_they_say(tmp_path, texts, keeps):
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"outputs": texts}), path)
    table = CanonicalTable(num_rows=len(texts), columns=map_columns(["outputs"], JOB))
    assert normalize.csv_keeps_types(path, table) is keeps


def test_an_object_of_the_json_loses_nothing_as_text(bench):
    objects = {
        '{"a": 1, "a": 2}': '{"a": 1, "a": 2}',
        '{"a":1e999,"b":[{"c":1.50}]}': '{"a": 1e999, "b": [{"c": 1.50}]}',
        '{ "a" : 0.12345678901234567890123 }': '{"a": 0.12345678901234567890123}',
        '{"\\u00e9": "\\n\\u00fc, :", "n": null}': '{"é": "\\nü, :", "n": null}',
        "{}": "{}",
        '{"a":1,"b":[true,{}]}': '{"a": 1, "b": [true, {}]}',
    }
    for times in (1, 3_000):
        sent, shown = list(objects) * times, list(objects.values()) * times
        assert bench.json(f'{{"outputs": [{" , ".join(sent)}]}}').outputs() == shown
        bench.target.unlink()
        mixed = ['"x"', *sent, "[1, 2]", "null", "7"]
        assert bench.json(f'{{"outputs": [{", ".join(mixed)}]}}').outputs() == [
            "x",
            *shown,
            "[1, 2]",
            None,
            "7",
        ]
        bench.target.unlink()
