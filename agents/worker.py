"""Carries one allocation through its life: looks, asks `step` what is next, remembers it, does it.

One task an allocation: what hangs for one holds up no other. Whatever was not answered is looked at again, never
guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import structlog
from msgspec.structs import replace

from agents.asked import TOO_LATE, sent
from agents.container import Container
from agents.desired import wish
from agents.health import Probe, Pulse, born, news, watch
from agents.ports import NoPortLeft
from agents.record import Record, interrupted, report, stopping, visible, waiting
from agents.room import Room
from agents.runtime import Gone, Runtime, StartFault, Unavailable
from agents.secrets import Waiting
from agents.silence import patient
from agents.step import (
    Action,
    Deliver,
    Fault,
    Pull,
    Remove,
    Reserve,
    Signal,
    Start,
    Wait,
    Wish,
    faulted,
    pulled,
    reserved,
    step,
)
from agents.traced import Story
from heroctl.domain.assignment import Report
from heroctl.domain.lifecycle import TERMINAL
from heroctl.domain.spec import Health

KILL: Final = 1.0  # seconds from a kill to the end, where there is little time
BACKOFF: Final = (0.1, 5.0)  # seconds to wait after the first and after many answers that did not come
_log = structlog.get_logger("worker")


class Worker:
    """One allocation. `containers` None: nobody has looked yet."""

    def __init__(
        self, record: Record, room: Room, runtime: Runtime, probe: Probe, *, containers: list[Container] | None
    ) -> None:
        self.record = record
        self.runtime = runtime
        self.containers = containers
        self.pulse: Pulse | None = None
        self._story = Story(record)
        self.heard = False  # whether the control plane has answered its last report
        self._room = room
        self._probe = probe
        self._found_at = room.clock.now()
        self._wake = asyncio.Event()
        self._stale = False
        self._quitting = False
        self._saved: tuple[object, ...] = ()
        self._watched: tuple[str, int, Health | None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # ── from outside ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def alloc(self) -> str:
        """Its allocation."""
        return self.record.alloc

    @property
    def over(self) -> bool:
        """Whether it has come to an end and nothing of it is left."""
        return self.record.phase in TERMINAL and self.containers == []

    @property
    def wish(self) -> Wish:
        """What is wanted now."""
        origin = next((one.incarnation for one in self.containers or ()), "")
        room = self._room
        now = room.clock.now()
        wanted = wish(room.desired, self.alloc, origin=origin, found_at=self._found_at, now=now)
        if room.removed or (wanted.wanted == "keep" and self.alloc in room.released):
            return Wish("stop", room.desired.known(self.alloc))
        return patient(wanted, self.record, room.heard_at, now)

    def wake(self, *, look: bool = False) -> None:
        """Think again; `look`: the containers may not be what they were."""
        self._stale = self._stale or look
        self._wake.set()
        if self._task is None or (self._task.done() and not self._quitting):
            self._task = asyncio.create_task(self._live(), name=f"worker-{self.alloc}")

    def glimpsed(self, containers: list[Container]) -> None:
        """Compare with a list of everything, which may be old already: it is taken as a hint to look."""
        if self.containers is None:
            self.containers = containers
            self.wake(look=any(one.state == "exited" for one in containers))
        elif {(one.id, one.state) for one in containers} != {(one.id, one.state) for one in self.containers}:
            self.wake(look=True)

    def report(self) -> Report:
        """Say all there is to say, with times as of now."""
        pulse = self._own_pulse()
        return report(
            self.record,
            self._room.clock.now(),
            address=self._room.node.address,
            health=pulse.health if pulse else "unknown",
            healthy_since=pulse.since if pulse else None,
            said=pulse.said if pulse else "",
        )

    async def quit(self, patience: float) -> None:
        """End after the action at hand, or when patience is over; containers stay."""
        self._quitting = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience)
            self._task.cancel()
        self._unwatch()
        for task in (self._task, self._watcher):
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def halt(self, patience: float) -> None:
        """Stop and remove its containers within `patience` seconds, once it has quit: half of them to end by itself.

        Of `shutdown_delay` it takes as much as there is time for. They begin anew when an agent takes the record up.
        """
        spec = assigned.spec if (assigned := self.wish.assigned) else None
        timeout = min(patience / 2, spec.kill_timeout.seconds if spec else patience)
        delay = spec.shutdown_delay.seconds if spec else 0.0
        self._become(stopping(self.record, self._room.clock.now()))
        await self._ended_within(min(delay, patience - timeout - KILL))
        await self._signal_all(spec.stop_signal if spec else "SIGTERM", timeout)
        await self._signal_all("SIGKILL", KILL)
        for container in await self.runtime.list(self.alloc):
            await self.runtime.remove(container.id)
        self.record = interrupted(self.record)
        await self._keep()

    async def _signal_all(self, signal: str, patience: float) -> None:
        """Signal what runs, and wait for its end for so long."""
        for container in await self._running():
            with contextlib.suppress(Gone):
                await self.runtime.signal(container.id, signal)
        await self._ended_within(patience)

    async def _ended_within(self, patience: float) -> None:
        deadline = self._room.clock.now() + patience
        while self._room.clock.now() < deadline and await self._running():
            await self._room.clock.sleep(0.1)

    async def _running(self) -> list[Container]:
        return [one for one in await self.runtime.list(self.alloc) if one.state == "running"]

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        failures = 0
        while not self._quitting:
            self._wake.clear()
            try:
                if self._stale and self.containers is not None:
                    self._stale = False
                    self.containers = await self._look()
                action = await self._next()
                if not isinstance(action, Wait):
                    with self._story.doing(action, self.wish.assigned, self._room.desired.incarnation):
                        await self._do(action)
                failures = 0
            except (Unavailable, Gone) as error:
                failures += 1
                if isinstance(error, Waiting):
                    self._become(waiting(self.record, error.reason, str(error)))
                await self._back_off(failures, error)
                continue
            except Exception:  # noqa: BLE001 - a bug in one allocation's life ends no other's, and this one is tried again
                _log.exception("worker_failed", alloc=self.alloc)
                await self._room.clock.sleep(BACKOFF[1])
                continue
            if isinstance(action, Wait):
                if self.over:
                    return
                until = action.until
                await self._room.clock.wait(self._wake, None if until is None else until - self._room.clock.now())

    async def _look(self) -> list[Container]:
        """See what there is; hear the last that one said which ended unasked."""
        seen = await self.runtime.list(self.alloc)
        if self.wish.wanted != "run" or self.record.phase in ("stopping", "ended", "complete", "failed"):
            return seen
        ended = [one for one in seen if one.state == "exited"]
        heard, assigned = self._room.secrets.heard, self.wish.assigned
        said = {one.id: await heard(assigned, await self.runtime.output(one.id)) for one in ended}
        return [replace(one, output=said.get(one.id, "")) for one in seen]

    async def _back_off(self, failures: int, error: Exception) -> None:
        """Wait before looking again: longer each time, and not all at the same moment."""
        least, most = BACKOFF
        seconds = min(most, least * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, hides nothing
        self._stale = True
        log = _log.info if failures > 1 else _log.debug
        log("runtime_did_not_answer", alloc=self.alloc, error=str(error), again_in=round(seconds, 2))
        await self._room.clock.sleep(least)
        await self._room.clock.wait(self._wake, seconds)

    async def _next(self) -> Action:
        """Decide, and remember before anything is done (choosing a port is nothing that could be lost)."""
        decided = step(self.wish, self.record, self.containers, self._room.clock.now(), self._room.node)
        self._become(decided.record)
        self._tend()
        if not isinstance(decided.action, Reserve):
            await self._keep()
        return decided.action

    def _about(self) -> dict[str, object]:
        """Name what this is about, for the log."""
        known = self._room.desired.known(self.alloc)
        if known is None:
            return {"alloc": self.alloc}
        named = {"namespace": known.namespace, "job": known.job, "task": known.task, "version": known.version}
        return {"alloc": self.alloc, **named, "index": known.index}

    def _become(self, record: Record) -> None:
        if record == self.record:
            return
        before, self.record = self.record, record
        if (record.attempt, record.phase) != (before.attempt, before.phase):
            said = {"reason": record.reason, "message": record.message} if record.phase in ("ended", "failed") else {}
            self._story.became(record)
            _log.info(
                "allocation", **self._about(), **self._story.trace, attempt=record.attempt, phase=record.phase, **said
            )
        if record.ports != before.ports:
            self._room.ports.hold(self.alloc, record.ports)
        if visible(record) != visible(before):
            self.tell()

    def tell(self) -> None:
        """Have it reported."""
        self.heard = False
        self._room.told(self.alloc, passing=self.record.phase in ("starting", "stopping"))

    async def _keep(self) -> None:
        """Write down what changed. A disk that refuses stops nothing: labels lead back to the same place."""
        room = self._room
        entry = room.journal.entry(self.record, room.desired, self.pulse)
        kept = (entry.record, entry.assigned, entry.dropped, entry.incarnation, entry.pulse)
        if kept == self._saved:
            return
        try:
            await room.journal.save(entry)
        except OSError as error:
            _log.error("journal_not_written", alloc=self.alloc, error=str(error))
        else:
            self._saved = kept

    async def _do(self, action: Action) -> None:
        match action:
            case Reserve(names, avoid):
                self._reserve(names, avoid)
            case Pull():
                await self._pull(action)
            case Start():
                await self._start(action)
            case Signal(container, signal):
                await self._signal(container, signal)
            case Deliver(container, wish):
                arrived = await self._signal(container, wish.signal)
                self._become(sent(self.record, wish.number, "" if arrived else TOO_LATE))
            case Remove(container):
                await self._room.logs.finish(container)
                await self.runtime.remove(container)
                self.containers = [one for one in self.containers or () if one.id != container]
            case Wait():
                pass

    def _reserve(self, names: tuple[str, ...], avoid: tuple[int, ...]) -> None:
        try:
            self._become(reserved(self.record, self._room.ports.reserve(self.alloc, names, avoid)))
        except NoPortLeft as error:
            self._fault(Fault("final", "no_port_left", str(error)))

    async def _pull(self, action: Pull) -> None:
        """Pull, unless it is no longer wanted meanwhile."""
        pulling = asyncio.ensure_future(self._room.secrets.pull(action, self.alloc, self.runtime))
        woken = False
        try:
            while not pulling.done():
                waking = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait([pulling, waking], return_when=asyncio.FIRST_COMPLETED)
                woken = woken or self._wake.is_set()
                waking.cancel()
                self._wake.clear()
                if self._quitting or self.wish.wanted != "run":
                    return
            pulling.result()
            self._become(pulled(self.record))
        except StartFault as error:
            self._fault(error.fault)
        finally:
            pulling.cancel()
            if woken:  # for something that is still to be thought about
                self._wake.set()

    async def _start(self, action: Start) -> None:
        try:
            local = self._room.services.addresses(action.assigned)
            made = await self._room.secrets.start(action, self._room.node, self.runtime, local)
        except StartFault as error:
            self._fault(error.fault)
        else:
            self.containers = [*(self.containers or ()), made]

    async def _signal(self, container: str, signal: str) -> bool:
        """Send a signal, and tell whether somebody was there to get it."""
        try:
            await self.runtime.signal(container, signal)
        except Gone:
            self._stale = True
            return False
        return True

    def _fault(self, fault: Fault) -> None:
        assigned = self.wish.assigned
        if assigned is not None:
            self._become(faulted(self.record, assigned, fault, self._room.clock.now()))

    # ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tend(self) -> None:
        """Watch the container that runs, and no other; a changed check is watched anew with what is known."""
        container = next((one for one in self.containers or () if one.id == self.record.container), None)
        assigned = self.wish.assigned
        if self.record.phase != "running" or container is None or assigned is None:
            self._unwatch()
            return
        wanted = (container.id, self.record.attempt, assigned.spec.health)
        if wanted == self._watched:
            return
        self._unwatch()
        self._watched = wanted
        if self._own_pulse() is None or assigned.spec.health is None:
            self._felt(born(assigned.spec.health, container, self.record.attempt, self._room.clock.now()))
        if assigned.spec.health is not None and self.pulse is not None:
            watching = watch(assigned.spec, container, self.pulse, self._probe, self._room.clock, told=self._felt_later)
            self._watcher = asyncio.create_task(watching, name=f"health-{self.alloc}")
            self._watcher.add_done_callback(_complain)

    def _own_pulse(self) -> Pulse | None:
        """What is felt of the present attempt; what was felt of another says nothing of it."""
        pulse, record = self.pulse, self.record
        own = pulse is not None and (pulse.container, pulse.attempt) == (record.container, record.attempt)
        return pulse if own else None

    def _felt_later(self, pulse: Pulse) -> None:
        before = self.pulse
        self._felt(pulse)
        if before is None or (before.health, before.since) != (pulse.health, pulse.since):
            self._wake.set()  # to have it written down

    def _felt(self, pulse: Pulse) -> None:
        before, self.pulse = self.pulse, pulse
        self._story.felt(pulse.health)
        if news(before, pulse):
            _log.info("health", **self._about(), health=pulse.health, said=pulse.said)
            self.tell()

    def _unwatch(self) -> None:
        self._watched = None
        if self._watcher is not None:
            self._watcher.cancel()


def _complain(watcher: asyncio.Task[None]) -> None:
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        _log.error("health_check_failed", task=watcher.get_name(), exc_info=error)
