"""Guard against downloads and redirects to forbidden addresses (server-side request forgery).

The service says where its results are. An attacker who can answer in its place could point a notebook at
addresses that only the notebook can reach: the metadata service of a cloud machine, or hosts of its network.
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
"""Networks from which an address can be reached; link-local addresses are always refused."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200"})
"""Cloud metadata outside the link-local range."""


def reach(address: str) -> Reach:
    """Return from where an IP address can be reached; an embedded IPv4 address is classified instead."""
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
    """Check which addresses may be used.

    Parameters
    ----------
    credentials : Credentials
        The deployment. One on this machine may lead to this machine and its network, one in a private network
        to private addresses, any other one only to public addresses.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._allowed: frozenset[Reach] | None = None

    @property
    def allowed(self) -> frozenset[Reach]:
        """Kinds of addresses that may be connected to."""
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
        """Raise `ServiceError` if a URL must not be requested; nothing is sent before."""
        try:
            scheme, host = urlsplit(url.reveal()).scheme.lower(), urlsplit(url.reveal()).hostname
        except ValueError:
            raise self._refuse("cannot be read") from None
        if scheme not in {"http", "https"} or not host:
            raise self._refuse(f"starts with {scheme[:20]!r} instead of https")
        if scheme == "http" and not self._credentials.is_loopback:
            raise self._refuse("is not https")

    def check_host(self, host: str) -> None:
        """Raise `ServiceError` if a host name, or an address in any notation, resolves to a refused address."""
        for address in _addresses(host):
            self.check_address(address)

    def check_address(self, address: str) -> None:
        """Raise `ServiceError` if an IP address must not be connected to."""
        kind = reach(address)
        if kind not in self.allowed:
            raise self._refuse(f"leads to {address}, a {kind} address")

    def _refuse(self, why: str) -> ServiceError:
        place = self._credentials.base_url.removesuffix("/v1")
        return ServiceError(
            f"{place} sent an address that {why}; it was not followed.",
            hint=(
                "Contact the operator of the service; for a download, ",
                Hint("option", format="csv"),
                " avoids the address.",
            ),
        )


def _addresses(host: str) -> set[str]:
    """Return the IP addresses of a host name; empty if it cannot be resolved here, as behind a proxy."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
