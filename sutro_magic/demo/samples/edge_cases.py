"""Rows that are not text under a tidy schema: embeddings, bad rows, texts that break careless readers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

_TOPICS = {
    "animals": ("fox", "heron", "goat", "otter", "moth", "whale", "snail", "owl", "hare", "eel"),
    "kitchen": ("kettle", "spoon", "oven", "whisk", "teapot", "grater", "ladle", "sieve", "mug", "pan"),
    "sky": ("comet", "cloud", "moon", "thunder", "rainbow", "dusk", "star", "hail", "breeze", "eclipse"),
    "music": ("cello", "waltz", "drum", "choir", "flute", "opera", "fiddle", "organ", "harp", "tango"),
}

_FRAMES = ("a photo of a {}", "a drawing of a {}", "the word {}", "a poem about a {}", "a song about a {}")


def vectors(rng: Random, rows: range) -> Columns:
    """Embeddings of 8 numbers, of length 1, near each other within a topic."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    words = [(number, word) for number, topic in enumerate(_TOPICS.values()) for word in topic]
    for row in rows:
        topic, word = words[row % len(words)]
        raw = [(1.0 if axis // 2 == topic else 0.0) + rng.gauss(0, 0.22) for axis in range(8)]
        length = sum(number * number for number in raw) ** 0.5
        columns["inputs"].append(_FRAMES[row // len(words) % len(_FRAMES)].format(word))
        columns["outputs"].append([round(number / length, 6) for number in raw])
        columns["cumulative_logprobs"].append(None)
    return columns


CITY_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "population": {"type": "integer"},
        "coastal": {"type": "boolean"},
        "nicknames": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "population", "coastal"],
}

_CITIES: tuple[tuple[str, int, bool, list[str]], ...] = (
    ("Lisbon", 545796, True, ["City of Seven Hills"]),
    ("Prague", 1397880, False, ["City of a Hundred Spires"]),
    ("Nairobi", 4397073, False, ["Green City in the Sun"]),
    ("Valparaíso", 295918, True, ["Jewel of the Pacific", "Little San Francisco"]),
    ("Tallinn", 457572, True, []),
    ("Varanasi", 1198491, False, ["City of Light"]),
)

# What models and token limits really do to a row; each spoils a reader that trusts the schema.
_BAD: tuple[str | None, ...] = (
    '{"city": "Lisbon", "population": 5457',
    "I'm sorry, I could not find a city in this text.",
    "",
    None,
    '```json\n{"city": "Prague", "population": 1397880, "coastal": false}\n```',
    '{"city": "Atlantis", "population": "unknown", "coastal": 1}',
    '{"city": "Everywhere", "population": 12345678901234567890123, "coastal": true}',
    '["Lisbon", "Porto"]',
    '{"city": "Oslo", "population": NaN, "coastal": true}',
    '{"city": "Bern", "city": "Basel", "population": 178120, "coastal": false}',
    'Here you go: {"city": "Cork", "population": 224004, "coastal": true}',
    '{"city": "Quito", "population": 1763275.5, "coastal": false, "altitude": {"m": 2850}}',
)


def broken(rng: Random, rows: range) -> Columns:
    """Good rows under a schema, with a bad one in every fifth place."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    for row in rows:
        city, population, coastal, nicknames = rng.choice(_CITIES)
        bad = row % 5 == 4  # noqa: PLR2004
        good = {"city": city, "population": population, "coastal": coastal, "nicknames": nicknames}
        output = _BAD[row // 5 % len(_BAD)] if bad else json.dumps(good, ensure_ascii=False)
        columns["inputs"].append(f"Postcard {row + 1}: Greetings from {city}! Which city is it?")
        columns["outputs"].append(output)
        columns["cumulative_logprobs"].append(
            None if output is None else round(-rng.expovariate(1.5) - 0.02, 4)
        )
    return columns


# Kind, text: what must come through every format and every table byte for byte.
_AWKWARD: tuple[tuple[str, str | None], ...] = (
    ("NA word", "NA"), ("null word", "null"), ("None word", "None"), ("NaN word", "NaN"), ("minus inf", "-inf"),
    ("leading zeros", "007"), ("exponent", "1e5"), ("boolean word", "True"), ("long number", "12345678901234567890123"),
    ("date-like", "2024-01-02"), ("empty", ""), ("missing", None), ("one space", " "), ("padded", "  both sides  "),
    ("one quote mark", '"'), ("two quote marks", '""'), ("quoted word", 'she said "tea"'), ("apostrophe", "it's"),
    ("commas", "a,b,,c"), ("semicolons and tabs", "a;b\tc"), ("line feed", "first\nsecond"),
    ("carriage return", "first\rsecond"), ("both", "first\r\nsecond"), ("only a line feed", "\n"),
    ("only a carriage return", "\r"), ("ends with breaks", "text\r\n\n"), ("quote and break", '"\n,"\r\n"'),
    ("control characters", "\x01\x02\x07\x08\x0b\x0c\x0e\x1a\x1f\x7f"), ("c1 controls", "a\x80b\x85c\x9bd"),
    ("line separators", "a\u2028b\u2029c"), ("byte order mark", "\ufeffstart"), ("zero width", "a\u200bb\u2060c"),
    ("no-break space", "10\u00a0000\u202f%"), ("emoji", "🦊 👩🏽‍🚀 🏳️‍🌈 🇺🇦 1️⃣"), ("beyond the BMP", "\U0001d518\U0001d52b\U0001d526 𓀀 𠜎"),
    ("combining", "e\u0301 é Z̷̡̛a̸l̴g̶o̵"), ("right to left", "שלום עולם، مرحبا بالعالم"),
    ("direction override", "safe\u202etxt.exe\u202c end"), ("script", "<script>alert('owned')</script>"),
    ("image", '<img src=x onerror="document.title=`owned`">'), ("comment", "<!-- --><!--<script>"),
    ("closing tags", "</td></tr></table></script></style>"), ("entities", "&lt;b&gt; &amp;amp; &#x1F600;"),
    ("markdown", "**bold** [link](javascript:alert(1)) `code`"), ("formula", '=HYPERLINK("http://127.0.0.1","go")'),
    ("plus formula", "+1+1"), ("at formula", "@SUM(A1)"), ("ansi colour", "\x1b[31mred\x1b[0m"),
    ("ansi clear", "\x1b[2J\x1b[H gone?"), ("ansi link", "\x1b]8;;http://127.0.0.1/\x07click\x1b]8;;\x07"),
    ("backslashes", "C:\\new\\table\\u0041"), ("percent", "100% %s %(x)s {y} ${z}"), ("JSON text", '{"a": [1, 2'),
    ("JSON scalar", "3.14"), ("JSON in text", 'so: {"a": 1}'), ("tex", "$\\frac{1}{2}$ \\(x\\)"),
    ("long line", "wide " * 4000), ("many lines", "\n".join(f"line {number}" for number in range(300))),
    ("path", "../../etc/passwd"), ("replacement", "\ufffd"), ("noncharacter", "\uffff"),
)  # fmt: skip

AWKWARD_ROWS = len(_AWKWARD)


def awkward(_rng: Random, rows: range) -> Columns:
    """Texts that break careless readers, as outputs and, turned by one row, as inputs; the ID names the kind."""
    return {
        "kind": [_AWKWARD[row][0] for row in rows],
        "inputs": [_AWKWARD[row - 1][1] or "(empty)" for row in rows],
        "outputs": [_AWKWARD[row][1] for row in rows],
        "cumulative_logprobs": [-row / 7 if row % 3 else None for row in rows],
    }
