"""Acts: the events of the log that somebody caused by asking, a user or an agent's session; newest first.

A log may hold a million events, of which few are acts, and fewer by the one who is looked for. So a page is read with
bounded work: through at most so many acts, backwards, and it says how far it came; and an index of the database holds
the acts alone. What is in masses, and never an act, is named by `BULK`, and by the index's own definition.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

import msgspec
from msgspec import Struct

from eventstore import codec
from eventstore.database import Database
from eventstore.log import Compacted, Log, Row
from heroctl.domain.events import EVENTS, Event, Record

BULK: Final = (
    "alloc.failed",
    "alloc.given_up",
    "alloc.placed",
    "alloc.reported",
    "alloc.stopping",
    "deployment.finished",
    "job.blocked",
    "job.deployed",
)
NO_ACTS: Final = tuple(sorted(tag for tag, kind in EVENTS.items() if kind.WRITER != "intent"))
END: Final = (1 << 63) - 1
SCAN: Final = 10_000  # acts that one page looks through
_BYTES: Final = 4 << 20  # of payloads in one page: one of them may hold a whole job spec

_INDEXED: Final = f'tag <> ALL (ARRAY[{", ".join(repr(tag) for tag in BULK)}] COLLATE "C")'
# Looks for quoted values in the bytes as they were encoded, which is sound, and leaves it to its caller to be exact.
_PAGE: Final = f"""
    WITH seen AS MATERIALIZED (
        SELECT index, last, time, tag, schema, meta, data FROM heroctl.events
        WHERE {_INDEXED} AND index < %b AND index > %b AND tag <> ALL (%b::text[])
        ORDER BY index DESC LIMIT %b),
    found AS (
        SELECT s.*, sum(octet_length(s.data)) OVER (ORDER BY s.index DESC) - octet_length(s.data) AS before
        FROM (
            SELECT * FROM seen
            WHERE (%b = '' OR tag = %b) AND starts_with(tag, %b)
                AND (octet_length(%b) = 0 OR position(%b IN meta) > 0)
                AND (octet_length(%b) = 0 OR position(%b IN meta) > 0)
                AND (octet_length(%b) = 0 OR position(%b IN meta) > 0)
                AND (octet_length(%b) = 0 OR position(%b IN data) > 0)
                AND (octet_length(%b) = 0 OR position(%b IN data) > 0)
            ORDER BY index DESC LIMIT %b) AS s)
    SELECT index, last, time, tag, schema, meta, data, NULL::bytea, 0::bigint, 0::bigint, 0::bigint
    FROM found WHERE before < %b
    UNION ALL
    SELECT 0, 0, 0, '', 0, '', '', NULL, n.count, n.index, n.time FROM (
        SELECT count(*) AS count, coalesce(min(index), 0) AS index, coalesce(min(time), 0) AS time FROM seen) AS n
    ORDER BY 1 DESC"""  # noqa: S608 - constants
_NEWEST: Final = f"""
    SELECT index FROM heroctl.events WHERE {_INDEXED} AND tag <> ALL (%b::text[]) ORDER BY index DESC LIMIT 1"""  # noqa: S608 - constants
_FLOOR: Final = "SELECT index FROM heroctl.floor"


class Wanted(Struct, frozen=True):
    """Which acts; an empty word asks for nothing. `type` may end in `*`."""

    actor: str = ""
    type: str = ""
    namespace: str = ""
    job: str = ""
    request_id: str = ""
    address: str = ""

    def passes(self, record: Record, tag: str) -> bool:
        """Tell whether an act is one of these."""
        meta, event = record.meta, record.event
        return (
            self.actor in ("", meta.actor)
            and self.request_id in ("", meta.request_id)
            and self.address in ("", meta.address)
            and (tag.startswith(self.type[:-1]) if self.type.endswith("*") else self.type in ("", tag))
            and self.namespace in ("", namespace_of(event, tag))
            and self.job in ("", job_of(event, tag))
        )


def namespace_of(event: Event, tag: str) -> str:
    """Name the namespace that an event is about; nothing: none, or several."""
    if tag.startswith("namespace."):
        return str(getattr(event, "name", ""))
    return str(getattr(event, "namespace", ""))


def job_of(event: Event, tag: str) -> str:
    """Name the job that an event is about; nothing: none."""
    return str(getattr(event, "name", "") if tag.startswith("job.") else getattr(event, "job", ""))


class Found(Struct, frozen=True):
    """Acts, newest first, with their tags. All after index `beyond` were looked through, back from where it began.

    Those that were not are not after `time` (ms); `done`: there are none that are kept.
    """

    acts: list[tuple[str, Record]]
    beyond: int
    time: int
    done: bool


class Acts(Protocol):
    """The acts of a log. Every call raises LogUnavailable when it cannot be reached."""

    async def page(self, wanted: Wanted, before: int, limit: int, *, after: int = 0) -> Found:
        """Look backwards from before an index, for at most `limit` acts, and not at or before index `after`."""
        ...

    async def newest(self) -> int:
        """Return the index of the newest act; 0: none is kept."""
        ...

    async def floor(self) -> int:
        """Return the index after which the log is kept."""
        ...


class PostgresActs:
    """The acts in Postgres; see Acts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: Wanted, before: int, limit: int, *, after: int = 0) -> Found:
        """See Acts.page."""
        prefix = wanted.type[:-1] if wanted.type.endswith("*") else ""
        exact = "" if prefix or wanted.type == "*" else wanted.type
        words = (wanted.actor, wanted.request_id, wanted.address, wanted.namespace, wanted.job)
        sought = [twice for word in words for twice in (_quoted(word),) * 2]
        parameters = [before, after, list(NO_ACTS), SCAN, exact, exact, prefix, *sought, limit, _BYTES]
        *rows, (*_, seen, lowest, oldest) = await self._database.fetch(_PAGE, parameters)
        acts = [each for each in _decoded([cast("Row", row[:8]) for row in rows]) if wanted.passes(each[1], each[0])]
        # A page that is full, in number or in bytes, ends with its last row; another one has looked at all it saw.
        cut = bool(rows) and (len(rows) == limit or sum(len(row[6]) for row in rows) >= _BYTES)
        beyond, time = (rows[-1][0] - 1, rows[-1][2]) if cut else (max(lowest - 1, after), oldest)
        return Found(acts, beyond, time, done=not cut and seen < SCAN)

    async def newest(self) -> int:
        """See Acts.newest."""
        rows = await self._database.fetch(_NEWEST, [list(NO_ACTS)])
        return int(rows[0][0]) if rows else 0

    async def floor(self) -> int:
        """See Acts.floor."""
        [(index,)] = await self._database.fetch(_FLOOR)
        return int(index)


