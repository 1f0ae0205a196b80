"""Deliveries: what webhooks are to be told, and how that went. A row for each webhook and event that it is told of.

They are no events: the log says what happened, these say who heard of it. A cursor goes through the log, and what it
finds becomes rows in the same transaction that moves it: so each event is found once, whatever is killed in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from eventstore.arrays import Bigints, Blobs, Integers, Texts
from eventstore.database import Database
from heroctl.domain.delivery import DeliveryState

CURSOR: Final = "webhooks"

_COLUMNS: Final = (
    "webhook, index, id, type, needs, body, at, state, attempts, tried, due, last_at, took, status, error, answer"
)
# Nobody waits for the disk here. What a crash of the database takes is found in the log once more, where it is durable;
# and what was told without being noted is told again. A server writes in order, so a cursor never outlives its rows.
_UNHURRIED: Final = "set_config('synchronous_commit', 'off', true) = 'off'"
# A row of another history goes: the log was replaced by an older copy of itself, and went on in another way.
_ENQUEUE: Final = f"""
    WITH moved AS (
        UPDATE heroctl.cursors SET index = %b
        WHERE name = 'webhooks' AND index = %b AND (SELECT epoch FROM heroctl.head) = %b AND {_UNHURRIED}
        RETURNING index
    ),
    again AS (
        UPDATE heroctl.deliveries AS d SET state = 'pending', tried = 0, due = %b
        FROM unnest(%b, %b, %b, %b) AS a(webhook, first, last, failed_only)
        WHERE EXISTS (SELECT FROM moved) AND d.webhook = a.webhook AND d.index BETWEEN a.first AND a.last
            AND (d.state = 'failed' OR (a.failed_only = 0 AND d.state <> 'pending'))
        RETURNING 1
    ),
    added AS (
        INSERT INTO heroctl.deliveries AS d (webhook, index, id, type, needs, body, at, due)
        SELECT n.webhook, n.index, n.id, n.type, n.needs, n.body, n.at, %b
        FROM unnest(%b, %b, %b, %b, %b, %b, %b) AS n(webhook, index, id, type, needs, body, at)
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (webhook, index) DO UPDATE SET
            id = EXCLUDED.id, type = EXCLUDED.type, needs = EXCLUDED.needs, body = EXCLUDED.body, at = EXCLUDED.at,
            state = 'pending', attempts = 0, tried = 0, due = EXCLUDED.due, last_at = NULL, took = NULL, status = NULL,
            error = NULL, answer = NULL
        WHERE d.id <> EXCLUDED.id
        RETURNING 1
    )
    SELECT count(*) FROM moved"""  # noqa: S608 - constants
_PENDING: Final = """
    SELECT webhook, count(*), min(at) FROM heroctl.deliveries WHERE state = 'pending' GROUP BY webhook"""
_FIRST: Final = f"""
    SELECT {_COLUMNS} FROM heroctl.deliveries
    WHERE webhook = %b AND state = 'pending' AND tried = 0 ORDER BY index LIMIT %b"""  # noqa: S608 - constants
_DUE: Final = f"""
    SELECT {_COLUMNS} FROM heroctl.deliveries
    WHERE webhook = %b AND state = 'pending' AND tried > 0 ORDER BY due, index LIMIT %b"""  # noqa: S608 - constants
_SETTLE: Final = f"""
    UPDATE heroctl.deliveries SET state = %b, attempts = attempts + 1, tried = tried + 1, due = %b, last_at = %b,
        took = %b, status = %b, error = %b, answer = %b
    WHERE webhook = %b AND index = %b AND id = %b AND state = 'pending' AND {_UNHURRIED}"""  # noqa: S608 - constants
_DROP: Final = """
    UPDATE heroctl.deliveries SET state = 'dropped', due = %b, error = %b
    WHERE webhook = %b AND index = %b AND id = %b AND state = 'pending'"""
_LISTED: Final = f"""
    SELECT {_COLUMNS} FROM heroctl.deliveries
    WHERE webhook = %b AND index < %b AND (%b = '' OR state = %b) ORDER BY index DESC LIMIT %b"""  # noqa: S608 - as above
_FOUND: Final = f"""
    SELECT {_COLUMNS} FROM heroctl.deliveries WHERE webhook = %b AND index = %b"""  # noqa: S608 - constants
_COUNT: Final = """
    SELECT count(*) FROM heroctl.deliveries
    WHERE webhook = %b AND index BETWEEN %b AND %b AND (state = 'failed' OR (%b = 0 AND state <> 'pending'))"""
_PRUNED: Final = 5000  # rows that one statement forgets
_PRUNE: Final = """
    WITH gone AS (
        DELETE FROM heroctl.deliveries WHERE (webhook, index) IN (
            SELECT webhook, index FROM heroctl.deliveries
            WHERE NOT webhook = ANY(%b) OR (state <> 'pending' AND due < %b) LIMIT %b) RETURNING 1)
    SELECT count(*) FROM gone"""
END: Final = (1 << 63) - 1


class New(Struct, frozen=True):
    """Something that a webhook is to be told; `at` in ms. `needs`: what its reader must have, as JSON."""

    webhook: str
    index: int
    id: str
    type: str
    needs: bytes
    body: bytes
    at: int


class Again(Struct, frozen=True):
    """What a webhook is to be told once more: of events `first` to `last`, all of it or what failed."""

    webhook: str
    first: int
    last: int
    failed_only: bool


class Waiting(Struct, frozen=True):
    """How many deliveries wait, and since when the first of what they tell is so (ms)."""

    count: int
    since: int


class Delivery(Struct, frozen=True):
    """A row. Times in ms: `due` is when it is tried next or, where it is over, when that was."""

    webhook: str
    index: int
    id: str
    type: str
    needs: bytes
    body: bytes
    at: int
    state: DeliveryState
    attempts: int
    tried: int
    due: int
    last_at: int | None = None
    took: int | None = None
    status: int | None = None
    error: str = ""
    answer: bytes = b""


class Attempt(Struct, frozen=True):
    """How an attempt went, and what comes of it. Times in ms; `status` 0: there was no answer."""

    state: DeliveryState
    due: int
    at: int
    took: int
    status: int = 0
    error: str = ""
    answer: bytes = b""


class Deliveries(Protocol):
    """The rows. Every call raises LogUnavailable when they cannot be reached."""

    async def enqueue(
        self, epoch: int, seen: int, to: int, now: int, *, new: Sequence[New] = (), again: Sequence[Again] = ()
    ) -> bool:
        """Move the cursor and note what is to be told, both or neither.

        False: the cursor is not where it was seen, or another coordinates. One that is sent again after a broken
        connection may be False for its own move: read the cursor.
        """
        ...

    async def pending(self) -> dict[str, Waiting]:
        """Count what each webhook is still to be told, if anything."""
        ...

    async def first(self, webhook: str, most: int) -> list[Delivery]:
        """Give what a webhook was never told, in the order of the log."""
        ...

    async def due(self, webhook: str, most: int) -> list[Delivery]:
        """Give what is to be tried once more, whatever is due next first."""
        ...

    async def settle(self, delivery: Delivery, attempt: Attempt) -> None:
        """Note how an attempt went."""
        ...

    async def drop(self, delivery: Delivery, why: str, now: int) -> None:
        """Note that a webhook is not to be told, after all."""
        ...

    async def listed(
        self, webhook: str, most: int, *, before: int = END, state: DeliveryState | str = ""
    ) -> list[Delivery]:
        """Give what a webhook was told, or is to be, the newest first, of events before an index."""
        ...

    async def found(self, webhook: str, index: int) -> Delivery | None:
        """Give what a webhook was told of an event."""
        ...

    async def over(self, again: Again) -> int:
        """Count what could be told once more."""
        ...

    async def prune(self, known: Collection[str], before: int) -> None:
        """Forget what webhooks were told that are not known any more, and what was over before a time (ms)."""
        ...


class PostgresDeliveries:
    """The rows in the log's database; see Deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(
        self, epoch: int, seen: int, to: int, now: int, *, new: Sequence[New] = (), again: Sequence[Again] = ()
    ) -> bool:
        """See Deliveries.enqueue."""
        values = [
            *(to, seen, epoch, now),
            Texts([each.webhook for each in again]),
            Bigints([each.first for each in again]),
            Bigints([each.last for each in again]),
            Integers([int(each.failed_only) for each in again]),
            now,
            Texts([each.webhook for each in new]),
            Bigints([each.index for each in new]),
            Texts([each.id for each in new]),
            Texts([each.type for each in new]),
            Blobs([each.needs for each in new]),
            Blobs([each.body for each in new]),
            Bigints([each.at for each in new]),
        ]
        [(moved,)] = await self._database.fetch(_ENQUEUE, values)
        return bool(moved)

    async def pending(self) -> dict[str, Waiting]:
        """See Deliveries.pending."""
        return {webhook: Waiting(count, since) for webhook, count, since in await self._database.fetch(_PENDING)}

    async def first(self, webhook: str, most: int) -> list[Delivery]:
        """See Deliveries.first."""
        return _read(await self._database.fetch(_FIRST, [webhook, most]))

    async def due(self, webhook: str, most: int) -> list[Delivery]:
        """See Deliveries.due."""
        return _read(await self._database.fetch(_DUE, [webhook, most]))

    async def settle(self, delivery: Delivery, attempt: Attempt) -> None:
        """See Deliveries.settle."""
        values = [attempt.state, attempt.due, attempt.at, attempt.took, attempt.status]
        row = [delivery.webhook, delivery.index, delivery.id]
        await self._database.fetch(_SETTLE, [*values, attempt.error.encode(), attempt.answer, *row])

    async def drop(self, delivery: Delivery, why: str, now: int) -> None:
        """See Deliveries.drop."""
        row = [delivery.webhook, delivery.index, delivery.id]
        await self._database.fetch(_DROP, [now, why.encode(), *row])

    async def listed(
        self, webhook: str, most: int, *, before: int = END, state: DeliveryState | str = ""
    ) -> list[Delivery]:
        """See Deliveries.listed."""
        return _read(await self._database.fetch(_LISTED, [webhook, before, state, state, most]))

    async def found(self, webhook: str, index: int) -> Delivery | None:
        """See Deliveries.found."""
        rows = _read(await self._database.fetch(_FOUND, [webhook, index]))
        return rows[0] if rows else None

    async def over(self, again: Again) -> int:
        """See Deliveries.over."""
        values = [again.webhook, again.first, again.last, int(again.failed_only)]
        [(found,)] = await self._database.fetch(_COUNT, values)
        return int(found)

    async def prune(self, known: Collection[str], before: int) -> None:
        """See Deliveries.prune."""
        while True:
            [(gone,)] = await self._database.fetch(_PRUNE, [Texts(sorted(known)), before, _PRUNED])
            if gone < _PRUNED:
                return


def _read(rows: Sequence[tuple[Any, ...]]) -> list[Delivery]:
    found = []
    for row in rows:
        delivery = Delivery(*row[:14])
        found.append(replace(delivery, error=(row[14] or b"").decode(errors="replace"), answer=row[15] or b""))
    return found
