"""A coordinator killed at every decision of a rollout, just before or after it is written: nothing shows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from eventstore.log import Append, Appended
from heroctl.domain.events import AllocPlaced, AllocStopping, DeploymentFinished, JobDeployed, JobFailed, JobReverted
from heroctl.domain.intents import deployments, drains
from heroctl.domain.records import Deployment
from tests.reconciler.rig import Rig, TroubledLog, run

COUNT: Final = 3
UPDATE: Final = {"min_healthy_time": "4s", "max_parallel": 1}
Change = Callable[[Rig], Coroutine[Any, Any, None]]
Told = dict[str, Any]


class KillingLog(TroubledLog):
    """Stops time for whoever makes decision number `at`, once: before it is written or `after`."""

    def __init__(self, log: TroubledLog, at: int, *, after: bool) -> None:
        self.__dict__ = log.__dict__
        self._at = at
        self._after = after
        self.decisions = 0
        self.reached = asyncio.Event()

    async def append(self, append: Append) -> Appended:
        """See Log.append."""
        if append.epoch is None:
            return await super().append(append)
        self.decisions += 1
        if self.decisions != self._at:
            return await super().append(append)
        if self._after:
            await super().append(append)
        self.reached.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody comes back from there")


async def _rolling(rig: Rig) -> None:
    await rig.submit(args="v2", count=COUNT, update=UPDATE)


async def _stop_first(rig: Rig) -> None:
    await rig.submit(args="v2", count=COUNT, update={**UPDATE, "order": "stop-first"})


async def _canary(rig: Rig) -> None:
    canary = {"steps": [20, 60], "pause": "5s", "auto_promote": True}
    await rig.submit(args="v2", count=COUNT, update={**UPDATE, "strategy": "canary", "canary": canary})


async def _blue_green(rig: Rig) -> None:
    blue_green = {"auto_promote": True, "keep_old": "10s"}
    await rig.submit(args="v2", count=COUNT, update={**UPDATE, "strategy": "blue-green", "blue_green": blue_green})


async def _failing(rig: Rig) -> None:
    """It is failed by hand as soon as its first replica is there, and the way back is gone."""
    await rig.submit(args="v2", count=COUNT, update=UPDATE)
    await rig.until(lambda: any(alloc.version == 2 for alloc in rig.live()))
    await rig.do(deployments.fail(_deployment(rig), "no good"))


async def _draining(rig: Rig) -> None:
    """Two of the three nodes are drained, and the third has room for all."""
    for node in list(rig.state.nodes.values())[:2]:
        await rig.do(drains.drain_node(node, None, ignore_system=False))


CHANGES: Final = {each.__name__: each for each in (_rolling, _stop_first, _canary, _blue_green, _failing, _draining)}


def _deployment(rig: Rig) -> Deployment:
    job = rig.state.job("default", "web")
    assert job is not None
    return rig.state.deployments[job.deployment]


def _calm(rig: Rig) -> bool:
    contents = {alloc.content for alloc in rig.live()}
    over = not _deployment(rig).active and len(contents) == 1 and len(rig.live()) == COUNT
    drained = all(node.drain is None for node in rig.state.nodes.values())
    return over and drained and all(alloc.terminal or alloc.live for alloc in rig.state.allocs.values())


async def _told(rig: Rig) -> Told:
    """Sum up what was decided from the second version on, so that two ways to the same end can be compared."""
    events = await rig.told()
    return {
        "placed": sorted((each.task, each.slot, each.version) for each in events if isinstance(each, AllocPlaced)),
        "stopped": sorted(each.reason for each in events if isinstance(each, AllocStopping)),
        "ended": [(each.status, each.reason) for each in events if isinstance(each, DeploymentFinished)],
        "deployed": [each.version for each in events if isinstance(each, JobDeployed)],
        "failed": [(each.version, each.reverted_to) for each in events if isinstance(each, JobFailed)],
        "reverted": [(each.version, each.of) for each in events if isinstance(each, JobReverted)],
        "runs": sorted((alloc.slot, alloc.content) for alloc in rig.live()),
    }


def _roll(change: Change, at: int = 0, *, after: bool = False) -> tuple[Told, int, int]:
    """Change a job, killing whoever makes a decision; tell what came of it, how many there were, the fewest healthy."""
    result: list[tuple[Told, int, int]] = []

    async def story(rig: Rig) -> None:
        rig.start("r1")
        for node in ("n1", "n2", "n3"):
            await rig.join(node)
        await rig.submit(args="v1", count=COUNT, update=UPDATE)
        await rig.until(lambda: _deployment(rig).status == "successful")
        await rig.kill("r1")
        rig.log = log = KillingLog(rig.log, at, after=after)
        rig.start("r2")
        fewest = [COUNT]
        unsubscribe = rig.api.subscribe(lambda _: fewest.append(sum(a.health == "healthy" for a in rig.live())))
        changing = asyncio.ensure_future(change(rig))
        if at:
            await rig.until(log.reached.is_set, 200)
            await rig.kill("r2")
            rig.start("r3")
        await rig.until(lambda: changing.done() and _calm(rig), 400)
        await changing
        unsubscribe()
        result.append((await _told(rig), log.decisions, min(fewest)))

    run(story)
    return result[0]


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_nothing_shows_of_a_killed_coordinator(name: str) -> None:
    change = CHANGES[name]
    told, decisions, fewest = _roll(change)
    least = COUNT - (name == "_stop_first")
    assert fewest >= least
    assert decisions > COUNT, "there is something to kill at"
    for at in range(1, decisions + 1):
        for after in (False, True):
            again, _, fewest = _roll(change, at, after=after)
            assert again == told, (at, after)
            assert fewest >= least, (at, after)
