"""Deliveries in memory, for tests; see `eventstore.deliveries`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import asdict, replace

from eventstore.cursors import MemoryCursors
from eventstore.deliveries import CURSOR, END, Again, Attempt, Delivery, New, Waiting
from heroctl.domain.delivery import DeliveryState


class MemoryDeliveries:
    """The rows in memory; see Deliveries. `epoch` gives the log's."""

    def __init__(self, epoch: Callable[[], int], cursors: MemoryCursors | None = None) -> None:
        self._cursors = cursors or MemoryCursors()
        self._epoch = epoch
        self._rows: dict[tuple[str, int], Delivery] = {}

    async def enqueue(
        self, epoch: int, seen: int, to: int, now: int, *, new: Sequence[New] = (), again: Sequence[Again] = ()
    ) -> bool:
        """See Deliveries.enqueue."""
        if self._epoch() != epoch or not await self._cursors.move(CURSOR, seen, to):
            return False
        for each in again:
            for key, row in self._rows.items():
                if _covers(each, row):
                    self._rows[key] = replace(row, state="pending", tried=0, due=now)
        for one in new:
            old = self._rows.get((one.webhook, one.index))
            if old is None or old.id != one.id:
                self._rows[one.webhook, one.index] = Delivery(
                    **asdict(one), state="pending", attempts=0, tried=0, due=now
                )
        return True

    async def pending(self) -> dict[str, Waiting]:
        """See Deliveries.pending."""
        found: dict[str, list[int]] = {}
        for row in self._rows.values():
            if row.state == "pending":
                found.setdefault(row.webhook, []).append(row.at)
        return {webhook: Waiting(len(times), min(times)) for webhook, times in found.items()}

    async def first(self, webhook: str, most: int) -> list[Delivery]:
        """See Deliveries.first."""
        found = [row for row in self._of(webhook) if row.state == "pending" and not row.tried]
        return sorted(found, key=lambda row: row.index)[:most]

    async def due(self, webhook: str, most: int) -> list[Delivery]:
        """See Deliveries.due."""
        found = [row for row in self._of(webhook) if row.state == "pending" and row.tried]
        return sorted(found, key=lambda row: (row.due, row.index))[:most]

    async def settle(self, delivery: Delivery, attempt: Attempt) -> None:
        """See Deliveries.settle."""
        row = self._still(delivery)
        if row is not None:
            self._rows[row.webhook, row.index] = replace(
                row,
                state=attempt.state,
                attempts=row.attempts + 1,
                tried=row.tried + 1,
                due=attempt.due,
                last_at=attempt.at,
                took=attempt.took,
                status=attempt.status,
                error=attempt.error,
                answer=attempt.answer,
            )

    async def drop(self, delivery: Delivery, why: str, now: int) -> None:
        """See Deliveries.drop."""
        row = self._still(delivery)
        if row is not None:
            self._rows[row.webhook, row.index] = replace(row, state="dropped", due=now, error=why)

    async def listed(
        self, webhook: str, most: int, *, before: int = END, state: DeliveryState | str = ""
    ) -> list[Delivery]:
        """See Deliveries.listed."""
        found = [row for row in self._of(webhook) if row.index < before and state in ("", row.state)]
        return sorted(found, key=lambda row: -row.index)[:most]

    async def found(self, webhook: str, index: int) -> Delivery | None:
        """See Deliveries.found."""
        return self._rows.get((webhook, index))

    async def over(self, again: Again) -> int:
        """See Deliveries.over."""
        return sum(_covers(again, row) for row in self._rows.values())

    async def prune(self, known: Collection[str], before: int) -> None:
        """See Deliveries.prune."""
        self._rows = {
            key: row
            for key, row in self._rows.items()
            if row.webhook in known and (row.state == "pending" or row.due >= before)
        }

    def _of(self, webhook: str) -> list[Delivery]:
        return [row for row in self._rows.values() if row.webhook == webhook]

    def _still(self, delivery: Delivery) -> Delivery | None:
        row = self._rows.get((delivery.webhook, delivery.index))
        return row if row is not None and row.id == delivery.id and row.state == "pending" else None


def _covers(again: Again, row: Delivery) -> bool:
    if row.webhook != again.webhook or not again.first <= row.index <= again.last:
        return False
    return row.state == "failed" or (not again.failed_only and row.state != "pending")
