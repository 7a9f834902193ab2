"""What a notebook says and binds when outputs unfold, and when some of them do not."""

from __future__ import annotations

import pytest
from captions import tooltip

from sutro_magic.system import humanize

pytestmark = pytest.mark.slow


def caption(reply):
    """What stands above the table that a cell shows."""
    shown = reply.result or reply.displays[-1]
    return shown["text/plain"]


def test_outputs_become_columns_and_the_caption_says_so(kernel):
    reply = kernel.run("%sutro_results job-demo-films --name films")
    assert caption(reply).startswith("films · DataFrame 10,000 × 6 · fetched in ")
    details = tooltip(reply.displays[-1])
    assert "outputs are unfolded into 6 columns\n--raw keeps outputs as they were sent" in details
    assert "the service calls" not in details
    assert kernel.value("films.year.dtype, films.would_rewatch.dtype") == "(dtype('int64'), dtype('bool'))"


def test_raw_keeps_the_outputs_as_sent(kernel):
    reply = kernel.run("%sutro_results job-demo-films --raw --name films")
    assert "films · DataFrame 10,000 × 1" in caption(reply)
    assert "unfold" not in caption(reply) + tooltip(reply.displays[-1])
    assert kernel.value("films.columns.tolist(), films.outputs[0][0]") == "(['outputs'], '{')"


def test_unfold_makes_columns_where_few_outputs_are_objects(kernel):
    plain = kernel.run("%sutro_results job-demo-awkward")
    assert "--unfold" not in caption(plain) + tooltip(plain.result), "there is nothing to unfold"
    reply = kernel.run("r = %sutro_results job-demo-awkward --unfold\nr")
    assert reply.ok, reply.traceback
    assert "60 of 61 outputs did not parse: r.errors shows them" in caption(reply)


def test_raw_and_unfold_exclude_each_other(kernel):
    reply = kernel.run("%sutro_results job-demo-films --raw --unfold")
    assert not reply.ok
    assert "ArgumentError" in reply.traceback and "do not go together" in reply.traceback


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("r = %sutro_results job-demo-broken\nr", "r.errors"),
        ("%sutro_results job-demo-broken", "_.errors"),
        ("%sutro_results job-demo-broken --name df", 'df[df["_error"].notna()]'),
    ],
)
def test_the_way_to_see_the_errors_that_the_caption_names_works(kernel, line, way):
    reply = kernel.run(line)
    assert f"30 of 180 outputs did not parse: {way}" in caption(reply).replace("\n  ", " ")
    assert "3 outputs null" in tooltip(reply.result or reply.displays[-1])
    assert "`population` has integers beyond 64 bits, as exact decimals" in caption(reply)
    assert kernel.run(f"bad = {way}").ok
    assert kernel.value("len(bad)") == "30"


def test_the_errors_of_a_table_that_is_no_data_frame_are_a_line_away(kernel):
    reply = kernel.run("%sutro_results job-demo-broken --as arrow --name t")
    [said] = [line for line in caption(reply).splitlines() if "did not parse" in line]
    first, _, second = said.partition(": ")[2].removesuffix(" shows them").partition(", then ")
    assert kernel.run(first).ok
    assert kernel.value(f"{second}.num_rows") == "30"


def test_errors_show_as_a_table_with_their_places(kernel):
    kernel.run("r = %sutro_results job-demo-broken --inputs")
    reply = kernel.run("r.errors")
    assert " · Results 30 × 4 · outputs that did not parse" in caption(reply) or caption(reply).startswith(
        "Postcards, some of them unreadable · 30 × 4 · outputs that did not parse"
    )
    assert "_row is the place in the job, from 0" in caption(reply)
    assert "cut off after 37 characters" in caption(reply)
    assert kernel.value("r.errors.columns") == "['_row', 'inputs', '_raw', '_error']"
    assert (
        kernel.value("r.raw.head(5)['outputs'].to_pylist()[4] == r.errors.to_arrow()['_raw'][0].as_py()")
        == "True"
    )


def test_a_job_without_errors_has_an_empty_table_of_them(kernel):
    reply = kernel.run("r = %sutro_results job-demo-films\nr.errors")
    assert reply.ok and "no rows" in caption(reply)


def test_the_path_stays_the_artifact_of_the_service(kernel):
    kernel.run("path = %sutro_results job-demo-films --as path")
    assert (
        kernel.value("__import__('pyarrow.parquet').parquet.read_schema(path).names") == "['job-demo-films']"
    )


@pytest.mark.parametrize(
    ("flags", "made", "table"),
    [
        (
            "",
            "the Parquet artifact as the service made it",
            "the table below has outputs unfolded: 10,000 × 6\n",
        ),
        ("--raw", "the Parquet artifact as the service made it", ""),
        (
            "--format csv --inputs",
            "a Parquet file made of the CSV",
            "the table below has outputs unfolded: 10,000 × 7\n",
        ),
    ],
)
def test_a_path_is_described_by_its_file_and_not_by_the_table_that_is_shown(kernel, flags, made, table):
    reply = kernel.run(f"%sutro_results job-demo-films --as path --name path {flags}")
    metadata = "__import__('pyarrow.parquet').parquet.read_metadata(path)"
    rows, columns, size = (
        kernel.value(f"{metadata}.num_rows, {metadata}.num_columns, path.stat().st_size")
        .strip("()")
        .split(", ")
    )
    first, second = caption(reply).splitlines(keepends=True)[:2]
    assert first.startswith(f"path · path of a Parquet file {int(rows):,} × {columns} · f")
    assert second == table if table else "below" not in caption(reply)
    details = tooltip(reply.displays[-1])
    assert f"path is the path of {made}" in details and f", {humanize.size(int(size))}\n" in f"{details}\n"


def test_a_derived_result_has_no_path_and_says_what_to_use(kernel):
    kernel.run("r = %sutro_results job-demo-broken")
    reply = kernel.run("r.errors.path")
    assert not reply.ok and ".to_pandas()" in reply.traceback


def test_the_cache_counts_the_unfolded_table(kernel):
    kernel.run("r = %sutro_results job-demo-films")
    assert "tables made of it" in str(kernel.run("%sutro_cache info job-demo-films").displays)
    files = "sum(r.path.with_name(n).stat().st_size for n in ('results.parquet', 'table.arrow'))"
    size = humanize.size(int(kernel.value(files)))
    assert size in str(kernel.run("%sutro_cache list").displays)
    assert kernel.run("%sutro_cache clear job-demo-films").text.endswith(f"deleted, {size} freed.\n")
