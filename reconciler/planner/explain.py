"""Why a job is as it is: what each of its slots does or waits for, in words and in the facts behind them.

It is the planner that says so: `decide` runs once on the state, nothing of it is kept, and what it noted of each slot
is read here. So nobody is told of a reason that the planner would not act upon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct, field

from heroctl.domain import spec as specs
from heroctl.domain.duration import Size
from heroctl.domain.events import AllocPlaced
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import State
from reconciler.planner import strategy
from reconciler.planner.batch import is_done
from reconciler.planner.draft import Draft, Note
from reconciler.planner.explain_launches import launches_told
from reconciler.planner.filters import Ask
from reconciler.planner.lost import given_up_at
from reconciler.planner.needs import HELD
from reconciler.planner.place import Fleet
from reconciler.planner.plan import MAX_EVALUATIONS, MAX_PLACEMENTS
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene
from reconciler.planner.slots import Slot
from reconciler.planner.system import unseated
from reconciler.planner.words import amount, ended, life, span

Standing = Literal[
    "healthy",  # as it is wanted
    "complete",  # has done what it was to do
    "starting",  # placed, and on its way
    "unhealthy",  # runs, and fails its check
    "restarting",  # crashed; its agent begins it again
    "rescheduled",  # failed for good; another node gets it at `retry_at`
    "spent",  # failed for good, and is not tried again
    "no_room",  # fits nowhere
    "preempting",  # fits nowhere, and others make way
    "volume",  # waits for the node that keeps its volume
    "depends",  # waits for another job or task to get so far
    "secret",  # waits for a secret that is not there, or no more
    "next",  # is about to be placed
    "leaving",  # waits for the one before to end
    "moving",  # goes on, and another is on its way to follow it on another node
    "to_move",  # goes on, and waits for its turn, for room or for its node's end to leave it
    "waiting",  # outdated, and not yet its turn in the update
    "on_trial",  # outdated, and stays until the new version is promoted
    "paused",  # outdated, and stays while the deployment is paused
    "kept",  # outdated, and stays as nothing is under way
    "node_down",  # on a node that is silent
    "held",  # lost, and not replaced while the brake is on
]
_Said = tuple[Standing, str, int | None, dict[str, int] | None]
_WELL: Final = frozenset({"healthy", "complete", "on_trial", "kept"})
MOST_SLOTS: Final = 1_000  # that are told of; what is not as it should be comes first


class SlotCase(Struct, frozen=True):
    """One slot. `alloc` has the wanted version, `old` another; `last`: who filled it before, where nobody does."""

    task: str
    slot: int
    standing: Standing
    words: str
    alloc: Alloc | None = None
    old: Alloc | None = None
    last: Alloc | None = None
    retry_at: int | None = None  # ms
    lacking: dict[str, int] | None = None  # what nodes lack, and how many, where it fits nowhere

    @property
    def well(self) -> bool:
        """Whether nothing needs to happen here."""
        return self.standing in _WELL


class Case(Struct, frozen=True):
    """A job: one sentence about it, one about its deployment, and its slots, those first that are not well."""

    summary: str
    deployment: str = ""
    slots: list[SlotCase] = field(default_factory=list)
    left_out: int = 0  # slots of which nothing is told


def explain(state: State, job: Job, now: int, fleet: Fleet) -> Case:
    """Explain a job at a moment (ms). The fleet is a cache of this state's nodes, or empty."""
    if job.deleted:
        return Case(f"{job.name} is deleted")
    if job.quarantined(job.plan_release):
        return Case(f"{job.name} is left alone: {'; '.join(job.blocked)}. Any change of it lets it be planned again")
    fleet.refresh(state)
    try:
        draft = decide(Scene(state, now, fleet, MAX_PLACEMENTS, MAX_EVALUATIONS), job)
    except Exception as error:  # noqa: BLE001 - as in a pass: the coordinator tells of it, and so do we
        return Case(f"{job.name} cannot be planned: {type(error).__name__}: {error}")
    return _Explaining(draft, now, fleet).case()


