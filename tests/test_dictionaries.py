"""Columns that are dictionaries, another in each row group, in everything that is made of results."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic import container, dask_frames, mapped, views
from sutro_magic.cache import RESULTS_FILE, CacheEntry, ResultsCache
from sutro_magic.canonical import CanonicalTable, map_columns
from sutro_magic.models import ResultsRequest
from sutro_magic.results import Results

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
ROWS, GROUPS = 1000, 3
WORDS = [f"group {group} category {row % 9}" for group in range(GROUPS) for row in range(ROWS)]


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "entry"
    folder.mkdir()
    path = folder / RESULTS_FILE
    tables = [
        pa.table(
            {
                "category": pa.array(WORDS[start : start + ROWS]).dictionary_encode(),
                JOB: [f'{{"a": {row}}}' for row in range(start, start + ROWS)],
            }
        )
        for start in range(0, ROWS * GROUPS, ROWS)
    ]
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return CacheEntry(
        folder=folder, request=ResultsRequest(job_id=JOB), deployment="", fetched=datetime.now(UTC),
        size=path.stat().st_size, table=CanonicalTable(num_rows=ROWS * GROUPS, columns=map_columns(["category", JOB], JOB)),
        job=None, sha256="",
    )  # fmt: skip


def results(entry, *, unfold):
    cache = ResultsCache(entry.folder.parent)
    return Results.of_entry(
        entry, entry.request, cache=cache, identity="", unfold=unfold, from_cache=True, seconds=0
    )


def test_a_table_that_is_mapped_has_the_values(entry):
    table = mapped.open_mapped(ResultsCache(entry.folder.parent), entry, inputs=True, logprobs=True, small=0)
    assert table.schema.field("category").type == pa.string()
    assert table["category"].to_pylist() == WORDS


def test_a_table_beyond_memory_keeps_its_types(entry, monkeypatch):
    monkeypatch.setattr(container, "memory", lambda: 1000)
    monkeypatch.setattr(
        mapped.open_mapped, "__kwdefaults__", {**mapped.open_mapped.__kwdefaults__, "small": 0}
    )
    found = results(entry, unfold=False)
    assert found.arrow().schema == found.schema
    assert pa.types.is_dictionary(found.schema.field("category").type)
    assert found.arrow()["category"].to_pylist() == WORDS


def test_outputs_unfold_beside_them(entry):
    found = results(entry, unfold=None)
    assert found.columns == ["category", "a"]
    assert found.arrow()["category"].to_pylist() == WORDS
    assert found.arrow().schema == found.schema


@pytest.mark.parametrize("part", ["filtered", "whole", "unfolded"])
def test_dask_reads_them(entry, monkeypatch, part):
    pytest.importorskip("dask")
    monkeypatch.setattr(dask_frames, "SMALL_BYTES", 0)
    found = results(entry, unfold=None if part == "unfolded" else False)
    frame = (found.filtered if part == "filtered" else found).dask()
    assert frame.compute(scheduler="sync")["category"].astype(str).tolist() == WORDS


def test_a_long_category_is_taken_out_for_few_rows_at_once():
    found = pa.RecordBatch.from_pydict(
        {"category": pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 1_000_000])}
    )
    schema = pa.schema([("category", pa.string())])
    sizes = [batch.num_rows for batch in views.expand(found, schema)]
    assert sum(sizes) == 500 and max(sizes) < 70
