"""The packages that only some of the types need that `Results.to` takes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sutro_magic.errors import Hint, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterable

OPTIONAL = ("polars", "dask")
"""Types whose package has the same name, and is an extra of ours."""


def is_missing(as_type: str) -> bool:
    """Tell whether the package behind a type is not installed; nothing is imported for it."""
    return as_type in OPTIONAL and importlib.util.find_spec(as_type) is None


def installed(as_types: Iterable[str]) -> list[str]:
    """Return the types that can be had here."""
    return [name for name in as_types if not is_missing(name)]


def installation(as_type: str) -> Hint:
    """Return the action that installs the package behind a type."""
    return Hint("install", package=f"sutro-magic[{as_type}]")


def require(as_type: str) -> None:
    """Raise `MissingPackageError` if the package behind a type is not installed."""
    if is_missing(as_type):
        raise MissingPackageError(
            f"{as_type} is not installed here.",
            hint=(installation(as_type), " installs it; or choose another type."),
        )
