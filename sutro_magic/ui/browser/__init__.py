"""The job browser: panes, background tasks and the panels that show them.

Knows the session and the table. Must not know the magics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.ui.browser.job_browser import JobBrowser

__all__ = ["JobBrowser"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"JobBrowser": "job_browser"},
)
