"""From where addresses can be reached, and which of them a deployment may lead to."""

from __future__ import annotations

import pytest

from sutro_magic import errors
from sutro_magic.api.client import Client
from sutro_magic.api.credentials import Secret, make_credentials
from sutro_magic.api.url_guard import Guard, reach

REACHES = {
    "8.8.8.8": "public",
    "2606:4700::1111": "public",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "192.168.0.9": "private",
    "100.64.0.1": "private",
    "fd12::1": "private",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::a00:1": "private",
    "2002:a00:1::1": "private",
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "fe80::1%eth0": "link-local",
    "fd00:ec2::254": "link-local",
    "100.100.100.200": "link-local",
    "0.0.0.0": "link-local",
    "::": "link-local",
    "224.0.0.1": "link-local",
}


@pytest.mark.parametrize(("address", "expected"), REACHES.items())
def test_from_where_an_address_can_be_reached(address, expected):
    assert reach(address) == expected


def credentials(host):
    scheme = "http" if host.startswith(("127.", "localhost")) else "https"
    return make_credentials(f"{scheme}://{host}", "sk_x", "a test")


@pytest.mark.parametrize(
    ("deployment", "refused"),
    [
        ("127.0.0.1:9", {"link-local"}),
        ("10.0.0.9", {"link-local", "loopback"}),
        ("8.8.8.8", {"link-local", "loopback", "private"}),
        ("no-such-host.invalid", {"link-local", "loopback", "private"}),
    ],
)
def test_a_deployment_leads_only_to_where_it_is_itself_or_further_out(deployment, refused):
    guard = Guard(credentials(deployment))
    for address, kind in REACHES.items():
        if kind in refused:
            with pytest.raises(errors.ServiceError, match="not followed"):
                guard.check_address(address)
        else:
            guard.check_address(address)


@pytest.mark.parametrize("deployment", ["8.8.8.8", "10.0.0.9"])
@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "[::1]"])
def test_a_name_is_looked_up_before_it_is_trusted(deployment, host):
    client = Client(credentials(deployment))
    from sutro_magic.api.client import SignedArtifact

    with pytest.raises(errors.ServiceError, match="loopback"):
        client.open_artifact(SignedArtifact(url=Secret(f"https://{host}:9/x?sig=1")))
    with pytest.raises(errors.ServiceError, match="not https"):
        client.open_artifact(SignedArtifact(url=Secret("http://8.8.8.8/x?sig=1")))
    client.close()
