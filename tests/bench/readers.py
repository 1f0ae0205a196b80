"""Many readers of the stream of events, in a process of their own. On stdin a plan; on stdout what they saw.

    {"address": ["127.0.0.1", 8080], "token": "…", "readers": 1000, "stalled": 10}
    → {"reading": 1000} once all streams have begun; then a line on stdin ends it, and what was seen comes.

A reader looks at the ids of each piece alone: how many there are, the first and the last.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop
from msgspec import Struct

from tests.bench import wire

_SOURCES = 16
_ID = b"\nid: "


class Plan(Struct):
    """Where to read, and how many do; `stalled`: others that ask, and read nothing."""

    address: tuple[str, int]
    token: str
    readers: int
    stalled: int


class Reading(Struct):
    """All streams have begun."""

    reading: int


class Seen(Struct):
    """What all of them got: pieces as (when, monotonic seconds; the first id in it; the last), and how many ids."""

    pieces: list[tuple[float, int, int]]
    missed: int  # ids that were passed over, or came twice
    cut: int  # streams that ended
    lasts: list[int]  # each reader's last id


class Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, seen: Seen) -> None:
        """Begin with nothing seen."""
        self.began = asyncio.get_running_loop().create_future()
        self._seen = seen
        self.last = 0
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self.began.done():
            if b" 200 " not in data[:20]:
                self.began.set_exception(ValueError(repr(data[:300])))
                return
            self.began.set_result(None)
        whole, end, rest = (self._tail + data).rpartition(b"\n\n")
        self._tail = rest
        if not end:
            return
        text = b"\n" + whole
        count = text.count(_ID)
        if not count:
            return
        first, last = _number(text, text.find(_ID)), _number(text, text.rfind(_ID))
        self._seen.pieces.append((time.monotonic(), first, last))
        expected = self.last + 1 if self.last else first
        self._seen.missed += abs(first - expected) + abs(last - first + 1 - count)
        self.last = last

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._seen.cut += 1


def _number(text: bytes, at: int) -> int:
    begin = at + len(_ID)
    return int(text[begin : text.index(b"\n", begin)])


async def _run() -> None:
    plan = msgspec.json.decode(await _line(), type=Plan)
    loop = asyncio.get_running_loop()
    seen = Seen([], 0, 0, [])
    request = wire.request("GET", "/v1/events?stream=true", plan.token)
    transports = []
    readers = []
    for number in range(plan.readers + plan.stalled):
        transport, reader = await loop.create_connection(
            lambda: Reader(seen), *plan.address, local_addr=(f"127.0.0.{2 + number % _SOURCES}", 0)
        )
        transport.write(request)
        await reader.began
        if number >= plan.readers:
            transport.pause_reading()
        transports.append(transport)
        readers.append(reader)
    _tell(Reading(len(readers)))
    await _line()
    seen.lasts = [reader.last for reader in readers[: plan.readers]]
    _tell(seen)
    for transport in transports:
        transport.abort()


async def _line() -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


def _tell(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_run())