class _Explaining:
    def __init__(self, draft: Draft, now: int, fleet: Fleet) -> None:
        self._draft = draft
        self._state = draft.scene.state
        self._job = draft.job
        self._deployment = draft.deployment
        self._now = now
        self._fleet = fleet
        self._placed = {
            (event.task, event.slot): event.node for event in draft.events if isinstance(event, AllocPlaced)
        }
        self._rooms: dict[tuple[Ask, frozenset[str]], tuple[str, dict[str, int]]] = {}

    def case(self) -> Case:
        if self._job.stopped:
            left = sum(not alloc.terminal for alloc in self._state.allocs_of(self._job.uid))
            more = f"; {amount(left, 'replica')} still to end" if left else ""
            return Case(f"{self._job.name} is stopped by a user{more}")
        spec = specs.decode(self._job.current.spec)
        every = [(task, slot) for task in spec.tasks for slot in self._draft.slots.get(task.name, ())]
        if self._job.type == "system":
            every += [(task, slot) for task in spec.tasks for slot in unseated(self._draft, task)]
        chosen = sorted(every, key=lambda each: self._is_plain(each[1]))[:MOST_SLOTS]  # stable
        slots = sorted((self._slot(task, slot) for task, slot in chosen), key=lambda case: case.well)
        if self._job.type == "batch":
            told = self._summary(launches_told(self._draft, self._now), slots, "")
            return Case(told, slots=slots, left_out=len(every) - len(slots))
        healthy = sum(self._is_healthy(slot) for _, slot in every)
        under_way = self._under_way(slots)
        count = f"{healthy} of {amount(len(every), 'replica')} of version {self._job.current.version}"
        summary = self._summary(f"{count} {'is' if healthy == 1 else 'are'} healthy", slots, under_way)
        return Case(summary, under_way, slots, len(every) - len(slots))

    # ── one slot ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_plain(self, slot: Slot) -> bool:
        """Tell whether there is nothing to say of a slot."""
        return slot.old is None and self._is_healthy(slot) and not self._is_leaving(slot)

    def _is_leaving(self, slot: Slot) -> bool:
        """Tell whether one that fills a slot is to leave its node."""
        return bool(slot.moves) or any(self._draft.scene.misplaced(holder) for holder in slot.holders)

    def _is_healthy(self, slot: Slot) -> bool:
        return slot.fresh is not None and self._draft.scene.healthy(slot.fresh)

    def _slot(self, task: specs.Task, slot: Slot) -> SlotCase:
        standing, words, at, lacking = self._say(task, slot)
        last = None if slot.filled else slot.last
        name = f"{task.name}[{slot.number}]"
        return SlotCase(task.name, slot.number, standing, f"{name}: {words}", slot.fresh, slot.old, last, at, lacking)

    def _say(self, task: specs.Task, slot: Slot) -> tuple[Standing, str, int | None, dict[str, int] | None]:
        node = self._placed.get((task.name, slot.number))
        note = self._draft.notes.get((task.name, slot.number))
        if self._is_leaving(slot) and (moving := self._moving(task, slot, node, note)) is not None:
            return moving
        if slot.fresh is not None:
            return (*self._replica(task, slot.fresh, self._beside(task, slot)), None)
        if self._job.type == "batch" and slot.last is not None and is_done(slot.last):
            return "complete", f"ended well on {self._node(slot.last.node)}", None, None
        if node is not None:
            return "next", f"about to be placed on {self._node(node)}", None, None
        if note is not None:
            return self._noted(slot, note)
        if slot.old is not None:
            return (*self._outdated(slot, slot.old), None)
        if slot.leaving is not None:
            return "leaving", self._leaving(slot.leaving), None, None
        return "next", "about to be filled", None, None

    def _moving(self, task: specs.Task, slot: Slot, next_node: str | None, note: Note | None) -> _Said | None:
        """Tell of one that is to leave its node; None: there is more to say of something else."""
        if slot.moves:
            source, successor = slot.moves[0].source, slot.moves[0].successor
            healthy = task.update.min_healthy_time
            words = life(task, successor, f"on {self._node(successor.node)}", self._now)[1]
            follows = f"version {successor.version} follows it: {words}"
            return "moving", f"{self._stays_until(source)} is healthy there for {healthy}; {follows}", None, None
        leaver = next((one for one in slot.holders if self._draft.scene.misplaced(one)), None)
        if leaver is None or (slot.old is not None and slot.fresh is not None):
            return None
        if next_node is not None:
            where = self._node(next_node)
            return (
                "moving",
                f"{self._stays_until(leaver)} is healthy on {where}, where it is about to be placed",
                None,
                None,
            )
        if note is None or note.move is None:
            return None if note is None else self._noted(slot, note)
        leaves = f"{self._told(leaver)} is to leave its node"
        match note.why:
            case "room" if note.ask is not None:
                words, lacking = self._room(note.ask, note.held)
                return "no_room", f"{leaves}, and goes on meanwhile: waiting for room elsewhere: {words}", None, lacking
            case "bound":
                at = self._deadline(leaver)
                until = f" until the drain's deadline in {span(at - self._now)}" if at is not None else ""
                return "to_move", f"{leaves}, and stays with its volume{until}", at, None
            case "secret":
                return "secret", f"{leaves}, and goes on meanwhile: {note.said}", None, None
            case "ill":
                return "to_move", f"{leaves}, and waits for its turn: other replicas are not healthy", None, None
            case _:
                return "to_move", f"{leaves}, and waits for its turn", None, None

    def _stays_until(self, source: Alloc) -> str:
        return f"{self._told(source)} is to leave its node, and goes on until another"

    def _deadline(self, source: Alloc) -> int | None:
        node = self._state.nodes.get(source.node)
        return node.drain.deadline if node is not None and node.drain is not None else None

    def _noted(self, slot: Slot, note: Note) -> tuple[Standing, str, int | None, dict[str, int] | None]:
        before = f"{self._was(slot.last)}; " if slot.last is not None and not slot.filled else ""
        stays = f"; {self._told(slot.old)} stays meanwhile" if slot.old is not None else ""
        match note.why:
            case "room" if note.ask is not None:
                words, lacking = self._room(note.ask, note.held)
                return "no_room", f"waiting for room: {words}{stays}", None, lacking
            case "delayed" if note.at is not None:
                return "rescheduled", f"{before}placed again in {span(note.at - self._now)}", note.at, None
            case "depends" | "secret" as why:
                return why, f"{before}{note.said}{stays}", None, None
            case "seat":
                return "no_room", f"{before}{note.said}{stays}", None, None
            case "preempting":
                words = f"waiting for replicas of lower priority to end on {note.said}, which make way for it"
                return "preempting", f"{before}{words}{stays}", None, None
            case "volume":
                return "volume", f"{before}waiting for its volume's node: {note.said}{stays}", None, None
            case "spent":
                return "spent", f"{before}not placed again: reschedule is not unlimited", None, None
            case "held":
                return "held", f"{before}{HELD}", None, None
            case "ill":
                return "waiting", f"waiting for its turn: other replicas are not healthy{stays}", None, None
            case _:
                return "leaving", self._leaving(slot.leaving), None, None

    def _room(self, ask: Ask, held: frozenset[str]) -> tuple[str, dict[str, int]]:
        """Say what nodes lack: once for all replicas that need the same."""
        if (ask, held) not in self._rooms:
            self._rooms[ask, held] = self._considered(ask, held)
        return self._rooms[ask, held]

    def _considered(self, ask: Ask, held: frozenset[str]) -> tuple[str, dict[str, int]]:
        draft = self._draft
        lacking = self._fleet.lacking(ask, frozenset(draft.barred), draft.refused, held)
        needs = {
            "exhausted cpu": f" (needs {ask.cpu / 1000:g} cores)",
            "exhausted memory": f" (needs {Size(ask.memory)})",
            "exhausted disk": f" (needs {Size(ask.disk)})",
        }
        listed = ", ".join(f"{count} {reason}{needs.get(reason, '')}" for reason, count in lacking.items())
        considered = amount(len(self._fleet.rooms), "node")
        return f"{considered} considered{': ' if listed else ''}{listed}", lacking

    def _leaving(self, alloc: Alloc | None) -> str:
        if alloc is None:
            return "waiting for the one before to end"
        return f"waiting for {self._told(alloc)} to end"

    def _replica(self, task: specs.Task, alloc: Alloc, more: str) -> tuple[Standing, str, int | None]:
        """Tell of a replica of the wanted version."""
        where = f"on {self._node(alloc.node)}"
        node = self._state.nodes.get(alloc.node)
        if node is not None and node.up is False:
            return "node_down", f"its node {node.name} is down{self._silence(alloc, node.down_at)}{more}", None
        standing, words, at = life(task, alloc, where, self._now)
        return standing, f"{words}{more}", at

    def _silence(self, alloc: Alloc, since: int | None) -> str:
        if since is None:
            return ""
        at = given_up_at(self._draft.scene, self._job, alloc)
        went = f" for {span(self._now - since)}"
        if at is None:
            return f"{went}; it is kept until that node is back, or removed"
        if self._state.brake:
            return f"{went}: {HELD}"
        left = at - self._now
        return f"{went}; it is given up in {span(left)}" if left > 0 else f"{went}; it is given up now"

    def _beside(self, task: specs.Task, slot: Slot) -> str:
        if slot.old is None:
            return ""
        if slot.stage == "beside":
            return f"; {self._told(slot.old)} stays beside it"
        healthy = task.update.min_healthy_time
        return f"; {self._told(slot.old)} stays until it has been healthy for {healthy}"

    def _outdated(self, slot: Slot, old: Alloc) -> tuple[Standing, str, int | None]:
        """Tell why an outdated replica is still there, and nothing new beside it."""
        deployment, told = self._deployment, self._told(old)
        node = self._state.nodes.get(old.node)
        if self._job.type == "system" and (node is None or not node.eligible):
            return "kept", f"{told} stays: its node takes nothing new", None
        if deployment is None or not deployment.active:
            return "kept", f"{told} stays: no deployment is under way", None
        if deployment.status == "paused":
            return "paused", f"{told} stays: the deployment is paused", None
        if slot.stage == "keep":
            return "on_trial", f"{told} stays until version {deployment.version} is promoted", None
        return "waiting", f"waiting for its turn: {told} stays until those before it are healthy", None

    # ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _under_way(self, slots: list[SlotCase]) -> str:
        """Say how the newest deployment stands, and what it waits for."""
        deployment = self._deployment
        if deployment is None:
            return ""
        return f"version {deployment.version}: {self._status(deployment, slots)}"

    def _status(self, deployment: Deployment, slots: list[SlotCase]) -> str:
        match deployment.status:
            case "paused":
                return "paused: it places, stops and fails nothing until it is resumed"
            case "awaiting_promotion":
                return "its new replicas are healthy, and it waits for somebody to promote it" + self._share(deployment)
            case "failed" | "reverted":
                return f"{deployment.status}: {deployment.reason}{self._way_back(deployment)}"
            case "pending" | "running":
                return f"under way ({deployment.strategy}), {self._waits_for(deployment, slots)}"
            case _:
                return f"{deployment.status}{': ' if deployment.reason else ''}{deployment.reason}"

    def _share(self, deployment: Deployment) -> str:
        canary = next(self._canaries(), None)
        if canary is None or deployment.step_at is None:
            return ""
        weights = canary.weights
        return f"; it has {weights[min(deployment.step, len(weights) - 1)]} % of the traffic"

    def _canaries(self) -> Iterator[specs.Canary]:
        for task in specs.decode(self._job.current.spec).tasks:
            if task.update.strategy == "canary":
                yield strategy.canary(task.update)

    def _way_back(self, failed: Deployment) -> str:
        for known in self._state.job_deployments.get(self._job.uid, ()):
            revert = self._state.deployments[known]
            if revert.revert_of == failed.id:
                return f"; version {revert.version} goes back to what was before: {revert.status}"
        return "; there is no version to go back to, or it is not to: what was healthy stays"

    def _waits_for(self, deployment: Deployment, slots: list[SlotCase]) -> str:
        if deployment.revert_of and (failed := self._state.deployments.get(deployment.revert_of)):
            return f"it goes back from version {failed.version}, which failed: {failed.reason}"
        canary = next(self._canaries(), None)
        if not deployment.promoted and deployment.step_at is not None and canary is not None:
            left = deployment.step_at + canary.pause.ms - self._now
            return f"{self._share(deployment).removeprefix('; ')} for another {span(left)}"
        proving = [case for case in slots if self._is_proving(case)]
        if proving:
            names = ", ".join(f"{case.task}[{case.slot}]" for case in proving[:3])
            return f"it waits for {names} to have been healthy for long enough"
        first = next((case for case in slots if not case.well and case.standing != "waiting"), None)
        return f"it waits for {first.task}[{first.slot}]" if first is not None else "it is about to go on"

    def _is_proving(self, case: SlotCase) -> bool:
        task = specs.decode(self._job.current.spec).task(case.task)
        if case.alloc is None or task is None or case.standing != "healthy" or case.alloc.healthy_since is None:
            return False
        return case.alloc.healthy_since + task.update.min_healthy_time.ms > self._now

    def _summary(self, count: str, slots: list[SlotCase], under_way: str) -> str:
        worst = next((case.words for case in slots if not case.well), "")
        active = self._deployment is not None and self._deployment.status not in {"successful", "superseded"}
        said = [count, *([under_way] if active else []), *([worst] if worst else [])]
        return f"{self._job.name}: {'; '.join(said)}"

    def _node(self, node: str) -> str:
        found = self._state.nodes.get(node)
        return found.name if found is not None else node

    def _told(self, alloc: Alloc) -> str:
        words = "healthy" if alloc.live and self._draft.scene.healthy(alloc) else alloc.status
        return f"version {alloc.version} ({words} on {self._node(alloc.node)})"

    def _was(self, alloc: Alloc) -> str:
        return f"version {alloc.version} {ended(alloc)} on {self._node(alloc.node)}"
