"""How long a quick receiver waits for an event: from its place in the log to the receiver's socket."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Final

import msgspec

from eventstore.database import Database
from eventstore.log import Append
from eventstore.postgres import open_log
from heroctl.domain.events import SecretWritten
from tests.bench.product import usage
from tests.bench.rows import Case, Gauge
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.eventstore.fastloop import elapse
from tests.waiting import eventually

_EVENTS: Final = 500
_WARM: Final = 20  # events before those, with which a reconciler reads the machine's certificates once
_RATE: Final = 50  # events a second
_HOOKS: Final = 3  # receivers, each told of all; one of them never answers
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def told(say: Callable[[str], None]) -> dict[str, float]:
    """Give the 99th percentile over two quick receivers, beside one that hangs."""
    with cluster(Processes(), Size(1, 1, 0)) as there:
        return asyncio.run(_measured(there, say))


async def _measured(there: Cluster, say: Callable[[str], None]) -> dict[str, float]:
    took: list[list[tuple[int, float]]] = [[] for _ in range(_HOOKS)]  # index and time of each delivery

    def receives(number: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = msgspec.json.decode(await reader.readexactly(length))
            took[number].append((body["index"], time.time() * 1000))
            if number:
                writer.write(_ANSWER)
                await writer.drain()
                writer.close()

        return lambda reader, writer: kept.add(asyncio.ensure_future(take(reader, writer)))

    kept: set[asyncio.Task[None]] = set()
    placed: dict[int, float] = {}
    servers = [await asyncio.start_server(receives(number), "127.0.0.1", 0) for number in range(_HOOKS)]
    for server in servers:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        there.client.post("/v1/webhooks", {"url": url, "events": ["secret.changed"]}, keyed=False)
    async with Database(there.postgres.dsn()) as database, open_log(database) as log:
        for number in range(_WARM):
            await log.append(Append((SecretWritten("default", "warm", number + 1, f"warm-{number}"),)))
        await eventually(lambda: all(len(each) >= _WARM for each in took[1:]), timeout=60, what="the first")
        began, before = time.monotonic(), usage(there.parts["reconciler-1"].pid).cpu
        for number in range(_EVENTS):
            event = SecretWritten("default", f"s{number % 7}", number + 1, f"row-{number}", "update")
            index = (await log.append(Append((event,)))).last
            placed[index] = time.time() * 1000  # it is committed
            await elapse(max(0.0, began + (number + 1) / _RATE - time.monotonic()))
        await eventually(lambda: all(len(each) >= _WARM + _EVENTS for each in took[1:]), timeout=60, what="all of it")
    for server in servers:
        server.close()
    for task in kept:
        task.cancel()
    found = sorted(at - placed[index] for each in took[1:] for index, at in each if index in placed)
    cpu = (usage(there.parts["reconciler-1"].pid).cpu - before) / len(found) * 1000
    say(f"a delivery: {found[0]:.1f}..{found[-1]:.1f} ms, median {statistics.median(found):.1f}; {cpu:.1f} ms of CPU")
    return {"webhook_p99_ms": found[int(len(found) * 0.99)]}


CASES: Final = (
    Case(
        (Gauge("webhook_p99_ms", "ms", at_most=100),),
        told,
        f"{_EVENTS:,} events at {_RATE}/s, told to two quick receivers and one that never answers; from the answer of "
        "the append to the receiver that has read the body, over real processes and a durable Postgres",
    ),
)
