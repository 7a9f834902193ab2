"""The canonical table: roles and names of the columns of a results file.

A results file keeps its column names and order; `CanonicalTable` maps its columns to roles.
`sutro_magic.formats.reader` reads them always in the same order and with the same names: carried columns as
sent, then ``inputs``, ``outputs``, ``cumulative_logprobs``, ``confidence_score``, if present and requested.
This module needs only the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sutro_magic.errors import CorruptResultsError

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["carried", "inputs", "outputs", "cumulative_logprobs", "confidence_score"]
"""Roles of columns, in canonical order; every role but ``carried`` is also a column name."""

_KINDS: tuple[Kind, ...] = get_args(Kind)
_SPELLINGS: tuple[tuple[str, Kind], ...] = (
    ("inputs", "inputs"),
    ("cumulative_logprobs", "cumulative_logprobs"),
    ("confidence_score", "confidence_score"),
    ("confidence_scores", "confidence_score"),
)
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a results file.

    Attributes
    ----------
    source : int
        Index among the top-level columns of the file.
    name : str
        Canonical name, unique in the table.
    kind : str
        Role of the column.
    """

    source: int
    name: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class CanonicalTable:
    """Facts about a results file that are known without opening it.

    Attributes
    ----------
    num_rows : int
        Number of rows of the file.
    columns : tuple of Column
        Columns in canonical order; other columns of the file are ignored.
    """

    num_rows: int
    columns: tuple[Column, ...]

    @property
    def has_inputs(self) -> bool:
        """Whether the file contains the prompts."""
        return self._has("inputs")

    @property
    def has_logprobs(self) -> bool:
        """Whether the file contains cumulative log probabilities."""
        return self._has("cumulative_logprobs")

    @property
    def has_carried(self) -> bool:
        """Whether the file contains ID columns or other columns that the service does not define."""
        return self._has("carried")

    def select(self, *, inputs: bool, logprobs: bool) -> tuple[Column, ...]:
        """Return the columns of a view: all except optional ones that are not requested."""
        absent = {
            kind
            for kind, requested in (("inputs", inputs), ("cumulative_logprobs", logprobs))
            if not requested
        }
        return tuple(column for column in self.columns if column.kind not in absent)

    def to_json(self) -> dict[str, Any]:
        """Return a description that can be written as JSON."""
        columns = [{"source": c.source, "name": c.name, "kind": c.kind} for c in self.columns]
        return {"num_rows": self.num_rows, "columns": columns}

    @classmethod
    def from_json(cls, data: object) -> CanonicalTable:
        """Return a table from the output of `to_json`; raise ValueError if it is invalid."""
        error = ValueError("not the description of a table")
        if not isinstance(data, Mapping) or not isinstance(data.get("columns"), list):
            raise error
        try:
            columns = tuple(Column(**column) for column in data["columns"])
        except TypeError:
            raise error from None
        table = cls(num_rows=data.get("num_rows", -1), columns=columns)
        numbers = (table.num_rows, *(column.source for column in columns))
        if (
            any(type(number) is not int or number < 0 for number in numbers)
            or any(column.kind not in _KINDS or not isinstance(column.name, str) for column in columns)
            or len({column.name for column in columns}) < len(columns)
            or not table._has("outputs")
        ):
            raise error
        return table

    def _has(self, kind: Kind) -> bool:
        return any(column.kind == kind for column in self.columns)


def output_names(job_id: str) -> tuple[str, ...]:
    """Return the names of the output column used by the service, its documentation and its SDK, best first."""
    return (job_id, "outputs", f"{job_id} outputs", f"{job_id}_outputs", "inference_result")


def map_columns(names: Sequence[str], job_id: str) -> tuple[Column, ...]:
    """Map column names to roles.

    The outputs are the column with one of the `output_names`, or the only one with an unknown name. A carried
    column whose name is taken is renamed, never dropped: ``outputs`` next to a column named by the job id
    becomes ``outputs.carried``, the second ``id`` becomes ``id.2``. Only pandas' index columns,
    ``__index_level_0__``, are dropped: they are not part of a job.

    Parameters
    ----------
    names : sequence of str
        Column names in the order of the file; they need not be unique.
    job_id : str
        The job of the results.

    Returns
    -------
    tuple of Column
        In canonical order.

    Raises
    ------
    CorruptResultsError
        If no column, or more than one, can be the outputs.
    """
    indices = [i for i, name in enumerate(names) if not _PANDAS_INDEX.fullmatch(name)]
    kinds: dict[int, Kind] = {_find_outputs(names, indices, job_id): "outputs"}
    for name, kind in _SPELLINGS:
        place = next((i for i in indices if names[i] == name and i not in kinds), None)
        if place is not None and kind not in kinds.values():
            kinds[place] = kind

    columns = []
    taken: set[str] = set(_KINDS[1:])
    for i in indices:
        kind = kinds.get(i, "carried")
        name = kind if kind != "carried" else _free_name(names[i] or f"column_{i + 1}", taken)
        columns.append(Column(source=i, name=name, kind=kind))
    return tuple(sorted(columns, key=lambda column: _KINDS.index(column.kind)))


def _find_outputs(names: Sequence[str], indices: Sequence[int], job_id: str) -> int:
    for candidate in output_names(job_id):
        for i in indices:
            if names[i] == candidate:
                return i
    known = {"", *(name for name, _ in _SPELLINGS)}
    unknown = [i for i in indices if names[i] not in known]
    if len(unknown) == 1:
        return unknown[0]
    if not unknown:
        raise CorruptResultsError("No column holds outputs.")
    raise CorruptResultsError(
        f"No column is named `outputs` or like the job id, and {len(unknown)} other columns may be the outputs: "
        "the output column cannot be determined."
    )


def _free_name(name: str, taken: set[str]) -> str:
    base = f"{name}.carried" if name in _KINDS[1:] else name
    free, number = base, 1
    while free in taken:
        number += 1
        free = f"{base}.{number}"
    taken.add(free)
    return free
