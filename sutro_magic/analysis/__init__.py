"""Analyse whole jobs: profile one, compare several, join results to a frame.

Knows results and SQL. Must not know how anything is displayed, nor any magic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.analysis.comparison import Comparison, compare
    from sutro_magic.analysis.join import FrameJoin
    from sutro_magic.analysis.profiling import Profile, profile

__all__ = ["Comparison", "FrameJoin", "Profile", "compare", "profile"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "profile": "profiling",
        "Profile": "profiling",
        "compare": "comparison",
        "Comparison": "comparison",
        "FrameJoin": "join",
    },
)
