"""Fetch the results of Sutro batch-inference jobs into a notebook.

In a notebook::

    %load_ext sutro_magic
    %sutro_results JOB_ID --format parquet

In a script::

    from sutro_magic import Session
    results = Session().results("JOB_ID")

Importing the package imports nothing heavy; what is needed comes at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sutro_magic.errors import SutroError
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session

__version__ = "0.1.0"
__all__ = ["Results", "Session", "SutroError", "__version__"]

_HOMES = {
    "Results": "sutro_magic.results.handle",
    "Session": "sutro_magic.session",
    "SutroError": "sutro_magic.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def load_ipython_extension(ipython: Any) -> None:
    """Add the magics to a shell; called by ``%load_ext sutro_magic``."""
    from sutro_magic.magics.extension import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Take everything back; called by ``%unload_ext sutro_magic``."""
    from sutro_magic.magics.extension import unload

    unload(ipython)
