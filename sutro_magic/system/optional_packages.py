"""The packages that only some ``--as`` types need."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sutro_magic.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterable

OPTIONAL = ("polars", "dask")
"""Types whose package has the same name, and is an extra of ours."""


def is_missing(as_type: str) -> bool:
    """Tell whether the package behind an ``--as`` type is not installed; nothing is imported for it."""
    return as_type in OPTIONAL and importlib.util.find_spec(as_type) is None


def installed(as_types: Iterable[str]) -> list[str]:
    """Return the ``--as`` types that can be had here."""
    return [name for name in as_types if not is_missing(name)]


def how_to_install(as_type: str) -> str:
    """Return the command that installs the package behind an ``--as`` type."""
    return f"%pip install 'sutro-magic[{as_type}]'"


def require(as_type: str) -> None:
    """Raise `MissingPackageError` if the package behind an ``--as`` type is not installed."""
    if is_missing(as_type):
        raise MissingPackageError(
            f"{as_type} is not installed here.",
            hint=f"{how_to_install(as_type)} installs it; or choose another --as.",
        )
