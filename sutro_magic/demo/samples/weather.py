"""The big job: a ship's weather diary of a million entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

_HARBOURS = ("Bergen", "Valparaíso", "Nagasaki", "Dakar", "Tallinn", "Hobart", "Cork", "Muscat")
_SKIES = ("clear", "hazy", "overcast", "drizzle", "steady rain", "sleet", "fog", "thunder")
_WET = frozenset({"drizzle", "steady rain", "sleet", "thunder"})
_NOTES = (
    "gulls sitting",
    "flags torn",
    "washing dry by noon",
    "ferry late",
    "ice on the rails",
    "bells muffled",
)

SCHEMA = {
    "type": "object",
    "properties": {
        "harbour": {"type": "string"},
        "sky": {"type": "string", "enum": list(_SKIES)},
        "wind": {"type": "integer"},
        "umbrella": {"type": "boolean"},
        "comfort": {"type": "number"},
    },
    "required": ["harbour", "sky", "wind", "umbrella", "comfort"],
}


def diary(rng: Random, rows: range) -> Columns:
    """Diary lines turned into fields; drawn in bulk, since a million rows should take seconds."""
    count = len(rows)
    draws = list(
        zip(
            rows,
            rng.choices(_HARBOURS, k=count),
            rng.choices(_SKIES, weights=(22, 12, 20, 14, 12, 5, 9, 6), k=count),
            rng.choices(range(28), weights=range(28, 0, -1), k=count),
            rng.choices(_NOTES, k=count),
            [rng.random() for _ in rows],
            strict=True,
        ),
    )
    return {
        "inputs": [
            f"Entry {row}. {harbour}, {sky}, wind {wind} m/s, {note}. Do I need an umbrella?"
            for row, harbour, sky, wind, note, _ in draws
        ],
        "outputs": [
            f'{{"harbour": "{harbour}", "sky": "{sky}", "wind": {wind}, '
            f'"umbrella": {"true" if sky in _WET and wind < 15 else "false"}, '  # noqa: PLR2004
            f'"comfort": {round((27 - wind) / 3 + luck - 3 * (sky in _WET), 2)}}}'
            for row, harbour, sky, wind, note, luck in draws
        ],
        "cumulative_logprobs": [round(-luck * luck - 0.001, 4) for *_, luck in draws],
    }
