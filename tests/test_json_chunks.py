"""Each output is an equal value or a reported error, and never a third thing.

Python's own `json` says what a value is. Rows are decoded in chunks large enough that most of them take
the quick way, with odd ones among them.
"""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sutro_magic.structured.decode import decode
from sutro_magic.structured.plan import Plan, learn, sample
from sutro_magic.structured.schema import OutputSchema

SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
GOOD = [json.dumps({"name": f"n{i}", "age": i, "score": i / 4, "tags": ["x"] * (i % 3)}) for i in range(500)]
DEEP = 2_000


# --- what is right ----------------------------------------------------------------------------


def same(one, other):
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, Decimal):
        one = int(one)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) in {int, float} and type(other) in {int, float} and one == other) or (
        type(one) is type(other) and one == other
    )


def refused(text):
    """What is to be an error although Python's parser may take it."""
    twice = []

    def pairs(found):
        twice.extend([1] if len(dict(found)) < len(found) else [])
        return dict(found)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return True
    return bool(twice) or not isinstance(value, dict) or unfit(value)


def unfit(value, depth=0):
    if depth > 200:
        return True
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isinf(value) or math.isnan(value)
    if isinstance(value, dict):
        return any(unfit(key) or unfit(inner, depth + 1) for key, inner in value.items())
    return isinstance(value, list) and any(unfit(inner, depth + 1) for inner in value)


def check(texts, plan=None, is_error=refused, expected=json.loads):
    """Decode, and hold every row against Python's parser."""
    chunk = decode(pa.array(texts, pa.string()), Plan() if plan is None else plan)
    columns = {key: array.to_pylist() for key, array in chunk.columns.items()}
    raw, errors = chunk.raw.to_pylist(), chunk.errors.to_pylist()
    assert {len(raw), len(errors), *map(len, columns.values())} == {len(texts)}
    failed = 0
    for row, text in enumerate(texts):
        found = {key[-1]: values[row] for key, values in columns.items()}
        if text is None or is_error(text):
            failed += text is not None
            assert raw[row] == text
            assert (errors[row] is None) == (text is None)
            assert set(found.values()) <= {None}
            continue
        assert (raw[row], errors[row]) == (None, None), text
        value = expected(text)
        assert value.keys() <= found.keys()
        for key, values in columns.items():
            kept = values[row]
            if chunk.shapes[key].kind == "mixed" and kept is not None:
                kept = json.loads(kept)
            assert same(kept, value.get(key[-1])), (text, key, chunk.shapes[key])
    assert chunk.failed == failed
    assert chunk.nulls == texts.count(None)
    return chunk


# --- random rows ------------------------------------------------------------------------------

EDGES = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**37, 10**38, 10**60, 0, 1]
INTEGERS = st.one_of(st.sampled_from([*EDGES, *(-edge for edge in EDGES)]), st.integers())
TEXTS = st.one_of(
    st.sampled_from(
        ["", "2024-01-01", "40", "true", "null", '"', "\\", "a\nb", "\x00", "é", "😀", "{}", "NaN"]
    ),
    st.text(max_size=6),
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(["a", "b", "c", "", "a.b", 'q"\n', "é"])
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)
BROKEN = st.sampled_from(
    ['{"a": 1', '{"a": 1} {"a": 2}', '{"a": 1}{"b": 2}', '{"a": 1} done', '```json\n{"a": 1}\n```', "", " ", "a",
     "[1]", "null", "7", '"a"', '{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', '{"a": 1, "a": 2}', '{"b": {"x": 1, "x": 1}}',
     '{"a": "\\ud800"}', '{"\\udc00": 1}', '{"a": "x\ny"}', '{"a": 01}', '{"a": 1.}', '{"a": +1}', "{'a': 1}", '{"a": 1,}',
     '{"a": [{"x": 1,', "{}]}", '{"a": "\t"}']
)  # fmt: skip


@st.composite
def written(draw, values=OBJECTS):
    """A row as some model may write it."""
    value = draw(values)
    indent = draw(st.sampled_from([None, None, None, 1]))
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])) if indent is None else None
    around = draw(st.sampled_from(["", "", "", " ", "\n", "\r\n\t"]))
    return (
        around
        + json.dumps(value, indent=indent, separators=separators, ensure_ascii=draw(st.booleans()))
        + around
    )


