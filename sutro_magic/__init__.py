"""Fetch the results of Sutro batch-inference jobs into a notebook.

In a notebook::

    %load_ext sutro_magic
    %sutro_results JOB_ID --format parquet

In a script::

    from sutro_magic import Session
    results = Session().results("JOB_ID")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sutro_magic.errors import SutroError
    from sutro_magic.results import Results
    from sutro_magic.session import Session

__version__ = "0.1.0"
__all__ = ["Results", "Session", "SutroError", "__version__"]
