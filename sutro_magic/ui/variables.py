"""Variables of the notebook: which names results may be bound to, and how they are bound."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sutro_magic.results.handle import Results

    Bind = Callable[[str, Results, str], str]

IPYTHON_NAMES = re.compile(
    r"In|Out|get_ipython|exit|quit|open|_{1,3}|_i{1,3}|_i?\d+|_[oid]h|_exit_code|__\w+__"
)
"""What IPython keeps or looks for in the namespace of the notebook; some of it breaks every later cell when replaced."""
LONGEST_SUGGESTION = 24


def check_variable(name: str) -> str:
    """Return a name as Python writes it; raise `ArgumentError` if results cannot, or should not, be bound to it."""
    name = unicodedata.normalize("NFKC", name)  # as Python does with names in source code
    if keyword.iskeyword(name):
        raise ArgumentError(
            f"{name!r} is a keyword of Python, not the name of a variable.",
            hint=f"Choose another, like my_{name}.",
        )
    if not name.strip():
        raise ArgumentError("The name of the variable is empty.", hint="Use letters, digits and _, like df.")
    if not name.isidentifier():
        raise ArgumentError(
            f"{name[:60]!r} cannot be the name of a variable.",
            hint=f"Use letters, digits and _, like {_similar(name) or 'df'}.",
        )
    if hasattr(builtins, name) or IPYTHON_NAMES.fullmatch(name):
        stem = name.strip("_")
        raise ArgumentError(
            f"{name!r} would hide what Python or IPython calls by that name.",
            hint=f"Choose another, like {f'my_{stem}' if stem else 'df'}.",
        )
    return name


def _similar(name: str) -> str:
    """Return a valid name similar to an invalid one, or an empty string."""
    similar = re.sub(r"\W+", "_", name).strip("_")
    similar = f"df_{similar}" if similar[:1].isdigit() else similar
    fits = similar.isidentifier() and len(similar) <= LONGEST_SUGGESTION
    taken = keyword.iskeyword(similar) or hasattr(builtins, similar) or IPYTHON_NAMES.fullmatch(similar)
    return similar if fits and not taken else ""


def describe_variable(name: str, namespace: Mapping[str, Any]) -> str | None:
    """Describe the current value of a variable in a few words, without data; None if it is not defined."""
    if name not in namespace:
        return None
    value = namespace[name]
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and all(type(size) is int for size in shape):
        return f"{kind} of {' × '.join(f'{size:,}' for size in shape)}"
    if isinstance(value, str | bytes | list | tuple | dict | set | frozenset):
        return f"{kind} of {len(value):,}"
    return kind


def describe_binding(name: str, namespace: Mapping[str, Any]) -> str:
    """Describe what binding would do to a variable."""
    held = describe_variable(name, namespace)
    return f"{name} holds a {held} now; Bind replaces it." if held else f"{name} is not used yet."


def suggest_variable(title: str) -> str:
    """Make a name of a job's: ``"Film reviews, judged"`` gives ``film_reviews_judged``."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    name = ""
    for word in words:
        if len(name) + len(word) > LONGEST_SUGGESTION and name:
            break
        name = f"{name}_{word}" if name else word[:LONGEST_SUGGESTION]
    name = name if name[:1].isalpha() else f"job_{name}".rstrip("_")
    try:
        check_variable(name)
    except ArgumentError:
        return f"my_{name}"
    return name


def notebook_variables() -> tuple[Bind | None, Mapping[str, Any]]:
    """Return a function that binds a variable of the notebook, and its variables; None and nothing outside of one."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return None, {}
    return binder(shell), shell.user_ns


def binder(shell: Any) -> Bind:
    """Return a function that binds a variable in a shell, by the rules of `check_variable`.

    It is called with the name, a `Results` and the type, and returns what it did.
    """
    from sutro_magic.system.optional_packages import require
    from sutro_magic.ui.render.bound import Bound

    def bind(name: str, results: Results, as_type: Any) -> str:
        name = check_variable(name)
        require(as_type)
        shell.user_ns[name] = results.to(as_type)
        return Bound(name, as_type).sized(results.num_rows, len(results.columns))

    return bind