ROWS = st.one_of(written(), written(), written(), BROKEN, st.none())


@pytest.mark.slow
@SETTINGS
@given(st.lists(ROWS, max_size=30))
def test_random_rows_read_one_by_one(rows):
    check(rows)


@pytest.mark.slow
@SETTINGS
@given(st.lists(written(), min_size=1, max_size=6), st.lists(ROWS, max_size=6), st.integers(0, 2**32))
def test_random_rows_among_many_of_the_same_shapes(common, odd, number):
    rows = common * 40 + odd
    random.Random(number).shuffle(rows)
    check(rows)
    check(rows, learn(sample(pa.array(common)), Plan()))


@pytest.mark.slow
@SETTINGS
@given(st.lists(ROWS, min_size=1, max_size=20))
def test_a_row_is_an_error_whatever_stands_around_it(rows):
    together = decode(pa.array(rows, pa.string()), Plan())
    alone = [decode(pa.array([row], pa.string()), Plan()).failed for row in rows]
    assert [int(error is not None) for error in together.errors.to_pylist()] == alone


# --- hostile rows -----------------------------------------------------------------------------

VALUES_OF_EVERY_KIND = {
    "null": "null", "true": "true", "integer": "7", "float": "3.5", "text": '"seven"', "digits": '"7"',
    "date": '"2024-01-01"', "time": '"2024-01-01T10:00:00Z"', "list": "[7]", "texts": '["a"]', "empty list": "[]",
    "object": '{"x": 7}', "other object": '{"y": 7}', "empty object": "{}", "list of objects": '[{"x": 1}, {"y": 2}]',
    "mixed list": '[1, "a"]', "2^53": str(2**53), "2^53+1": str(2**53 + 1), "2^63-1": str(2**63 - 1), "2^63": str(2**63),
    "2^64": str(2**64), "-2^63": str(-(2**63)), "-2^63-1": str(-(2**63) - 1), "2^70": str(2**70), "10^38": str(10**38),
    "1e22": "1e22", "1E400": "1E400", "1e-400": "1e-400", "-0": "-0", "-0.0": "-0.0", "long float": "0." + "1" * 60,
    "integer as float": "1.0", "escapes": '"\\u00e9\\n\\/\\ud83d\\ude00"', "deep list": "[" * 30 + "1" + "]" * 30,
}  # fmt: skip

HOSTILE = {
    "cut off": '{"name": "a", "age": 1', "cut in a text": '{"name": "a', "plain text": "I could not.", "empty": "",
    "blank": " \n", "JSON null": "null", "nothing": None, "array": '[{"name": "a"}]', "scalar": "7", "text": '"a"',
    "missing keys": '{"name": "a"}', "no keys": "{}", "extra key": '{"name": "a", "age": 1, "more": [1]}',
    "other order": '{"tags": [], "age": 1, "score": 2, "name": "a"}', "pretty": '{\n  "name": "a",\n  "age": 1\n}',
    "two objects": '{"name": "a"} {"name": "b"}', "two lines": '{"name": "a"}\n{"name": "b"}',
    "text after": '{"name": "a"} Hope this helps!', "text before": 'Sure: {"name": "a"}',
    "fence": '```json\n{"name": "a"}\n```', "key twice": '{"name": "a", "age": 1, "age": 2}',
    "key twice inside": '{"name": "a", "more": [{"x": 1, "x": 2}]}',
    "key twice in order": '{"name": "a", "age": 1, "score": 1, "tags": [], "tags": []}',
    "NaN": '{"name": "a", "score": NaN}', "1e999": '{"name": "a", "score": 1e999}', "half a pair": '{"name": "\\ud800"}',
    "other half": '{"name": "\\udc00\\ud800"}', "deep": '{"a":' * DEEP + "1" + "}" * DEEP, "100 deep": '{"a":' * 100 + "1" + "}" * 100,
    "empty key": '{"": 1, "name": "a"}', "dots": '{"a.b": {"c.d": 1}}', "quotes": '{"a\\"b": 1}', "line break in key": '{"a\\nb": 1}',
    "key written in escapes": '{"n\\u0061me": "a", "age": 1}', "keys of another case": '{"Name": "A", "name": "a"}',
    "control character": '{"name": "a\x01"}', "raw tab": '{"name": "a\t"}', "NUL": '{"name": "\\u0000"}',
    "leading zero": '{"age": 007}', "hex": '{"age": 0x10}', "comment": '{"age": 1 /* one */}', "single quotes": "{'age': 1}",
    "thousands of digits": '{"age": ' + "9" * 5_000 + "}", "byte order mark": '\ufeff{"age": 1}', "vertical tab": '\v{"age": 1}',
    "begins and ends like an object": '{"name": "a", "more": [{"x": 1},{}', "rest of one": '{"name": "b"}]}',
}  # fmt: skip


