"""Museum labels: extraction into nested fields and lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

_THINGS = (
    ("Tea bowl with heron", ("stoneware", "iron glaze")),
    ("Ship's biscuit in a frame", ("bread", "oak", "glass")),
    ("Umbrella of the tram inspector", ("silk", "whalebone", "cherry wood")),
    ("Portrait of a sleeping cat", ("oil paint", "canvas")),
    ("Astrolabe with a spelling mistake", ("brass",)),
    ("Wedding spoon", ("birch", "red lacquer")),
    ("Teapot shaped like a lighthouse", ("porcelain", "cobalt blue", "gold")),
    ("Sledge for one", ("ash wood", "iron", "rope")),
    ("Music box, plays half a waltz", ("walnut", "steel", "mother-of-pearl")),
    ("Carpet with forty-one birds", ("wool", "madder", "indigo")),
    ("Fishing float", ("green glass", "hemp")),
    ("Mask for a very small festival", ("papier-mâché", "horsehair")),
)

_PLACES = (
    ("Kyoto", "Japan"), ("Bergen", "Norway"), ("Lisbon", "Portugal"), ("Isfahan", "Iran"), ("Lviv", "Ukraine"),
    ("Oaxaca", "Mexico"), ("Fez", "Morocco"), ("Tartu", "Estonia"), ("Jaipur", "India"), ("Görlitz", "Germany"),
    ("Cusco", "Peru"), ("Kumasi", "Ghana"),
)  # fmt: skip

_GIVERS = (
    "the Harbour Society", "Miss A. Lindqvist", "an anonymous dentist", "the class of 1911",
    "the estate of Captain Okafor", "the Friends of Odd Objects",
)  # fmt: skip

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "made": {
            "type": "object",
            "properties": {
                "place": {"type": "string"},
                "country": {"type": "string"},
                "year_from": {"type": "integer"},
                "year_to": {"type": "integer"},
            },
        },
        "materials": {"type": "array", "items": {"type": "string"}},
        "size_cm": {
            "type": "object",
            "properties": {"height": {"type": "number"}, "width": {"type": ["number", "null"]}},
        },
        "acquired": {
            "type": ["object", "null"],
            "properties": {
                "how": {"type": "string", "enum": ["gift", "purchase"]},
                "year": {"type": "integer"},
                "source": {"type": "string"},
            },
        },
        "on_display": {"type": "boolean"},
    },
    "required": ["title", "made", "materials", "size_cm", "acquired", "on_display"],
}


def labels(rng: Random, rows: range) -> Columns:
    """Wall labels as text in, catalogue entries out; each carries its accession number as ID."""
    columns: Columns = {"object_id": [], "inputs": [], "outputs": [], "cumulative_logprobs": []}
    for row in rows:
        title, materials = rng.choice(_THINGS)
        place, country = rng.choice(_PLACES)
        year, spread = rng.randint(1540, 1890), rng.choice((0, 0, 10, 25))
        height = round(rng.uniform(2, 90), 1)
        width = round(rng.uniform(2, 120), 1) if rng.random() < 0.8 else None  # noqa: PLR2004
        how, giver, entered = (
            rng.choice(("gift", "gift", "purchase")),
            rng.choice(_GIVERS),
            rng.randint(1891, 1995),
        )
        acquired: dict[str, Any] | None = {"how": how, "year": entered, "source": giver}
        came = f"{'Gift of' if how == 'gift' else 'Bought from'} {giver}, {entered}."
        if rng.random() < 0.1:  # noqa: PLR2004
            acquired, came = None, "Found in the attic."
        on_display = rng.random() < 0.4  # noqa: PLR2004
        dated = f"about {year}" if spread == 0 else f"{year} to {year + spread}"
        sizes = f"H {height} cm" + (f", W {width} cm" if width is not None else "")
        columns["object_id"].append(f"{entered}.{row % 40 + 1:02d}.{row:04d}")
        columns["inputs"].append(
            f"{title}. {place}, {country}, {dated}. {', '.join(materials).capitalize()}. {sizes}. {came} "
            f"{'Room ' + str(rng.randint(1, 14)) if on_display else 'In storage'}.",
        )
        entry = {
            "title": title,
            "made": {"place": place, "country": country, "year_from": year, "year_to": year + spread},
            "materials": list(materials),
            "size_cm": {"height": height, "width": width},
            "acquired": acquired,
            "on_display": on_display,
        }
        columns["outputs"].append(json.dumps(entry, ensure_ascii=False))
        columns["cumulative_logprobs"].append(round(-rng.expovariate(1.2) - 0.05, 4))
    return columns
