"""What Redis holds of workloads' output: entries read, lines told once and in one order, streams found and kept small.

The order of all lines is that of their entries' ids, which Redis gives by its own clock, and then of the allocations.
What is older than a moment of that clock does not become more, so a place in this order is a place to go on from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

import msgspec
from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import OutOfMemoryError, RedisError

from api.wire import stamp
from heroctl.domain.errors import Unavailable
from heroctl.domain.logs import FIELD, Batch, Line, Shipment, alloc_of, is_alloc, log_key

AT_ONCE: Final = 200  # entries of one stream in one read
STEP: Final = 32  # entries that are read backwards at a time
_PIPE: Final = 20  # streams in one call
_TIMEOUT: Final = 3.0  # seconds
_BATCH: Final = msgspec.json.Decoder(Batch)
_FOREIGN: Final = Batch("", "", "", "", 0, [])  # stands for what cannot be read
_ANY: Final = "heroctl:logs:*"


class Entry(NamedTuple):
    """One entry of an allocation's stream; `place` orders it among all."""

    ms: int
    seq: int
    alloc: str
    batch: Batch

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it stands among all entries."""
        return self.ms, self.seq, self.alloc


class LogLine(Struct, frozen=True, omit_defaults=True):
    """A line that a workload wrote. `stream`: stdout, stderr, or system: it says that lines are missing.

    `partial`: it was too long and goes on in the next; `dropped`: how many lines are not there.
    """

    alloc: str
    line: str
    stream: str
    time: str
    job: str
    task: str
    partial: bool = False
    dropped: int = 0


class Told(NamedTuple):
    """A line, and its place: that of its entry, and its number in it."""

    entry: Entry
    number: int
    line: Line

    @property
    def mark(self) -> str:
        """An id to go on after."""
        return f"{self.entry.ms}-{self.entry.seq}-{self.number}-{self.entry.alloc}"

    @property
    def shown(self) -> LogLine:
        """The line as it is told."""
        line, batch = self.line, self.entry.batch
        return LogLine(
            self.entry.alloc,
            line.text,
            line.source,
            stamp(line.time),
            batch.job,
            batch.task,
            line.partial,
            line.dropped,
        )


class Seen:
    """Passes the lines of one stream that were not there before: what was shipped twice is told once."""

    def __init__(self) -> None:
        self._container = ""
        self._number = 0

    def fresh(self, entry: Entry) -> Iterator[Told]:
        """Give the lines of an entry that come after all that were seen."""
        batch = entry.batch
        if not batch.lines:
            return
        if batch.container != self._container:
            self._container, self._number = batch.container, 0
        number = batch.first - 1
        for at, line in enumerate(batch.lines):
            number += line.count
            if number > self._number:
                self._number = number
                yield Told(entry, at, line)


class LogStore:
    """Reads and writes streams. RedisError, OSError or TimeoutError where Redis is away."""

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=8, timeout=_TIMEOUT, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        )
        self._redis = Redis.from_pool(pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def now(self) -> int:
        """Return the time by Redis' clock, in ms."""
        return _ms(await self._redis.time())

    async def after(self, cursors: Mapping[str, str]) -> tuple[int, dict[str, list[Entry]]]:
        """Read what comes after an id in each stream, in one read; and the time before it."""
        async with self._redis.pipeline(transaction=False) as calls:
            asked: dict[Any, Any] = dict(cursors)
            calls.time()
            calls.xread(asked, count=AT_ONCE)
            now, answer = await calls.execute()
        found = answer.items() if isinstance(answer, dict) else answer or ()
        return _ms(now), {_text(key): _entries(_text(key), _flat(entries)) for key, entries in found}

    async def backwards(self, ends: Mapping[str, str], begin: str) -> dict[str, list[Entry]]:
        """Read the last entries of streams until an id of each, none older than `begin`; newest first."""
        async with self._redis.pipeline(transaction=False) as calls:
            for key, end in ends.items():
                calls.xrevrange(key, max=end, min=begin, count=STEP)
            answers = await calls.execute()
        return {key: _entries(key, answer) for key, answer in zip(ends, answers, strict=True)}

    async def last(self, key: str) -> Entry | None:
        """Read the newest entry of a stream."""
        raw: Any = await self._redis.xrevrange(key, count=1)
        found = _entries(key, raw)
        return found[0] if found else None

    async def has(self, key: str, entry: str) -> bool:
        """Tell whether an entry is still there."""
        return bool(await self._redis.xrange(key, min=entry, max=entry, count=1))

    async def find(self, alloc: str) -> list[str]:
        """Name the streams of an allocation of which the cluster may know nothing any more, by id or its beginning."""
        if not is_alloc(alloc):
            return []
        found = [_text(key) async for key in self._redis.scan_iter(match=f"{_ANY}:{alloc}*", count=1000)]
        exact = [key for key in found if alloc_of(key) == alloc]
        return sorted(exact or [key for key in found if alloc_of(key).startswith(alloc)])

    async def take(self, node: str, shipments: list[Shipment]) -> list[str]:
        """Keep what an agent ships; "" for what there is no room for."""
        async with self._redis.pipeline(transaction=False) as calls:
            for each in shipments:
                key = log_key(node, each.alloc)
                if each.batch is not None:
                    calls.xadd(key, {FIELD: msgspec.json.encode(each.batch)})
                if each.trim:
                    calls.xtrim(key, minid=each.trim, approximate=False)
                if each.keep:
                    calls.expire(key, each.keep)
            answers = iter(await calls.execute(raise_on_error=False))
        return [_taken(each, answers) for each in shipments]

    async def sizes(self) -> tuple[int, list[Size]]:
        """Weigh all streams; and say how much memory Redis may use, 0: no limit."""
        info = await self._redis.info("memory")
        keys = [_text(key) async for key in self._redis.scan_iter(match=_ANY, count=1000)]
        found: list[Size] = []
        for at in range(0, len(keys), _PIPE):
            some = keys[at : at + _PIPE]
            async with self._redis.pipeline(transaction=False) as calls:
                for key in some:
                    calls.memory_usage(key)
                    calls.xrange(key, count=1)
                    calls.xrevrange(key, count=1)
                answers = await calls.execute()
            for number, key in enumerate(some):
                size, first, last = answers[3 * number : 3 * number + 3]
                if size and first and last:
                    found.append(Size(key, size, _split(first[0][0])[0], _split(last[0][0])[0]))
        return int(info.get("maxmemory", 0)), found

    async def cut(self, keys: Iterable[str], ms: int) -> None:
        """Let go of what is older than a time."""
        async with self._redis.pipeline(transaction=False) as calls:
            for key in keys:
                calls.xtrim(key, minid=str(ms), approximate=False)
            await calls.execute()

    async def alone(self, name: str, seconds: float) -> bool:
        """Tell whether nobody else does this for so long."""
        return bool(await self._redis.set(f"heroctl:alone:{name}", b"1", nx=True, px=round(seconds * 1000)))


