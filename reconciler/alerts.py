"""The watch over alerts: what was measured is held against every threshold, and what comes of it becomes an event.

Only the coordinator does it, under its epoch. All that counts stands in the samples and in the log: a coordinator that
has just taken over goes on where the one before it ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from eventstore.log import Append, Busy, Conflicted, Displaced, Fenced, Log, LogUnavailable
from eventstore.samples import Samples, Wanted
from eventstore.series import Point, Run, parts_of, points, step_of
from eventstore.view import View
from heroctl.domain.alerts import Alert, judge
from heroctl.domain.events import Meta
from heroctl.domain.intents.alerts import alert_stream

EVERY: Final = 10.0  # seconds, jittered
_META: Final = Meta(actor="coordinator")

_log: Final = structlog.get_logger(__name__)


class Alerts:
    """Looks while `run` runs. `epoch`: under which this process coordinates, if it does; `now`: the database's time."""

    def __init__(
        self, log: Log, view: View, samples: Samples, epoch: Callable[[], int | None], now: Callable[[], float]
    ) -> None:
        self._log = log
        self._view = view
        self._samples = samples
        self._epoch = epoch
        self._now = now

    async def run(self) -> None:
        """Look every ten seconds, for ever."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if self._epoch() is not None and self._view.sound:
                await self.look()

    async def look(self) -> None:
        """Hold every alert against what was measured, once."""
        for key in sorted(self._view.state.alerts):
            alert = self._view.state.alerts.get(key)
            try:
                if alert is not None:
                    await self._judge(alert)
            except LogUnavailable as error:
                _log.info("alerts_not_judged", error=str(error))
                return
            except Exception:  # noqa: BLE001 - whatever is wrong with one alert, the others are judged
                _log.exception("alert_failed", alert="/".join(key))

    async def _judge(self, alert: Alert) -> None:
        place, now = self._view.position, int(self._now())
        event = judge(alert, await self._series(alert, now), now)
        epoch = self._epoch()
        if event is None or epoch is None:
            return
        stream = alert_stream(*alert.key)
        append = Append(
            (event,),
            moves=(stream,),
            expects=((stream, place.index),),
            epoch=epoch,
            meta=_META,
            level=self._view.state.level,
            view=place,
        )
        try:
            appended = await self._log.append(append)
        except (Busy, Conflicted, Displaced, Fenced) as error:
            _log.info("alert_not_told", alert="/".join(alert.key), error=str(error))  # the next look says it again
            return
        await self._view.reached(appended.last, EVERY)
        _log.info(event.TAG, alert="/".join(alert.key))

    async def _series(self, alert: Alert, now: int) -> dict[str, list[Point]]:
        """Give what was measured of each thing that an alert is about, by its name."""
        said, samples = alert.said, self._samples
        begin = now - said.seconds - 2 * alert.step
        step = step_of(begin, now, now, alert.step)
        of_job = alert.kind == "alloc"
        wanted = Wanted(
            alert.kind, node=said.node, namespace=said.namespace if of_job else "", job=said.job, task=said.task
        )
        found = await samples.find(wanted, begin - 3_600)
        if not found:
            return {}
        parts = parts_of(begin // step * step, now + 1, step, await samples.rolled())
        runs = await samples.read([each.id for each in found], said.metric, parts)
        own: dict[int, list[Run]] = {each.id: [] for each in found}
        for run in runs:
            own[run.subject].append(run)
        return {each.name: points(own[each.id], begin, now + 1, step, "avg") for each in found}
