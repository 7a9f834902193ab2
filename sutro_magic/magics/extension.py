"""Load the extension into an IPython shell, and unload it."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from sutro_magic import _registry
from sutro_magic.errors import SutroError
from sutro_magic.magics.hints import in_magic_syntax
from sutro_magic.magics.magics import MAGIC_NAMES, SutroMagics

_loaded: dict[int, tuple[SutroMagics, Any]] = {}


def load(shell: Any) -> None:
    """Register the magics, completion and the display of our objects; a second call does nothing."""
    if id(shell) in _loaded:
        return
    magics = SutroMagics(shell)
    shell.register_magics(magics)
    _registry.hint_renderer = in_magic_syntax
    magics.display.register()
    matcher = _make_matcher(shell, magics)
    matchers = shell.Completer.custom_matchers
    # The autoload file's own matcher has done its work.
    matchers[:] = [other for other in matchers if not hasattr(other, "sutro_magic_autoload")]
    matchers.append(matcher)
    shell.input_transformers_cleanup.append(_give_a_body)
    _loaded[id(shell)] = magics, matcher


def _make_matcher(shell: Any, magics: SutroMagics) -> Any:
    """Return the matcher for IPython; the rest of completion is loaded at first use."""
    from IPython.core.completer import context_matcher

    def sutro_matcher(context: Any) -> dict[str, Any]:
        if "%sutro_" not in context.full_text:
            return {"completions": []}
        from sutro_magic.magics.completion import complete

        return complete(context, shell, magics)

    return context_matcher(identifier="sutro_magic")(sutro_matcher)


def _give_a_body(lines: list[str]) -> list[str]:
    """Run the magic for a cell that is only ``%%sutro_sql``: its error is more helpful than IPython's."""
    if lines and lines[0].startswith("%%sutro_sql") and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


def unload(shell: Any) -> None:
    """Unregister magics, completion, configuration and display; stop the demo service and the database."""
    magics, matcher = _loaded.pop(id(shell), (None, None))
    if magics is None:
        return
    if not _loaded:
        _registry.hint_renderer = None
    magics.close()
    magics.display.unregister()
    with contextlib.suppress(ValueError):
        shell.Completer.custom_matchers.remove(matcher)
    with contextlib.suppress(ValueError):
        shell.input_transformers_cleanup.remove(_give_a_body)
    SutroError.debug = False
    if "sutro_magic.query.duckdb_engine" in sys.modules:
        from sutro_magic.query import duckdb_engine

        duckdb_engine.forget()
    _keep_settings(shell, magics)
    manager = shell.magics_manager
    for name in MAGIC_NAMES:
        for kind in manager.magics.values():
            kind.pop(name, None)
        # A lazy entry of the autoload file would bring the magic back.
        manager.lazy_magics.pop(name, None)
    manager.registry.pop(type(magics).__name__, None)
    with contextlib.suppress(ValueError):
        shell.configurables.remove(magics)


def _keep_settings(shell: Any, magics: SutroMagics) -> None:
    """Keep the values given to ``%config`` for the next loading, without rejected ones."""
    given = shell.config.get(type(magics).__name__, {})
    for name in list(given):
        if magics.has_trait(name):
            given[name] = getattr(magics, name)
        else:
            del given[name]
