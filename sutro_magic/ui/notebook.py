"""The variables of the notebook that we are in, if we are in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sutro_magic.system.optional_packages import require
from sutro_magic.ui.variables import check_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sutro_magic.results.handle import Results

    Bind = Callable[[str, Results, str], str]


def notebook_variables() -> tuple[Bind | None, Mapping[str, Any]]:
    """Return what binds a variable of the notebook, and the variables there are; nothing outside of a notebook."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return None, {}
    return binder(shell), shell.user_ns


def binder(shell: Any) -> Bind:
    """Return what binds a variable in a shell, by the rules of ``--name``.

    It is told the name, a `Results` and the type, and answers what it did.
    """
    from sutro_magic.ui.display import Bound

    def bind(name: str, results: Results, as_type: Any) -> str:
        name = check_variable(name)
        require(as_type)
        shell.user_ns[name] = results.to(as_type)
        return f"{Bound(name, as_type)}, {results.num_rows:,} x {len(results.columns)}"

    return bind
