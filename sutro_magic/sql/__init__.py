"""Run SQL over jobs and over tables of the notebook.

Knows the session, which resolves jobs. Must not know about IPython: variables are passed as a mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.sql.statement import run

__all__ = ["run"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"run": "statement"},
)
