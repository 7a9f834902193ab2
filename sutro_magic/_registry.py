"""What the packages register for each other, so that no lower one imports a higher one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

hint_renderer: Callable[[Any], str] | None = None
"""Renders an action of a hint (`sutro_magic.errors.Hint`) where a person sees them; None means Python syntax. Set by the magics."""

load_display: Callable[[], Any]
"""Returns the module that displays a `sutro_magic.Results`. Set by the package itself."""


def lazy_exports(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that imports its public names at first use.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    homes : mapping
        Module, relative to the package, of each public name.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load, lambda: sorted(homes)
