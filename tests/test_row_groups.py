"""Files of very many row groups: their footer is read as far as it is needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import thrift

from sutro_magic.errors import CorruptResultsError
from sutro_magic.formats import footer, reader
from sutro_magic.formats.columns import CanonicalTable, map_columns

GROUPS = 200


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"id": range(GROUPS), "outputs": ["a"] * GROUPS}), path, row_group_size=1)
    return path


def test_the_first_rows_need_only_the_first_row_groups(path, monkeypatch):
    read = footer._read_group
    calls = []
    monkeypatch.setattr(footer, "_read_group", lambda *args: calls.append(1) or read(*args))
    table = CanonicalTable(num_rows=GROUPS, columns=map_columns(["id", "outputs"], "job-1"))
    batches = reader.read_batches(path, table, inputs=True, logprobs=True, batch_size=5)
    assert next(batches)["id"].to_pylist() == [0, 1, 2, 3, 4]
    assert len(calls) == 5
    assert sum(batch.num_rows for batch in batches) == GROUPS - 5
    assert len(calls) == GROUPS


def test_row_groups_are_the_same_in_any_order_and_from_any_thread(path):
    with path.open("rb") as file:
        size = path.stat().st_size
        whole, some = footer.read_chunks(file, size), footer.Chunks(file, size)
    assert len(some) == len(whole) == GROUPS
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(some.__getitem__, [*range(GROUPS - 1, -1, -7), *range(GROUPS)]))
    assert found == [*whole[::-7], *whole]
    for outside in (GROUPS, -1):
        with pytest.raises(IndexError):
            some[outside]


def test_a_footer_that_ends_early_is_damage_where_that_is_seen(tmp_path):
    path = tmp_path / "results.parquet"
    schema = [thrift.group("schema", 1), thrift.leaf("outputs")]
    path.write_bytes(thrift.parquet(thrift.footer(schema, rows=5, claimed_groups=9)))
    with path.open("rb") as file:
        found = footer.Chunks(file, path.stat().st_size)
    assert len(found) == 9
    with pytest.raises(CorruptResultsError):
        found[0]
