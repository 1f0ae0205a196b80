"""Where those who have a command run and the agents that run it meet, and what passes between them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.exec_desk import Desk
from api.exec_relay import AHEAD, LEFT, LOST, Tally, heard, relay
from api.socket import Socket
from heroctl.domain.execs import STDIN, STDOUT, Eof, Exit, Fault, Start, Started, data, text
from tests.eventstore.fastloop import elapse, run


class Peer:
    """Who is at the other end of a socket. `slow`: seconds that it takes for each message."""

    def __init__(self, *says: str | bytes, slow: float = 0.0, stays: bool = True) -> None:
        self._says = list(says)
        self._slow = slow
        self._stays = stays
        self.heard: list[str | bytes] = []
        self.socket = Socket(self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await elapse(0.01)
        if self._says:
            message = self._says.pop(0)
            return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        if self._stays:
            await asyncio.get_running_loop().create_future()
        return {"type": "websocket.disconnect", "code": 1005}

    async def _send(self, message: dict[str, Any]) -> None:
        await elapse(self._slow)
        self.heard.append(message.get("text") or message["bytes"])


def joined(caller: Peer, agent: Peer) -> tuple[Exit | Fault, Tally]:
    async def main() -> tuple[Exit | Fault, Tally]:
        tally = Tally(0.0)
        async with heard(caller.socket) as heeded:
            return await relay(heeded, agent.socket, tally), tally

    return run(main)


def test_what_is_said_passes_both_ways_in_order_and_is_counted() -> None:
    caller = Peer(data(STDIN, b"abc"), data(STDIN, b"de"), text(Eof()))
    agent = Peer(text(Started()), data(STDOUT, b"one"), data(STDOUT, b"two!"), text(Exit(3)))
    end, tally = joined(caller, agent)
    assert end == Exit(3)
    assert agent.heard == [data(STDIN, b"abc"), data(STDIN, b"de"), text(Eof())]
    assert caller.heard == [text(Started()), data(STDOUT, b"one"), data(STDOUT, b"two!")], "how it ended is told later"
    assert (tally.received, tally.sent) == (5, 7)


def test_who_reads_slowly_is_waited_for() -> None:
    caller = Peer(slow=5.0)
    agent = Peer(*(data(STDOUT, b"%d" % number) for number in range(20)), text(Exit(0)))
    assert joined(caller, agent)[0] == Exit(0)
    assert caller.heard == [data(STDOUT, b"%d" % number) for number in range(20)]


@pytest.mark.parametrize(
    ("caller", "agent", "end"),
    [
        (Peer(stays=False), Peer(), LEFT),
        (Peer(), Peer(stays=False), LOST),
        (Peer(), Peer("nonsense"), LOST),
        (Peer(), Peer(data(STDIN, b"an agent writes nothing there")), LOST),
        (Peer(), Peer(text(Fault("exec_failed", "why"))), Fault("exec_failed", "why")),
    ],
    ids=["caller-left", "agent-left", "nonsense", "channel", "fault"],
)
def test_an_end_is_told(caller: Peer, agent: Peer, end: Fault) -> None:
    assert joined(caller, agent)[0] == end


def test_a_caller_who_leaves_is_missed_while_the_agent_takes_nothing() -> None:
    caller = Peer(*(data(STDIN, b"%d" % number) for number in range(AHEAD)), stays=False)
    assert joined(caller, Peer(slow=1e6))[0] == LEFT


def test_what_nobody_takes_waits_at_the_callers() -> None:
    caller = Peer(*(data(STDIN, b"%d" % number) for number in range(10 * AHEAD)))

    async def main() -> None:
        async with heard(caller.socket) as heeded, asyncio.timeout(60):
            await relay(heeded, Peer(slow=1e6).socket, Tally(0.0))

    with pytest.raises(TimeoutError):
        run(main)
    assert len(caller._says) >= 8 * AHEAD


@pytest.mark.parametrize("said", [text(Start(("sh",))), "nonsense", data(STDOUT, b"x")])
def test_a_caller_who_cannot_be_understood_ends_it(said: str | bytes) -> None:
    end, _ = joined(Peer(said), Peer())
    assert isinstance(end, Fault)
    assert end.error == "invalid_body"


def test_a_ticket_is_for_one_node_once_and_while_somebody_waits() -> None:
    async def main() -> None:
        desk = Desk()
        with desk.expect("n1") as visit:
            assert desk.take(visit.id, "n2") is None
            assert desk.take("another", "n1") is None
            assert desk.take(visit.id, "n1") is visit
            assert desk.take(visit.id, "n1") is None
        with desk.expect("n1") as late:
            pass
        assert desk.take(late.id, "n1") is None
        assert late.over.is_set()
        assert late.agent.cancelled()
        assert visit.id != late.id

    run(main)
