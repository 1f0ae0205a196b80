"""Writers that remember every answer, and the judgement of the log by what they were told.

What was acknowledged is in the log exactly once and where it was said to be; what was not, at most once; nothing else
is there; numbers have no gap, and the chain holds from start to end.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx2
import psycopg

from eventstore import codec
from eventstore.database import Database
from eventstore.log import LogUnavailable, Position
from eventstore.postgres import PostgresLog
from heroctl.domain.events import JobSubmitted
from tests.e2e.client import INDEX
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

WRITERS: Final = 8


@dataclass(slots=True)
class Ledger:
    """What was asked, and what was answered: the index at which a name stands."""

    name: str = field(default_factory=lambda: f"w{uuid.uuid4().hex[:8]}")
    asked: set[str] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)

    def wait(self, more: int, *, timeout: float = 30) -> None:
        """Wait until so many more were acknowledged."""
        goal = len(self.told) + more
        until(lambda: len(self.told) >= goal, timeout=timeout, what=f"{more} more acknowledged writes")

    def judge(self, dsn: str) -> None:
        """Hold the log to it. AssertionError says what is wrong."""
        found = asyncio.run(_found(dsn, self.name))
        lost = {name for name in self.told if name not in found}
        doubled = {name: at for name, at in found.items() if len(at) > 1}
        moved = {name: (at, found[name]) for name, at in self.told.items() if name in found and found[name] != [at]}
        assert not lost, f"{len(lost)} of {len(self.told)} acknowledged writes are lost, as {min(lost)}"
        assert not doubled, f"{len(doubled)} writes are there more than once, as {next(iter(doubled.items()))}"
        assert not moved, f"{len(moved)} writes are not where they were said to be, as {next(iter(moved.items()))}"
        assert found.keys() <= self.asked, "somebody else wrote"


async def _found(dsn: str, prefix: str) -> dict[str, list[int]]:
    """Read the whole log, proving number and chain; return where each name of ours was submitted."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    async with Database(dsn, connections=1) as database:
        log, position = PostgresLog(database), Position()
        while rows := await log.page(position.index):
            position = codec.verify(rows, position)
            for record in codec.records(rows):
                if isinstance(record.event, JobSubmitted) and record.event.name.startswith(prefix):
                    found[record.event.name].append(record.index)
        head = await log.head()
        assert (head.index, head.chain) == (position.index, position.chain)
    return found


@contextmanager
def writing(urls: Sequence[str], token: str, dsn: str) -> Iterator[Ledger]:
    """Submit job after job through all apis, and read along; errors of the way are nothing, an unread event is."""
    ledger, over = Ledger(), threading.Event()
    failed: list[BaseException] = []

    threads = [
        threading.Thread(target=_write, args=[number, urls, token, ledger, over], daemon=True)
        for number in range(WRITERS)
    ]
    threads.append(threading.Thread(target=_read_along, args=[dsn, over, failed], daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=30)
    if failed:
        raise failed[0]


def _write(number: int, urls: Sequence[str], token: str, ledger: Ledger, over: threading.Event) -> None:
    client = httpx2.Client(trust_env=False, timeout=15, headers={"Authorization": f"Bearer {token}"})
    with client:
        for count in itertools.count():
            if over.is_set():
                return
            name = f"{ledger.name}-{number}-{count}"
            ledger.asked.add(name)
            try:
                answer = client.post(f"{urls[count % len(urls)]}/v1/jobs", json=job(Processes(), name))
            except httpx2.TransportError:
                over.wait(0.02)
                continue
            if answer.status_code == 201:
                ledger.told[name] = int(answer.headers[INDEX])
            else:
                assert answer.status_code in (429, 503), answer.text
                over.wait(0.02)


def _read_along(dsn: str, over: threading.Event, failed: list[BaseException]) -> None:
    """Follow the log through every crash: what was read once stays, and what comes continues it."""

    async def follow() -> None:
        position = Position()
        async with Database(dsn, connections=1) as database:
            log = PostgresLog(database)
            while not over.is_set():
                try:
                    while rows := await log.page(position.index):
                        position = codec.verify(rows, position)
                    head = await log.head()
                except (LogUnavailable, psycopg.Error):
                    await asyncio.to_thread(over.wait, 0.05)
                    continue
                assert head.index >= position.index, "what was read is gone"
                await asyncio.to_thread(over.wait, 0.01)

    try:
        asyncio.run(follow())
    except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
        failed.append(error)
