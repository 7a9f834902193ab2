"""What a front end shows of a caption: visible lines in the text, details in the tooltip of the HTML."""

from __future__ import annotations

import html
import re


def tooltip(bundle):
    """Return the details of a caption, empty if there are none; a screen reader has the same ones."""
    found = re.search(r' title="([^"]*)" aria-description="([^"]*)"', bundle["text/html"])
    if found is None:
        return ""
    assert found[1] == found[2]
    return html.unescape(found[1])
