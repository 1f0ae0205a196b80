"""Goes through the log for webhooks: what each is to be told becomes rows, in the transaction that moves the cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from eventstore import codec
from eventstore.cursors import Cursors
from eventstore.deliveries import CURSOR, Again, Deliveries, New
from eventstore.log import Compacted, Log
from eventstore.view import View
from heroctl.domain.events import Record, WebhookRedelivered
from heroctl.domain.ids import event_id
from heroctl.domain.state import State
from heroctl.domain.webhooks import need, news, payload, wants

PAGE: Final = 1_000  # events that are read at once
STRIDE: Final = 500  # events of no interest after which the cursor is moved all the same


class WebhookCursor:
    """Stands on the log where everything before was enqueued. `now` gives ms.

    Events that nobody wants move the row now and then only: they would be passed over once more, to no effect.
    """

    def __init__(self, log: Log, view: View, cursors: Cursors, deliveries: Deliveries, now: Callable[[], int]) -> None:
        self._log = log
        self._view = view
        self._cursors = cursors
        self._deliveries = deliveries
        self._now = now
        self._kept: int | None = None  # where the row stands; None: it is to be read
        self._at = 0  # up to where nothing is left to be done

    @property
    def behind(self) -> int:
        """How many events of those that the view has applied are still to be gone through."""
        return 0 if self._kept is None else max(0, self._view.index - self._at)

    async def step(self, epoch: int) -> tuple[list[str], bool]:
        """Go on, as far as the view has come. Return which webhooks are to be told something, and whether more is left.

        Raises LogUnavailable.
        """
        if not self._view.state.webhooks:
            await self._rest()
            return [], False
        kept = self._kept
        if kept is None:
            kept = self._kept = self._at = await self._begin()
        try:
            page = await self._log.page(self._at, PAGE)
        except Compacted as gone:
            self._kept = self._at = await self._anew(gone.floor)
            return [], True
        rows = [row for row in page if row[1] <= self._view.index]
        if not rows:
            return [], False
        to = rows[-1][0]
        new, again = _found(self._view.state, codec.records(rows))
        if new or again or to - kept >= STRIDE:
            if not await self._deliveries.enqueue(epoch, kept, to, self._now(), new=new, again=again):
                self._kept = None
                return [each.webhook for each in new], False
            self._kept = to
        self._at = to
        return [each.webhook for each in new] + [each.webhook for each in again], len(rows) == len(page)

    async def _rest(self) -> None:
        """Hold nothing of the log back while there is no webhook."""
        if self._kept is not None or CURSOR in await self._cursors.listed():
            await self._cursors.end(CURSOR)
        self._kept = None

    async def _begin(self) -> int:
        found = (await self._cursors.listed()).get(CURSOR)
        if found is not None and found <= self._view.index:
            return found
        first = min(hook.create_index for hook in self._view.state.webhooks.values())
        return await self._anew(first - 1)

    async def _anew(self, index: int) -> int:
        """Begin at an index, or where the log begins."""
        await self._cursors.end(CURSOR)
        try:
            await self._cursors.begin(CURSOR, index)
        except Compacted as gone:
            await self._cursors.begin(CURSOR, gone.floor)
        return (await self._cursors.listed())[CURSOR]


def _found(state: State, records: Iterable[Record]) -> tuple[list[New], list[Again]]:
    new: list[New] = []
    again: list[Again] = []
    for record in records:
        event = record.event
        if isinstance(event, WebhookRedelivered):
            again.append(Again(event.id, event.first, event.last, event.failed_only))
            continue
        told = news(event)
        if told is None:
            continue
        wanting = [hook.id for hook in state.webhooks.values() if wants(hook, record, told)]
        if wanting:
            body = payload(record, told, state.cluster, state.incarnation)
            identity, needs = event_id(state.incarnation, record.index), msgspec.json.encode(need(state, event))
            new += [New(hook, record.index, identity, told.type, needs, body, record.time) for hook in wanting]
    return new, again
