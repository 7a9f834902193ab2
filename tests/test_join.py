"""Results beside the frame that they came from, in a real kernel."""

from __future__ import annotations

import re

import pandas as pd
import pyarrow as pa
import pytest
from test_engines import keep

from sutro_magic.analysis.join import FrameJoin
from sutro_magic.cache.store import ResultsCache

pytestmark = pytest.mark.slow

ZOO = 600
MAKE = f"""
import pandas, polars, pyarrow
letters = pandas.DataFrame({{'letter': [f'letter {{i}}' for i in range({ZOO})]}}, index=range(5000, {5000 + ZOO}))
before = letters.copy(deep=True)
zoo = %sutro_results job-demo-zoo --as pandas
"""


@pytest.fixture
def letters(kernel):
    assert kernel.run(MAKE).ok
    return kernel


def join(kernel, line, job="job-demo-zoo"):
    return kernel.run(f"%sutro_results {job} {line}")


def failed(reply):
    first, second = reply.traceback.splitlines()
    assert second.startswith("  -> ")
    return first, second[5:]


def test_by_position_pandas_keeps_its_index_and_the_frame_is_not_changed(letters):
    reply = join(letters, "--join letters --name joined")
    assert reply.ok, reply.traceback
    text = reply.displays[-1]["text/plain"]
    assert " ".join(text.split()).startswith(
        "joined · DataFrame 600 × 4 · letters beside the results of Letters to the zoo (job-demo-zoo), by position "
    )
    facts = "list(joined.columns), joined.index.equals(letters.index), joined.attrs['sutro_job']"
    assert (
        letters.value(facts)
        == "(['letter', 'letter_id', 'outputs', 'confidence_score'], True, 'job-demo-zoo')"
    )
    assert (
        letters.value(
            "(joined.outputs.values == zoo.outputs.values).all() and joined.letter.equals(letters.letter)"
        )
        == "True"
    )
    letters.run("joined.loc[5000, 'letter'] = 'changed'")
    assert letters.value("letters.equals(before) and not letters.attrs") == "True"


def test_polars_stays_polars_and_arrow_stays_arrow(letters):
    letters.run("pl, at = polars.DataFrame({'n': range(600)}), pyarrow.table({'n': range(600)})")
    for name, kind in (("pl", "polars DataFrame"), ("at", "Arrow table")):
        reply = join(letters, f"--join {name} --name joined")
        assert reply.displays[-1]["text/plain"].startswith(f"joined · {kind} 600 × 4 · ")
        names = "joined.columns" if name == "pl" else "joined.column_names"
        assert (
            letters.value(f"type(joined) is type({name}), {names}")
            == "(True, ['n', 'letter_id', 'outputs', 'confidence_score'])"
        )
        assert (
            letters.value(
                "joined['outputs'].to_" + ("list" if name == "pl" else "pylist") + "() == list(zoo.outputs)"
            )
            == "True"
        )
    assert letters.value("pl.columns, at.column_names") == "(['n'], ['n'])"


def test_without_a_name_the_frame_is_returned(letters):
    reply = letters.run("joined = %sutro_results job-demo-zoo --join letters")
    assert reply.ok and not reply.displays and not reply.text
    assert letters.value("type(joined).__name__, joined.shape") == "('DataFrame', (600, 4))"


def test_quiet_binds_and_shows_nothing(letters):
    reply = join(letters, "--join letters --name joined --quiet")
    assert reply.ok and not reply.displays and not reply.text and letters.value("joined.shape") == "(600, 4)"