def among_good(*odd):
    """The odd rows at the beginning, the end, and in between."""
    return [*odd, *GOOD[:250], *odd, *GOOD[250:], *odd]


@pytest.mark.slow
@pytest.mark.parametrize("odd", HOSTILE.values(), ids=HOSTILE)
def test_hostile_rows_change_no_other(odd):
    check(among_good(odd))
    check(among_good(odd), learn(GOOD, Plan()))


def test_all_hostile_rows_together():
    rows = among_good(*HOSTILE.values())
    chunk = check(rows)
    print(f"{len(HOSTILE)} kinds of hostile rows, {chunk.failed} of {len(rows)} rows are errors")


@pytest.mark.slow
@pytest.mark.parametrize("one", VALUES_OF_EVERY_KIND)
def test_values_of_every_two_kinds_in_a_column(one):
    for other in VALUES_OF_EVERY_KIND.values():
        for many in (1, 300):
            rows = [f'{{"a": {VALUES_OF_EVERY_KIND[one]}}}'] * many + [f'{{"a": {other}}}', "{}"]
            check(rows)
            check(rows[::-1])


def test_integers_keep_every_digit_and_get_a_type_where_there_is_one():
    kinds = {}
    for integer in (1, 2**53 + 1, 2**63 - 1, 2**63, 10**38 - 1, 10**38):
        chunk = check([f'{{"a": {integer}}}', '{"a": -1}'])
        kinds[integer] = str(chunk.columns["a",].type)
    assert list(kinds.values()) == [*["int64"] * 3, *["decimal128(38, 0)"] * 2, "string"]


def test_integers_become_floats_only_where_each_of_them_is_exact():
    assert check(['{"a": 1}', '{"a": 3.5}']).columns["a",].type == pa.float64()
    for rows in (
        ['{"a": 9007199254740993}', '{"a": 3.5}'],
        ['{"a": 3.5}'] * 500 + ['{"a": 9007199254740993}'],
    ):
        assert check(rows).shapes["a",].kind == "mixed"


# --- envelopes --------------------------------------------------------------------------------

ENVELOPES = [
    {"content": {"fruit": "plum", "n": 1}, "reasoning_content": "because"},
    {"content": {"n": 2, "fruit": "fig"}, "reasoning_content": None},
    {"reasoning_content": "turned round", "content": {"fruit": "pear", "n": 3}},
    {"content": '{"fruit": "kiwi", "n": 4}', "reasoning_content": "as text"},
    {"content": '{"n": 5}', "reasoning_content": "with a key missing"},
    {"content": {"reasoning_content": "inner"}, "reasoning_content": "outer"},
]
NO_ENVELOPES = [
    {"content": "plain", "reasoning_content": "x"},
    {"content": '{"fruit": "cut', "reasoning_content": "x"},
    {"content": None, "reasoning_content": "x"},
    {"content": [1], "reasoning_content": "x"},
    {"content": '{"n": 1, "n": 2}', "reasoning_content": "x"},
    {"content": {"n": 1}},
    {"content": {"n": 1}, "reasoning_content": "x", "more": 1},
    {"content": {"n": 1}, "reasoning_content": 7},
    {"n": 1},
]