class MemoryActs:
    """The acts of a log in memory, or of any other: it reads the whole log; see Acts."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def page(self, wanted: Wanted, before: int, limit: int, *, after: int = 0) -> Found:
        """See Acts.page."""
        rows = [row for row in await self._rows() if after < row[0] < before][:SCAN]
        found = [each for each in _decoded(rows) if wanted.passes(each[1], each[0])]
        if len(found) >= limit:
            last = found[limit - 1][1]
            return Found(found[:limit], last.index - 1, last.time, done=False)
        beyond, time = (rows[-1][0] - 1, rows[-1][2]) if rows else (after, 0)
        return Found(found, beyond, time, done=len(rows) < SCAN)

    async def newest(self) -> int:
        """See Acts.newest."""
        return max((row[0] for row in await self._rows()), default=0)

    async def floor(self) -> int:
        """See Acts.floor."""
        try:
            await self._log.page(0, 1)
        except Compacted as gone:
            return gone.floor
        return 0

    async def _rows(self) -> list[Row]:
        rows, after = list[Row](), await self.floor()
        while page := await self._log.page(after):
            rows += page
            after = page[-1][0]
        return [row for row in reversed(rows) if row[3] not in NO_ACTS]


def _quoted(word: str) -> bytes:
    return msgspec.json.encode(word) if word else b""


def _decoded(rows: list[Row]) -> list[tuple[str, Record]]:
    return [(row[3], record) for row, record in zip(rows, codec.records(rows), strict=True)]
