"""References to images are read as Docker reads them; addresses are public, listed, or not spoken to."""

from __future__ import annotations

import ipaddress
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain.addresses import is_loopback, may_reach, networks
from heroctl.domain.assignment import Report
from heroctl.domain.image import DOCKER_HUB, digest_of, is_digest, parse, pinned, read, tagged

ONE = "sha256:" + "1" * 64
TWO = "sha256:" + "2" * 64

_ALNUM = string.ascii_lowercase + string.digits
parts = st.lists(st.text(_ALNUM, min_size=1, max_size=6), min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda sign: sign.join(words))
)
repositories = st.lists(parts, min_size=1, max_size=4).map("/".join)
hosts = st.one_of(
    st.just("localhost"),
    st.builds("{}.{}".format, st.text(_ALNUM, min_size=1, max_size=9), st.sampled_from(["com", "example.org", "io"])),
    st.sampled_from(["192.0.2.1", "[2001:db8::1]", "Registry", "my-registry.internal"]),
)
ports = st.one_of(st.just(""), st.integers(1, 65_535).map(":{}".format))
tags = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
digests = st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format))


@given(hosts, ports, repositories, tags, digests)
def test_every_part_that_is_written_is_read_back(host: str, port: str, repository: str, tag: str, digest: str) -> None:
    name = f"{host}{port}/{repository}"
    found = parse(name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else ""))
    assert (found.name, found.host, found.repository) == (name, host + port, repository)
    assert (found.tag, found.digest) == (tag or "latest", digest)


@given(repositories, tags)
def test_what_names_no_registry_is_the_hubs(repository: str, tag: str) -> None:
    first, slash, _ = repository.partition("/")
    if slash and ("." in first or first == "localhost"):
        return
    found = parse(repository + (f":{tag}" if tag else ""))
    official = repository if slash else f"library/{repository}"
    assert (found.host, found.repository, found.name) == (DOCKER_HUB, official, repository)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    found = read(text)
    if found is None:
        with pytest.raises(ValueError, match=r"\w"):
            parse(text)
    else:
        assert parse(pinned(text, ONE)).digest in (ONE, found.digest)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":1", "@" + ONE, "a/", "/a", "a//b", "Shop", "shop:", "shop:.1", "shop:" + "x" * 129, "shop@1", "a b"),
        *("shop@sha256:12", f"shop@{ONE}1", "http://registry.example.com/shop", "registry.example.com:port/shop"),
        *("-a.example.com/shop", "a" * 64, "a/" * 130 + "b", "shop\n", "shop:1\n", "user@registry.example.com/shop"),
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_the_hub_has_one_name(host: str) -> None:
    found = parse(f"{host}/nginx:1")
    assert (found.host, found.repository, found.name) == (DOCKER_HUB, "library/nginx", f"{host}/nginx")


def test_an_image_is_pinned_by_its_name_and_a_digest_of_its_own_stands() -> None:
    assert pinned("localhost:5000/shop:1.5", ONE) == f"localhost:5000/shop@{ONE}"
    assert pinned("nginx", ONE) == f"nginx@{ONE}"
    assert pinned(f"nginx:1@{TWO}", ONE) == f"nginx:1@{TWO}"
    assert tagged("nginx")
    assert not tagged(f"nginx@{TWO}")
    assert not tagged("No image")


def test_what_an_image_was_pulled_as_is_found_by_its_place() -> None:
    pulled = [f"shop@{ONE}", f"registry.example.com/shop@{TWO}", "<none>@<none>"]
    assert digest_of("docker.io/library/shop:3", pulled) == ONE
    assert digest_of("registry.example.com/shop:1", pulled) == TWO
    assert digest_of("other.example.com/shop:1", pulled) == ""
    assert digest_of("shop:1", []) == ""
    assert digest_of("shop:1", [f"shop@{ONE}", f"shop@{TWO}"]) == "", "which of them the tag is nobody can say"


def test_only_what_a_registry_would_say_is_a_digest() -> None:
    assert is_digest(ONE)
    for text in ("", "sha256:", ONE + "0", ONE.upper(), ONE + "\n", "sha512:" + "1" * 128):
        assert not is_digest(text)


@pytest.mark.parametrize("said", ["latest", "\n", ONE + "\n", " " + ONE, ONE + " ", "sha256:" + "A" * 64, f"x@{ONE}"])
def test_what_a_node_says_of_an_image_is_a_digest_or_nothing(said: str) -> None:
    """It becomes part of a name that other nodes pull."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"alloc": "a1", "image": said}, Report)
    assert msgspec.convert({"alloc": "a1", "image": ONE}, Report).image == ONE
    assert msgspec.convert({"alloc": "a1", "image": ""}, Report).image == ""


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *(
            "0.0.0.0/32".partition("/")[0],
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "192.0.0.1",
        ),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:1.1.1.1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1"),
        *("2001::1", "localhost", "", "1.1.1.1.1"),
    ],
)
def test_what_is_not_public_is_not_spoken_to(address: str) -> None:
    assert not may_reach(address, ())


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450::1"])
def test_what_is_public_is_spoken_to(address: str) -> None:
    assert may_reach(address, ())


@given(st.ip_addresses())
def test_a_listed_network_opens_what_is_in_it_and_nothing_else(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    listed = networks(["10.0.0.0/8", "fd00::/8"])
    inside = any(address in network for network in listed)
    assert may_reach(str(address), listed) == (inside or may_reach(str(address), ()))
    assert may_reach(str(address), networks([str(address)]))


def test_this_machine_has_a_name_and_addresses() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "[::1]")] == [True] * 4
    assert [is_loopback(host) for host in ("10.0.0.1", "localhost.example.com", "")] == [False] * 3