@pytest.mark.parametrize("kind", ["pandas", "index", "polars", "arrow"])
def test_by_an_id_rows_are_found_wherever_they_are(letters, kind):
    letters.run(
        "some = zoo.sample(frac=0.5, random_state=7)\n"
        "ids = [*some.letter_id, -1, None, some.letter_id.iloc[0]]\n"
        "frame = pandas.DataFrame({'letter_id': pandas.array(ids, 'Int64'), 'n': range(303)}, index=range(9, 312))\n"
        f"kind = {kind!r}\n"
        "if kind == 'index': frame = frame.set_index('letter_id')\n"
        "if kind == 'polars': frame = polars.DataFrame({'letter_id': ids, 'n': range(303)})\n"
        "if kind == 'arrow': frame = pyarrow.table({'letter_id': ids, 'n': range(303)})"
    )
    reply = join(letters, "--join frame --on letter_id --name joined")
    assert reply.ok, reply.traceback
    assert (
        reply.text == "frame is joined by letter_id (2 rows without a result, 300 results without a row).\n"
    )
    letters.run(
        "table = pyarrow.table(joined) if kind != 'index' else pyarrow.Table.from_pandas(joined.reset_index())\n"
        "answers = dict(zip(zoo.letter_id, zoo.outputs))\n"
        "expected = [answers.get(i) for i in ids]"
    )
    assert (
        letters.value(
            "table['outputs'].to_pylist() == expected and table['n'].to_pylist() == list(range(303))"
        )
        == "True"
    )
    assert letters.value("table['outputs'].null_count, table['letter_id'].null_count") == "(2, 1)"
    if kind in {"pandas", "index"}:
        assert letters.value("joined.index.equals(frame.index)") == "True"


def test_all_ids_found_say_nothing_more_than_the_caption(letters):
    letters.run("frame = zoo[['letter_id']].iloc[::-1]")
    reply = join(letters, "--join frame --on letter_id --name joined")
    assert not reply.text
    caption = " ".join(reply.displays[-1]["text/plain"].split())
    assert "by letter_id (0 rows without a result, 0 results without a row)" in caption
    assert letters.value("list(joined.outputs) == list(zoo.outputs[::-1])") == "True"


def test_text_ids_are_found(letters):
    letters.run(
        "museum = %sutro_results job-demo-museum --as pandas\n"
        "frame = pandas.DataFrame({'object_id': list(museum.object_id[:10]) + ['none']})"
    )
    assert join(letters, "--join frame --on object_id --name joined", "job-demo-museum").ok
    assert (
        letters.value("list(joined.title[:10]) == list(museum.title[:10]) and joined.title.isna().sum() == 1")
        == "True"
    )
    assert letters.value("str(joined.made.dtype)").startswith("struct<")


def test_a_frame_with_values_of_any_kind_is_joined_and_shown(letters):
    letters.run("letters['anything'] = [1, {'a': 2}] * 300\nbefore = letters.copy()")
    reply = join(letters, "--join letters --name joined")
    assert reply.ok, reply.traceback
    assert "{'a': 2}" in reply.displays[-1]["text/plain"]
    assert letters.value("joined.anything.iloc[1]") == "{'a': 2}"


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        ("pandas.DataFrame({'x': [2**70] * 599 + [None]})", str(2**70)),
        ("pandas.DataFrame({'x': [1 + 2j] * 600, 'fine': 7})", "(1+2j)"),
        ("pandas.DataFrame({'x': pandas.arrays.SparseArray([5] * 600)})", "5"),
        ("polars.DataFrame({'x': [7] * 600}, schema={'x': polars.Int128})", "7"),
        ("polars.DataFrame({'x': [1 + 2j] * 600})", "(1+2j)"),
    ],
)
def test_what_arrow_does_not_have_is_shown_as_text(letters, make, seen):
    letters.run(f"frame = {make}\nbefore = frame.dtypes")
    reply = join(letters, "--join frame --name joined")
    assert reply.ok and seen in reply.displays[-1]["text/plain"], reply.traceback
    kept = "str(joined['x'].dtype) == str(frame['x'].dtype), str(before) == str(frame.dtypes)"
    assert letters.value(kept) == "(True, True)"


@pytest.mark.parametrize("in_index", [False, True])
def test_a_column_that_is_called_by_a_number_is_found(tmp_path, in_index):
    results = keep(ResultsCache(tmp_path), pa.table({"0": [11, 12, 13], "outputs": ["a", "b", "c"]}))
    frame = pd.DataFrame({0: [13, 11], "n": [1, 2]})
    if in_index:
        frame = frame.set_index(0)
    joined = FrameJoin("frame", {"frame": frame}, on="0").join(results)
    assert joined["outputs"].tolist() == ["c", "a"] and list(joined.columns)[-2:] == ["n", "outputs"]


