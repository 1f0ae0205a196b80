"""The stream of events over real processes: killed, stopped, and read by somebody who does not."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from eventstore.database import Database
from eventstore.log import Append
from eventstore.postgres import open_log
from heroctl.domain.events import NamespaceUpdated
from tests.api.process import Api, api
from tests.deaf import deaf
from tests.waiting import eventually, until

pytestmark = pytest.mark.timeout(120)


class Reader:
    """Reads a stream as a browser does: what it has seen, and from where it goes on."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.others: list[str] = []  # events of other kinds
        self.last = ""

    def read(self, made: Api, enough: int) -> None:
        """Read until so many have been seen, or the stream ends."""
        for name, value in self._fields(made):
            if name == "id":
                self.last = value
            elif name == "event":
                self.others.append(value)
            elif name == "data" and "index" in (data := json.loads(value)):
                self.seen.append(data["index"])
            if len(self.seen) >= enough:
                return

    def _fields(self, made: Api) -> Iterator[tuple[str, str]]:
        headers = {"Authorization": f"Bearer {made.token}", "Accept": "text/event-stream"}
        if self.last:
            headers["Last-Event-ID"] = self.last
        query = {} if self.last else {"index": "1"}
        try:
            with httpx2.stream("GET", f"{made.url}/v1/events", params=query, headers=headers, timeout=60) as reply:
                assert reply.status_code == 200
                assert reply.headers["content-type"] == "text/event-stream"
                for line in reply.iter_lines():
                    name, colon, value = line.partition(": ")
                    if colon:
                        yield name, value
        except httpx2.TransportError:
            return


_COUNT = itertools.count()


def write(made: Api, count: int) -> None:
    for _ in range(count):
        made.ask("POST", "/v1/namespaces", {"name": f"n{next(_COUNT)}"}, status=201)


def test_nothing_is_missed_or_told_twice_over_a_kill_and_another_process(tmp_path: Path, postgres_dsn: str) -> None:
    with api(tmp_path, postgres_dsn) as first, api(tmp_path, postgres_dsn) as second:
        reader = Reader()
        write(first, 10)
        reader.read(first, 8)
        assert reader.last
        reading = threading.Thread(target=reader.read, args=(first, 10_000))
        reading.start()
        write(second, 1)
        until(lambda: len(reader.seen) > 11, what="what follows")
        first.part.kill9()
        reading.join(timeout=30)
        write(second, 5)
        head = second.index("/v1/events?index=now&wait=0s")
        reader.read(second, head - 1)
        assert reader.seen == list(range(2, head + 1))


def test_a_process_that_stops_says_so_and_stops_at_once(tmp_path: Path, postgres_dsn: str) -> None:
    with api(tmp_path, postgres_dsn) as made:
        readers = [Reader() for _ in range(5)]
        threads = [threading.Thread(target=reader.read, args=(made, 10_000)) for reader in readers]
        for thread in threads:
            thread.start()
        until(lambda: all(reader.seen for reader in readers), what="streams")
        made.part.stop()
        for thread in threads:
            thread.join(timeout=10)
        assert [reader.others for reader in readers] == [["drain"]] * 5


async def test_whoever_reads_nothing_is_cut_and_holds_nothing_up(tmp_path: Path, postgres_dsn: str) -> None:
    with api(tmp_path, postgres_dsn, "", "--stream-patience=1") as made:
        async with Database(postgres_dsn) as database, open_log(database) as log:
            for _ in range(12):
                await log.append(Append((NamespaceUpdated("default", "x" * 2_000),) * 500))
            head = (await log.head()).index
        lazy = [deaf(f"{made.url}/v1/events?stream=true&index=1", made.token) for _ in range(3)]
        reader = Reader()
        await asyncio.to_thread(reader.read, made, head - 1)
        assert reader.seen == list(range(2, head + 1))
        cut = "slow_reader_cut"
        await eventually(lambda: made.part.log.read_text().count(cut) == len(lazy), what="the end of who does not read")
        assert made.ask("GET", "/v1/namespaces")
        for each in lazy:
            each.close()
