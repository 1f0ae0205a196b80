"""One job's decisions, as they gather within a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.events import AllocGivenUp, AllocPlaced, AllocStopping, Event, JobBlocked
from heroctl.domain.ids import allocation_id
from heroctl.domain.intents.change import job_stream, node_stream
from heroctl.domain.records import Alloc, Job
from reconciler.planner.filters import BARRED, REFUSED, Ask, full
from reconciler.planner.picker import Picker
from reconciler.planner.piece import Piece
from reconciler.planner.place import NOWHERE
from reconciler.planner.preempt import Eviction, may_preempt
from reconciler.planner.reschedule import barred_until, refusing
from reconciler.planner.scene import Scene
from reconciler.planner.slots import Need, Slot
from reconciler.planner.volumes import bound_to, kept_on, why_waiting

MAX_EVENTS: Final = 1_000  # of one piece
_CLOSING: Final = 3  # events that may follow when a draft is full: two of a deployment's end, one of blocking

if TYPE_CHECKING:
    from reconciler.planner.batch import Run

Why = Literal[
    "room", "leaving", "held", "delayed", "spent", "ill", "turn", "bound", "depends", "volume", "secret", "seat",
    "preempting",
]  # fmt: skip
MAKING_ROOM: Final = "no room: replicas of lower priority make way"


class Note(Struct, frozen=True):
    """Why a slot is not filled, or not followed up, now."""

    why: Why
    at: int | None = None  # ms: when it will be
    ask: Ask | None = None  # that fits nowhere
    held: frozenset[str] = NOWHERE  # nodes that bear no other of its task
    said: str = ""  # what it waits for, where that is neither room nor time
    move: Alloc | None = None  # who is to leave its node, where that is what waits


class Draft:
    """Gathers what is decided about a job, the moment to look again, and whether more capacity could change that."""

    def __init__(self, scene: Scene, job: Job) -> None:
        self.scene = scene
        self.job = job
        self.deployment = scene.state.deployments.get(job.deployment)
        self.barred = _barred(scene, job)  # nodes on which a port of this job was in use, and until when (ms)
        self.refused = refusing(scene.state, job)
        self.events: list[Event] = []
        self.moves: tuple[str, ...] = ()  # streams that the events stand on
        self.judged: tuple[str, ...] = ()  # streams of what else was decided by
        self.wake: int | None = None  # ms
        self.waiting = False  # more capacity could change the answer
        self.watched: set[str] = set()  # topics of others that could change the answer
        self.cut = False  # there is more to do at once
        self.seats: dict[tuple[str, int], str] = {}  # of a system job: the node of each task's slot
        self.slots: dict[str, list[Slot]] = {}  # by task, once they are sorted
        self.runs: list[Run] = []  # of a batch job: its launches that go on
        self.told: Run | None = None  # the one of them that there is most to say of
        self.next_launch: int | None = None  # ms: when the clock launches it next
        self.notes: dict[tuple[str, int], Note] = {}  # by task and slot
        self.promised: list[tuple[str, Ask]] = []  # room that is being made for it, and where
        self._evictions: dict[Ask, Eviction] = {}
        self._others: set[str] = set()  # streams of jobs that make way
        self._nodes: set[str] = set()
        self._next_n = job.next_n
        self._begins = [0]  # where each piece begins among the events

    @property
    def full(self) -> bool:
        """Whether this piece can take no more: the rest is for the next pass."""
        if len(self.events) >= self._begins[-1] + MAX_EVENTS - _CLOSING:
            self.cut = True
        return self.cut

    def may_place(self) -> bool:
        """Tell whether another replica may be placed in this pass; where a piece can take no more it begins another.

        So only placements make several of one: each stands by itself, and as all pieces rest on the same streams, none
        becomes true without those before it.
        """
        if self.scene.exhausted:
            self.cut = True
        elif not (self.cut or self.moves) and len(self.events) >= self._begins[-1] + MAX_EVENTS - _CLOSING:
            self._begins.append(len(self.events))
        return not self.full

    def pieces(self) -> list[Piece]:
        """Give what is decided, cut where it may be."""
        ends = [*self._begins[1:], len(self.events)]
        reads = self.reads
        return [
            Piece(tuple(self.events[begin:end]), reads, self.moves, self.job.uid)
            for begin, end in zip(self._begins, ends, strict=True)
        ]

    @property
    def closed(self) -> frozenset[str]:
        """The nodes that take nothing of this job, whatever room they have."""
        return self.refused.union(self.barred) if self.barred else self.refused

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that must not have moved: the job's, and those of the nodes placed on and of what was judged."""
        return (
            job_stream(self.job.namespace, self.job.name),
            *map(node_stream, sorted(self._nodes)),
            *self.judged,
            *sorted(self._others),
        )

    def picker(self, task: specs.Task, near: dict[str, int]) -> Picker:
        """Give what picks nodes for replicas of a task. `near`: those that are to stay, by node."""
        ask = Ask.of(task, self.job.namespace)
        held = self._held(task) if ask.alone else NOWHERE
        return Picker(self.scene.fleet, ask, task.count, near, self.closed, spread=task.spread, held=held)

    def _held(self, task: specs.Task) -> frozenset[str]:
        """Find the nodes with a replica of a task."""
        allocs = self.scene.state.allocs_of(self.job.uid)
        return frozenset(one.node for one in allocs if one.task == task.name and not one.terminal)

    def blocked(self, task: specs.Task, slot: int, picker: Picker, move: Alloc | None = None) -> str:
        """Note that a replica fits nowhere now, and say why."""
        kept = kept_on(self.scene.state, self.job, task, slot)
        if self.barred:
            self.look_again(min(self.barred.values()))
        if (task.name, slot) in self.seats:
            node = self.scene.state.nodes[self.seats[task.name, slot]]
            lack = self.lacking(node.id, picker.ask) or "room beside the one before"
            self.note(task.name, slot, "seat", said=f"waiting for room on {node.name}: {lack}")
            return ""  # said once for all of them
        if kept:
            said = why_waiting(self.scene.state, self.scene.fleet, picker, kept)
            self.note(task.name, slot, "volume", said=said, move=move)
            return said
        self.note(task.name, slot, "room", ask=picker.ask, held=picker.held, move=move)
        return self.scene.fleet.explain(picker.ask, frozenset(self.barred), self.refused, picker.held)

    def lacking(self, node: str, ask: Ask) -> str | None:
        """Say why a node that fits takes no replica now, or None."""
        closed = BARRED if node in self.barred else REFUSED if node in self.refused else None
        return full(self.scene.fleet.rooms[node], ask) or closed

    def make_room(self, task: specs.Task, slot: int, picker: Picker) -> str:
        """Let replicas of lower priority make way for one that fits nowhere, and say so; "": none could, or may.

        What is there already and leaves by itself is waited for in the same words.
        """
        if self.full or not may_preempt(self.scene, self.job):
            return ""
        eviction = self._evictions.get(picker.ask)
        if eviction is None:
            eviction = self._evictions[picker.ask] = Eviction(self.scene, self.job, picker.ask, picker.closed)
        way = eviction.next(self.bound_to(task, slot))
        if way is None:
            return ""
        for alloc in way.victims:
            by = f"{self.job.namespace}/{self.job.name}"
            self.events.append(AllocStopping(alloc.id, alloc.namespace, alloc.job, "preempted", by))
            self._others.add(job_stream(alloc.namespace, alloc.job))
        self.promised.append((way.node, picker.ask))
        self.waiting = True
        self.note(task.name, slot, "preempting", said=self.scene.state.nodes[way.node].name)
        return MAKING_ROOM

    def bound_to(self, task: specs.Task, slot: int) -> str:
        """Name the only node that will do for a slot, as it is its own, or keeps its volumes; "": any."""
        if not (self.seats or task.volumes):
            return ""
        return self.seats.get((task.name, slot)) or bound_to(self.scene.state, self.job, task, slot)

    def proven(self, alloc: Alloc, task: specs.Task) -> bool:
        """Tell whether a replica of a task has been healthy for long enough; if it is about to be, look again then."""
        if not self.scene.healthy(alloc) or alloc.healthy_since is None:
            return False
        at = alloc.healthy_since + task.update.min_healthy_time.ms
        if at > self.scene.now:
            self.look_again(at)
        return at <= self.scene.now

    def look_again(self, at: int) -> None:
        """Plan this job again at a moment (ms), if not before."""
        self.wake = at if self.wake is None else min(self.wake, at)

    def note(
        self,
        task: str,
        slot: int,
        why: Why,
        at: int | None = None,
        *,
        ask: Ask | None = None,
        held: frozenset[str] = NOWHERE,
        said: str = "",
        move: Alloc | None = None,
    ) -> None:
        """Keep in mind why a slot waits, for those who ask."""
        self.notes.setdefault((task, slot), Note(why, at, ask, held, said, move))

    def tell_blocked(self, reasons: tuple[str, ...]) -> None:
        """Say why replicas fit nowhere, if that is news; no reasons: nothing is in the way."""
        job = self.job
        if reasons:
            self.waiting = True
        if reasons != job.blocked:
            self.events.append(JobBlocked(job.uid, job.namespace, job.name, reasons))

    def stop(self, alloc: Alloc, reason: str) -> Alloc:
        """Want an allocation stopped, and return it as it will be."""
        if self.full:
            return alloc
        self.events.append(AllocStopping(alloc.id, alloc.namespace, alloc.job, reason))
        return replace(alloc, wanted="stop", why=reason, assign_index=self.scene.state.index + 1)

    def give_up(self, alloc: Alloc, reason: str) -> Alloc:
        """Give an allocation up for good, and return it as it will be."""
        if self.full:
            return alloc
        self.events.append(AllocGivenUp(alloc.id, alloc.namespace, alloc.job, reason))
        self._nodes.add(alloc.node)  # it may be coming back at this moment
        why = reason if alloc.wanted == "run" else alloc.why
        index = self.scene.state.index + 1
        return replace(alloc, given_up=True, wanted="stop", why=why, reason=reason, assign_index=index)

    def place(self, need: Need, ask: Ask, node: str) -> None:
        """Place what a slot needs on a node."""
        job, n = self.job, self._next_n
        # By position: by name it takes four times as long, and there are thousands.
        placed = AllocPlaced(
            allocation_id(self.scene.state.incarnation, job.uid, n),
            job.uid,
            n,
            job.namespace,
            job.name,
            need.task.name,
            need.slot,
            need.version,
            need.content,
            node,
            need.task.resources.cpu,
            ask.memory,
            ask.disk,
            ask.ports,
            need.deployment,
            ask.volumes,
            need.replaces,
            need.reschedules,
            need.launch,
        )
        self.events.append(placed)
        self._nodes.add(node)
        self._next_n = n + 1


def _barred(scene: Scene, job: Job) -> dict[str, int]:
    barred: dict[str, int] = {}
    for alloc in scene.state.allocs_of(job.uid):
        until = barred_until(alloc)
        if until is not None and until > scene.now:
            barred[alloc.node] = max(until, barred.get(alloc.node, 0))
    return barred
