"""How the outputs of a job are to be read, and one output read that way.

A reasoning model answers with an envelope of exactly ``content`` and ``reasoning_content``; what was asked
for is its content, be it an object, an object written as JSON text, or plain text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from sutro_magic.structured.json_object import RowError, kind_of, read_object
from sutro_magic.structured.shapes import NULL, Shape, dominant, fill, settle, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sutro_magic.structured.schema import OutputSchema

Key = tuple[str, ...]
"""Where a column comes from: ``("age",)``, or ``("content", "age")`` inside an envelope."""

Envelope = Literal["none", "fields", "content"]
"""Whether outputs are envelopes, and then whether their content is objects to be unfolded."""

CONTENT = "content"
REASONING = "reasoning_content"
REASONING_KEY: Key = (REASONING,)
CONTENT_KEY: Key = (CONTENT,)

SAMPLE_ROWS = 400


@dataclass(frozen=True)
class Plan:
    """How outputs are to be read.

    Attributes
    ----------
    envelope : str
    schema : OutputSchema or None
        Of the fields; inside the envelope if there is one.
    guess : dict
        Shapes that most rows are expected to have, by where they come from.
    """

    envelope: Envelope = "none"
    schema: OutputSchema | None = None
    guess: dict[Key, Shape] = field(default_factory=dict)

    @property
    def prefix(self) -> Key:
        """Where the fields are."""
        return CONTENT_KEY if self.envelope == "fields" else ()

    @property
    def declared(self) -> dict[Key, Shape]:
        """Shapes that the schema declares, by where they come from."""
        if self.schema is None:
            return {}
        return {(*self.prefix, name): shape for name, shape in self.schema.declared.items()}


class MisfitError(RowError):
    """An object, but not of the kind that the plan expects."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, is_object=True)


def read_fields(text: str, plan: Plan) -> dict[Key, Any]:
    """Read one output as the plan says.

    Raises
    ------
    RowError
    """
    value = read_object(text)
    if plan.envelope == "none":
        return _fields(value, plan)
    if not is_envelope(value):
        raise MisfitError(f"not exactly {CONTENT} and {REASONING}")
    content, reasoning = value[CONTENT], value[REASONING]
    if plan.envelope == "content":
        return {CONTENT_KEY: content, REASONING_KEY: reasoning}
    if isinstance(content, str):
        try:
            content = read_object(content)
        except RowError as error:
            raise MisfitError(f"{CONTENT}: {error}") from None
    elif not isinstance(content, dict):
        raise MisfitError(f"{CONTENT}: {kind_of(content)}, not an object")
    return {**_fields(content, plan), REASONING_KEY: reasoning}


def is_envelope(value: Mapping[str, Any]) -> bool:
    """Return whether an object has exactly the keys of an envelope, and text or null as reasoning."""
    return value.keys() == {CONTENT, REASONING} and isinstance(value[REASONING], str | None)


def learn(texts: Iterable[str], plan: Plan) -> Plan:
    """Return the plan with the shapes that most of some outputs have.

    Declared columns come first and keep their shape; what the schema leaves open is filled in.
    """
    seen: dict[Key, list[Shape]] = {}
    for text in texts:
        try:
            fields = read_fields(text, plan)
        except RowError:
            continue
        for key, value in fields.items():
            seen.setdefault(key, []).append(shape_of(value))
    # A column that is mixed in itself is never expected: its rows are read one by one.
    found = {key: dominant(s for s in shapes if settle(s).kind != "mixed") for key, shapes in seen.items()}
    guess = {key: fill(shape, found.get(key, NULL)) for key, shape in plan.declared.items()}
    return replace(plan, guess={**guess, **{key: shape for key, shape in found.items() if key not in guess}})


def sample(texts: pa.Array, rows: int = SAMPLE_ROWS) -> list[str]:
    """Take outputs evenly over all of them, the first among them."""
    step = max(1, len(texts) // rows)
    taken = texts.take(pa.array(range(0, len(texts), step), pa.int64())).to_pylist()
    return [text for text in taken if text is not None]


def _fields(value: dict[str, Any], plan: Plan) -> dict[Key, Any]:
    reason = plan.schema.violation(value) if plan.schema else None
    if reason:
        raise RowError(reason, is_object=True)
    if plan.schema:
        value = _as_declared(value, plan.schema.shape)
    return {(*plan.prefix, name): inner for name, inner in value.items()}


def _as_declared(value: Any, shape: Shape) -> Any:
    """Write 1.0 as 1 where the schema says integer, for which it may stand."""
    if shape.kind == "int" and isinstance(value, float):
        return int(value)
    if shape.kind == "list" and shape.item and isinstance(value, list):
        return [_as_declared(item, shape.item) for item in value]
    if shape.kind == "object" and isinstance(value, dict):
        known = dict(shape.fields)
        return {key: _as_declared(inner, known.get(key, NULL)) for key, inner in value.items()}
    return value
