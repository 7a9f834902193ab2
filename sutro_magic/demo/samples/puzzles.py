"""Puzzles for reasoning models: sums under a schema, and letter riddles without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

SUM_SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "integer"},
        "unit": {"type": "string"},
        "difficulty": {"type": "string", "enum": ["easy", "tricky"]},
    },
    "required": ["answer", "unit", "difficulty"],
}

_NAMES = ("Ada", "Bao", "Chinwe", "Daoud", "Esra", "Freja", "Goran", "Hana", "Ines", "Jun")

_WORDS = (
    "owl", "moth", "comet", "anchor", "bread", "cello", "dune", "ember", "fjord", "goat", "harbour", "iris",
    "jam", "kite", "lamp", "maple", "nest", "opera", "pearl", "quilt", "raft", "snail", "tulip", "violin",
)  # fmt: skip

_CLUES = (
    "planet", "window", "kettle", "garden", "jigsaw", "button", "quiver", "velvet", "orchid", "bridge",
    "cloud", "saffron", "mirror", "tunnel", "basket", "puzzle", "yacht", "fox", "humble", "cracker", "jumper",
    "dawn", "flock", "brick", "ghost", "pivot", "zebra", "quartz", "lemon", "sofa",
)  # fmt: skip


def _ferry(rng: Random) -> tuple[str, int, str, str, str]:
    cars, trips, short = rng.randint(6, 24), rng.randint(3, 9), rng.randint(1, 5)
    return (
        (
            f"A ferry takes {cars} cars a trip and makes {trips} trips. On the last one {short} places stay empty. "
            "How many cars cross?"
        ),
        cars * trips - short,
        "cars",
        "easy",
        (
            f"Full trips would carry {cars} x {trips} = {cars * trips}. "
            f"Minus {short} empty places: {cars * trips} - {short} = {cars * trips - short}."
        ),
    )


def _snail(rng: Random) -> tuple[str, int, str, str, str]:
    up = rng.randint(3, 6)
    down = rng.randint(1, up - 1)
    days = rng.randint(3, 12)
    wall = (days - 1) * (up - down) + up
    return (
        f"A snail climbs a wall of {wall} m: {up} m up by day, {down} m down by night. On which day is it on top?",
        days,
        "days",
        "tricky",
        (
            f"Each full day gains {up - down} m, but the last day has no night. After {days - 1} days it is at "
            f"{(days - 1) * (up - down)} m; the next climb of {up} m reaches {wall} m. So day {days}."
        ),
    )


def _handshakes(rng: Random) -> tuple[str, int, str, str, str]:
    people = rng.randint(4, 18)
    return (
        f"{people} librarians meet and each shakes hands once with every other. How many handshakes?",
        people * (people - 1) // 2,
        "handshakes",
        "tricky",
        (
            f"Each of {people} shakes {people - 1} hands: {people * (people - 1)}. That counts every pair twice, "
            f"so {people * (people - 1)} / 2 = {people * (people - 1) // 2}."
        ),
    )


def _biscuits(rng: Random) -> tuple[str, int, str, str, str]:
    name, friends, each, left = rng.choice(_NAMES), rng.randint(3, 11), rng.randint(2, 9), rng.randint(1, 4)
    return (
        (
            f"{name} shares biscuits among {friends} friends: each gets {each}, and {left} are left for the dog. "
            "How many were there?"
        ),
        friends * each + left,
        "biscuits",
        "easy",
        f"{friends} x {each} = {friends * each}, and the dog's {left} make {friends * each + left}.",
    )


def sums(rng: Random, rows: range) -> Columns:
    """Word problems: ``content`` is an object under a schema, the way to it in ``reasoning_content``."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    for _ in rows:
        question, answer, unit, difficulty, reasoning = rng.choice((_ferry, _snail, _handshakes, _biscuits))(
            rng
        )
        content = {"answer": answer, "unit": unit, "difficulty": difficulty}
        columns["inputs"].append(question)
        columns["outputs"].append(json.dumps({"content": content, "reasoning_content": reasoning}))
        columns["cumulative_logprobs"].append(round(-rng.expovariate(0.8) - 0.2, 4))
    return columns


def riddles(rng: Random, rows: range) -> Columns:
    """Letter riddles: ``content`` is text, in every fourth row a JSON text, as the results page allows."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    places = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
    for row in rows:
        word = rng.choice(_WORDS)
        lines, steps = [], []
        for place, letter in zip(places, word, strict=False):
            has = rng.choice([clue for clue in _CLUES if letter in clue])
            lacks = rng.choice([clue for clue in _CLUES if letter not in clue])
            lines.append(f"My {place} is in {has} but not in {lacks},")
            steps.append(f"{place}: in '{has}', not in '{lacks}', so it may be {letter}")
        columns["inputs"].append("\n".join([*lines, f"my whole has {len(word)} letters. What am I?"]))
        content = json.dumps({"answer": word, "letters": len(word)}) if row % 4 == 3 else word  # noqa: PLR2004
        envelope = {
            "content": content,
            "reasoning_content": "; ".join(steps) + f". Together: {word.upper()}.",
        }
        columns["outputs"].append(json.dumps(envelope))
        columns["cumulative_logprobs"].append(round(-rng.expovariate(0.6) - 0.3, 4))
    return columns
