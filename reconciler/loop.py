"""The coordinator: plans whenever something moved, and appends what it decided under its epoch.

A wake carries no meaning; what is to be done is read off the view. It plans only when it holds the lease and its view
has applied its own election and everything that it appended since. What fails is simply planned again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from eventstore.beats import Beats
from eventstore.internals import INTERNALS
from eventstore.lease import Keeper
from eventstore.level import Levels
from eventstore.log import (
    Append,
    Appended,
    Busy,
    Conflicted,
    Displaced,
    Fenced,
    Log,
    LogUnavailable,
    Position,
    Rejected,
)
from eventstore.view import Change, View
from heroctl.domain.events import Meta
from heroctl.domain.topics import PEERS
from reconciler.doorbell import Doorbell
from reconciler.hand import DIED, Hand
from reconciler.hearing import POLL, Hearing
from reconciler.level import Rise
from reconciler.planner.piece import Fault, Piece, Plan
from reconciler.planner.plan import Memo, failed, plan, steps
from reconciler.presence import Presence
from reconciler.traced import When

COALESCE: Final = 0.005  # seconds between two passes at least
SWEEP: Final = 300.0  # seconds after which every job is looked at again, moved or not
_RETRY: Final = 0.5  # seconds, jittered, when the log is away
_PATIENCE: Final = 5.0  # seconds for the view to show what was appended
_META: Final = Meta(actor="coordinator")

_log: Final = structlog.get_logger(__name__)


class Coordinator:
    """One candidate. `run` it beside the view, the lease's keeper and the presence. `clock` gives monotonic seconds.

    `rise_after`: for how many seconds all that live must be able to fold more before the log's level rises.
    `tell` hears of each decision that was made, and where it stands.
    """

    def __init__(
        self,
        *,
        log: Log,
        view: View,
        keeper: Keeper,
        beats: Beats,
        presence: Presence,
        doorbell: Doorbell | None,
        levels: Levels,
        clock: Callable[[], float],
        release: str = "",
        rise_after: float = 0.0,
        tell: Callable[[Piece, Appended, When], None] = lambda *_: None,
    ) -> None:
        self._tell_of = tell
        self._release = release
        self._log = log
        self._view = view
        self._keeper = keeper
        self._beats = beats
        self._presence = presence
        self._doorbell = doorbell
        self._clock = clock
        self._hearing = Hearing(clock)
        self._hand = Hand(keeper, clock)
        self._levels = levels
        self._rise = Rise(clock, rise_after)
        self._memo = Memo(self._release)
        self._epoch: int | None = None  # under which it coordinates
        self._appended = 0  # the last index that it appended
        self._swept = 0.0
        self._moved = asyncio.Event()
        self._away = False
        self._passing = 0  # when the pass at hand was begun: ns since the epoch

    @property
    def coordinates(self) -> bool:
        """Whether this process is the one that decides."""
        return self._epoch is not None

    async def run(self) -> None:
        """Coordinate whenever it is this process's turn, for ever."""
        unsubscribe = self._view.subscribe(self._on_change)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._decide())
        finally:
            unsubscribe()

    def _on_change(self, change: Change) -> None:
        if change.reloaded:
            self._begin_anew()
        if self._doorbell is not None:
            self._doorbell.moved(change)
        if PEERS in change.topics or change.reloaded:
            self._on_election()
        self._moved.set()

    def _begin_anew(self) -> None:
        """Forget the history that was: its places and its mandate mean nothing in this one."""
        self._memo = Memo(self._release)
        self._appended = 0
        if self.coordinates:
            self._keeper.lose()
            self._step_down()

    def _on_election(self) -> None:
        """Look at the lease when the log tells of another coordinator than we know: it may be us."""
        state = self._view.state
        epoch = self._keeper.epoch()
        if (epoch is None and state.coordinator == self._keeper.holder) or (epoch is not None and state.epoch > epoch):
            self._keeper.poke()

    # ── beats ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        while True:
            if self.coordinates and self._view.state.nodes:  # nobody else beats
                await self._hear()
            await asyncio.sleep(POLL)

    async def _hear(self) -> None:
        try:
            beats = await self._beats.read()
            gone = [node for node in beats if node in self._view.state.removed_nodes]
            if gone:
                await self._beats.forget(gone)
        except LogUnavailable:
            return  # silence is counted from what was read, so nothing goes wrong; who reads the log complains
        self._hearing.take(beats)
        self._moved.set()

    # ── passes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _decide(self) -> None:
        while True:
            self._moved.clear()
            pause = await self._pass()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._moved.wait()
            await asyncio.sleep(COALESCE)

    async def _pass(self) -> float:
        """Plan once and append it; return the seconds until the next pass if nothing moves before."""
        epoch = self._mandate()
        if epoch is None or self._view.index < self._appended:
            return POLL
        if self._clock() - self._swept > SWEEP:
            self._swept = self._clock()
            self._memo.looks.clear()
        self._passing = time.time_ns()
        if self._hand.blamed:
            return await self._blame(self._hand.blamed, epoch)
        try:
            await self._raise_level(epoch)
            began = time.perf_counter()
            made, place, now = await self._plan()
            INTERNALS.plan.observe(time.perf_counter() - began)
        except LogUnavailable as error:
            return self._wait(error)
        for fault in made.faults:
            self._tell(fault)
        if made.pieces:
            return await self._append(made.pieces, place, epoch)
        return _until(made, now)

    async def _plan(self) -> tuple[Plan, Position, int]:
        """Plan; return also the place and the time (ms) of the state that was planned on. Raises LogUnavailable."""
        self._memo.wary = self._hand.wary
        if not self._memo.wary:
            state, place, now = self._view.state, self._view.position, self._now()
            return plan(state, self._hearing.heard(state), now, self._memo, self._presence.live), place, now
        async with self._view.still() as state:
            place, now = self._view.position, self._now()
            made = await self._hand.carry(
                steps(state, self._hearing.heard(state), now, self._memo, self._presence.live)
            )
        if made is None:
            self._keeper.poke()
        return made or Plan(), place, now

    def _now(self) -> int:
        return max(self._keeper.now(), self._view.state.time)

    async def _blame(self, uid: int, epoch: int) -> float:
        """Tell the log of the job that the coordinator before this one died of."""
        job = self._view.state.jobs.get(uid)
        pause = 0.0
        if job is not None and not job.quarantined(self._release):
            _log.error("plan_killed", uid=uid, job=f"{job.namespace}/{job.name}")
            pause = await self._append([failed(job, DIED, self._release)], self._view.position, epoch)
        if not pause:
            self._hand.blamed = 0
        return pause

    async def _raise_level(self, epoch: int) -> None:
        held = self._view.state.level
        level = self._rise.due(held, self._presence.level)
        if level is not None and await self._levels.raise_to(level, held, epoch):
            _log.info("level_raised", level=level)

    def _mandate(self) -> int | None:
        """Return the epoch under which to decide now; None: it is not this process's turn, or not yet."""
        epoch = self._keeper.epoch()
        if epoch is None or not self._view.sound:
            self._step_down()
            if epoch is not None:
                self._keeper.poke()  # to give up what others can make use of
            return None
        state = self._view.state
        if (state.epoch, state.coordinator) != (epoch, self._keeper.holder):
            return None  # its election, or the one after it, is still to be read
        if self._epoch != epoch:
            self._take_over(epoch)
        return epoch

    def _take_over(self, epoch: int) -> None:
        """Begin with nothing in mind: all that counts is in the log."""
        _log.info("coordinating", epoch=epoch, index=self._view.index)
        self._epoch = epoch
        self._memo = Memo(self._release)
        self._swept = self._clock()
        self._hearing.restart()
        self._hand.take_over()
        self._rise.restart()
        self._presence.look_anew()
        if self._doorbell is not None:
            self._doorbell.begin()

    def _step_down(self) -> None:
        if self._epoch is None:
            return
        _log.info("coordinating_no_more", epoch=self._epoch, sound=self._view.sound)
        self._epoch = None
        if self._doorbell is not None:
            self._doorbell.end()

    def _tell(self, fault: Fault) -> None:
        """A bug. It costs this job alone, until the job changes."""
        job = self._view.state.jobs.get(fault.uid)
        _log.error(
            "plan_failed",
            uid=fault.uid,
            job=f"{job.namespace}/{job.name}" if job is not None else "",
            exc_info=fault.error,
        )

    # ── appends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _append(self, pieces: Sequence[Piece], place: Position, epoch: int) -> float:
        """Append the pieces of one plan, each for itself, and wait for the view to show them."""
        appends = [
            Append(
                piece.events,
                moves=piece.moves,
                expects=tuple((stream, place.index) for stream in piece.expects),
                epoch=epoch,
                meta=_META,
                level=self._view.state.level,
                view=place,
            )
            for piece in pieces
        ]
        when = When(self._passing, time.time_ns())
        answers = await asyncio.gather(*map(self._log.append, appends), return_exceptions=True)
        reached, pause = place.index, 0.0
        for piece, answer in zip(pieces, answers, strict=True):
            if isinstance(answer, Appended):
                self._appended = max(self._appended, answer.last)
                self._tell_of(piece, answer, when)
                reached = max(reached, answer.last)
            elif isinstance(answer, Conflicted):
                reached = max(reached, answer.index)
            else:
                pause = max(pause, self._failed(piece, answer))
        if any(isinstance(answer, Displaced) for answer in answers):
            with contextlib.suppress(LogUnavailable):  # the next append is told so again
                await self._view.doubt()
            return pause
        if not pause and self._away:
            self._away = False
            _log.info("appends_again")
        await self._view.reached(reached, _PATIENCE)
        return pause

    def _failed(self, piece: Piece, error: BaseException) -> float:
        """Judge why a piece was not appended; return for how long to wait."""
        if isinstance(error, Fenced) or (isinstance(error, LogUnavailable) and error.unknown):
            self._keeper.lose()
            self._step_down()
            _log.warning("epoch_lost", error=str(error))
            return _RETRY
        if isinstance(error, LogUnavailable | Busy | Displaced):
            return self._wait(error)
        if isinstance(error, Rejected) and piece.uid is not None:
            self._memo.leave(self._view.state, piece.uid)
            self._tell(Fault(piece.uid, error))
            return 0.0
        raise error

    def _wait(self, error: Exception) -> float:
        """Try again a little later; tell of it once."""
        if not self._away:
            self._away = True
            _log.warning("append_failed", error=str(error) or type(error).__name__)
        return _RETRY * random.uniform(0.8, 1.2)  # noqa: S311 - jitter


def _until(made: Plan, now: int) -> float:
    if made.more:
        return 0.0
    return POLL if made.wake_at is None else min(POLL, max(0.0, (made.wake_at - now) / 1000))
