"""Loading into an IPython shell, and leaving it as it was."""

from __future__ import annotations

import contextlib
from typing import Any

from traitlets import TraitError

from sutro_magic.errors import SutroError
from sutro_magic.magics import MAGIC_NAMES, SutroMagics

_loaded: dict[int, SutroMagics] = {}


def load(shell: Any) -> None:
    """Register the magics and the display of our objects; a second call does nothing."""
    if id(shell) in _loaded:
        return
    magics = _make_magics(shell)
    shell.register_magics(magics)
    magics.display.register()
    _loaded[id(shell)] = magics


def _make_magics(shell: Any) -> SutroMagics:
    try:
        return SutroMagics(shell)
    except TraitError as error:
        # A wrong value, once given to %config, stays in the shell's configuration.
        shell.configurables[:] = [c for c in shell.configurables if not isinstance(c, SutroMagics)]
        shell.config.pop("SutroMagics", None)
        print(f"The settings of SutroMagics are back at their defaults: {error}")  # noqa: T201 - for a person
        return SutroMagics(shell)


def unload(shell: Any) -> None:
    """Take back magics, configuration, display and the demo service."""
    magics = _loaded.pop(id(shell), None)
    if magics is None:
        return
    magics.close()
    magics.display.unregister()
    SutroError.debug = False
    manager = shell.magics_manager
    for name in MAGIC_NAMES:
        manager.magics["line"].pop(name, None)
        # A lazy entry of the autoload file would bring the magic back.
        manager.lazy_magics.pop(name, None)
    manager.registry.pop(type(magics).__name__, None)
    with contextlib.suppress(ValueError):
        shell.configurables.remove(magics)
