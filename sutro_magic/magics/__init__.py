"""The magics: parse a line, call the session, display, bind.

The only package with magic syntax. Nothing imports it but the extension hooks of `sutro_magic`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.magics.magics import SutroMagics

__all__ = ["SutroMagics"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"SutroMagics": "magics"},
)