@pytest.mark.parametrize(
    ("make", "line", "said", "hint"),
    [
        ("frame = letters.head(599)", "", "frame has 599 rows, but the results have 600", "--on COLUMN"),
        ("frame = letters.head(0)", "", "frame has 0 rows, but the results have 600", "--on COLUMN"),
        ("frame = zoo", "", "frame and the results both have letter_id, outputs, confidence_score", "'letter_id_before'"),
        ("frame = zoo", "--on letter_id", "both have outputs, confidence_score", "frame.rename(columns={'outputs': 'outputs_before', 'confidence_score': 'confidence_score_before'})"),
        ("frame = polars.DataFrame({'outputs': range(600)})", "", "both have outputs", "frame.rename({'outputs'"),
        ("frame = polars.DataFrame({'letter_id': range(1000, 1050)})", "", "both have letter_id", "--on letter_id matches rows by it"),
        ("frame = zoo.set_index('letter_id')[[]]", "", "frame and the results both have letter_id", "frame.rename_axis(index={'letter_id'"),
        ("frame = letters", "--on letter_id", "ArgumentError: frame has no column letter_id; there is letter.", "Did you mean --on letter instead?"),
        ("frame = letters", "--on letter", "The results of Letters to the zoo (job-demo-zoo) has no column letter;", "--on letter_id instead?"),
        ("frame = pandas.DataFrame({'letter_id': ['1000', '1001']})", "--on letter_id", "letter_id is ", "--format parquet"),
        ("frame = pandas.DataFrame({'letter_id': [-1, -2]})", "--on letter_id", "No letter_id of frame is in the results", "job"),
        ("frame = pandas.DataFrame({'letter_id': [1000.5]})", "--on letter_id", "values that are not possible for IDs of the results", "type"),
        ("frame = pandas.DataFrame({'letter_id': [1, {}]})", "--on letter_id", "values of several types", "astype(str)"),
        ("frame = 7", "", "frame is of type int", "--join DF"),
        ("frame = polars.LazyFrame({'a': [1]})", "", "frame is of type LazyFrame", "frame.collect()"),
        ("frame = %sutro_results job-demo-zoo", "", "frame is of type Results", "frame.to_pandas()"),
        ("frames = letters", "", "there is no variable frame", "Did you mean --join frames instead?"),
        ("frame = pandas.concat([letters, letters], axis=1)", "", "duplicate names", "names unique"),
        ("frame = letters", "--as polars", "--join and --as do not go together", "leave the other flag out"),
        ("frame = letters", "--peek", "--join and --peek do not go together", "leave the other flag out"),
        ("frame = letters", "--save x.csv", "--join and --save do not go together", "leave the other flag out"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error_and_changes_nothing(letters, make, line, said, hint):
    letters.run(f"{make}\njoined = 1")
    first, second = failed(join(letters, f"--join frame {line} --name joined"))
    assert said in first and hint in second
    assert letters.value("joined, letters.equals(before)") == "(1, True)"


@pytest.mark.parametrize(
    ("make", "job", "said", "missing"),
    [
        ("pandas.DataFrame({'ID': [1000, None, 2**70]}, dtype=object)", "zoo", "integers beyond 64 bits", "1"),
        ("pandas.DataFrame({'n': 0, 'ID': [1000, 2**70]}).set_index('ID')", "zoo", "integers beyond 64 bits", "0"),
        ("polars.DataFrame({'ID': polars.Series([1000, 2**70], dtype=polars.Int128)})", "zoo", "of type Int128", "1"),
        ("polars.DataFrame({'ID': polars.Series([1000], dtype=polars.UInt128)})", "zoo", "of type UInt128", "0"),
        ("pandas.DataFrame({'ID': [museum.object_id[0], 2**70]})", "museum", "values of several types", "1"),
        ("polars.DataFrame({'ID': polars.Series([museum.object_id[0]], dtype=polars.Object)})", "museum", "of type Object", "0"),
    ],
)  # fmt: skip
def test_ids_of_a_type_that_cannot_be_say_how_to_convert_them(letters, make, job, said, missing):
    letters.run("museum = %sutro_results job-demo-museum --as pandas")
    on = {"zoo": "letter_id", "museum": "object_id"}[job]
    letters.run(f"frame = {make.replace('ID', on)}")
    line = f"--join frame --on {on} --name joined"
    first, hint = failed(join(letters, line, f"job-demo-{job}"))
    assert first.startswith(f"ArgumentError: {on} of frame ") and said in first
    for code in re.findall(r"frame\S* = .*?(?= makes| drops| gives| converts)", hint):  # as a reader runs it
        assert letters.run(code).ok, code
    assert join(letters, line, f"job-demo-{job}").ok
    assert letters.value("sum(map(pandas.isna, joined[joined.columns[-1]]))") == missing


@pytest.mark.parametrize(
    "make",
    [
        "pandas.concat([letters, letters], axis=1)",
        "pandas.concat({'a': letters, 'b': letters}, axis=1)",
        "pyarrow.Table.from_arrays([letters.letter, letters.letter], ['a', 'a'])",
    ],
)
def test_names_that_stand_twice_are_renamed_by_the_code_of_the_hint(letters, make):
    letters.run(f"frame = {make}")
    first, hint = failed(join(letters, "--join frame --name joined"))
    assert "duplicate names" in first
    assert letters.run(hint.removeprefix("Rename them: ").removesuffix(" makes the names unique.")).ok
    assert join(letters, "--join frame --name joined").ok


@pytest.mark.parametrize(
    "big", ["pandas.DataFrame({'object_id': [2**70]})", "polars.DataFrame({'object_id': polars.Series([5], dtype=polars.Int128)})"]
)  # fmt: skip
def test_large_integers_against_ids_that_are_texts_are_to_be_texts(letters, big):
    letters.run(f"frame = {big}")
    first, hint = failed(join(letters, "--join frame --on object_id --name joined", "job-demo-museum"))
    assert first.startswith("ArgumentError: object_id of frame ") and "(str)" in hint and "as " in hint
    assert letters.run(hint.partition(" converts")[0]).ok


@pytest.mark.parametrize(
    "make",
    [
        "zoo",
        "zoo.assign(outputs_before=1)",
        "zoo.set_index(['letter_id', 'outputs'])",
        "polars.DataFrame(zoo)",
        "pyarrow.Table.from_pandas(zoo)",
    ],
)
def test_the_renaming_that_is_proposed_names_all_columns_and_runs(letters, make):
    letters.run(f"frame = {make}")
    _, hint = failed(join(letters, "--join frame --name joined"))
    assert letters.run(hint[hint.index("frame = ") :]).ok, hint
    reply = join(letters, "--join frame --name joined")
    assert reply.ok, reply.traceback


def test_a_column_with_a_space_is_proposed_in_quotes(letters):
    letters.run("frame = letters.rename(columns={'letter': 'letter id'})")
    assert (
        failed(join(letters, "--join frame --on 'letter ids'"))[1] == "Did you mean --on 'letter id' instead?"
    )


def test_ids_that_stand_twice_in_the_results_are_refused(letters):
    letters.run("frame = pandas.DataFrame({'genre': ['drama']})")
    first, hint = failed(join(letters, "--join frame --on genre --name joined", "job-demo-films"))
    assert "genre is not unique in the results: 10,000 IDs, " in first
    assert "Leave out --on genre" in hint


def test_on_alone_says_what_it_is_for(letters):
    assert failed(join(letters, "--on letter_id"))[1] == "--join DF --on COLUMN"


def test_tab_offers_frames_behind_join(letters):
    code = "%sutro_results job-demo-zoo --join let"
    assert letters.client.complete(code, reply=True, timeout=60)["content"]["matches"] == ["letters"]
