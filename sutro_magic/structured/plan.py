"""The plan for reading the outputs of a job, and reading one output by it.

Reasoning models answer with an envelope of exactly ``content`` and ``reasoning_content``. The answer is the
content: an object, an object written as JSON text, or plain text.
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
"""Key path of a column: ``("age",)``, or ``("content", "age")`` in an envelope."""

Envelope = Literal["none", "fields", "content"]
"""Whether outputs are envelopes, and whether their content is unfolded."""

CONTENT = "content"
REASONING = "reasoning_content"
REASONING_KEY: Key = (REASONING,)
CONTENT_KEY: Key = (CONTENT,)

SAMPLE_ROWS = 400


@dataclass(frozen=True)
class Plan:
    """Plan for reading outputs.

    Attributes
    ----------
    envelope : str
    schema : OutputSchema or None
        Schema of the fields; inside the envelope if there is one.
    guess : dict
        Expected shapes of most rows, by key path.
    """

    envelope: Envelope = "none"
    schema: OutputSchema | None = None
    guess: dict[Key, Shape] = field(default_factory=dict)

    @property
    def prefix(self) -> Key:
        """Key path of the fields."""
        return CONTENT_KEY if self.envelope == "fields" else ()

    @property
    def declared(self) -> dict[Key, Shape]:
        """Shapes declared by the schema, by key path."""
        if self.schema is None:
            return {}
        return {(*self.prefix, name): shape for name, shape in self.schema.declared.items()}


class MisfitError(RowError):
    """The output is an object, but not of the kind that the plan expects."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, is_object=True)


def read_fields(text: str, plan: Plan) -> dict[Key, Any]:
    """Return the fields of one output according to the plan.

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


def learn(strings: Iterable[str], plan: Plan) -> Plan:
    """Return the plan with the most frequent shapes of some outputs.

    Declared columns come first and keep their shape; shapes that the schema leaves open are filled in.
    """
    shapes_of: dict[Key, list[Shape]] = {}
    for text in strings:
        try:
            fields = read_fields(text, plan)
        except RowError:
            continue
        for key, value in fields.items():
            shapes_of.setdefault(key, []).append(shape_of(value))
    # A mixed column is never expected: its rows are read one by one.
    found = {
        key: dominant(s for s in shapes if settle(s).kind != "mixed") for key, shapes in shapes_of.items()
    }
    guess = {key: fill(shape, found.get(key, NULL)) for key, shape in plan.declared.items()}
    return replace(plan, guess={**guess, **{key: shape for key, shape in found.items() if key not in guess}})


def sample(strings: pa.Array, rows: int = SAMPLE_ROWS) -> list[str]:
    """Return a sample of outputs at regular intervals, including the first."""
    step = max(1, len(strings) // rows)
    taken = strings.take(pa.array(range(0, len(strings), step), pa.int64())).to_pylist()
    return [text for text in taken if text is not None]


def _fields(value: dict[str, Any], plan: Plan) -> dict[Key, Any]:
    reason = plan.schema.violation(value) if plan.schema else None
    if reason:
        raise RowError(reason, is_object=True)
    if plan.schema:
        value = _as_declared(value, plan.schema.shape)
    return {(*plan.prefix, name): inner for name, inner in value.items()}


def _as_declared(value: Any, shape: Shape) -> Any:
    """Return a value with 1.0 as 1 where the schema says integer, which JSON schema allows."""
    if shape.kind == "int" and isinstance(value, float):
        return int(value)
    if shape.kind == "list" and shape.item and isinstance(value, list):
        return [_as_declared(item, shape.item) for item in value]
    if shape.kind == "object" and isinstance(value, dict):
        known = dict(shape.fields)
        return {key: _as_declared(inner, known.get(key, NULL)) for key, inner in value.items()}
    return value
