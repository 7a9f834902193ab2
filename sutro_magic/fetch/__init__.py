"""Run a fetch from request to results: cache lookup, download, normalization, commit; also previews.

Knows every package below. Must not know `Session`, which calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.fetch.options import FetchOptions
    from sutro_magic.fetch.pipeline import FetchPipeline

__all__ = ["FetchOptions", "FetchPipeline"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"FetchPipeline": "pipeline", "FetchOptions": "options"},
)