@pytest.mark.parametrize("many", [1, 200])
def test_content_of_every_form_unfolds_and_everything_else_is_an_error(many):
    good = [json.dumps(value) for value in ENVELOPES] * many
    bad = [json.dumps(value) for value in NO_ENVELOPES]
    plan = learn(good, Plan("fields"))
    chunk = decode(pa.array([*bad, *good, *bad]), plan)
    assert (chunk.failed, chunk.misfits, chunk.objects) == (18, 18, 18 + len(good))
    assert [error is not None for error in chunk.errors.to_pylist()] == [True] * 9 + [False] * len(good) + [
        True
    ] * 9
    for place, text in enumerate(good, start=len(bad)):
        value = json.loads(text)
        content = value["content"]
        content = json.loads(content) if isinstance(content, str) else content
        assert chunk.columns["reasoning_content",][place].as_py() == value["reasoning_content"]
        for key in ("fruit", "n", "reasoning_content"):
            assert chunk.columns["content", key][place].as_py() == content.get(key)


def test_plain_content_is_a_column_of_text():
    texts = [
        json.dumps({"content": f'{{"a": {i}}}' if i % 4 else f"t{i}", "reasoning_content": "r"})
        for i in range(400)
    ]
    chunk = decode(pa.array([*texts, '{"content": "x"}']), learn(texts, Plan("content")))
    assert chunk.columns["content",].to_pylist()[:3] == ["t0", '{"a": 1}', '{"a": 2}']
    assert chunk.failed == chunk.misfits == 1


# --- schemas ----------------------------------------------------------------------------------


def of(**properties):
    return {"type": "object", "properties": properties}


NUMBER = {"type": "integer"}
ITEM = of(id=NUMBER, label={"type": ["string", "null"]}) | {"required": ["id", "label"]}
SCHEMAS = {
    "types": of(a=NUMBER, b={"type": "string"}, c={"type": "number"}, d={"type": "boolean"}),
    "some required": of(a=NUMBER, b={"type": "string"}) | {"required": ["a"]},
    "all required, one nullable": of(a=NUMBER, b={"anyOf": [{"type": "string"}, {"type": "null"}]}) | {"required": ["a", "b"]},
    "nullable and required among optional": of(a={"type": ["integer", "null"]}, b=NUMBER) | {"required": ["a"]},
    "closed": of(a=NUMBER) | {"additionalProperties": False},
    "enum": of(a={"enum": ["x", "y"]}, b={"type": "string", "enum": ["x", "2024-01-01"]}, c={"enum": [1, 2]}),
    "enum with null": of(a={"type": ["string", "null"], "enum": ["x", None]}, b={"type": ["string", "null"], "enum": ["x"]}),
    "enum of kinds": of(a={"enum": [1, "x", True]}), "const": of(a={"const": "x"}, b={"const": 1}),
    "limits": of(a={"type": "integer", "minimum": 0, "exclusiveMaximum": 10}, c={"type": "number", "maximum": 1.5}),
    "lengths": of(b={"type": "string", "minLength": 1, "maxLength": 3}, e={"type": "array", "items": NUMBER, "minItems": 1, "maxItems": 2}),
    "pattern": of(b={"type": "string", "pattern": "^[a-z]+$"}),
    "nested": of(f=of(x=NUMBER, y={"type": "string"}) | {"required": ["x"]}, e={"type": "array", "items": ITEM}),
    "references": of(f={"$ref": "#/$defs/Item"}, e={"type": "array", "items": {"$ref": "#/$defs/Item"}}) | {"$defs": {"Item": ITEM}},
    "open": of(a={}, f={"type": "object"}, e={"type": "array"}),
    "two objects": of(f={"oneOf": [of(x=NUMBER) | {"required": ["x"]}, of(y=NUMBER) | {"required": ["y"]}]}),
    "multiples": of(a={"type": "integer", "multipleOf": 2}), "unique": of(e={"type": "array", "items": NUMBER, "uniqueItems": True}),
    "patterns of keys": of(a=NUMBER) | {"patternProperties": {"^b": {"type": "string"}}},
    "kinds of other keys": of(a=NUMBER) | {"additionalProperties": {"type": "string"}},
    "one of with null twice": of(a={"oneOf": [{"type": ["integer", "null"]}, {"type": "null"}]}),
    "needs an undeclared key": of(a=NUMBER) | {"required": ["a", "z"]},
}  # fmt: skip
NEAR = {
    "a": [0, 1, 2, 9, 10, -1, 2**60, 2**70, 1.0, 1.5, None, True, "x", "y", "z"],
    "b": ["x", "abc", "abcd", "", "2024-01-01", "A", "ab\n", None, 1],
    "c": [1, 2, 0.5, 1.5, 1.6, True, None, "1"],
    "d": [True, False, None, 0],
    "e": [[], [1], [1, 1], [1, 2, 3], ["x"], None, [{"id": 1, "label": None}], [{"id": 1}], [{"id": "1", "label": "x"}]],
    "f": [{}, {"x": 1}, {"x": 1, "y": "t"}, {"y": 2}, {"x": None, "y": None}, {"id": 1, "label": "t"}, {"id": 1, "more": 1}, None, 1],
    "z": ["other", 1],
}  # fmt: skip
NEAR_ROWS = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in NEAR.items()})


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_row_is_an_error_if_the_schema_says_so(schema):
    judge = jsonschema.Draft202012Validator(schema)

    def is_error(text):
        return refused(text) or not judge.is_valid(json.loads(text))

    @settings(SETTINGS, max_examples=40)
    @seed(1)
    @given(st.lists(NEAR_ROWS, min_size=1, max_size=12), st.booleans())
    def rows_near_the_schema(values, many):
        texts = [json.dumps(value) for value in values]
        plan = learn(texts, Plan(schema=OutputSchema(schema)))
        check(texts * (30 if many else 1), plan, is_error, lambda text: whole(json.loads(text), schema))

    rows_near_the_schema()
    for key, values in NEAR.items():
        texts = [json.dumps({**required, key: value}) for value in values for required in ({}, {"a": 1})] * 10
        check(
            texts,
            learn(texts, Plan(schema=OutputSchema(schema))),
            is_error,
            lambda text: whole(json.loads(text), schema),
        )


