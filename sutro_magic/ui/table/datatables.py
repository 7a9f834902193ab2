"""Where itables keeps its build of DataTables, and how it travels to a page: packed, once, on request.

The only module that knows. It is no trait of a widget: that would be saved once for each table.
"""

from __future__ import annotations

import gzip
import time
from functools import cache
from importlib.resources import files

EXPORTS = ("default",)
"""What of ``dt_bundle.js`` is used: the `DataTable` class is the default export."""
SECONDS = 20.0
"""For so long a page that has been sent the bundle is not sent it again; many tables may ask at once."""

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
        What a page calls itself.
    """
    now = time.monotonic()
    if now - _sent.get(page, -SECONDS) < SECONDS:
        return None
    _sent[page] = now
    return packed()
