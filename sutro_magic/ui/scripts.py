"""The JavaScript of the widgets: files joined into the one module that a front end loads."""

from __future__ import annotations

from pathlib import Path

_UI = Path(__file__).parent


def script(*names: str) -> str:
    """Join ``dom.js`` and these files, given by their path below ``ui`` without the ending.

    They share one scope, so a file may use what those before it define.
    """
    return "\n".join((_UI / f"{name}.js").read_text(encoding="utf-8") for name in ("dom", *names))
