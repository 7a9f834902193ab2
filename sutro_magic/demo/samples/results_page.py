"""The rows of Sutro's results page, word for word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from sutro_magic.demo.job_spec import Columns

_QUESTIONS: Columns = {
    "inputs": ["What is the capital of France?", "Explain quantum computing in simple terms"],
    "outputs": [
        "The capital of France is Paris.",
        # One line: the page's CSV example breaks it for want of width, its JSON example shows it whole.
        (
            "Quantum computing uses quantum mechanics principles to process information in ways that classical "
            "computers cannot..."
        ),
    ],
    "cumulative_logprobs": [-0.5234, -1.2456],
}

# The page shows outputs only; the inputs and log probabilities of the next two are ours.
_STRUCTURED: Columns = {
    "inputs": ["John Doe is 30: john@example.com", "Jane Smith is 25: jane@example.com"],
    "outputs": [
        '{"name": "John Doe", "age": 30, "email": "john@example.com"}',
        '{"name": "Jane Smith", "age": 25, "email": "jane@example.com"}',
    ],
    "cumulative_logprobs": [-0.0712, -0.0935],
}

_REASONING: Columns = {
    "inputs": ["Who is it, and how old? John Doe turned 30.", "Who is it, and how old? Jane Smith is 25."],
    "outputs": [
        (
            '{"content": {"name": "John Doe", "age": 30}, '
            '"reasoning_content": "First, I identified the name from the text..."}'
        ),
        (
            '{"content": {"name": "Jane Smith", "age": 25}, '
            '"reasoning_content": "I analyzed the passage and extracted..."}'
        ),
    ],
    "cumulative_logprobs": [-0.3101, -0.4207],
}

PERSON_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "email": {"type": "string"}},
    "required": ["name", "age"],
}


def _cut(columns: Columns, rows: range) -> Columns:
    return {name: values[rows.start : rows.stop] for name, values in columns.items()}


def questions(_rng: Random, rows: range) -> Columns:
    """Two questions with log probabilities: the page's response example."""
    return _cut(_QUESTIONS, rows)


def structured(_rng: Random, rows: range) -> Columns:
    """Two outputs of an ordinary model under a schema: the page's first structured example."""
    return _cut(_STRUCTURED, rows)


def reasoning(_rng: Random, rows: range) -> Columns:
    """Two outputs of a reasoning model: the page's second structured example."""
    return _cut(_REASONING, rows)
