"""Columns that are dictionaries, another in each row group, in everything that is made of results."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic.cache.store import RESULTS_FILE, CacheEntry, ResultsCache
from sutro_magic.formats import reader
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import ResultsRequest
from sutro_magic.query import mapped_table
from sutro_magic.results import to_dask
from sutro_magic.results.handle import Results
from sutro_magic.system import resources

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
ROWS, GROUPS = 1000, 3
WORDS = [f"group {group} category {row % 9}" for group in range(GROUPS) for row in range(ROWS)]


def labels(start):
    return pa.array(WORDS[start : start + ROWS]).dictionary_encode()


PLACES = {
    "of its own": labels,
    "in lists": lambda start: pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), labels(start)),
    "in structs": lambda start: pa.StructArray.from_arrays([labels(start)], ["k"]),
}


@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def words(place):
    return {"of its own": WORDS, "in lists": [[w] for w in WORDS], "in structs": [{"k": w} for w in WORDS]}[
        place
    ]


@pytest.fixture
def entry(tmp_path, place):
    folder = tmp_path / "entry"
    folder.mkdir()
    path = folder / RESULTS_FILE
    tables = [
        pa.table(
            {
                "category": PLACES[place](start),
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


def has_dictionaries(table):
    kind = table.schema.field("category").type
    return reader.without_dictionaries(kind) != kind


def results(entry, *, unfold):
    cache = ResultsCache(entry.folder.parent)
    return Results.of_entry(
        entry, entry.request, cache=cache, identity="", unfold=unfold, from_cache=True, seconds=0
    )


def test_a_table_that_is_mapped_has_the_values(entry, words):
    table = mapped_table.open_mapped(
        ResultsCache(entry.folder.parent), entry, inputs=True, logprobs=True, small=0
    )
    assert not has_dictionaries(table)
    assert table["category"].to_pylist() == words


def test_a_table_beyond_memory_keeps_its_types(entry, monkeypatch, words):
    monkeypatch.setattr(resources, "memory", lambda: 1000)
    monkeypatch.setattr(
        mapped_table.open_mapped, "__kwdefaults__", {**mapped_table.open_mapped.__kwdefaults__, "small": 0}
    )
    found = results(entry, unfold=False)
    assert found.to_arrow().schema == found.schema
    assert has_dictionaries(found)
    assert found.to_arrow()["category"].to_pylist() == words


def test_outputs_unfold_beside_them(entry, words):
    found = results(entry, unfold=None)
    assert found.columns == ["category", "a"]
    assert found.to_arrow()["category"].to_pylist() == words
    assert found.to_arrow().schema == found.schema


@pytest.mark.parametrize("part", ["filtered", "whole", "unfolded"])
def test_dask_reads_them(entry, monkeypatch, part, words):
    pytest.importorskip("dask")
    monkeypatch.setattr(to_dask, "SMALL_BYTES", 0)
    found = results(entry, unfold=None if part == "unfolded" else False)
    frame = (found.filtered if part == "filtered" else found).to_dask()
    assert frame.compute(scheduler="sync")["category"].astype(object).tolist() == words


def test_a_long_category_is_taken_out_for_few_rows_at_once():
    found = pa.RecordBatch.from_pydict(
        {"category": pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 1_000_000])}
    )
    schema = pa.schema([("category", pa.string())])
    sizes = [batch.num_rows for batch in reader.expand(found, schema)]
    assert sum(sizes) == 500 and max(sizes) < 70
