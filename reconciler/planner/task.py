"""The rollout of one task: its slots brought to the present version, within what an update may disturb."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc
from reconciler.planner import depends, strategy
from reconciler.planner.draft import Draft
from reconciler.planner.filters import Ask
from reconciler.planner.needs import Needs
from reconciler.planner.place import Picker
from reconciler.planner.slots import Kinds, Need, Slot, arrange, cause

_LEFT = frozenset({"updated", "deployment_failed"})  # why an old replica leaves whose slot another one took


class TaskRollout:
    """One task of a job in one pass. `settle` first, then, unless the deployment ends there, `fill`."""

    def __init__(self, draft: Draft, task: specs.Task, allocs: list[Alloc]) -> None:
        summary = draft.job.current.task(task.name)
        content = summary.content if summary is not None else ""
        self.name = task.name
        self.task = task
        self.allocs = allocs
        self._draft = draft
        self._scene = draft.scene
        self._job = draft.job
        self._deployment = draft.deployment
        beside = strategy.abreast(draft.job, task, content, draft.deployment)
        self._kinds = Kinds(content, draft.job.renewed, beside)
        self._needs = Needs(draft, task, self._kinds)
        self.reasons = self._needs.reasons  # why replicas are not placed
        self.waits = depends.NOTHING
        self.slots = arrange(task.count, allocs, self._kinds, self._better)
        self._base = self._find_base()
        self._set_stages()

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def on_trial(self) -> bool:
        """Whether its new replicas have yet to be found good, beside old ones."""
        return self._base is not None

    @property
    def stands(self) -> bool:
        """Whether the new replicas of a trial are all there and proven."""
        proven = [slot.fresh is not None and self._proven(slot.fresh) for slot in self.slots if slot.stage == "beside"]
        return all(proven)

    @property
    def done(self) -> bool:
        """Whether every slot is filled by a proven replica of the present version, and by nobody else."""
        if self.on_trial:
            return False
        return all(
            slot.fresh is not None and (slot.old is None or slot.stage == "beside") and self._proven(slot.fresh)
            for slot in self.slots
        )

    @property
    def _updating(self) -> bool:
        return self._deployment is not None and self._deployment.active

    @property
    def _paused(self) -> bool:
        return self._deployment is not None and self._deployment.status == "paused"

    @property
    def _failed(self) -> bool:
        return self._deployment is not None and self._deployment.status == "failed"

    def _proven(self, alloc: Alloc) -> bool:
        """Tell whether a replica has been healthy for long enough; if it is about to be, look again then."""
        if not self._scene.healthy(alloc) or alloc.healthy_since is None:
            return False
        at = alloc.healthy_since + self.task.update.min_healthy_time.ms
        if at > self._scene.now:
            self._draft.look_again(at)
        return at <= self._scene.now

    def _better(self, alloc: Alloc) -> Any:  # noqa: ANN401 - a key to sort by
        """Order two of a kind: the healthy one, then whose version was deployed, then the elder."""
        return not self._scene.healthy(alloc), strategy.rank(self._job, self.name, alloc.content), alloc.n

    def _find_base(self) -> Alloc | None:
        """Find what a trial compares with: an old replica that is there, or that was when the deployment began.

        A content that was deployed last needs no trial, but for a restart. Nor does one that was here before the other,
        where neither was ever deployed.
        """
        deployment, content = self._deployment, self._kinds.content
        if deployment is None or not strategy.on_trial(self.task.update, deployment):
            return None
        known = [slot.old or slot.last_old for slot in self.slots]
        olds = [old for old in known if old is not None and (old.live or self._needs.lost_before_its_turn(old))]
        stable = self._job.stable.task(self.name) if self._job.stable is not None else None
        if stable is not None and stable.content == content:
            olds = [old for old in olds if old.content == content]
        ranks = {one: strategy.rank(self._job, self.name, one) for one in {old.content for old in olds}}
        base = min(olds, key=lambda old: (ranks[old.content], old.n), default=None)
        if base is None or ranks[base.content] or base.content == content:
            return base
        return base if all(slot.fresh is None or base.n < slot.fresh.n for slot in self.slots) else None

    def _set_stages(self) -> None:
        update, deployment, now = self.task.update, self._deployment, self._scene.now
        for slot in self.slots:
            slot.stage = strategy.stage(update, deployment, slot.number, now, old=self.on_trial)
        if deployment is not None and now < (until := strategy.kept_until(update, deployment)):
            self._draft.look_again(until)

    # ── two in one slot ──────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Stop whoever is one too many in a slot: the old once the new is proven, the new once its update failed."""
        if self._paused:
            return
        for slot in self.slots:
            for alloc in slot.extra:
                self._stop(slot, alloc, "superseded")
            if slot.old is not None and slot.fresh is not None:
                self._settle(slot, slot.fresh, slot.old)
            elif slot.old is not None and slot.stage == "replace":
                self._retire(slot, slot.old)

    def _settle(self, slot: Slot, fresh: Alloc, old: Alloc) -> None:
        if slot.stage == "beside":
            return
        if slot.stage == "keep":
            self._settle_kept(slot, fresh, old)
        elif self._updating:
            if self._rejected(old):
                self._stop(slot, old, "deployment_failed")
            elif self._proven(fresh):
                self._stop(slot, old, "deployment_failed" if self._discarded(old) else "updated")
        elif not self._failed:
            self._retire(slot, old)
        elif self._scene.healthy(fresh) and not self._scene.healthy(old):
            self._stop(slot, old, "updated")
        else:
            self._stop(slot, fresh, "deployment_failed")

    def _settle_kept(self, slot: Slot, fresh: Alloc, old: Alloc) -> None:
        """Stop the new one, but no healthy one for an old one that is ill, unless it was on a trial that failed."""
        came_back = old.first_healthy_at is None  # and is not there yet
        ill = self._scene.healthy(fresh) and not self._scene.healthy(old)
        if not ill or (self._rejected(fresh) and not came_back):
            self._stop(slot, fresh, "deployment_failed" if self._failed else "superseded")
        elif old.content == fresh.content:
            self._stop(slot, old, "updated")

    def _retire(self, slot: Slot, old: Alloc) -> None:
        """Stop who stood by after an update that was successful."""
        if not (self._updating or self._failed):
            self._stop(slot, old, "updated")

    def _discarded(self, alloc: Alloc) -> bool:
        """Tell whether a replica is of a deployment that failed."""
        made = self._scene.state.deployments.get(alloc.deployment)
        return made is not None and made.status in {"failed", "reverted"}

    def _rejected(self, alloc: Alloc) -> bool:
        """Tell whether a replica was on a trial that failed: it goes whatever becomes of the rest."""
        made = self._scene.state.deployments.get(alloc.deployment)
        return made is not None and not made.promoted and self._discarded(alloc)

    def _stop(self, slot: Slot, alloc: Alloc, reason: str) -> None:
        stopped = self._draft.stop(alloc, reason)
        if slot.fresh is alloc:
            slot.fresh = None
        if slot.old is alloc:
            slot.old = None
        if self._kinds.fresh(alloc):
            slot.last_fresh = stopped
        else:
            slot.last_old = stopped

    # ── empty places ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self) -> None:
        """Place what empty slots need, then take the next steps of the update."""
        rolls = self._updating and not self._paused and not self.waits.reasons
        budget = self.task.update.max_parallel - self._in_flight() if rolls else 0
        needs: list[Need] = []
        for slot in self.slots:
            if slot.stage != "replace":
                needs.extend(self._standing(slot))
            elif not slot.filled:
                turn = budget > 0
                need = self._needs.of_empty(slot, turn=turn)
                if need is not None:
                    needs.append(need)
                    budget -= 1 if turn and self._needs.takes_turn(slot) else 0
            if slot.gone:
                needs.extend(self._needs.lost_abreast(slot))
        steps = self._steps() if budget > 0 else []
        if self.waits.reasons:
            needs = self._hold_back(needs)
        if needs or steps:
            self._place(needs, steps, budget)

    def _hold_back(self, needs: list[Need]) -> list[Need]:
        """Leave out who starts for the first time, while the task waits for others, and tell of who is held back."""
        held = {need.slot for need in needs if self._is_first(need)}
        if self._updating and not self._paused:
            held |= {slot.number for slot in self._steps()}
        if held:
            self.reasons.update(dict.fromkeys(self.waits.reasons))
            self._draft.watched.update(self.waits.topics)
        for number in held:
            self._draft.note(self.name, number, "depends", said="; ".join(self.waits.reasons))
        return [need for need in needs if not self._is_first(need)]

    def _is_first(self, need: Need) -> bool:
        """Tell whether a slot has not had the wanted version yet: neither what runs nor what ran waits for others."""
        slot = self.slots[need.slot]
        if need.content != self._kinds.content or slot.fresh is not None:
            return False
        if slot.last_fresh is not None and cause(slot.last_fresh) != "stopped":
            return False
        last = None if slot.old is not None else slot.last
        return last is None or (cause(last) == "stopped" and last.why != "updated")

    def _standing(self, slot: Slot) -> list[Need]:
        """Say what a slot needs whose old replica stays for now."""
        fresh = None
        if slot.fresh is None and slot.stage == "beside":
            fresh = self._needs.beside(slot)
        elif slot.fresh is None and self._paused:
            fresh = self._needs.lost_fresh(slot)
        old = self._old(slot, to_come=fresh is not None) if slot.old is None else None
        return [need for need in (fresh, old) if need is not None]

    def _old(self, slot: Slot, *, to_come: bool) -> Need | None:
        """Say what a slot needs to have its old replica again. One that would be fresh is none beside a fresh one."""
        if not (self.on_trial or self._paused):
            return None
        filled = slot.fresh is not None or to_come
        need = self._needs.lost_old(slot) if self._was_there(slot, filled=filled) else None
        if need is None and self._paused:
            need = None if filled or slot.abreast else self._needs.stopped_old(slot)
        elif need is None and self._base is not None and self._is_missing(slot, self._base):
            need = self._needs.like(slot, self._base)
        return None if need is not None and filled and need.content == self._kinds.content else need

    def _is_missing(self, slot: Slot, base: Alloc) -> bool:
        """Tell whether a slot that has no old replica, and waits for none, should have one like the others."""
        last = slot.last_old
        if slot.abreast or (last is not None and cause(last) != "stopped" and self._was_there(slot, filled=False)):
            return False
        if slot.stage == "keep":
            return True
        version = self._job.version(base.version)
        task = version.task(self.name) if version is not None else None
        return task is not None and slot.number < task.count

    def _was_there(self, slot: Slot, *, filled: bool) -> bool:
        """Tell whether what a slot lost is what it had when the deployment began, and not of a time before that."""
        last, base = slot.last_old, self._base
        if last is None:
            return False
        if base is not None:
            return last.content != self._kinds.content or base.content == self._kinds.content
        return not filled or self._needs.lost_before_its_turn(last)

    def _in_flight(self) -> int:
        """Count the slots whose replacement is under way: two fill it, or the new one has yet to prove itself."""
        return sum(1 for slot in self.slots if self._is_in_flight(slot))

    def _is_in_flight(self, slot: Slot) -> bool:
        last = slot.last
        if slot.fresh is None:
            return slot.old is None and last is not None and last.why == "updated" and not self._kinds.fresh(last)
        if slot.old is not None or (slot.leaving is not None and slot.leaving.why in _LEFT):
            return True
        mine = self._deployment is not None and slot.fresh.deployment == self._deployment.id
        return mine and bool(slot.fresh.replaces) and not self._proven(slot.fresh)

    # ── steps of the update ──────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> list[Slot]:
        """List the outdated slots whose turn it could be: those that are not healthy cost nothing, so they go first."""
        waiting = [slot for slot in self.slots if slot.stage == "replace" and _waits(slot)]
        return sorted(waiting, key=lambda slot: (slot.old is not None and self._scene.healthy(slot.old), slot.number))

    def _place(self, needs: list[Need], steps: list[Slot], budget: int) -> None:
        near = self._near()
        present = self._job.current.version
        needs.sort(key=lambda need: (need.version == present, need.version, need.slot))
        for version, group in groupby(needs, key=lambda need: need.version):
            wanted = list(group)
            with self._picker(wanted[0].task, near) as picker:
                self._place_needs(picker, wanted)
                if version == present:
                    self._take_steps(picker, steps, budget)
        if steps and all(need.version != present for need in needs):
            with self._picker(self.task, near) as picker:
                self._take_steps(picker, steps, budget)

    def _near(self) -> dict[str, int]:
        """Count the replicas on each node that others of the task should keep away from: not those that will leave."""
        stay = (slot.fresh if slot.stage == "beside" else slot.newest for slot in self.slots)
        return Counter(alloc.node for alloc in stay if alloc is not None)

    def _picker(self, task: specs.Task, near: dict[str, int]) -> Picker:
        return Picker(self._scene.fleet, Ask.of(task), self.task.count, near, self._draft.closed)

    def _place_needs(self, picker: Picker, needs: list[Need]) -> None:
        for need in needs:
            if not self._may_go_on():
                return
            node = picker.pick(need.avoid)
            if node is not None:
                self._put(need, picker, node)
            elif self.slots[need.slot].leaving is not None:
                self._draft.waiting = True  # perhaps it needs what the one before still holds
                self._draft.note(self.name, need.slot, "leaving")
            else:
                self._blocked(picker, need.slot)

    def _take_steps(self, picker: Picker, steps: list[Slot], budget: int) -> None:
        update = self.task.update
        healthy = sum(1 for slot in self.slots if slot.newest is not None and self._scene.healthy(slot.newest))
        spare = healthy - (self.task.count - update.max_parallel)
        for slot in steps:
            old = slot.old
            if old is None or budget <= 0 or not self._may_go_on():
                return
            if update.order == "start-first" and self._start_first(picker, slot, old):
                budget -= 1
                continue
            costs = self._scene.healthy(old)
            if costs > max(spare, 0):
                self._draft.waiting = True  # not while others are ill, unless room comes free beside it
                self._draft.note(self.name, slot.number, "ill")
                continue
            if self._stop_first(picker, slot, old):
                budget -= 1
                spare -= costs

    def _start_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        picker.leave(old.node)
        node = picker.pick()
        if node is None:
            picker.come_back(old.node)
            return False
        self._put(self._needs.present(slot, old.id), picker, node)
        return True

    def _stop_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        """Stop the old one if the new one would fit then: also the way for whom only the old one stands in the way."""
        fits = picker.possible or (
            old.node not in self._draft.closed and self._scene.fleet.fits_without(old, Ask.of(self.task))
        )
        if fits:
            self._stop(slot, old, "updated")
        else:
            self._blocked(picker, slot.number)
        return fits

    # ── placing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_go_on(self) -> bool:
        if self._scene.exhausted:
            self._draft.cut = True
        return not self._draft.full

    def _put(self, need: Need, picker: Picker, node: str) -> None:
        self._draft.place(need, picker.ask, node)
        self._scene.placed()

    def _blocked(self, picker: Picker, slot: int) -> None:
        self._draft.note(self.name, slot, "room", ask=picker.ask)
        self.reasons[self._scene.fleet.explain(picker.ask, frozenset(self._draft.barred), self._draft.refused)] = None
        if self._draft.barred:
            self._draft.look_again(min(self._draft.barred.values()))


def _waits(slot: Slot) -> bool:
    """Tell whether a slot is outdated and nothing is under way in it."""
    return slot.old is not None and slot.fresh is None and slot.leaving is None
