"""Made-up but repeatable answers for jobs that somebody submits to the demo service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from sutro_magic.demo.job_spec import Columns, Maker

_DEPTH = 6


def maker(inputs: Sequence[str], schema: Mapping[str, Any] | None) -> Maker:
    """Answer each input: by its schema if there is one, else by saying it back with its length."""

    def rows(_rng: Random, numbers: range) -> Columns:
        texts = [inputs[number] for number in numbers]
        outputs = [
            json.dumps(_fill(schema, text), ensure_ascii=False) if schema is not None else _echo(text)
            for text in texts
        ]
        logprobs = [-(crc32(text.encode()) % 5000) / 1000 - 0.001 for text in texts]
        return {"inputs": texts, "outputs": outputs, "cumulative_logprobs": logprobs}

    return rows


def _echo(text: str) -> str:
    words = text.split()
    opening = " ".join(words[:8]) + (" ..." if len(words) > 8 else "")  # noqa: PLR2004
    return f"You sent {len(words)} word{'' if len(words) == 1 else 's'}: {opening}"


def _fill(schema: Any, text: str, name: str = "", depth: int = 0) -> Any:
    """Make a value that fits the common parts of JSON Schema; what it does not know becomes text."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    luck = crc32(f"{name}/{text}".encode())
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[luck % len(choices)]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        fields = schema.get("properties")
        fields = fields if isinstance(fields, dict) else {}
        return {field: _fill(part, text, f"{name}.{field}", depth + 1) for field, part in fields.items()}
    if kind == "array":
        return [
            _fill(schema.get("items"), text, f"{name}[{number}]", depth + 1) for number in range(luck % 3 + 1)
        ]
    low = _number(schema.get("minimum"), 0)
    high = max(low, _number(schema.get("maximum"), low + (1 if kind == "number" else 10)))
    simple: dict[object, Any] = {
        "integer": int(low) + luck % (int(high) - int(low) + 1),
        "number": round(low + (high - low) * (luck % 1000) / 999, 3),
        "boolean": luck % 2 == 0,
        "null": None,
    }
    return simple.get(kind, " ".join(text.split()[:5]))


def _number(value: object, default: float) -> float:
    return value if isinstance(value, int | float) else default