class Size(NamedTuple):
    """What a stream weighs, in bytes, and the times of its first and last entries."""

    key: str
    bytes: int
    first: int
    last: int


AWAY: Final = (RedisError, OSError, asyncio.TimeoutError)


def unavailable(why: str) -> Unavailable:
    """Say that logs cannot be read now."""
    return Unavailable("logs_unavailable", f"logs cannot be read now: {why}", retry_after=2)


def _taken(shipment: Shipment, answers: Iterator[Any]) -> str:
    entry = next(answers) if shipment.batch is not None else b""
    for asked in (shipment.trim, shipment.keep):
        if asked:
            next(answers)
    if isinstance(entry, OutOfMemoryError):
        return ""
    if isinstance(entry, Exception):
        raise entry
    return _text(entry)


def _entries(key: str, raw: list[Any]) -> list[Entry]:
    """Read entries. What is none of ours has no lines: its place is gone past all the same."""
    alloc, found = alloc_of(key), []
    for identity, fields in raw:
        try:
            batch = _BATCH.decode(fields[FIELD.encode()])
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
            batch = _FOREIGN
        found.append(Entry(*_split(identity), alloc, batch))
    return found


def _flat(entries: list[Any]) -> list[Any]:
    """Return the entries of one stream: the newer protocol wraps them in one more list."""
    return entries[0] if entries and entries[0] and isinstance(entries[0][0], (list, tuple)) else entries


def _split(identity: bytes | str) -> tuple[int, int]:
    ms, _, seq = _text(identity).partition("-")
    return int(ms), int(seq)


def _ms(answer: Any) -> int:  # noqa: ANN401 - seconds and microseconds
    return int(answer[0]) * 1000 + int(answer[1]) // 1000


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
