"""What a task's slots need is placed, and the steps of its moves and its update are taken, within one budget."""

from __future__ import annotations

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc
from reconciler.planner.draft import Draft, Note
from reconciler.planner.moves import Leaver
from reconciler.planner.needs import Needs
from reconciler.planner.picker import Picker
from reconciler.planner.secrets import withheld
from reconciler.planner.slots import MIGRATED, Kinds, Need, Slot, find


class Steps:
    """Of one task in one pass. `flying`: how many replacements are under way."""

    def __init__(self, draft: Draft, task: specs.Task, slots: list[Slot], kinds: Kinds, needs: Needs) -> None:
        self.flying = 0
        self.slots = slots
        self.name = task.name
        self.task = task
        self.reasons = needs.reasons
        self._draft = draft
        self._scene = draft.scene
        self._kinds = kinds
        self._needs = needs

    def most(self, old: Alloc) -> int:
        """Return how many replacements may be under way for one that is outdated to be the next."""
        update = self.task.update.max_parallel
        return max(update, self.task.migrate.max_parallel) if self._scene.misplaced(old) else update

    def place(self, needs: list[Need], leavers: list[Leaver], steps: list[Slot]) -> None:
        """Place what is needed; then take the next steps of the moves and of the update."""
        near = self._near()
        present = self._draft.job.current.version
        by_version: dict[int, list[Need]] = {}
        for need in needs:
            by_version.setdefault(need.version, []).append(need)
        tasks = {version: mine[0].task for version, mine in by_version.items()}
        tasks |= {leaver.need.version: leaver.need.task for leaver in leavers}
        tasks |= {present: self.task} if steps else {}
        for version in sorted(tasks):  # the present one is the newest
            mine = by_version.get(version, [])
            leaving = [leaver for leaver in leavers if leaver.need.version == version]
            turns = steps if version == present else []
            if self._withheld(version, mine, turns, leaving):
                continue
            with self._picker(tasks[version], near) as picker:
                self._place_needs(picker, mine)
                if leaving:
                    self._take_moves(picker, leaving)
                if turns:
                    self._take_steps(picker, turns)

    def _withheld(self, version: int, needs: list[Need], steps: list[Slot], leavers: list[Leaver]) -> bool:
        """Tell whether replicas of a version would lack secrets, and why none is placed then."""
        lacking = withheld(self._draft, version, self.name)
        if not lacking:
            return False
        said = "; ".join(lacking)
        for slot in (*(need.slot for need in needs), *(slot.number for slot in steps)):
            self._draft.note(self.name, slot, "secret", said=said)
            self.reasons.update(dict.fromkeys(lacking))
        for leaver in leavers:
            self._draft.note(self.name, leaver.slot.number, "secret", said=said, move=leaver.source)
            self.reasons.update(dict.fromkeys(f"to move: {each}" for each in lacking))
        return True

    def _near(self) -> dict[str, int]:
        """Count the replicas on each node that others of the task should keep away from: not those that will leave."""
        near: dict[str, int] = {}
        for slot in self.slots:
            stays = slot.fresh if slot.lone else self._stays(slot)
            if stays is not None:
                near[stays.node] = near.get(stays.node, 0) + 1
        return near

    def _stays(self, slot: Slot) -> Alloc | None:
        """Find the one that fills a slot in the end, of those that do by now."""
        alloc = slot.fresh if slot.stage == "beside" else slot.newest
        return next((move.successor for move in slot.moves if alloc is move.source), alloc)

    def _picker(self, task: specs.Task, near: dict[str, int]) -> Picker:
        count = self.task.count
        return self._draft.picker(task if task.count == count else replace(task, count=count), near)

    def _place_needs(self, picker: Picker, needs: list[Need]) -> None:
        stuck: Note | None = None  # of one that fits nowhere: nor do the others like it
        for need in needs:
            if stuck is not None and self._is_plain(need):
                self._draft.notes.setdefault((self.name, need.slot), stuck)
                continue
            if not self._draft.may_place():
                return
            node = picker.pick(need.avoid, self._draft.bound_to(need.task, need.slot))
            if node is not None:
                self._put(need, picker, node)
            elif find(self.slots, need.slot).leaving is not None:
                self._draft.waiting = True  # perhaps it needs what the one before still holds
                self._draft.note(self.name, need.slot, "leaving")
            elif said := self._draft.make_room(need.task, need.slot, picker):
                self.reasons[said] = None
            else:
                self._blocked(picker, need.slot)
                stuck = self._draft.notes[self.name, need.slot] if self._is_plain(need) else stuck

    def _is_plain(self, need: Need) -> bool:
        """Tell whether any node is as good as another for a need, and nobody's end is waited for."""
        bound = need.avoid or need.task.volumes or self._draft.seats
        return not bound and find(self.slots, need.slot).lone

    def _spare(self, most: int) -> int:
        """Count the healthy ones that may be missing for a while, where so many may be under way."""
        healthy = sum(1 for slot in self.slots if slot.newest is not None and self._scene.healthy(slot.newest))
        return healthy - (self.task.count - most)

    def _take_steps(self, picker: Picker, steps: list[Slot]) -> None:
        update = self.task.update
        spare = self._spare(update.max_parallel)
        for slot in steps:
            old = slot.old
            if old is None or self.flying >= self.most(old) or not self._may_go_on():
                return
            if update.order == "start-first" and self._start_first(picker, slot, old):
                self.flying += 1
                continue
            costs = self._scene.healthy(old)
            if costs > max(spare, 0):
                self._draft.waiting = True  # not while others are ill, unless room comes free beside it
                self._draft.note(self.name, slot.number, "ill")
                continue
            if self._stop_first(picker, slot, old):
                self.flying += 1
                spare -= costs

    def _start_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        node = self._pick_instead(picker, slot, old)
        if node is None:
            return False
        self._put(self._needs.present(slot, old.id), picker, node)
        return True

    def _pick_instead(self, picker: Picker, slot: Slot, old: Alloc) -> str | None:
        """Pick a node for who follows one: another one than its own, if it is to leave that."""
        counted = self._stays(slot) is old
        if counted:
            picker.leave(old.node)
        must = self._draft.bound_to(self.task, slot.number)
        elsewhere = self._scene.misplaced(old) and not must
        node = picker.pick_other(old.node) if elsewhere else picker.pick(must=must)
        if node is None and counted:
            picker.come_back(old.node)
        return node

    def _stop_first(self, picker: Picker, slot: Slot, old: Alloc) -> bool:
        """Stop the old one if the new one would fit then: also the way for whom only the old one stands in the way."""
        must = self._draft.bound_to(self.task, slot.number)
        fits = (picker.can(must) if must else picker.possible()) or (
            must in ("", old.node)
            and old.node not in self._draft.closed
            and self._scene.fleet.fits_without(old, picker.ask)
        )
        if fits:
            self.stop_all(slot, old, "updated")
        else:
            self._blocked(picker, slot.number)
        return fits

    # ── steps of the moves ───────────────────────────────────────────────────────────────────────────────────────────

    def _take_moves(self, picker: Picker, leavers: list[Leaver]) -> None:
        migrate = self.task.migrate
        spare = self._spare(migrate.max_parallel)
        for leaver in leavers:
            slot, source = leaver.slot, leaver.source
            if not self._may_go_on():
                return
            costs = self._scene.healthy(source)
            if self.flying >= migrate.max_parallel:
                self._draft.note(self.name, slot.number, "turn", move=source)
            elif migrate.order == "start-first":
                self.flying += self._move(picker, leaver)
            elif costs > max(spare, 0):
                self._draft.waiting = True
                self._draft.note(self.name, slot.number, "ill", move=source)
            elif picker.possible(source.node):
                self.stop(slot, source, MIGRATED)
                self.flying += 1
                spare -= costs
            else:
                self._blocked(picker, slot.number, source)

    def _move(self, picker: Picker, leaver: Leaver) -> bool:
        """Place who is to follow one that leaves; it serves until that is proven, and where nothing fits as well."""
        node = self._pick_instead(picker, leaver.slot, leaver.source)
        if node is None:
            self._blocked(picker, leaver.slot.number, leaver.source)
            return False
        self._put(leaver.need, picker, node)
        return True

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop_all(self, slot: Slot, alloc: Alloc, reason: str) -> None:
        """Stop one, and who moves together with it."""
        for twin in slot.twins(alloc):
            self.stop(slot, twin, reason)

    def stop(self, slot: Slot, alloc: Alloc, reason: str) -> None:
        """Stop one of those that fill a slot."""
        slot.leave(alloc, self._draft.stop(alloc, reason), self._kinds)

    # ── placing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_go_on(self) -> bool:
        if self._scene.exhausted:
            self._draft.cut = True
        return not self._draft.full

    def _put(self, need: Need, picker: Picker, node: str) -> None:
        self._draft.place(need, picker.ask, node)
        self._scene.placed()

    def _blocked(self, picker: Picker, slot: int, move: Alloc | None = None) -> None:
        lacking = self._draft.blocked(self.task, slot, picker, move)
        if not lacking:
            return
        self.reasons[f"to move: {lacking}" if move is not None else lacking] = None
