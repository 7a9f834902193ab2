"""Film reviews: a small job to judge and one of 10,000 rows to plot."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sutro_magic.demo.job_spec import Columns

_TITLES = (
    "The Lighthouse Orchestra", "Paper Comets", "A Spoon for Winter", "Midnight at the Bakery", "The Last Tram",
    "Eleven Umbrellas", "The Whale Who Waited", "Borrowed Thunder", "The Clockmaker's Goat", "Salt and Satellites",
    "My Neighbour, the Volcano", "The Quiet Kraken", "Postcards from Pluto", "The Beekeeper's Alibi",
    "One Sock in Lisbon", "The Glass Accordion", "Snow in the Server Room", "The Ministry of Naps",
)  # fmt: skip

_OPENERS = (
    "Saw it on a rainy Tuesday.", "My sister dragged me along.", "I went in knowing nothing.",
    "Third film of the festival, and I was tired.", "Watched it with a hall full of pensioners.",
    "The projector broke twice.", "We had the cinema to ourselves.", "I read the book first.",
)  # fmt: skip

_PRAISE = (
    "The music still follows me around the kitchen", "the goat deserves an award", "every face looks lived in",
    "the ending earned its silence", "I laughed out loud, alone, in the dark", "the camera knows when to wait",
    "nobody explains anything, and it all makes sense", "the harbour at dawn is worth the ticket",
)  # fmt: skip

_BLAME = (
    "the plot left before I did", "two hours felt like a tax return", "the dialogue was written by a kettle",
    "the twist could be seen from the car park", "even the popcorn looked bored",
    "someone should hide the smoke machine", "the villain has one mood and one hat", "I counted the ceiling lamps",
)  # fmt: skip

REVIEW_SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["positive", "mixed", "negative"]},
        "confidence": {"type": "number"},
    },
    "required": ["label", "confidence"],
}

FILM_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "genre": {"type": "string"},
        "year": {"type": "integer"},
        "score": {"type": "number", "minimum": 0, "maximum": 10},
        "sentiment": {"type": "string", "enum": ["positive", "mixed", "negative"]},
        "would_rewatch": {"type": "boolean"},
    },
    "required": ["title", "genre", "year", "score", "sentiment", "would_rewatch"],
}

# Where a genre's scores lie on average, and how far they scatter: something for a plot to find.
_GENRES = {
    "comedy": (6.4, 1.6),
    "drama": (6.9, 1.3),
    "thriller": (6.1, 1.7),
    "documentary": (7.6, 0.9),
    "horror": (5.0, 2.1),
    "animation": (7.1, 1.2),
}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _remarks(rng: Random, good: int, bad: int) -> str:
    remarks = rng.sample(_PRAISE, good) + rng.sample(_BLAME, bad)
    rng.shuffle(remarks)
    return " ".join(map(_sentence, remarks))


def reviews(rng: Random, rows: range) -> Columns:
    """Short reviews, judged positive, mixed or negative with a confidence."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    for _ in rows:
        label, good, bad = rng.choice(
            [("positive", 2, 0), ("positive", 3, 1), ("mixed", 1, 1), ("negative", 0, 2), ("negative", 1, 3)]
        )
        clear = good == 0 or bad == 0
        confidence = round(rng.betavariate(18, 1.5) if clear else rng.betavariate(7, 4), 3)
        columns["inputs"].append(
            f"{rng.choice(_TITLES)}: {rng.choice(_OPENERS)} {_remarks(rng, good, bad)}",
        )
        columns["outputs"].append(json.dumps({"label": label, "confidence": confidence}))
        columns["cumulative_logprobs"].append(round(-rng.expovariate(9 if clear else 2.5) - 0.002, 4))
    return columns


def second_opinion(rng: Random, rows: range) -> Columns:
    """Judge the reviews of ``job-demo-reviews`` again, as a model that is less sure of mixed ones."""
    columns = reviews(Random(f"job-demo-reviews/{rows.start}"), rows)  # the same texts as there
    columns["outputs"] = [_judge_again(rng, json.loads(output)) for output in columns["outputs"]]
    columns["cumulative_logprobs"] = [round(-rng.expovariate(4) - 0.002, 4) for _ in rows]
    return columns


def _judge_again(rng: Random, judged: dict[str, object]) -> str:
    stays = {"positive": 0.93, "mixed": 0.62, "negative": 0.9}[str(judged["label"])]
    others = [("negative", 0.7), ("positive", 0.3)] if judged["label"] == "mixed" else [("mixed", 1.0)]
    label = judged["label"]
    if rng.random() > stays:
        (label,) = rng.choices([name for name, _ in others], [weight for _, weight in others])
    # Half of the time both are as sure: agreement of numbers is rare, but not unheard of.
    confidence = judged["confidence"] if rng.random() < 0.5 else round(rng.betavariate(9, 2), 3)  # noqa: PLR2004
    return json.dumps({"label": label, "confidence": confidence})


def films(rng: Random, rows: range) -> Columns:
    """Scored reviews with genre and year: scores differ by genre, and comedies got worse over the years."""
    columns: Columns = {"inputs": [], "outputs": [], "cumulative_logprobs": []}
    genres = list(_GENRES)
    for _ in rows:
        title, genre, year = rng.choice(_TITLES), rng.choice(genres), rng.randint(1950, 2025)
        mean, spread = _GENRES[genre]
        drift = (1990 - year) / 35 if genre == "comedy" else 0.0
        score = round(min(10.0, max(0.0, rng.gauss(mean + drift, spread))), 1)
        good = min(3, max(0, round(score / 3)))
        sentiment = "positive" if score >= 7 else "mixed" if score >= 5 else "negative"  # noqa: PLR2004
        columns["inputs"].append(
            f"{title} ({year}, {genre}): {rng.choice(_OPENERS)} {_remarks(rng, good, 3 - good)}",
        )
        columns["outputs"].append(
            json.dumps(
                {
                    "title": title,
                    "genre": genre,
                    "year": year,
                    "score": score,
                    "sentiment": sentiment,
                    "would_rewatch": rng.random() < score / 12,
                },
            ),
        )
        columns["cumulative_logprobs"].append(round(-rng.expovariate(3) - 0.01, 4))
    return columns
