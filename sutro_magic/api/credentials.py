"""Resolve the deployment URL and the API key, always as one pair.

The order and the pair rules are those of the service's Python SDK 0.1.67, so that its users need no new
configuration: values given in code, then ``SUTRO_API_URL`` and ``SUTRO_API_KEY``, then
``~/.sutro/config.json``. URL and key from two sources are never combined, because a key sent to the wrong
deployment is a leaked key.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sutro_magic.errors import ConfigurationError, Hint

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ORIGIN = "https://api.sutro.sh"
"""Used if no URL is configured (the host in the examples of the results page)."""

URL_VARIABLE = "SUTRO_API_URL"
KEY_VARIABLE = "SUTRO_API_KEY"

WHERE_KEYS_COME_FROM = (
    "Type ",
    Hint("login"),
    ", or set SUTRO_API_URL and SUTRO_API_KEY together, or use `sutro login` of the SDK; ",
    Hint("demo"),
    " needs no key.",
)


class Secret:
    """A string that is not shown: ``repr`` and ``str`` are masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the string itself; only for sending or saving it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A base URL and the API key that belongs to it.

    Attributes
    ----------
    base_url : str
        Absolute URL of the API: ``https://api.sutro.sh`` itself; for other origins with ``/v1``.
    key : Secret or None
        ``None`` if none is configured; the first request then raises `ConfigurationError`.
    source : str
        Source of the pair, for messages.
    identity : str
        Cache identity: pairs with different identities do not share cache entries.
    """

    base_url: str
    key: Secret | None
    source: str
    identity: str

    @property
    def is_direct(self) -> bool:
        """Whether this is the older API at api.sutro.sh (no ``/v1``, other parameter names)."""
        return _is_direct_host(urlsplit(self.base_url).hostname or "")

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")


def make_credentials(url: str, key: str | None, source: str, *, identity: str | None = None) -> Credentials:
    """Return a checked pair; raise `ConfigurationError` for an invalid URL or key."""
    base_url = normalise_url(url)
    clean = key.strip() if key else ""
    if not clean.isascii() or any(c.isspace() or not c.isprintable() for c in clean):
        raise ConfigurationError(
            f"The API key from {source} contains characters that are not allowed in a key (spaces, line breaks or accents).",
            hint=("Copy it again from the deployment's settings, then ", Hint("login"), "."),
        )
    digest = hashlib.sha256(f"{base_url}\0{clean}".encode()).hexdigest()[:32]
    return Credentials(
        base_url=base_url, key=Secret(clean) if clean else None, source=source, identity=identity or digest
    )


def resolve(
    api_url: str | None = None,
    api_key: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config_path: Path | None = None,
) -> Credentials:
    """Return the credentials to use.

    Parameters
    ----------
    api_url, api_key : str, optional
        Values given in code.
    environ : mapping, optional
        Environment variables; `os.environ` by default.
    config_path : pathlib.Path, optional
        The SDK's configuration file; ``~/.sutro/config.json`` by default.

    Raises
    ------
    ConfigurationError
        If a URL is malformed or the configuration file cannot be read.
    """
    environ = os.environ if environ is None else environ
    if api_url and api_key:
        return make_credentials(api_url, api_key, "the values given in code")
    if api_key:
        url = environ.get(URL_VARIABLE, "").strip() or DEFAULT_ORIGIN
        return make_credentials(url, api_key, "the key given in code")
    ambient_url, ambient_key, source = _ambient(environ, config_path or default_config_path())
    if api_url:
        base_url = normalise_url(api_url)
        same = _same_deployment(ambient_url or DEFAULT_ORIGIN, base_url)
        return make_credentials(
            api_url, ambient_key if same else None, source if same else "the URL given in code"
        )
    return make_credentials(ambient_url or DEFAULT_ORIGIN, ambient_key, source)


def default_config_path() -> Path:
    """Return the path of the SDK's configuration file."""
    return Path.home() / ".sutro" / "config.json"


