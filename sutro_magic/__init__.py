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

from sutro_magic import _registry
from sutro_magic._version import __version__

if TYPE_CHECKING:
    from sutro_magic.errors import SutroError
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session

__all__ = ["Results", "Session", "SutroError", "__version__"]

__getattr__, __dir__ = _registry.lazy_exports(
    __name__,
    {"Results": "results.handle", "Session": "session", "SutroError": "errors", "__version__": "_version"},
)


def _load_display() -> Any:
    from sutro_magic.ui import display

    return display


_registry.load_display = _load_display


def load_ipython_extension(ipython: Any) -> None:
    """Add the magics to a shell; called by ``%load_ext sutro_magic``."""
    from sutro_magic.magics.extension import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Take everything back; called by ``%unload_ext sutro_magic``."""
    from sutro_magic.magics.extension import unload

    unload(ipython)
