"""The same job over csv, json and parquet is the same table, whatever its texts."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_tables import read_table

from sutro_magic.formats import csv as csv_module
from sutro_magic.formats import json as json_module
from sutro_magic.formats import normalize
from sutro_magic.models import ResultsRequest

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
NASTY = [
    "", " ", "NA", "N/A", "null", "None", "nan", "NaN", "007", "1e5", "-0", "True", "false", "2024-01-02", "#N/A", '""', '"',
    "'", ",", ";", "\t", "\r", "\n", "\r\n", "\n\n", "\n\r", "a\rb", "line\r\nline", 'say "hi", ok', '"quoted"', '",', ',"',
    "\\", '\\"', "\\n", "\ufeff", "\ufeffx", "\u202eabc", "אבג", "😀", "é", "e\u0301", "\x01", "\x0b", "\x0c", "\x1b[31m", "\x7f",
    "\x85", "\u2028", " x ", "{}", '{"a": "b\\n"}', "[1, 2]", "],", "},", "=1+1", "<b>", "\U0010ffff",
]  # fmt: skip

text = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from('ab",\r\n\\ \t{}[]:\ufeff😀'), max_size=12),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)
number = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([-0.5234, 0.0, -1e-300, 100.0])
)


@st.composite
def jobs(draw):
    rows = draw(st.integers(0, 12))

    def column(values, *, nulls=True):
        return st.lists(st.none() | values if nulls else values, min_size=rows, max_size=rows)

    columns = []
    if draw(st.booleans()):
        columns.append(("record_id", pa.array(draw(column(text)), pa.string())))
    if draw(st.booleans()):
        columns.append(("inputs", pa.array(draw(column(text)), pa.string())))
    columns.append(("outputs", pa.array(draw(column(text)), pa.string())))
    if draw(st.booleans()):
        columns.append(("cumulative_logprobs", pa.array(draw(column(number)), pa.float64())))
    if draw(st.booleans()):
        columns.append(("confidence_score", pa.array(draw(column(number, nulls=False)), pa.float64())))
    return pa.table(dict(columns))


def wire_names(table):
    return [JOB if name == "outputs" else name for name in table.column_names]


def write_csv_by_hand(table, draw):
    """RFC 4180, quoting what must be and, at random, what need not be; null is an empty field."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))

    def field(value):
        if value is None:
            return ""
        shown = repr(value) if isinstance(value, float) else value
        must = not shown or any(c in shown for c in '",\r\n')
        return '"' + shown.replace('"', '""') + '"' if must or draw(st.booleans()) else shown

    lines = [",".join(wire_names(table))]
    lines += [",".join(map(field, row)) for row in zip(*table.to_pydict().values(), strict=True)]
    # A last line that is empty is a row only if a line end follows.
    last = newline if lines[-1] == "" or draw(st.booleans()) else ""
    bom = draw(st.sampled_from(["", "\ufeff"]))
    return (bom + newline.join(lines) + last).encode()


def write_csv_by_arrow(table, _):
    buffer = io.BytesIO()
    pa_csv.write_csv(table.rename_columns(wire_names(table)), buffer)
    return buffer.getvalue()


def write_csv_by_polars(table, _):
    import polars as pl

    return pl.from_arrow(table.rename_columns(wire_names(table))).write_csv().encode()


def write_zip(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.csv", content)


def write_json(path, table, draw):
    value = table.to_pydict()
    if draw(st.booleans()):
        value = {"results": value}
    options = {"ensure_ascii": draw(st.booleans()), "indent": draw(st.sampled_from([None, 1]))}
    path.write_text(json.dumps(value, **options), encoding="utf-8", newline="")


def write_parquet(path, table, draw):
    kind = draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
    types = [
        kind if t == pa.string() and n != "record_id" else t
        for n, t in zip(table.schema.names, table.schema.types, strict=True)
    ]
    wire = pa.table([c.cast(t) for c, t in zip(table.columns, types, strict=True)], names=wire_names(table))
    pq.write_table(
        wire, path, compression=draw(st.sampled_from(["zstd", "snappy", "none"])), row_group_size=5
    )


def read(folder, name, expected):
    asked = {
        "inputs": "inputs" in expected.column_names,
        "logprobs": "cumulative_logprobs" in expected.column_names,
    }
    target = folder / f"{name}.parquet"
    request = ResultsRequest(job_id=JOB, **asked)
    table = normalize.canonicalize(folder / name, target, request=request, expected_rows=expected.num_rows)
    return read_table(target, table, **asked)


@given(table=jobs(), data=st.data(), chunk=st.sampled_from([1, 7, 64, 1 << 20]))
@settings(deadline=None, print_blob=True, max_examples=150)
def test_three_formats_one_table(table, data, chunk):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(csv_module, "CHUNK_BYTES", chunk)
        patch.setattr(json_module, "CHUNK_BYTES", chunk)
        for way in (write_csv_by_hand, write_csv_by_arrow, write_csv_by_polars):
            write_zip(folder / way.__name__, way(table, data.draw))
            view = read(folder, way.__name__, table)
            if "record_id" in view.column_names and table.num_rows == 0:
                assert view.schema == table.schema
            assert view.equals(table), way.__name__
        write_json(folder / "json", table, data.draw)
        view = read(folder, "json", table)
        if "record_id" in table.column_names and table.column("record_id").null_count == table.num_rows:
            # A column without any value has no type in JSON.
            view = view.cast(table.schema)
        assert view.equals(table)
        write_parquet(folder / "parquet", table, data.draw)
        assert read(folder, "parquet", table).equals(table)


@given(texts=st.lists(text, max_size=12), two=st.booleans())
@settings(deadline=None, print_blob=True, max_examples=100)
def test_what_python_and_pandas_write(texts, two):
    """They write null and an empty string alike, and pandas leaves a bare carriage return unquoted."""
    import pandas as pd

    columns = {JOB: texts, "record_id": texts} if two else {JOB: texts}
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    bodies = [buffer.getvalue(), pd.DataFrame(columns, dtype=object).to_csv(index=False)]
    bodies.append(pd.DataFrame(columns, dtype=object).to_csv(index=False, lineterminator="\r\n"))
    expected = [None if two and value == "" else value for value in texts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, body in enumerate(bodies):
            write_zip(folder / str(i), body.encode())
            table = normalize.canonicalize(
                folder / str(i), folder / "out", request=ResultsRequest(job_id=JOB)
            )
            view = read_table(folder / "out", table, inputs=False, logprobs=False)
            assert view.column("outputs").to_pylist() == expected