def normalise_url(url: str) -> str:
    """Return the base URL of an origin, with ``/v1`` for every deployment except api.sutro.sh.

    The accepted forms are those of the SDK: a bare origin or ``<origin>/v1``; plain http for
    loopback only.

    Raises
    ------
    ConfigurationError
        With the reason; it does not repeat credentials from the URL.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad_url("it cannot be read") from None
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"} or not host or any(c.isspace() for c in text):
        raise _bad_url("it must be absolute, like https://acme.example")
    if parts.username is not None or parts.password is not None:
        raise _bad_url("it must not contain a user name or a password")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise _bad_url("it must not contain a query or a fragment")
    if parts.path not in {"", "/", "/v1", "/v1/"}:
        raise _bad_url("only the origin, or the origin with /v1, is accepted")
    if scheme == "http" and not _is_loopback(host):
        raise _bad_url("it must be https: plain http is for this machine only")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc += f":{port}"
    return f"{scheme}://{netloc}" + ("" if _is_direct_host(host) else "/v1")


def known_urls(in_use: Credentials | None = None) -> list[str]:
    """Return the configured deployments without duplicates, the one in use first; invalid ones are left out."""
    found = [in_use.base_url] if in_use is not None else []
    found.append(os.environ.get(URL_VARIABLE, ""))
    with contextlib.suppress(ConfigurationError):
        settings = _read_config(default_config_path())
        found += [_setting(settings, "api_url"), _setting(settings, "base_url")]
    urls = []
    for url in (*found, DEFAULT_ORIGIN):
        with contextlib.suppress(ConfigurationError):
            urls.append(normalise_url(url).removesuffix("/v1"))
    return list(dict.fromkeys(urls))


def save_config(credentials: Credentials, config_path: Path | None = None) -> Path:
    """Write the pair to the SDK's configuration file, atomically and readable by the owner only.

    Other settings are kept; the legacy ``base_url`` is removed, as the SDK's login does. An existing key is kept
    if no new one is given and it belongs to the same deployment.
    """
    path = config_path or default_config_path()
    try:
        settings = _read_config(path)
    except ConfigurationError:
        settings = {}
    earlier = _setting(settings, "api_url") or _setting(settings, "base_url")
    if not _same_deployment(earlier, credentials.base_url):
        settings.pop("api_key", None)
    settings.pop("base_url", None)
    settings["api_url"] = credentials.base_url
    if credentials.key is not None:
        settings["api_key"] = credentials.key.reveal()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # created 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(settings, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"{path} could not be written: {error.strerror}.",
            hint="Fix that, or set SUTRO_API_URL and SUTRO_API_KEY in the environment instead.",
        ) from None
    return path


def _ambient(environ: Mapping[str, str], config_path: Path) -> tuple[str, str, str]:
    if URL_VARIABLE in environ or KEY_VARIABLE in environ:
        url, key = environ.get(URL_VARIABLE, "").strip(), environ.get(KEY_VARIABLE, "").strip()
        return url, key, f"the environment ({URL_VARIABLE}, {KEY_VARIABLE})"
    settings = _read_config(config_path)
    url = _setting(settings, "api_url") or _setting(settings, "base_url")
    return url, _setting(settings, "api_key"), "~/.sutro/config.json" if settings else "nowhere"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        _close_to_others(path)
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}.",
            hint="Fix that, or set SUTRO_API_URL and SUTRO_API_KEY in the environment instead.",
        ) from None
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{path} is not valid JSON.",
            hint=("Fix or delete it, or ", Hint("login", save=True), " to write it again."),
        ) from None
    return settings if isinstance(settings, dict) else {}


def _close_to_others(path: Path) -> None:
    """Remove read access of other users from a file with a key, as the SDK does."""
    found = path.stat()
    if os.name != "nt" and found.st_mode & 0o077 and found.st_uid == os.geteuid():
        with contextlib.suppress(OSError):  # read-only file system
            path.chmod(0o600)


def _setting(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    return value.strip() if isinstance(value, str) else ""


def _same_deployment(url: str, base_url: str) -> bool:
    try:
        return normalise_url(url) == base_url
    except ConfigurationError:
        return False


def _is_direct_host(host: str) -> bool:
    host = host.rstrip(".")
    return host == "api.sutro.sh" or host.endswith(".api.sutro.sh")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bad_url(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The deployment URL cannot be used: {reason}.",
        hint=(
            "Set SUTRO_API_URL to an address like https://acme.example, or give it as in ",
            Hint("login", url="https://acme.example"),
        ),
    )
