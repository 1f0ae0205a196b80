"""Where webhooks may not lead: every way to write an address of ours, tried while somebody listens there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

import httpx2
import pytest

from heroctl.domain.addresses import networks
from heroctl.outside import Barred, Outside, Unanswered
from tests.reconciler.receivers import Receiver, receiver, says

# As hosts of a URL. What the machine's resolver makes of a word is looked at, however it is written; none is
# listened at by this.
LITERALS: Final = (
    # this machine
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "017700000001", "0x7f000001", "0177.0.0.1",
    "0x7f.0x0.0x0.0x1", "0177.0.1", "0x7f.1", "127.0.0.01", "localhost", "LOCALHOST", "localhost.", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::0.0.0.1]", "0.0.0.0", "0", "0x0", "[::]",  # noqa: S104 - nobody binds to it
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]",
    # NAT64, 6to4, Teredo, and other clothes of the same
    "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::127.0.0.1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]", "[2001::1]", "[::ffff:0:127.0.0.1]", "[100::1]", "[2001:db8::1]", "[2001:2::1]",
    "[2001:10::1]",
    # private, shared, link-local, of the cloud
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "100.127.255.255", "169.254.169.254", "169.254.0.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[::ffff:10.0.0.1]", "[2002:a00:1::]", "167772161", "0xa000001", "012.0.0.1", "192.168.1",
    # of nobody, of everybody, for documents and for trials
    "192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "[ff02::1]", "[ff0e::1]", "0.1.2.3",
)  # fmt: skip
# Names that lead there, and what they answer.
NAMES: Final = {
    "private.example": ["10.0.0.1"],
    "mixed.example": ["8.8.8.8", "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "metadata.example": ["169.254.169.254"],
    "unspecified.example": ["0.0.0.0"],  # noqa: S104 - that nobody speaks to it is what is shown
    "scoped.example": ["fe80::1%lo"],
    "odd.example": ["not-an-address"],
}


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[list[Receiver]]:
    """Listen on one port at every address of this machine's own that there is."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(receiver(says(200)))
        found = [first]
        for host in ("127.255.255.254", "::1"):
            with contextlib.suppress(OSError):
                found.append(await stack.enter_async_context(receiver(says(200), host, first.port)))
        yield found


def test_there_are_sixty_forms_and_more() -> None:
    assert len(set(LITERALS)) + len(NAMES) >= 60
    assert len(set(LITERALS)) == len(LITERALS)


async def test_no_form_of_a_forbidden_address_is_spoken_to() -> None:
    async with ours() as listening:
        port, outside = listening[0].port, Outside()
        for host in LITERALS:
            await refused(outside, f"http://{host}:{port}/hook")
        for host in NAMES:
            await refused(Outside(lookup=_answers), f"http://{host}:{port}/hook")
            await refused(Outside(lookup=_answers), f"https://{host}:{port}/hook")
        assert [each.accepts for each in listening] == [0] * len(listening)
        await outside.close()


async def refused(outside: Outside, text: str) -> None:
    """Ask, and look, as at save and at send; neither may pass."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return  # refused before anything is looked up
    with pytest.raises(Unanswered):
        await outside.look(url)
    with pytest.raises(Unanswered):
        async with asyncio.timeout(30):
            await outside.ask("POST", url, {}, 1024, content=b"{}")


async def _answers(host: str, _: int) -> list[str]:
    return NAMES[host]


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost"])
async def test_the_same_forms_are_spoken_to_where_they_are_allowed(host: str) -> None:
    """Where nobody came, it is because nobody was let."""
    async with ours() as listening:
        outside = Outside(networks(["127.0.0.0/8", "::1"]))
        answer = await outside.ask("POST", httpx2.URL(f"http://{host}:{listening[0].port}/hook"), {}, 10)
        assert answer.status == 200
        assert sum(each.accepts for each in listening) == 1
        await outside.close()


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_up_once() -> None:
    """What was looked at is what is spoken to: nobody asks the name again on the way."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    async with ours() as listening:
        outside = Outside(lookup=rebinding, connect=0.05)
        url = httpx2.URL(f"http://rebinding.example:{listening[0].port}/hook")
        await outside.look(url)
        for _ in range(2):
            with pytest.raises(Barred):
                await outside.ask("POST", url, {}, 10)
        assert [each.accepts for each in listening] == [0] * len(listening)


async def test_a_name_is_never_given_to_what_connects() -> None:
    """The connection goes to the address that was looked at, and the name stands in `Host` alone."""

    async def found(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with ours() as listening:
        outside = Outside(networks(["127.0.0.0/8"]), found)
        port = listening[0].port
        await outside.ask("POST", httpx2.URL(f"http://no-such-name.invalid:{port}/hook"), {}, 10)
        assert listening[0].got[0].headers["host"] == f"no-such-name.invalid:{port}"
        await outside.close()


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ours() as listening:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listening[0].port}")

        async def found(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        with socket.create_server(("127.0.0.1", 0)) as nobody:
            closed = nobody.getsockname()[1]
        with pytest.raises(Unanswered):
            await Outside(networks(["127.0.0.0/8"]), found).ask("POST", httpx2.URL(f"http://a.example:{closed}/"), {})
        assert listening[0].accepts == 0
