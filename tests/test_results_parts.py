"""Columns, rows, slices and masks of results; guesses from other libraries; display without the extension."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sutro_magic import errors

JOB = "job-demo-reviews"


@pytest.fixture
def results(session):
    return session.results(JOB)


@pytest.fixture
def frame(results):
    return results.to_pandas()


@pytest.mark.parametrize("options", [{}, {"unfold": False}, {"inputs": True}, {"format": "csv"}], ids=str)
def test_a_column_is_the_one_of_the_data_frame(session, options):
    results = session.results(JOB, **options)
    frame = results.to_pandas()
    for name in results.columns:
        pd.testing.assert_series_equal(results[name], frame[name])


def test_columns_give_results_with_these_columns(results, frame):
    names = results.columns[:2][::-1]
    part = results[names]
    assert part.columns == names and part.num_rows == len(frame)
    pd.testing.assert_frame_equal(part.to_pandas(), frame[names])
    assert part.to_polars().columns == names and part.to_duckdb().columns == names
    assert list(part.to_dask().columns) == names and part.schema.names == names
    assert sum(batch.num_rows for batch in part.to_batches(7)) == len(frame)


@pytest.mark.parametrize("number", [0, 7, -1])
def test_a_number_gives_one_row_as_a_dict(results, number):
    assert results[number] == results.to_arrow().to_pylist()[number]
    assert results[np.int64(number)] == results[number]


@pytest.mark.parametrize(
    "part", [slice(10, 20), slice(None, 3), slice(-3, None), slice(None, None, 7), slice(5, 5)], ids=str
)
def test_a_slice_gives_results_of_those_rows(results, frame, part):
    found = results[part]
    assert found.columns == results.columns
    pd.testing.assert_frame_equal(found.to_pandas(), frame[part].reset_index(drop=True), check_dtype=False)


def masks(frame):
    mask = frame["confidence"] > 0.7
    return {
        "pandas": mask,
        "nullable": mask.astype("boolean").mask(~mask, pd.NA),
        "numpy": mask.to_numpy(),
        "list": mask.tolist(),
        "arrow": pa.array(mask.to_numpy()),
        "chunked": pa.chunked_array([pa.array(mask.to_numpy()[:5]), pa.array(mask.to_numpy()[5:])]),
        "polars": pl.Series(mask.tolist()),
        "of a sorted frame": (frame.sort_values("confidence")["confidence"] > 0.7),
    }


@pytest.mark.parametrize(
    "kind", ["pandas", "nullable", "numpy", "list", "arrow", "chunked", "polars", "of a sorted frame"]
)
def test_a_mask_gives_results_of_the_rows_where_it_is_true(results, frame, kind):
    found = results[masks(frame)[kind]]
    expected = frame[frame["confidence"] > 0.7].reset_index(drop=True)
    assert 0 < found.num_rows < len(frame)
    pd.testing.assert_frame_equal(found.to_pandas(), expected, check_dtype=False)


def test_parts_of_parts(results, frame):
    part = results[results["confidence"] > 0.7][2:6][["confidence"]]
    assert part["confidence"].tolist() == frame[frame["confidence"] > 0.7]["confidence"].tolist()[2:6]
    assert part[0] == {"confidence": part["confidence"].iloc[0]}


def test_rows_that_did_not_parse_are_found_in_a_slice(session):
    broken = session.results("job-demo-broken")
    rows = broken.errors.to_arrow()["_row"].to_pylist()
    assert rows
    assert broken[rows[0] : rows[0] + 1].errors.to_arrow()["_row"].to_pylist() == [rows[0]]
    assert broken[["_raw"]].errors.to_arrow()["_row"].to_pylist() == rows


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("confidnce", "Did you mean confidence"),
        (["confidence", "nothing"], "no column 'nothing'"),
        (10**9, "no row 1,000,000,000"),
        (slice("a", "b"), "not a range"),
        ([True, False], "2 values"),
        ([1, 2], "no part"),
        ([], "no part|0 values"),
        ({"a": 1}, "no part"),
        (2.5, "no part"),
        (None, "no part"),
        (True, "no part"),
    ],
    ids=str,
)
def test_a_key_that_fits_nothing_is_refused(results, key, words):
    with pytest.raises(errors.ArgumentError) as caught:
        results[key]
    import re

    assert re.search(words, str(caught.value)), str(caught.value)


def test_a_mask_with_another_index_is_refused(results, frame):
    with pytest.raises(errors.ArgumentError, match="index"):
        results[pd.Series(True, index=range(5, 5 + len(frame)))]


def test_iterating_is_refused_with_the_right_call(results):
    with pytest.raises(errors.ArgumentError) as caught:
        list(results)
    assert "r.to_batches()" in caught.value.hint


@pytest.mark.parametrize(
    ("guess", "call"),
    [
        ("to_csv", 'r.save("results.csv")'),
        ("show", "r.table()"),
        ("pandas", "r.to_pandas()"),
        ("shape", "r.num_rows"),
        ("describe", "r.to_pandas().describe"),
        ("colums", "r.columns"),
        ("zzzz", "dir(r)"),
    ],
)
def test_a_guess_gets_the_right_call(results, guess, call):
    assert not hasattr(results, guess)
    with pytest.raises(errors.SutroError) as caught:
        getattr(results, guess)
    assert call in caught.value.hint


def test_completion_offers_only_what_users_call(results):
    offered = dir(results)
    assert {"to_pandas", "columns", "errors", "save", "digest"} <= set(offered)
    assert all(hasattr(type(results), name) or name in vars(results) for name in offered)
    assert not [name for name in offered if name.startswith("_") or name in {"touch", "new_pages"}]


def test_the_digest_is_that_of_the_artifact(results, session):
    import hashlib

    assert results.digest == "sha256:" + hashlib.sha256(results.path.read_bytes()).hexdigest()
    assert session.results(JOB, format="csv", refresh=True).digest != results.digest
    assert session.peek(JOB, 5, refresh=True).digest is None


# --- display ---------------------------------------------------------------------------------------


def test_results_show_themselves_where_the_extension_is_not_loaded(kernel):
    kernel.run("%unload_ext sutro_magic")
    kernel.run("import sutro_magic\nsession = sutro_magic.Session()")
    reply = kernel.run(f"session.results('{JOB}')")
    types = set().union(*(bundle.keys() for bundle in [*reply.displays, reply.result or {}]))
    assert {"text/html", "application/vnd.jupyter.widget-view+json"} <= types
    assert "--" not in str(reply.result)


def test_front_ends_without_widgets_get_rows(results):
    page = results._repr_html_()
    assert "<table" in page and results[0]["label"] in page
