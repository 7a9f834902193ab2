"""Ask for a key, check it, and use it."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from IPython.core.error import StdinNotImplementedError

from sutro_magic.api import credentials
from sutro_magic.api.client import NOT_FOUND, Client
from sutro_magic.errors import ConfigurationError, ServiceError, ServiceGoneError, ServiceUnreachableError
from sutro_magic.magics.progress_scope import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sutro_magic.session import Session

KEPT = "the credentials are as they were."


def log_in(session: Session, url: str | None, *, save: bool) -> None:
    """Ask for a key and let a session use it.

    Parameters
    ----------
    session : Session
    url : str, optional
        Of the deployment; the one in use by default.
    save : bool
        Write both to the SDK's configuration file, too.

    Raises
    ------
    ConfigurationError
        When no key is given.
    AuthenticationError
        If the deployment rejects it.
    ServiceError
        When it cannot be asked.
    """
    typed, url = url is not None, session.credentials.base_url if url is None else url
    with _of_the_flag(typed):
        credentials.normalise_url(url)
    # Not in a variable of its own: a verbose traceback shows variables.
    fresh = credentials.make_credentials(url, _ask_key(url), "%sutro_login")
    client = Client(
        fresh, on_retry=cache(lambda reason: _say(f"{reason}; trying again…"))
    )  # each reason once
    # What follows may take as long as a network that does not answer.
    _say(f"Asking {client.place} whether the key is good…")
    try:
        with _of_the_flag(typed):
            client.check_key()
    except KeyboardInterrupt:
        raise Interrupted(KEPT) from None
    finally:
        client.close()
    session.use(fresh)
    _say(f"Logged in at {client.place} for this kernel.")
    if save:
        path = credentials.save_config(fresh)
        _say(f"Saved to {path}, which only you can read.")


@contextmanager
def _of_the_flag(typed: bool) -> Iterator[None]:
    """Name ``--url`` in errors about the address, if it was given."""
    try:
        yield
    except (ConfigurationError, ServiceError) as error:
        code = getattr(error, "status_code", None)
        is_the_address = isinstance(error, ConfigurationError | ServiceUnreachableError | ServiceGoneError)
        if not typed or not (is_the_address or code in {None, NOT_FOUND}):
            raise
        hint = f"Check the address after --url, like %sutro_login --url https://acme.example; {KEPT}"
        if isinstance(error, ServiceError):
            raise type(error)(error.message, hint=hint, status_code=code) from None
        raise ConfigurationError(error.message, hint=hint) from None


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the answer


def _ask_key(url: str) -> str:
    try:
        key = getpass.getpass(f"API key for {url.removesuffix('/v1')}: ")
    except (StdinNotImplementedError, EOFError, OSError):
        raise ConfigurationError(
            "Cannot ask for the key: this front end takes no input.",
            hint="Set SUTRO_API_URL and SUTRO_API_KEY in the environment of the notebook instead.",
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(KEPT) from None
    if not key.strip():
        raise ConfigurationError(f"No key was entered; {KEPT}", hint="%sutro_login")
    return key