def whole(value, schema):
    """Add the nulls of declared keys that are missing inside: a struct has all its fields."""
    declared = schema.get("properties", {})
    return {key: filled(inner, declared.get(key, {})) for key, inner in value.items()}


def filled(value, schema):
    if "$ref" in schema:
        schema = ITEM
    if isinstance(value, dict):
        return {**dict.fromkeys(schema.get("properties", {})), **whole(value, schema)}
    return [filled(inner, schema.get("items", {})) for inner in value] if isinstance(value, list) else value


def test_an_integer_written_as_a_float_is_one_where_the_schema_says_so():
    rows = ['{"a": 1}'] * 300 + ['{"a": 2.0}', '{"e": [3.0], "f": {"x": 4.0}}']
    plan = Plan(schema=OutputSchema(of(a=NUMBER, e={"type": "array", "items": NUMBER}, f=of(x=NUMBER))))
    columns = check(rows, learn(rows, plan)).columns
    kinds = [str(columns[key,].type) for key in "aef"]
    assert kinds == ["int64", "list<item: int64>", "struct<x: int64>"]


def test_declared_columns_come_first_and_in_their_order():
    schema = OutputSchema(of(z={"type": "string"}, a=NUMBER))
    plan = learn(['{"more": 1, "a": 2, "z": "x"}'], Plan(schema=schema))
    assert list(plan.guess) == [("z",), ("a",), ("more",)]


@pytest.mark.parametrize(
    "schema",
    [{"type": "array"}, {"type": 7}, of(a={"$ref": "https://example.com/a"}), of(a={"$ref": "#/$defs/none"}),
     {"$ref": "#"}, of(a={"type": "strin"})],
)  # fmt: skip
def test_what_is_no_schema_of_objects_is_refused(schema):
    with pytest.raises(ValueError, match=r"schema|reference"):
        OutputSchema(schema)


@pytest.mark.parametrize(
    "words",
    [
        {"minimum": "x"},
        {"pattern": "("},
        {"enum": 7},
        {"type": ["integer", 7]},
        {"minLength": -1, "minimum": []},
    ],
)
def test_a_schema_that_is_not_valid_itself_makes_no_errors(words):
    try:
        schema = OutputSchema(of(a={"type": "integer"} | words, b={"type": "string"}))
    except ValueError:
        return
    chunk = check(['{"a": 1, "b": "x"}'] * 20, learn([], Plan(schema=schema)))
    assert chunk.failed == 0
