"""Clients that each submit one new job after the other, in a process of their own. Plan on stdin, figures on stdout."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from tests.bench import wire


class Plan(Struct):
    """Where, how many clients, for how long, and the job of which each is a copy under a name of its own."""

    address: tuple[str, int]
    token: str
    clients: int
    seconds: float
    job: dict[str, Any]
    prefix: str


class Posted(Struct):
    """What was accepted: jobs, in how many seconds, and the latencies in milliseconds."""

    jobs: int
    seconds: float
    p50: float
    p99: float
    longest: float


async def _run(plan: Plan) -> Posted:
    connections = await wire.connect_many(plan.address, plan.clients, lambda _: "127.0.0.1")
    numbers = itertools.count()
    began = time.monotonic()
    took = await asyncio.gather(*(_client(each, plan, numbers, began + plan.seconds) for each in connections))
    ended = time.monotonic()
    for connection in connections:
        connection.close()
    all_of_them = sorted(itertools.chain.from_iterable(took))
    return Posted(
        jobs=len(all_of_them),
        seconds=ended - began,
        p50=all_of_them[len(all_of_them) // 2],
        p99=all_of_them[len(all_of_them) * 99 // 100],
        longest=all_of_them[-1],
    )


async def _client(connection: wire.Connection, plan: Plan, numbers: Iterator[int], until: float) -> list[float]:
    took: list[float] = []
    while (sent := time.monotonic()) < until:
        body = msgspec.json.encode(plan.job | {"job": f"{plan.prefix}-{next(numbers)}"})
        answer = await connection.ask(wire.request("POST", "/v1/jobs", plan.token, body))
        if answer.status != 201:
            raise ValueError(f"status {answer.status}: {answer.body[:300]!r}")
        took.append((answer.at - sent) * 1000)
    return took


if __name__ == "__main__":
    figures = uvloop.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
