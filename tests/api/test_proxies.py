"""Where a request comes from, as far as anybody can know."""

from __future__ import annotations

import pytest

from api.proxies import client_of
from api.settings import Settings
from heroctl.domain.addresses import networks
from heroctl.domain.settings import SettingsError

TRUSTED = networks(["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [b"198.51.100.1"], "203.0.113.9"),  # not from a proxy: its word counts for nothing
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"1.2.3.4, 198.51.100.1"], "198.51.100.1"),  # the first was made up by the client
        ("10.0.0.1", [b"1.2.3.4", b"198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [b"rubbish, 10.0.0.2"], "10.0.0.2"),
        ("::1", [b"2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),  # as a socket for both families tells it
        ("::ffff:203.0.113.9", [b"198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer: str, forwarded: list[bytes], client: str) -> None:
    """And only as far as the chain of trusted ones reaches."""
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert client_of({"client": (peer, 1), "headers": headers}, TRUSTED) == client


def test_nobody_is_trusted_by_default() -> None:
    """A header alone moves nothing."""
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"1.2.3.4")]}
    assert client_of(scope, ()) == "10.0.0.1"
    assert client_of({"headers": []}, TRUSTED) == ""


def test_a_network_that_is_none_is_refused_at_start() -> None:
    """By the flag's name."""
    with pytest.raises(SettingsError, match="--trusted-proxy"):
        Settings(dsn="x", trusted_proxies=("10.0.0.0/33",))
