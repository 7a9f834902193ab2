"""Asking for a key, trying it, and using it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from IPython.core.error import StdinNotImplementedError

from sutro_magic import credentials
from sutro_magic.client import Client
from sutro_magic.errors import ConfigurationError
from sutro_magic.working import Interrupted

if TYPE_CHECKING:
    from sutro_magic.session import Session


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
        When the deployment refuses it.
    """
    url = url or session.credentials.base_url
    credentials.normalise_url(url)
    # Not in a variable of its own: a verbose traceback shows variables.
    fresh = credentials.make_credentials(url, _ask_key(url), "%sutro_login")
    client = Client(fresh)
    try:
        client.check_key()
    finally:
        client.close()
    session.use(fresh)
    print(f"Logged in at {client.place} for this kernel.")  # noqa: T201 - the answer
    if save:
        path = credentials.save_config(fresh)
        print(f"Saved to {path}, which only you can read.")  # noqa: T201 - the answer


def _ask_key(url: str) -> str:
    try:
        key = getpass.getpass(f"API key for {url.removesuffix('/v1')}: ")
    except (StdinNotImplementedError, EOFError, OSError):
        raise ConfigurationError(
            "Nothing can be asked here, so there is no key.",
            hint="Set SUTRO_API_URL and SUTRO_API_KEY in the environment of the notebook instead.",
        ) from None
    except KeyboardInterrupt:
        raise Interrupted("the credentials are as they were.") from None
    if not key.strip():
        raise ConfigurationError("No key was entered; the credentials are as they were.", hint="%sutro_login")
    return key
