"""Optional packages behind the conversion types of `Results.to`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sutro_magic.errors import Hint, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterable

OPTIONAL = ("polars", "dask")
"""Types that need the package of the same name, which is an extra of this package."""


def is_missing(as_type: str) -> bool:
    """Return whether the package behind a type is missing, without importing it."""
    return as_type in OPTIONAL and importlib.util.find_spec(as_type) is None


def installed(as_types: Iterable[str]) -> list[str]:
    """Return the types whose packages are installed."""
    return [name for name in as_types if not is_missing(name)]


def installation(as_type: str) -> Hint:
    """Return the action that installs the package behind a type."""
    return Hint("install", package=f"sutro-magic[{as_type}]")


def require(as_type: str) -> None:
    """Raise `MissingPackageError` if the package behind a type is not installed."""
    if is_missing(as_type):
        raise MissingPackageError(
            f"{as_type} is not installed.",
            hint=(installation(as_type), " installs it. Or choose another type."),
        )
