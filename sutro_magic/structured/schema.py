"""A job's JSON schema: its declared columns, and validation of rows.

There are two validators. `OutputSchema.violation` is authoritative: the ``jsonschema`` library, one row at a time.
`OutputSchema.suspects` checks whole columns quickly and returns every row that may be invalid; rows that it
accepts are valid. A schema with keywords that cannot be checked by column is not `provable`: then every row is
validated with the library.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic.structured.shapes import (
    BOOL,
    FLOAT,
    INT,
    MAX_TYPE_DEPTH,
    NULL,
    TEXT,
    Shape,
    list_of,
    object_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TYPES = {"string": TEXT, "integer": INT, "number": FLOAT, "boolean": BOOL, "null": NULL}
_STRUCTURE = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "$ref"}
_ANNOTATIONS = {
    "title", "description", "default", "example", "examples", "format", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$defs", "definitions",
}  # fmt: skip
_CHECKS: dict[str, Callable[[pa.Array, Any], pa.Array]] = {
    # Each returns which values are invalid; null for null.
    "minimum": lambda array, limit: pc.less(array, pa.scalar(limit)),
    "maximum": lambda array, limit: pc.greater(array, pa.scalar(limit)),
    "exclusiveMinimum": lambda array, limit: pc.less_equal(array, pa.scalar(limit)),
    "exclusiveMaximum": lambda array, limit: pc.greater_equal(array, pa.scalar(limit)),
    "minLength": lambda array, limit: pc.less(pc.utf8_length(array), limit),
    "maxLength": lambda array, limit: pc.greater(pc.utf8_length(array), limit),
    "minItems": lambda array, limit: pc.less(pc.list_value_length(array), limit),
    "maxItems": lambda array, limit: pc.greater(pc.list_value_length(array), limit),
    "enum": lambda array, values: _is_none_of(array, values),  # noqa: PLW0108 - defined below
    "const": lambda array, value: _is_none_of(array, [value]),
    "pattern": lambda array, pattern: _does_not_match(array, pattern),  # noqa: PLW0108 - defined below
}
_APPLIES_TO = {
    "minimum": {"int", "long", "float"}, "maximum": {"int", "long", "float"},
    "exclusiveMinimum": {"int", "long", "float"}, "exclusiveMaximum": {"int", "long", "float"},
    "minLength": {"text"}, "maxLength": {"text"}, "pattern": {"text"},
    "minItems": {"list"}, "maxItems": {"list"},
}  # fmt: skip


class OutputSchema:
    """The schema of one job's outputs.

    Parameters
    ----------
    schema : mapping
        The schema given with the job.

    Raises
    ------
    ValueError
        If it is not a schema, or not one of objects.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root: dict[str, Any] = dict(schema)
        try:
            self._node = self._resolve(self._root)
            if not is_object_schema(self._node):
                raise ValueError("not a schema of objects")
            self.shape = self._shape(self._node)
            self.provable = self._is_provable(self._node)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a schema") from error

    @property
    def is_settled(self) -> bool:
        """Whether the schema determines the shapes of all columns."""
        return not _is_open(self.shape)

    @property
    def declared(self) -> dict[str, Shape]:
        """Shapes of the declared columns, in order; `NULL` where the schema is open."""
        return dict(self.shape.fields)

    @property
    def closed(self) -> bool:
        """Whether other keys are forbidden."""
        return self._node.get("additionalProperties") is False

    @cached_property
    def _validator(self) -> Any:
        """The validator of the library; None if the schema is invalid."""
        # Imported on first use: with its optional format checkers, the import takes most of a second.
        import jsonschema
        import referencing

        kind = jsonschema.validators.validator_for(self._root, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(self._root)
        except jsonschema.SchemaError:
            return None
        # An empty registry, because the default one fetches references over the network.
        return kind(self._root, registry=referencing.Registry())

    def violation(self, value: dict[str, Any]) -> str | None:
        """Return a short description of how an output violates the schema, or None if it is valid."""
        if self._validator is None:
            return None
        import jsonschema

        try:
            error = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        except Exception as failure:  # noqa: BLE001 - libraries for references and patterns raise their own
            return f"cannot be checked against the schema: {type(failure).__name__}"
        return None if error is None else _in_short(error)

    def suspects(self, columns: Mapping[str, pa.Array], rows: int, *, complete: bool) -> pa.Array:
        """Return which rows may violate the schema, as a boolean array.

        Parameters
        ----------
        columns : mapping of str to pyarrow.Array
            Values of rows that have the declared shape.
        rows : int
        complete : bool
            Whether it is known that no key is missing at any depth.
        """
        arrays = [
            columns[key] if key in columns else pa.nulls(rows, pa.string()) for key, _ in self.shape.fields
        ]
        try:
            return self._suspects_of_object(self._node, self.shape, arrays, rows, complete=complete)
        except (
            pa.ArrowException,
            OverflowError,
            TypeError,
            re.error,
        ):  # limits that cannot be checked by column
            return pc.invert(_all_false(rows))

    # --- the schema as a shape ----------------------------------------------------------------

    def _shape(self, node: Any, depth: int = 0) -> Shape:
        node = self._resolve(node)
        if not isinstance(node, dict) or depth > MAX_TYPE_DEPTH:
            return NULL
        kinds, node = self._kinds(node)
        nullable = "null" in kinds
        kinds.discard("null")
        if len(kinds) != 1:
            return NULL
        kind = kinds.pop()
        if kind == "array":
            item = self._shape(node.get("items", {}), depth + 1)
            return replace(list_of(item), nullable=nullable)
        if kind == "object":
            if not node.get("properties") and depth:
                return NULL  # a mapping: its shape is inferred from the values
            fields = [
                (key, self._shape(inner, depth + 1)) for key, inner in node.get("properties", {}).items()
            ]
            return object_of(fields, loose=True, nullable=nullable)
        return replace(_TYPES[kind], nullable=nullable)

    def _kinds(self, node: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
        """Return the JSON types that a node allows, and the node that describes the type other than null."""
        declared = node.get("type")
        if declared is not None:
            kinds = {declared} if isinstance(declared, str) else set(declared)
            if None not in node.get("enum", [None]) or node.get("const") is not None:
                kinds.discard("null")
            return kinds, node
        for word in ("anyOf", "oneOf"):
            if word in node:
                return self._kinds_of_choice(node[word], node)
        if "properties" in node:
            return {"object"}, node
        values = node["enum"] if "enum" in node else [node["const"]] if "const" in node else []
        return {_json_type(value) for value in values}, node

    def _kinds_of_choice(self, choices: list[Any], node: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
        kinds: set[str] = set()
        chosen = node
        for choice in choices:
            inner = self._resolve(choice)
            found, inner = self._kinds(inner) if isinstance(inner, dict) else (set(), node)
            if not found:
                return set(), node
            kinds |= found
            if found != {"null"}:
                chosen = inner
        # A choice between two objects has no single shape.
        several = sum(1 for choice in choices if self._resolve(choice) != {"type": "null"})
        return (kinds, chosen) if several == 1 else (set(), node)

    def _resolve(self, node: Any) -> Any:
        for _ in range(MAX_TYPE_DEPTH):
            if not isinstance(node, dict) or "$ref" not in node:
                return node
            reference = node["$ref"]
            if not isinstance(reference, str) or not reference.startswith("#/"):
                raise ValueError("an external reference")
            found: Any = self._root
            for part in reference[2:].split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        raise ValueError("circular references")

    # --- validation of columns ----------------------------------------------------------------

    def _is_provable(self, node: Any, depth: int = 0) -> bool:
        if isinstance(node, dict) and "$ref" in node and set(node) - {"$ref"} - _ANNOTATIONS:
            return False
        node = self._resolve(node)
        if node is True or node == {}:
            return True
        if not isinstance(node, dict) or depth > MAX_TYPE_DEPTH or not _has_known_words(node):
            return False
        kinds, inner = self._kinds(node)
        if inner is not node:  # a choice between something and null
            choices = set(node) & {"anyOf", "oneOf"}
            alone = set(node) <= choices | _ANNOTATIONS and len(choices) == 1
            twice = "oneOf" in node and "null" in self._kinds(inner)[0]
            return alone and not twice and self._is_provable(inner, depth + 1)
        if not kinds:
            return not set(node) - _ANNOTATIONS
        mapping = depth > 0 and "object" in kinds and not node.get("properties")  # a mapping has no columns
        return (
            len(kinds - {"null"}) == 1
            and not mapping
            and self._is_provable(node.get("items", {}), depth + 1)
            and all(self._is_provable(field, depth + 1) for field in node.get("properties", {}).values())
        )

    def _suspects(self, node: Any, shape: Shape, array: pa.Array, *, complete: bool) -> pa.Array:
        """Return which values, other than null, may violate a node."""
        node = self._resolve(node)
        rows = len(array)
        found = _all_false(rows)
        if not isinstance(node, dict):
            return found
        _, node = self._kinds(node)
        for word, check in _CHECKS.items():
            if word in node and shape.kind in _APPLIES_TO.get(word, {shape.kind}):
                found = pc.or_(found, pc.fill_null(check(array, node[word]), False))
        if shape.kind == "list" and shape.item:
            inner = self._suspects(node.get("items", {}), shape.item, array.flatten(), complete=complete)
            if pc.any(inner).as_py():
                parents = pc.unique(pc.list_parent_indices(array).filter(inner))
                found = pc.or_(found, _at(parents, rows))
        elif shape.kind == "object":
            inner = self._suspects_of_object(node, shape, array.flatten(), rows, complete=complete)
            found = pc.or_(found, pc.and_(inner, array.is_valid()))
        return found

    def _suspects_of_object(
        self, node: dict[str, Any], shape: Shape, arrays: list[pa.Array], rows: int, *, complete: bool
    ) -> pa.Array:
        found = _all_false(rows)
        required = set(node.get("required", ()))
        for (key, inner), array in zip(shape.fields, arrays, strict=True):
            inner_node = node.get("properties", {}).get(key, {})
            if key in required and not complete and array.null_count:
                found = pc.or_(found, array.is_null())
            if inner.kind != "null":
                found = pc.or_(found, self._suspects(inner_node, inner, array, complete=complete))
        if required - {key for key, _ in shape.fields}:
            return pc.invert(_all_false(rows))
        return found


def is_object_schema(schema: Mapping[str, Any] | None) -> bool:
    """Return whether a schema describes objects."""
    return schema is not None and (
        schema.get("type") == "object" or ("type" not in schema and bool(schema.get("properties")))
    )


def declares(schema: Mapping[str, Any] | None, *names: str) -> bool:
    """Return whether a schema declares fields of all these names."""
    properties = (schema or {}).get("properties")
    return isinstance(properties, dict) and set(names) <= set(properties)


def _has_known_words(node: dict[str, Any]) -> bool:
    """Return whether all keywords of a node can be checked by column."""
    values = [*node.get("enum", ()), node.get("const")]
    return (
        not set(node) - _STRUCTURE - _ANNOTATIONS - set(_CHECKS)
        and isinstance(node.get("additionalProperties", True), bool)
        and all(isinstance(value, str | int | float | None) for value in values)
        and ("type" not in node or not set(node) & {"anyOf", "oneOf"})
    )


def _is_open(shape: Shape) -> bool:
    inside = [inner for _, inner in shape.fields] + ([shape.item] if shape.item else [])
    return shape.kind == "null" or any(map(_is_open, inside))


def _json_type(value: Any) -> str:
    for kind, name in (
        (bool, "boolean"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (list, "array"),
    ):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def _is_none_of(array: pa.Array, values: list[Any]) -> pa.Array:
    known = [value for value in values if value is not None]
    if any(isinstance(value, bool) for value in known) != pa.types.is_boolean(array.type):
        return array.is_valid()  # mixed types: left to the library
    allowed = pa.array(known, array.type)
    return pc.and_(array.is_valid(), pc.invert(pc.is_in(array, allowed)))


def _does_not_match(array: pa.Array, pattern: str) -> pa.Array:
    # With Python's regular expressions, as the library does: RE2 interprets some of them differently.
    search = re.compile(pattern).search
    distinct = array.dictionary_encode()
    bad = [search(text) is None for text in distinct.dictionary.to_pylist()]
    return pa.array(bad, pa.bool_()).take(distinct.indices)


def _all_false(rows: int) -> pa.Array:
    return pc.is_valid(pa.nulls(rows, pa.bool_()))


def _at(places: pa.Array, rows: int) -> pa.Array:
    return pc.is_in(pa.array(range(rows), pa.int64()), places.cast(pa.int64()))


def _in_short(error: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    where = where.lstrip(".")[:80]
    return f"violates the schema: {where + ': ' if where else ''}{_reason(error.validator, error.validator_value, error)}"


def _reason(word: str, limit: Any, error: Any) -> str:
    if word == "type":
        return f"not of type {' or '.join(limit) if isinstance(limit, list) else limit}"
    if word == "required":
        return f"no {', '.join(key for key in limit if key not in error.instance)[:80]}"
    return _REASONS.get(word) or f"not within {word} {str(limit)[:60]}"


_REASONS = {
    "additionalProperties": "keys that the schema does not allow",
    "enum": "none of the allowed values",
    "const": "not the one allowed value",
    "anyOf": "none of the allowed forms",
    "oneOf": "not exactly one of the allowed forms",
}
