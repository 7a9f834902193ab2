"""Which addresses a download or a redirect may lead to.

A service says where its results are, and whoever can answer in its place could point a notebook at what
only that notebook can reach: files, the metadata of a cloud machine, other machines of its network.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from sutro_magic.errors import Hint, ServiceError

if TYPE_CHECKING:
    from sutro_magic.api.credentials import Credentials, Secret

Reach = Literal["public", "private", "loopback", "link-local"]
"""From where an address can be reached; nobody has results at the last."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200"})
"""Cloud metadata outside the link-local range."""


def reach(address: str) -> Reach:
    """Tell from where an IP address can be reached; one within another counts as the inner one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return reach(str(inner))
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or str(ip) in _METADATA:
        return "link-local"
    if ip.is_loopback:
        return "loopback"
    return "public" if ip.is_global else "private"


class Guard:
    """Says which addresses are refused.

    Parameters
    ----------
    credentials : Credentials
        The deployment: one on this machine may lead to this machine and its network, one of a
        private network to that, any other only to public addresses.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._allowed: frozenset[Reach] | None = None

    @property
    def allowed(self) -> frozenset[Reach]:
        """From where addresses may be reached."""
        if self._allowed is None:
            host = urlsplit(self._credentials.base_url).hostname or ""
            found = {reach(address) for address in _addresses(host)}
            if self._credentials.is_loopback:
                self._allowed = frozenset({"public", "private", "loopback"})
            elif found & {"private", "loopback"}:
                self._allowed = frozenset({"public", "private"})
            else:
                self._allowed = frozenset({"public"})
        return self._allowed

    def check_url(self, url: Secret) -> None:
        """Raise `ServiceError` for a URL that is not to be followed, before anything is sent."""
        try:
            scheme, host = urlsplit(url.reveal()).scheme.lower(), urlsplit(url.reveal()).hostname
        except ValueError:
            raise self._refuse("cannot be read") from None
        if scheme not in {"http", "https"} or not host:
            raise self._refuse(f"does not begin with https but with {scheme[:20]!r}")
        if scheme == "http" and not self._credentials.is_loopback:
            raise self._refuse("is not https")

    def check_host(self, host: str) -> None:
        """Raise `ServiceError` if a name, or a number in any spelling, stands for a refused address."""
        for address in _addresses(host):
            self.check_address(address)

    def check_address(self, address: str) -> None:
        """Raise `ServiceError` for an IP address that is not to be connected to."""
        kind = reach(address)
        if kind not in self.allowed:
            raise self._refuse(f"leads to {address}, a {kind} address")

    def _refuse(self, why: str) -> ServiceError:
        place = self._credentials.base_url.removesuffix("/v1")
        return ServiceError(
            f"{place} sent an address that {why}; it was not followed.",
            hint=(
                "Tell the service's operator; where it was that of a download, ",
                Hint("option", format="csv"),
                " does without.",
            ),
        )


def _addresses(host: str) -> set[str]:
    """Find the IP addresses of a name; none if it is not known here, as behind a proxy."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
