"""Folding what concerns allocations."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.assignment import MOST_EXECS, ExecWish, Report, SignalWish
from heroctl.domain.events import Event
from heroctl.domain.evolve import launches
from heroctl.domain.evolve.jobs import forget_if_over, release_quarantine
from heroctl.domain.evolve.shelf import shelve
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.lifecycle import DRAIN_DEADLINE, RANK, TERMINAL, supersedes
from heroctl.domain.records import Alloc, Usage
from heroctl.domain.services import offers
from heroctl.domain.state import State
from heroctl.domain.topics import CAPACITY, alloc_topics, assignment_topic

KEPT_TIMELINE: Final = 12
SIGNALLED: Final = "alloc.signalled"
SIGNAL_FAILED: Final = "alloc.signal_failed"
_PHASE_EVENTS: Final = {phase: f"alloc.{phase}" for phase in RANK}
_UNUSED: Final = Usage()
_SAME_START_MS: Final = 2_000  # elapsed times jitter by a network's delay; less than this is the same moment


def _placed(state: State, event: e.AllocPlaced, touch: Touch) -> None:
    job, node = state.jobs.get(event.uid), state.nodes.get(event.node)
    if job is None or node is None or event.id in state.allocs:
        return
    alloc = Alloc(
        id=event.id,
        uid=event.uid,
        n=event.n,
        namespace=job.namespace,  # the job's own copy of each word: there are many more allocations than words
        job=job.name,
        task=event.task,
        slot=event.slot,
        version=event.version,
        content=event.content,
        node=node.id,
        cpu=round(event.cpu * 1000),
        memory=event.memory,
        disk=event.disk,
        host_ports=event.host_ports,
        deployment=event.deployment,
        replaces=event.replaces,
        reschedules=event.reschedules,
        launch=event.launch,
        created_at=touch.time,
        create_index=touch.index,
        modify_index=touch.index,
        assign_index=touch.index,
        timeline=((touch.index, touch.time, event.TAG, ""),),
        topics=alloc_topics(event.id, job.namespace, job.name, node.id),
        volumes=event.volumes,
    )
    for volume in event.volumes:
        state.volumes.setdefault(volume, {})[job.name, event.task, event.slot] = node.id
    state.allocs[alloc.id] = alloc
    state.by_job.setdefault(alloc.uid, {})[alloc.id] = None
    state.by_node.setdefault(alloc.node, {})[alloc.id] = None
    # It could be planned: what failed before is no run of failures any more.
    state.jobs[job.uid] = replace(job, next_n=max(job.next_n, event.n + 1), plan_failures=0)
    _reserve(state, alloc, 1)
    touch.all(alloc.topics)
    touch.node(alloc.node)
    touch.add(assignment_topic(alloc.node))
    _touch_deployment(state, alloc, touch)
    if alloc.launch:
        launches.placed(state, alloc, touch)
    else:
        _shelve_replaced(state, alloc, touch)


def forget_volumes(state: State, node: str) -> None:
    """Forget what a node kept: it is gone with it."""
    for volume, kept in tuple(state.volumes.items()):
        left = {slot: where for slot, where in kept.items() if where != node}
        if len(left) < len(kept):
            state.volumes[volume] = left
        if not left:
            del state.volumes[volume]


def _shelve_replaced(state: State, alloc: Alloc, touch: Touch) -> None:
    replaced = state.unreplaced.get(alloc.uid, {}).pop((alloc.task, alloc.slot), None)
    if replaced is not None:
        shelve(state, state.allocs[replaced], touch)


def _reserve(state: State, alloc: Alloc, sign: int) -> None:
    use = state.usage.get(alloc.node, _UNUSED)
    state.usage[alloc.node] = Usage(
        use.cpu + sign * alloc.cpu,
        use.memory + sign * alloc.memory,
        use.disk + sign * alloc.disk,
        use.allocs + sign,
    )


def _touch_deployment(state: State, alloc: Alloc, touch: Touch) -> None:
    deployment = state.deployments.get(alloc.deployment)
    if deployment is not None:
        touch.all(deployment.topics)


def _line(alloc: Alloc, touch: Touch, event: str, message: str) -> tuple[tuple[int, int, str, str], ...]:
    return (*alloc.timeline[1 - KEPT_TIMELINE :], (touch.index, touch.time, event, message))


def finish(state: State, alloc: Alloc, touch: Touch) -> None:
    """Record that an allocation is over: its room is free, and old ones of its slot and job are forgotten."""
    alloc = replace(alloc, finished_at=touch.time)
    state.allocs[alloc.id] = alloc
    del state.by_node[alloc.node][alloc.id]
    _reserve(state, alloc, -1)
    _count_out(state, alloc, touch)
    touch.all(alloc.topics)
    touch.node(alloc.node)
    touch.add(CAPACITY)
    if alloc.launch:
        launches.ended(state, alloc, touch)
    elif alloc.phase == "failed" and alloc.wanted == "run":
        # It is more than history until it is replaced: it tells when its slot's turn is.
        _shelve_replaced(state, alloc, touch)
        state.unreplaced.setdefault(alloc.uid, {})[alloc.task, alloc.slot] = alloc.id
    else:
        shelve(state, alloc, touch)
    forget_if_over(state, alloc.uid, touch)


def _count_out(state: State, alloc: Alloc, touch: Touch) -> None:
    """Count who leaves a node that is drained; who was leaving before is not counted."""
    node = state.nodes.get(alloc.node)
    drain = node.drain if node is not None else None
    if node is None or drain is None or (alloc.wanted == "stop" and alloc.assign_index < drain.index):
        return
    overdue = alloc.why == DRAIN_DEADLINE
    drain = replace(drain, moved=drain.moved + (not overdue), stopped=drain.stopped + overdue)
    state.nodes[node.id] = replace(node, drain=drain, modify_index=touch.index)


def _stop_requested(state: State, event: e.AllocStopRequested, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None and not alloc.terminal:
        timeline = _line(alloc, touch, event.TAG, "")
        alloc = replace(alloc, stop_requested=True, modify_index=touch.index, timeline=timeline)
        state.allocs[alloc.id] = alloc
        release_quarantine(state, alloc.uid, touch)
        touch.all(alloc.topics)


def _restart_requested(state: State, event: e.AllocRestartRequested, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None and not alloc.terminal:
        wish = replace(alloc, restart=max(alloc.restart, event.attempt))
        _asked(state, wish, touch, event.TAG, f"attempt {event.attempt}")


def _signal_requested(state: State, event: e.AllocSignalRequested, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None and not alloc.terminal:
        wish = SignalWish(event.number, event.attempt, event.signal)
        _asked(state, replace(alloc, signals=(*alloc.signals, wish)), touch, event.TAG, event.signal)


def _exec_requested(state: State, event: e.AllocExecRequested, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None and not alloc.terminal:
        execs = (*alloc.execs[1 - MOST_EXECS :], ExecWish(event.exec, event.api))
        _asked(state, replace(alloc, execs=execs), touch, event.TAG, f"exec {event.exec}")


def _exec_ended(state: State, event: e.AllocExecEnded, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None and not alloc.terminal:
        execs = tuple(each for each in alloc.execs if each.id != event.exec)
        how = event.reason if event.exit_code is None else f"exit code {event.exit_code}"
        _asked(state, replace(alloc, execs=execs), touch, event.TAG, f"exec {event.exec}: {how}")


def _asked(state: State, alloc: Alloc, touch: Touch, event: str, message: str) -> None:
    """Pass a user's wish on to the agent: nobody has to decide anything about it."""
    timeline = _line(alloc, touch, event, message)
    state.allocs[alloc.id] = replace(alloc, modify_index=touch.index, assign_index=touch.index, timeline=timeline)
    touch.all(alloc.topics)
    touch.add(assignment_topic(alloc.node))


