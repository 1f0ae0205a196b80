"""Refusals: who was told no, to what, how often.

They are rows of a table with a bound, not events: a stranger may cause any number of them, and the log is kept. The
same refusal to the same caller within ten minutes is one row, whichever process said it; its place among the rows is
where it began. Who had a good token and who had none have their own bounds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from eventstore.database import Database

MOST: Final = 5_000  # rows that are kept of those with a good token, and of those without
WINDOW: Final = 600  # seconds within which the same refusal is one row
LIFE: Final = 30 * 24 * 3600  # seconds that a row is kept
END: Final = (1 << 63) - 1

_NOTE: Final = "SELECT heroctl.note_refusals(%b, %b::bigint)"
_PAGE: Final = """
    SELECT actor, address, request_id, method, route, path, status, code, tried, namespace, job, known,
        count, first, last, id
    FROM heroctl.refusals
    WHERE id < %b AND first >= %b AND first <= %b AND (%b = '' OR actor = %b) AND (%b = '' OR namespace = %b)
        AND (%b = '' OR job = %b) AND (%b = '' OR request_id = %b) AND (%b = '' OR address = %b)
    ORDER BY id DESC LIMIT %b"""


class Refused(Struct, frozen=True):
    """A refusal. `route`: the path with its placeholders; `path`: the first one that was asked for; times in ms."""

    actor: str
    address: str
    request_id: str  # of the first
    method: str
    route: str
    path: str
    status: int
    code: str
    tried: str = ""  # the name that a login was tried with
    namespace: str = ""
    job: str = ""
    known: bool = False  # the caller had a good token
    count: int = 1
    first: int = 0
    last: int = 0
    id: int = 0

    @property
    def sort(self) -> tuple[str, ...]:
        """What makes two refusals the same."""
        return (self.actor, self.address, self.method, self.route, str(self.status), self.code, self.tried)


class Wanted(Struct, frozen=True):
    """Which refusals: an empty word asks for nothing; begun at or after `since`, at or before `until` (ms)."""

    actor: str = ""
    namespace: str = ""
    job: str = ""
    request_id: str = ""
    address: str = ""
    since: int = 0
    until: int = END

    def passes(self, row: Refused) -> bool:
        """Tell whether a refusal is one of these."""
        return self.since <= row.first <= self.until and all(
            word in ("", said)
            for word, said in (
                (self.actor, row.actor),
                (self.namespace, row.namespace),
                (self.job, row.job),
                (self.request_id, row.request_id),
                (self.address, row.address),
            )
        )


class Refusals(Protocol):
    """Where refusals are kept. Every call raises LogUnavailable when that cannot be reached."""

    async def note(self, rows: Iterable[Refused], window: int) -> None:
        """Add refusals, all of the same window; times are of when they are written."""
        ...

    async def page(self, wanted: Wanted, before: int, limit: int) -> list[Refused]:
        """Give those before an id, newest first."""
        ...


class PostgresRefusals:
    """Refusals as rows; see Refusals."""

    def __init__(self, database: Database, most: int = MOST) -> None:
        self._database = database
        self._most = most

    async def note(self, rows: Iterable[Refused], window: int) -> None:
        """See Refusals.note."""
        said = msgspec.json.encode([{**asdict(row), "key": _key(row, window).hex()} for row in rows])
        await self._database.fetch(_NOTE, [said, self._most], once=True)

    async def page(self, wanted: Wanted, before: int, limit: int) -> list[Refused]:
        """See Refusals.page."""
        words = (wanted.actor, wanted.namespace, wanted.job, wanted.request_id, wanted.address)
        sought = [twice for word in words for twice in (word, word)]
        rows = await self._database.fetch(_PAGE, [before, wanted.since, wanted.until, *sought, limit])
        return [Refused(*row) for row in rows]


class MemoryRefusals:
    """Refusals in memory, for tests; see Refusals. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._rows: dict[bytes, Refused] = {}
        self._next = 1

    async def note(self, rows: Iterable[Refused], window: int) -> None:
        """See Refusals.note."""
        now = int(self._clock() * 1000)
        for row in rows:
            key = _key(row, window)
            old = self._rows.get(key)
            if old is not None:
                self._rows[key] = replace(old, count=old.count + row.count, last=now)
                continue
            self._rows[key] = replace(row, first=now, last=now, id=self._next)
            self._next += 1
        for known in (True, False):
            kept = sorted(row.id for row in self._rows.values() if row.known == known)[-self._most :]
            oldest = kept[0] if kept else 0
            self._rows = {
                key: row
                for key, row in self._rows.items()
                if row.first >= now - LIFE * 1000 and (row.known != known or row.id >= oldest)
            }

    async def page(self, wanted: Wanted, before: int, limit: int) -> list[Refused]:
        """See Refusals.page."""
        rows = sorted((row for row in self._rows.values() if row.id < before), key=lambda row: -row.id)
        return [row for row in rows if wanted.passes(row)][:limit]


def _key(row: Refused, window: int) -> bytes:
    return hashlib.blake2b(msgspec.json.encode((row.sort, window)), digest_size=16).digest()
