"""The DataTables bundle of itables, sent to a page compressed, once, on request.

The bundle is not a trait of a widget, which would be saved once for each table.
"""

from __future__ import annotations

import gzip
import time
from functools import cache
from importlib.resources import files

EXPORTS = ("default",)
"""Exports of ``dt_bundle.js`` that are used: the `DataTable` class is the default export."""
SECONDS = 20.0
"""Seconds in which the bundle is not sent to the same page again; many tables may request it at once."""

_sent: dict[str, float] = {}


@cache
def packed() -> tuple[bytes, bytes]:
    """Return JavaScript (an ES module) and CSS, each packed by gzip."""
    folder = files("itables") / "html"
    script, style = ((folder / name).read_bytes() for name in ("dt_bundle.js", "dt_bundle.css"))
    return gzip.compress(script, 6), gzip.compress(style, 6)


def for_page(page: str) -> tuple[bytes, bytes] | None:
    """Return the bundle for a page, or None if it is on its way there.

    Parameters
    ----------
    page : str
        Identifier of the page.
    """
    now = time.monotonic()
    if now - _sent.get(page, -SECONDS) < SECONDS:
        return None
    _sent[page] = now
    return packed()