def _tell_services(old: Alloc, alloc: Alloc, touch: Touch) -> None:
    """Whoever sends to replicas hears of another place, or of none."""
    if offers(old) != offers(alloc):
        touch.services(alloc.namespace, alloc.job)


def _stopping(state: State, event: e.AllocStopping, touch: Touch) -> None:
    old = state.allocs.get(event.alloc)
    if old is None or old.terminal:
        return
    alloc = replace(
        old,
        wanted="stop",
        why=event.reason,
        modify_index=touch.index,
        assign_index=touch.index,
        timeline=_line(old, touch, event.TAG, _why(event)),
    )
    state.allocs[alloc.id] = alloc
    _tell_services(old, alloc, touch)
    touch.all(alloc.topics)
    touch.add(assignment_topic(alloc.node))
    _touch_deployment(state, alloc, touch)


def _why(event: e.AllocStopping) -> str:
    """Who made it go is told where it is of the same namespace."""
    near = event.by.startswith(f"{event.namespace}/")
    return f"{event.reason} by {event.by}" if near else event.reason


def _misplaced(state: State, event: e.AllocMisplaced, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is None or not alloc.live:
        return
    timeline = _line(alloc, touch, event.TAG, event.reason)
    state.allocs[alloc.id] = replace(alloc, misplaced=True, modify_index=touch.index, timeline=timeline)
    touch.all(alloc.topics)


def _given_up(state: State, event: e.AllocGivenUp, touch: Touch) -> None:
    old = state.allocs.get(event.alloc)
    if old is None or old.terminal:
        return
    alloc = replace(
        old,
        given_up=True,
        wanted="stop",
        why=event.reason if old.wanted == "run" else old.why,  # who was to stop anyway is not missed
        reason=event.reason,
        modify_index=touch.index,
        assign_index=touch.index,
        timeline=_line(old, touch, event.TAG, event.reason),
    )
    state.allocs[alloc.id] = alloc
    _tell_services(old, alloc, touch)
    touch.all(alloc.topics)
    touch.add(assignment_topic(alloc.node))
    _touch_deployment(state, alloc, touch)


def _reported(state: State, event: e.AllocReported, touch: Touch) -> None:
    report = event.report
    old = state.allocs.get(report.alloc)
    if old is None or old.node != event.node or not supersedes(report.attempt, report.phase, old.attempt, old.phase):
        return
    alloc = _answered(_observed(old, report, touch), report, touch)
    if old.first_healthy_at is None and alloc.first_healthy_at is not None:
        _progress(state, alloc, touch)
    if alloc.phase in TERMINAL:
        finish(state, alloc, touch)
    else:
        state.allocs[alloc.id] = alloc
        touch.all(alloc.topics)
    _tell_services(old, alloc, touch)
    _touch_deployment(state, alloc, touch)


def _observed(old: Alloc, report: Report, touch: Touch) -> Alloc:
    same = report.attempt == old.attempt
    moved = report.phase != old.phase or not same or report.health != old.health
    first_healthy = touch.time if old.first_healthy_at is None and report.health == "healthy" else old.first_healthy_at
    return replace(
        old,
        attempt=report.attempt,
        phase=report.phase,
        health=report.health,
        restarts=report.restarts,
        exit_code=report.exit_code,
        oom=report.oom,
        failed_attempt=max(report.failed_attempt, old.failed_attempt),
        reason=old.reason if old.given_up else report.reason,
        message=report.message,
        ports=tuple(sorted(report.ports.items())) if report.ports else (),
        address=old.address if report.address == old.address else report.address,
        container=report.container,
        image=report.image,
        started_at=_since(report.running_for, old.started_at if same else None, touch.time),
        healthy_since=_since(report.healthy_for, old.healthy_since if same else None, touch.time),
        first_healthy_at=first_healthy,
        modify_index=touch.index,
        timeline=_line(old, touch, _PHASE_EVENTS[report.phase], _said(report)) if moved else old.timeline,
    )


def _answered(alloc: Alloc, report: Report, touch: Touch) -> Alloc:
    """Tell what became of signals; one answered for is wished for no more."""
    faults = {each.number: each.fault for each in report.signalled}
    newest = max(faults, default=0)
    if newest <= alloc.signalled:
        return alloc
    for wish in alloc.signals:
        if wish.number <= newest:
            fault = faults.get(wish.number, "what became of it is not known")
            event = SIGNAL_FAILED if fault else SIGNALLED
            message = f"{wish.signal}: {fault}" if fault else wish.signal
            alloc = replace(alloc, timeline=_line(alloc, touch, event, message))
    left = tuple(wish for wish in alloc.signals if wish.number > newest)
    return replace(alloc, signals=left, signalled=newest, modify_index=touch.index)


def _since(elapsed: float | None, known: int | None, now: int) -> int | None:
    """Turn elapsed seconds into a moment, which stays put while it is the same one."""
    if elapsed is None:
        return None
    began = now - int(elapsed * 1000)
    return known if known is not None and abs(began - known) < _SAME_START_MS else began


def _said(report: Report) -> str:
    """Put it in a line: what a workload said itself is below the first one, and is kept of the newest report only."""
    message = report.message.partition("\n")[0]
    return message or report.reason or (report.health if report.phase == "running" else "")


def _progress(state: State, alloc: Alloc, touch: Touch) -> None:
    deployment = state.deployments.get(alloc.deployment)
    if deployment is not None and deployment.active:
        state.deployments[deployment.id] = replace(deployment, progress_at=touch.time)


def _failed(state: State, event: e.AllocFailed, touch: Touch) -> None:
    alloc = state.allocs.get(event.alloc)
    if alloc is not None:
        touch.all(alloc.topics)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.AllocPlaced: _placed,
    e.AllocStopRequested: _stop_requested,
    e.AllocRestartRequested: _restart_requested,
    e.AllocSignalRequested: _signal_requested,
    e.AllocExecRequested: _exec_requested,
    e.AllocExecEnded: _exec_ended,
    e.AllocStopping: _stopping,
    e.AllocMisplaced: _misplaced,
    e.AllocGivenUp: _given_up,
    e.AllocReported: _reported,
    e.AllocFailed: _failed,
}
