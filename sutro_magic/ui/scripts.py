"""The browser's half of a widget: files of JavaScript, joined to the one module that a front end loads."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def script(*names: str) -> str:
    """Join ``dom.js`` and these files; they share one scope, so a file may use what those before it define."""
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("dom", *names))
