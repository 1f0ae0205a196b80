"""Webhooks for the api's tests."""

from __future__ import annotations

from typing import Any, Final

from eventstore.cursors import MemoryCursors
from eventstore.deliveries import CURSOR, Attempt, New
from eventstore.memory_deliveries import MemoryDeliveries
from tests.api.rig import Reply, Rig

URL: Final = "https://8.8.8.8/hook"


async def hook(api: Rig, *events: str, query: str = "", token: str = "", **more: Any) -> Reply:  # noqa: ANN401 - fields of a body
    """Make a webhook."""
    body = {"url": URL, "events": list(events) or ["*"], **more}
    made = await api.post(f"/v1/webhooks{query}", body, token=token or api.token)
    assert made.status == 201, made.body
    return made


async def told(api: Rig, webhook: str, *indexes: int, state: str = "delivered", needs: bytes = b"null") -> None:
    """Note that a webhook was told of events; `needs`: what their reader must have."""
    rows = api.parts.deliveries
    assert isinstance(rows, MemoryDeliveries)
    cursors: MemoryCursors = rows._cursors
    await cursors.begin(CURSOR, 0)
    now = api.clock.ms()
    new = [
        New(webhook, index, f"evt_{index}", "job.deployed", needs, b'{"type":"job.deployed"}', now)
        for index in indexes or (1,)
    ]
    assert await rows.enqueue(api.log.epoch, (await cursors.listed())[CURSOR], new[-1].index, now, new=new)
    for row in await rows.first(webhook, len(new)):
        await rows.settle(row, Attempt(state, now, now, 12, 200 if state == "delivered" else 500, "", b"thanks"))  # type: ignore[arg-type] # one of them
