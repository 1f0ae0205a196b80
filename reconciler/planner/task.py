"""The rollout of one task: its slots brought to the present version, within what an update may disturb."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc
from reconciler.planner import depends, strategy
from reconciler.planner.draft import Draft
from reconciler.planner.moves import Moves
from reconciler.planner.needs import Needs
from reconciler.planner.slots import MIGRATED, Better, Kinds, Need, Slot, arrange, cause, find
from reconciler.planner.steps import Steps

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
        self.slots = self.arrange(allocs, self._kinds, self._better)
        self._base = self._find_base()
        self._set_stages()
        self._rolls = self._updating and not self._paused
        self._moves = Moves(draft, task, self._kinds, self._needs, rolls=self._rolls)
        self._take = Steps(draft, task, self.slots, self._kinds, self._needs)

    def arrange(self, allocs: Iterable[Alloc], kinds: Kinds, better: Better) -> list[Slot]:
        """Sort the replicas into their slots."""
        return arrange(self.task.count, allocs, kinds, better, self._scene.misplaced)

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
        for slot in self.slots:
            if slot.fresh is None or (slot.old is not None and slot.stage != "beside") or not self._proven(slot.fresh):
                return False
        return True

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
        """Tell whether a replica has been healthy for long enough."""
        return self._draft.proven(alloc, self.task)

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
        if self._deployed:
            olds = [old for old in olds if old.content == content]
        ranks = {one: strategy.rank(self._job, self.name, one) for one in {old.content for old in olds}}
        base = min(olds, key=lambda old: (ranks[old.content], old.n), default=None)
        if base is None or ranks[base.content] or base.content == content:
            return base
        return base if all(slot.fresh is None or base.n < slot.fresh.n for slot in self.slots) else None

    def _set_stages(self) -> None:
        update, deployment, now, deployed = self.task.update, self._deployment, self._scene.now, self._deployed
        old = self.on_trial
        first = strategy.stage(update, deployment, 0, now, old=old, deployed=deployed)
        for slot in self.slots:
            slot.stage = first  # only of canaries it depends on the slot
            if update.strategy == "canary":
                slot.stage = strategy.stage(update, deployment, slot.number, now, old=old, deployed=deployed)
        if deployment is not None and now < (until := strategy.kept_until(update, deployment, deployed=deployed)):
            self._draft.look_again(until)

    @property
    def _deployed(self) -> bool:
        """Whether what is wanted was deployed last: more of it may fail, but it is no worse than what was before."""
        stable = self._job.stable.task(self.name) if self._job.stable is not None else None
        return stable is not None and stable.content == self._kinds.content

    # ── two in one slot ──────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Stop whoever is one too many in a slot: the old once the new is proven, the new once its update failed."""
        for slot in self.slots:
            if slot.lone:
                continue
            for alloc, reason in list(self._moves.over(slot)):
                self._take.stop(slot, alloc, reason)
            for alloc in slot.extra:
                if not self._paused or _turned_back(slot, alloc):
                    self._take.stop(slot, alloc, "superseded")
            if self._paused:
                continue
            if slot.old is not None and slot.fresh is not None:
                self._settle(slot, slot.fresh, slot.old)
            elif slot.old is not None and slot.stage == "replace":
                self._retire(slot, slot.old)

    def _settle(self, slot: Slot, fresh: Alloc, old: Alloc) -> None:
        if slot.stage == "beside" or self._moves.restarted(slot) is not None:
            return
        if slot.stage == "keep":
            self._settle_kept(slot, fresh, old)
        elif self._updating:
            if self._rejected(old):
                self._take.stop_all(slot, old, "deployment_failed")
            elif self._proven(fresh):
                self._take.stop_all(slot, old, "deployment_failed" if self._discarded(old) else "updated")
        elif not self._failed:
            self._retire(slot, old)
        elif self._scene.healthy(fresh) and (self._is_better(old) or not self._scene.healthy(old)):
            self._take.stop_all(slot, old, "updated")
        else:
            self._take.stop_all(slot, fresh, "deployment_failed")

    def _is_better(self, old: Alloc) -> bool:
        """Tell whether what is wanted is better than an old replica: it was deployed after that."""
        return self._deployed and old.content != self._kinds.content

    def _settle_kept(self, slot: Slot, fresh: Alloc, old: Alloc) -> None:
        """Stop the new one, but no healthy one for an old one that is ill, unless it was on a trial that failed."""
        came_back = old.first_healthy_at is None  # and is not there yet
        ill = self._scene.healthy(fresh) and not self._scene.healthy(old)
        if not ill or (self._rejected(fresh) and not came_back):
            self._take.stop_all(slot, fresh, "deployment_failed" if self._failed else "superseded")
        elif old.content == fresh.content:
            self._take.stop_all(slot, old, "updated")

    def _retire(self, slot: Slot, old: Alloc) -> None:
        """Stop who stood by after an update that was successful."""
        if not (self._updating or self._failed):
            self._take.stop_all(slot, old, "updated")

    def _discarded(self, alloc: Alloc) -> bool:
        """Tell whether a replica is of a deployment that failed."""
        made = self._scene.state.deployments.get(alloc.deployment)
        return made is not None and made.status in {"failed", "reverted"}

    def _rejected(self, alloc: Alloc) -> bool:
        """Tell whether a replica was on a trial that failed: it goes whatever becomes of the rest."""
        made = self._scene.state.deployments.get(alloc.deployment)
        return made is not None and not made.promoted and self._discarded(alloc)

    # ── empty places ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self) -> None:
        """Place what empty slots need, then take the next steps of the moves and of the update."""
        self._take.flying = sum(
            self._moves.in_flight(slot) + self._is_in_flight(slot)
            for slot in self.slots
            if not slot.lone or (slot.fresh is not None and slot.fresh.replaces)
        )
        needs: list[Need] = []
        for slot in self.slots:
            if slot.lone and slot.stage == "replace":
                if slot.fresh is None:
                    needs.append(self._needs.present(slot))
            elif slot.stage != "replace":
                needs.extend(self._standing(slot))
            elif slot.fresh is None and slot.old is None:
                turn = self._rolls and self._take.flying < self.task.update.max_parallel and not self.waits.reasons
                need = self._needs.of_empty(slot, turn=turn)
                if need is not None:
                    needs.append(need)
                    self._take.flying += 1 if turn and self._needs.takes_turn(slot) else 0
            if slot.gone:
                needs.extend(self._needs.lost_abreast(slot))
        leavers = self._moves.waiting(self.slots)
        if leavers:
            coming = {(need.slot, need.content) for need in needs}  # the other one is who follows it
            leavers = [one for one in leavers if (one.slot.number, one.need.content) not in coming]
        steps = self._steps() if self._rolls else []
        if self.waits.reasons:
            needs = [need for need in needs if need.content != self._kinds.content or self._may_start(need.slot)]
            steps = [slot for slot in steps if self._may_start(slot.number)]
        if needs or leavers or steps:
            self._take.place(needs, leavers, steps)

    def _may_start(self, slot: int) -> bool:
        """Tell whether a slot may be filled with the present version: not for the first time while something lacks."""
        if not self._is_first(find(self.slots, slot)):
            return True
        self.reasons.update(dict.fromkeys(self.waits.reasons))
        self._draft.watched.update(self.waits.topics)
        self._draft.note(self.name, slot, "depends", said="; ".join(self.waits.reasons))
        return False

    def _is_first(self, slot: Slot) -> bool:
        """Tell whether a slot has not had the wanted version yet.

        Who runs or was lost with it is replaced in any case, and so is who has been stopped to make room for it.
        """
        if slot.fresh is not None or (slot.last_fresh is not None and cause(slot.last_fresh) != "stopped"):
            return False
        last = None if slot.old is not None else slot.last
        return last is None or last.why != "updated"

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
        filled = slot.fresh is not None or to_come
        if not (self.on_trial or self._paused):
            need = self._needs.moved_old(slot)
            return None if need is not None and filled and need.content == self._kinds.content else need
        need = self._needs.lost_old(slot) if self._was_there(slot, filled=filled) else None
        if need is None and self._paused:
            need = None if filled or slot.abreast else self._needs.stopped_old(slot) or self._added(slot)
        elif need is None and self._base is not None and self._is_missing(slot, self._base):
            need = self._needs.like(slot, self._base)
        return None if need is not None and filled and need.content == self._kinds.content else need

    def _added(self, slot: Slot) -> Need | None:
        """Say what a slot needs that was added while a deployment is paused: it is as the others are by now."""
        if any(last.why == "updated" or cause(last) != "stopped" for last in slot.lasts):
            return None
        olds = (other.old for other in self.slots if other.old is not None)
        like = min(olds, key=lambda old: (strategy.rank(self._job, self.name, old.content), old.n), default=None)
        return self._needs.like(slot, like) if like is not None else None

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

    def _is_in_flight(self, slot: Slot) -> bool:
        """Tell whether an update's step is under way: two fill a slot, or the new one has yet to prove itself."""
        last = slot.last
        if not self._rolls or slot.stage != "replace":
            return False
        if slot.fresh is None:
            return slot.old is None and last is not None and last.why == "updated" and not self._kinds.fresh(last)
        if slot.old is not None or (slot.leaving is not None and slot.leaving.why in _LEFT):
            return True
        mine = self._deployment is not None and slot.fresh.deployment == self._deployment.id
        moved = any(last.id == slot.fresh.replaces and last.why == MIGRATED for last in slot.lasts)
        return mine and bool(slot.fresh.replaces) and not moved and not self._proven(slot.fresh)

    # ── steps of the update ──────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> list[Slot]:
        """List the outdated slots whose turn it could be.

        First those that are to leave their nodes too, then those that are not healthy, which cost nothing.
        """
        waiting = [(slot, slot.old) for slot in self.slots if slot.stage == "replace" and _waits(slot)]
        ranked = [
            (not self._scene.misplaced(old), self._scene.healthy(old), slot.number, slot)
            for slot, old in waiting
            if old is not None and self._take.flying < self._take.most(old)
        ]
        return [slot for *_, slot in sorted(ranked, key=lambda each: each[:3])]


def _turned_back(slot: Slot, alloc: Alloc) -> bool:
    """Tell whether one is too many in a slot because it, or who stays, was to move, and need not any more."""
    same = (holder for holder in slot.holders if holder.content == alloc.content)
    return any(holder.replaces == alloc.id or alloc.replaces == holder.id for holder in same)


def _waits(slot: Slot) -> bool:
    """Tell whether a slot is outdated and nothing is under way in it."""
    return slot.old is not None and slot.fresh is None and slot.leaving is None
