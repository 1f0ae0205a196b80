"""One pass over everything: state + beats + time → what to append.

Liveness goes first and alone: who is up decides the rest. Then each job is planned by itself, into a piece of its own.
A job whose inputs did not move since it was last found to need nothing is skipped; the memo that says so is a cache,
and a pass without it (after a take-over) decides the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from heroctl.domain.events import JobBlocked, JobPlanFailed
from heroctl.domain.intents.change import job_stream
from heroctl.domain.records import Job, Member
from heroctl.domain.state import State
from heroctl.domain.topics import CAPACITY, job_topic
from reconciler.planner.check import Ledger, check, check_sizes
from reconciler.planner.drain import drains
from reconciler.planner.filters import Ask
from reconciler.planner.liveness import Census, Heard, brake, liveness, members
from reconciler.planner.pausing import whole
from reconciler.planner.piece import Fault, Piece, Plan
from reconciler.planner.place import Fleet
from reconciler.planner.rebalance import begin
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene

MAX_PLACEMENTS: Final = 2_000  # some ten milliseconds
_NEVER: Final = -1  # an index that no topic has
_SAID: Final = 500  # characters of an error
MAX_EVALUATIONS: Final = 200_000


class Look(Struct, gc=False):
    """What a job's inputs were when it was found to need nothing, and until when (ms) that holds by itself."""

    topic: str
    index: int
    capacity: int | None  # None: more capacity would change nothing
    wake: int | None
    others: tuple[tuple[str, int], ...] = ()  # topics that it waits for, and their indexes


class Memo:
    """What one process remembers from pass to pass, only to be quick: looks at jobs, and the nodes with their heaps."""

    def __init__(self, release: str = "") -> None:
        self.release = release  # of this process: what it could not plan, another may
        self.looks: dict[int, Look] = {}
        self.fleet = Fleet()
        self.census = Census()
        self.resume = (-1_000, 0)  # with which job to begin, where the last pass had enough: see `turn`
        self.promised: dict[int, list[tuple[str, Ask]]] = {}  # room that others make for a job: it is its own first
        self.wary = False  # whether a plan may kill its process: what failed before comes when nothing else is to do

    def leave(
        self,
        state: State,
        uid: int,
        wake: int | None = None,
        *,
        waiting: bool = False,
        watched: Iterable[str] = (),
    ) -> None:
        """Leave a job alone until it or what is watched moves, until `wake`, or, if it waits for that, capacity."""
        job = state.jobs.get(uid)
        if job is not None:
            topic = job_topic(job.namespace, job.name)
            capacity = state.topics.get(CAPACITY, 0) if waiting else None
            others = tuple((other, state.topics.get(other, 0)) for other in sorted(watched))
            self.looks[uid] = Look(topic, state.topics.get(topic, 0), capacity, wake, others)


def plan(
    state: State,
    beats: Mapping[str, Heard],
    now: int,
    memo: Memo | None = None,
    live: Iterable[Member] | None = None,
) -> Plan:
    """Plan one pass. `now` is the log's time in ms; `live` are the members with fresh rows, None: not known."""
    return whole(steps(state, beats, now, memo or Memo(), live))


def steps(
    state: State, beats: Mapping[str, Heard], now: int, memo: Memo, live: Iterable[Member] | None
) -> Generator[int, None, Plan]:
    """As `plan`, and tell of each job, by its uid, just before it is planned. The state must stand still meanwhile."""
    memo.census.refresh(state)
    pieces, soonest = liveness(state, memo.census, beats, now)
    came_or_went = members(state, live) if live is not None else []
    if came_or_went:
        pieces.append(Piece(tuple(came_or_went)))
    toggled = None if pieces else brake(state, memo.census, now)
    if toggled is not None:
        pieces.append(Piece((toggled,)))
    emptied, deadline = drains(state, memo.census, now) if not pieces else ([], None)
    pieces += emptied
    begun, turn = begin(state, now) if not pieces else ([], None)
    pieces += begun
    if pieces:
        return Plan(tuple(pieces), more=True)
    wakes = [wake for wake in (None if soonest is None else now + soonest, deadline, turn) if wake is not None]
    return (yield from _Pass(state, now, memo).run(min(wakes, default=None)))


def failed(job: Job, said: str, release: str) -> Piece:
    """Tell the log that a job could not be planned: it counts, over take-overs too, until the job is left alone."""
    event = JobPlanFailed(job.uid, job.namespace, job.name, said, release)
    return Piece((event,), (job_stream(job.namespace, job.name),), uid=job.uid)


