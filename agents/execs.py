"""Comes to the api that waits for a command to be run here, and runs it with whoever asked for it attached.

Nothing is written down: an id that was used, or that nobody waits for any more, is refused by every api.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from agents.attached import Attached
from agents.client import Client
from agents.clock import Clock
from agents.runtime import Gone, Runtime, RuntimeFault
from heroctl.domain.assignment import MOST_EXECS, Assigned, ExecWish
from heroctl.domain.execs import (
    MOST,
    PART,
    PROTOCOL,
    Data,
    Eof,
    Exit,
    Fault,
    NotUnderstood,
    Resize,
    Start,
    Started,
    asked,
    data,
    text,
)

COME: Final = 20.0  # seconds for which the api is looked for
CONNECT: Final = 5.0
LOOK: Final = 0.5  # seconds between looks whether what it is run beside is still there
AGAIN: Final = 0.25  # seconds between two attempts, at first
PING: Final = 20.0  # seconds between signs of life, for whatever stands between
_REMEMBERED: Final = 4096
_LEFT: Final = Fault("exec_left", "who had it run has left")
_log = structlog.get_logger("exec")

Find = Callable[[str], tuple[Runtime, str] | None]


class Door:
    """How apis are reached: as whom, at which URLs usually, and whom to trust."""

    def __init__(self, client: Client, ca_cert: str = "") -> None:
        self._client = client
        self._ssl = ssl.create_default_context(cafile=ca_cert or None)

    def ways(self, api: str) -> list[str]:
        """Name the URLs to ask, the one that is told first: not without TLS where the usual ones have it."""
        guarded = all(url.startswith("https:") for url in self._client.urls)
        told = [api] if api.startswith("https:" if guarded else ("http:", "https:")) else []
        return [*told, *self._client.urls]

    def open(self, url: str, wish: ExecWish) -> connect:
        """Open a WebSocket for a command. Pongs are not waited for: who is slow to read answers no ping meanwhile."""
        return connect(
            f"{'wss' if url.startswith('https:') else 'ws'}{url[url.index(':') :].rstrip('/')}/v1/agent/exec/{wish.id}",
            subprotocols=[Subprotocol(PROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._client.token}"},
            ssl=self._ssl if url.startswith("https:") else None,
            max_size=MOST,
            max_queue=4,
            compression=None,
            proxy=None,
            open_timeout=CONNECT,
            close_timeout=1,
            ping_interval=PING,
            ping_timeout=None,
        )


class Execs:
    """Commands that somebody waits to have run on this node. `find` gives what runs of an allocation."""

    def __init__(self, door: Door, find: Find, clock: Clock) -> None:
        self._door = door
        self._find = find
        self._clock = clock
        self._known: dict[str, None] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._named: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def want(self, assigned: Iterable[Assigned]) -> None:
        """Come for each command that was not heard of before, and end those that are over for the control plane."""
        for one in assigned:
            self._end_unnamed(one)
            for wish in one.execs:
                if wish.id not in self._known:
                    self._known[wish.id] = None
                    task = asyncio.create_task(self._come(wish, one.id))
                    self._work.add(task)
                    self._named[wish.id] = one.id, task
                    task.add_done_callback(self._work.discard)
        for old in list(self._known)[:-_REMEMBERED]:
            del self._known[old]

    def _end_unnamed(self, one: Assigned) -> None:
        """End what is named no more: a command that reads nothing hides behind its input that its caller was let go.

        Only so many are named. What came before those may run on, and is not looked for here any more.
        """
        names = {wish.id for wish in one.execs}
        for ticket, (alloc, task) in list(self._named.items()):
            if task.done() or (alloc == one.id and ticket not in names):
                del self._named[ticket]
                if len(names) < MOST_EXECS:
                    task.cancel()

    async def close(self) -> None:
        """End all that run."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _come(self, wish: ExecWish, alloc: str) -> None:
        try:
            if not await self._looked_for(wish, alloc):
                _log.info("nobody_waits", exec=wish.id, alloc=alloc, api=wish.api)
        except Exception:  # noqa: BLE001 - a bug here ends no workload, and no other command
            _log.exception("exec_failed", exec=wish.id, alloc=alloc)

    async def _looked_for(self, wish: ExecWish, alloc: str) -> bool:
        """Ask where it should be waited for, and behind a balancer until it is the right one; False: nobody waits."""
        deadline, pause = self._clock.now() + COME, AGAIN
        while True:
            for url in self._door.ways(wish.api):
                with contextlib.suppress(OSError, TimeoutError, InvalidHandshake):
                    try:
                        peer = await self._door.open(url, wish)
                    except InvalidStatus as refused:
                        _log.debug("not_here", exec=wish.id, api=url, status=refused.response.status_code)
                        continue
                    async with peer:
                        await self._serve(peer, alloc)
                    return True
            if self._clock.now() + pause > deadline:
                return False
            await self._clock.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads, hides nothing
            pause = min(2 * pause, 2.0)

    async def _serve(self, peer: ClientConnection, alloc: str) -> None:
        """Run what is asked for, and say how it ended."""
        with contextlib.suppress(ConnectionClosed):
            try:
                start = asked(await peer.recv())
            except NotUnderstood as error:
                await peer.send(text(Fault("invalid_body", str(error))))
                return
            if not isinstance(start, Start):
                await peer.send(text(Fault("invalid_body", "the first message says what is to be run")))
                return
            await peer.send(text(await self._run(peer, alloc, start)))

    async def _run(self, peer: ClientConnection, alloc: str, start: Start) -> Exit | Fault:
        found = self._find(alloc)
        if found is None:
            return Fault("allocation_not_running", "nothing of the allocation runs now")
        runtime, container = found
        try:
            async with runtime.attach(container, start) as command:
                await peer.send(text(Started()))
                work = (_given(peer, command), _written(peer, command), _left(peer), self._over(alloc, found))
                return await _first(*work)
        except Gone as error:
            return Fault("allocation_not_running", str(error))
        except (RuntimeFault, OSError) as error:
            return Fault("exec_failed", str(error))

    async def _over(self, alloc: str, found: tuple[Runtime, str]) -> Fault:
        """Say so when what it was run beside runs no more."""
        while self._find(alloc) == found:
            await self._clock.sleep(LOOK)
        return Fault("allocation_over", "what it was run beside has ended")


async def _first(*work: Coroutine[Any, Any, Exit | Fault]) -> Exit | Fault:
    """Give what the first of these comes to, and end the others."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _given(peer: ClientConnection, command: Attached) -> Fault:
    """Pass on what it is given, until whoever is attached has left."""
    async for message in peer:
        match asked(message):
            case Data(_, part):
                await command.write(part)
            case Resize(width, height):
                await command.resize(width, height)
            case Eof():
                await command.end_input()
            case Start():
                break
    return _LEFT


async def _left(peer: ClientConnection) -> Fault:
    """Say so when the connection is gone, also while the command does not read what came before."""
    await peer.wait_closed()
    return _LEFT


async def _written(peer: ClientConnection, command: Attached) -> Exit:
    """Pass on what it writes, to its end."""
    while (said := await command.read()) is not None:
        channel, part = said
        for begin in range(0, len(part), PART):
            await peer.send(data(channel, part[begin : begin + PART]))
    return Exit(await command.wait())
