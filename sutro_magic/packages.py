"""The packages that only some ``--as`` types need."""

from __future__ import annotations

import importlib.util

from sutro_magic.errors import MissingPackageError

_OPTIONAL_PACKAGES = {
    "polars": ("polars", "polars"),
    "dask": ("dask.dataframe", "dask"),
}


def require(as_type: str) -> None:
    """Raise `MissingPackageError` if the package behind an ``--as`` type is not installed."""
    if as_type not in _OPTIONAL_PACKAGES:
        return
    module, extra = _OPTIONAL_PACKAGES[as_type]
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise MissingPackageError(
            f"{extra} is not installed here.",
            hint=f"%pip install 'sutro-magic[{extra}]', or choose another --as.",
        )