def turn(job: Job) -> tuple[int, int]:
    """Say when it is a job's turn: by this, ascending."""
    return -job.current.priority, job.uid


class _Pass:
    def __init__(self, state: State, now: int, memo: Memo) -> None:
        memo.fleet.refresh(state)
        self._state = state
        self._now = now
        self._memo = memo
        self._scene = Scene(state, now, memo.fleet, MAX_PLACEMENTS, MAX_EVALUATIONS)
        self._ledger = Ledger()
        self._pieces: list[Piece] = []
        self._faults: list[Fault] = []

    def run(self, wake: int | None) -> Generator[int, None, Plan]:
        memo = self._memo
        more = False
        for uid in self._order():
            if self._scene.exhausted:
                memo.resume = turn(self._state.jobs[uid])
                more = True
                break
            job = self._state.jobs[uid]
            if job.quarantined(memo.release):
                continue
            if uid in self._scene.disturbed:
                more = True  # some of it was just stopped: that first
                continue
            look = memo.looks.get(uid)
            if look is None or not self._holds(look):
                if memo.wary and job.plan_failures and self._pieces:
                    more = True
                    break
                yield uid
                more |= self._job(job)
                look = memo.looks.get(uid)
            if look is not None and look.wake is not None:
                wake = look.wake if wake is None else min(wake, look.wake)
        return Plan(tuple(self._pieces), wake, more, tuple(self._faults))

    def _order(self) -> list[int]:
        """The highest priority first, then the eldest.

        But begin where the last pass had enough, so that no job waits for ever behind others; and then with those for
        which room was made, or others would take it.
        """
        memo, jobs = self._memo, self._state.jobs
        for gone in memo.looks.keys() - jobs.keys():
            del memo.looks[gone]
        for uid in [uid for uid in memo.promised if uid not in jobs or jobs[uid].quarantined(memo.release)]:
            self._promise(uid, [])
        turns = sorted(map(turn, jobs.values()))
        at, memo.resume = bisect_left(turns, memo.resume), (-1_000, 0)
        uids = [uid for _, uid in (*turns[at:], *turns[:at])]
        if at and memo.promised:
            uids.sort(key=lambda uid: uid not in memo.promised)
        return sorted(uids, key=lambda uid: jobs[uid].plan_failures > 0) if memo.wary else uids

    def _promise(self, uid: int, room: list[tuple[str, Ask]]) -> None:
        """Keep in mind what is held for a job. What is held no more is there for others, who may have given up."""
        memo = self._memo
        before = memo.promised.pop(uid, [])
        if room:
            memo.promised[uid] = room
        if before and before != room:
            for waiting in [each for each, look in memo.looks.items() if look.capacity is not None]:
                del memo.looks[waiting]

    def _holds(self, look: Look) -> bool:
        topics = self._state.topics
        if topics.get(look.topic) != look.index or (look.wake is not None and look.wake <= self._now):
            return False
        if any(topics.get(topic, 0) != index for topic, index in look.others):
            return False
        if look.capacity is None:
            return True
        return look.capacity == topics.get(CAPACITY, 0) and not self._scene.evicted  # who makes way frees more, too

    def _job(self, job: Job) -> bool:
        """Plan one job, and tell whether it has more to do than fits in this pass."""
        self._memo.looks.pop(job.uid, None)
        try:
            draft = decide(self._scene, job)
            pieces = draft.pieces() if draft.events else []
            if pieces:
                check_sizes(pieces)
                check(self._state, job, draft.events, self._ledger)
        except Exception as error:  # noqa: BLE001 - a bug costs this job, not the cluster; the shell tells of it
            self._faults.append(Fault(job.uid, error))
            said = f"{type(error).__name__}: {error}"[:_SAID]
            self._pieces.append(failed(job, said, self._memo.release))
            self._memo.leave(self._state, job.uid)
            return False
        self._promise(job.uid, draft.promised)
        if draft.events:
            if any(not isinstance(event, JobBlocked) for event in draft.events):
                self._scene.planned.add(job.uid)
            self._pieces += pieces
        elif not draft.cut:
            self._memo.leave(self._state, job.uid, draft.wake, waiting=draft.waiting, watched=draft.watched)
            if draft.promised:  # what it was promised counts whenever others are planned: look again each time
                self._memo.looks[job.uid] = replace(self._memo.looks[job.uid], capacity=_NEVER)
        return draft.cut
