"""The whole life of an allocation on its node, decided. Pure: (wish, record, containers, now) → (record, one action).

The worker that carries actions out keeps the record on disk before it acts, looks again afterwards, and asks again.
Being killed between any two of these lines is harmless: labels and record lead to the same next action.

- (attempt, phase) of a record only rises; `complete` and `failed` are final.
- What is not known (`observed` None) or not named (wish `keep`) leads to no action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from agents.asked import next_signal, settled, to_restart
from agents.container import ATTEMPT, INCARNATION, Container, Description, Node, describe
from agents.record import Record, completed, ended, failed, fresh, over, recent, stopping
from heroctl.domain.allowance import refusal
from heroctl.domain.assignment import Assigned, SignalWish
from heroctl.domain.endpoints import referred
from heroctl.domain.isolation import taken
from heroctl.domain.lifecycle import TERMINAL
from heroctl.domain.references import SECRET, Reference, UnknownReference, parse
from heroctl.domain.spec import Task

KILL_AGAIN: Final = 10.0  # seconds after which a kill that did nothing is repeated
KILL_TIMEOUT: Final = 5.0  # for containers whose spec nobody remembers
PORT_TRIES: Final = 20


class Wish(Struct, frozen=True):
    """What is asked of one allocation. `keep`: nobody may say, so nothing is done."""

    wanted: Literal["run", "stop", "keep"]
    assigned: Assigned | None = None
    incarnation: str = ""
    until: float | None = None  # when this wish becomes another by itself
    reason: str = ""  # why it is to stop, where nobody asked for that


class Wait(Struct, frozen=True):
    """Nothing to do before `until`, or before something happens."""

    until: float | None = None


class Reserve(Struct, frozen=True):
    """Choose host ports for these names, none of `avoid`."""

    names: tuple[str, ...]
    avoid: tuple[int, ...]


class Pull(Struct, frozen=True):
    """Bring the image here. `login`: the name of the secret that says who we are to its registry; "": nobody."""

    image: str
    login: str = ""


class Start(Struct, frozen=True):
    """Make and start this container. Where the task has secrets, nothing stands for each of them: see `filled`."""

    description: Description
    assigned: Assigned


class Signal(Struct, frozen=True):
    """Send a signal to what runs in the container."""

    container: str
    signal: str


class Deliver(Struct, frozen=True):
    """Send a signal that a user asked for, and remember what became of it: see `asked.sent`."""

    container: str
    wish: SignalWish


class Remove(Struct, frozen=True):
    """Remove a container that no longer runs."""

    container: str


Action = Wait | Reserve | Pull | Start | Signal | Deliver | Remove


class Step(Struct, frozen=True):
    """What to remember first, and what to do then."""

    record: Record
    action: Action


class Fault(Struct, frozen=True):
    """Why an action did nothing. `kind` says what follows: see `faulted`."""

    kind: Literal["absent", "port", "attempt", "final"]
    reason: str
    message: str = ""
    port: int = 0


def step(wish: Wish, record: Record, observed: Sequence[Container] | None, now: float, node: Node) -> Step:
    """Decide the one next thing for an allocation. `observed`: all its containers; None: the runtime cannot say."""
    if observed is None or wish.wanted == "keep":
        return Step(record, Wait(wish.until))
    if wish.wanted == "stop":
        return _stop(wish, record, observed, now)
    assert wish.assigned is not None  # noqa: S101 - `run` without an assignment is a bug, not an input
    decided = _run(wish, wish.assigned, record, observed, now, node=node)
    return _no_later(decided, decided.action, wish.until)


def _no_later(decided: Step, action: Action, at: float | None) -> Step:
    """Wait no longer than until the wish becomes another."""
    if at is None or not isinstance(action, Wait):
        return decided
    return Step(decided.record, Wait(at if action.until is None else min(at, action.until)))


def filled(start: Start, node: Node, secrets: Mapping[str, bytes], services: Mapping[str, str]) -> Description:
    """Describe once more what is to be started, with what its secrets hold and its services' local addresses.

    UnknownReference says what means nothing here.
    """
    labels, ports = start.description.labels, {port.name: port.host for port in start.description.ports}
    return describe(
        start.assigned, node, int(labels[ATTEMPT]), ports, labels[INCARNATION], secrets=secrets, services=services
    )


def reserved(record: Record, ports: dict[str, int]) -> Record:
    """Remember the host ports chosen; they are kept for the allocation's life."""
    return replace(record, ports=record.ports | ports)


def pulled(record: Record) -> Record:
    """Remember that the image is here."""
    return replace(record, absent=False, waiting="", waiting_for="")


def faulted(record: Record, assigned: Assigned, fault: Fault, now: float) -> Record:
    """Go on after an action that did nothing.

    `absent`: the image must be pulled; `port`: take other ones, a fixed one fails the allocation; `attempt`: it is
    over, by the restart policy; `final`: another attempt would end the same way.
    """
    match fault.kind:
        case "absent":
            return replace(record, absent=True)
        case "port":
            return _other_ports(record, assigned, fault)
        case "attempt":
            return over(record, assigned.spec.restart, now, reason=fault.reason, message=fault.message)
        case "final":
            return failed(record, fault.reason, fault.message)


# ── stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stop(wish: Wish, record: Record, observed: Sequence[Container], now: float) -> Step:
    if record.phase not in TERMINAL:
        seen = wish.assigned.seen_attempt if wish.assigned else 0
        record = replace(record, attempt=max(record.attempt, seen, *(one.attempt for one in observed)))
        record = replace(record, reason=wish.reason or record.reason)
    if any(one.state == "running" for one in observed):
        return _clear(stopping(record, now), observed, wish.assigned, now)
    if record.phase not in TERMINAL:
        last = next((one for one in observed if one.id == record.container), None)
        code = record.exit_code if last is None else last.exit_code
        record = replace(record, phase="complete", exit_code=code, started_at=None, not_before=0.0)
    return _clear(record, observed, wish.assigned, now)


def _clear(record: Record, containers: Sequence[Container], assigned: Assigned | None, now: float) -> Step:
    """End what runs, then remove what is left, one thing at a time."""
    running = next((one for one in containers if one.state == "running"), None)
    if running is not None:
        return _end(record, running, assigned, now)
    return Step(record, Remove(containers[0].id) if containers else Wait())


def _end(record: Record, container: Container, assigned: Assigned | None, now: float) -> Step:
    if record.ending != container.id:
        quiet_at = _quiet_at(record, assigned)
        if now < quiet_at:
            return Step(record, Wait(quiet_at))
        asked = replace(record, ending=container.id, ending_at=now, killed_at=0.0)
        return Step(asked, Signal(container.id, assigned.spec.stop_signal if assigned else "SIGTERM"))
    kill_at = record.ending_at + (assigned.spec.kill_timeout.seconds if assigned else KILL_TIMEOUT)
    if record.killed_at:
        kill_at = record.killed_at + KILL_AGAIN
    if now < kill_at:
        return Step(record, Wait(kill_at))
    return Step(replace(record, killed_at=now), Signal(container.id, "SIGKILL"))


def _quiet_at(record: Record, assigned: Assigned | None) -> float:
    """Say when the traffic to what is stopping has had the time to end. What was never in it waits for nothing."""
    if record.phase != "stopping" or assigned is None:
        return 0.0
    return record.stopping_at + assigned.spec.shutdown_delay.seconds


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(
    wish: Wish, assigned: Assigned, record: Record, observed: Sequence[Container], now: float, *, node: Node
) -> Step:
    mine = _mine(record, assigned, observed)
    others = [one for one in observed if one is not mine]
    record = settled(_noticed(record, assigned, mine, others, now), assigned)
    if record.phase in TERMINAL:
        return _clear(record, observed, assigned, now)
    if others:
        return _clear(record, others, assigned, now)
    if record.phase in ("running", "stopping"):
        return Step(record, Wait()) if mine is None else _tended(record, mine, assigned, now)
    if now < record.not_before and not to_restart(record, assigned):
        return Step(record, Wait(record.not_before))
    if mine is not None:
        return Step(record, Remove(mine.id))
    if record.phase != "starting" or record.attempt < assigned.seen_attempt or to_restart(record, assigned):
        record = _begun(record, assigned, now)
    return _start(wish, assigned, record, now, node)


def _tended(record: Record, mine: Container, assigned: Assigned, now: float) -> Step:
    """Do what users ask of a container that runs."""
    if to_restart(record, assigned):
        return _end(stopping(record, now), mine, assigned, now)
    signal = next_signal(record, assigned)
    if signal is None:
        return Step(record, Wait())
    return Step(replace(record, signalling=signal.number), Deliver(mine.id, signal))


def _mine(record: Record, assigned: Assigned, observed: Sequence[Container]) -> Container | None:
    """Find the container that is this allocation's: same digest, one that runs before one that ran.

    One that was made and never started is nobody's: it is removed and made again.
    """
    same = [one for one in observed if one.digest == assigned.digest and one.state != "created"]
    return max(
        same, key=lambda one: (one.state == "running", one.id == record.container, one.attempt, one.id), default=None
    )


def _noticed(
    record: Record, assigned: Assigned, mine: Container | None, others: Sequence[Container], now: float
) -> Record:
    """Bring the record up to what is seen."""
    if record.phase in TERMINAL:
        return record
    if mine is None:
        return _without(record, assigned, next((one for one in others if one.id == record.container), None), now)
    if mine.state == "running":
        ours = record.phase == "running" or (record.phase == "stopping" and to_restart(record, assigned))
        same = ours and (record.container, record.run) == (mine.id, mine.run)
        return record if same else _adopted(record, assigned, mine, now)
    if record.phase == "ended" or (record.phase == "starting" and mine.attempt < record.attempt):
        return record
    if record.phase == "stopping":
        return ended(record, now)
    attempt = record.attempt if record.phase == "running" else _attempt(record, assigned, mine)
    return _exited(replace(record, attempt=attempt, ports=mine.ports or record.ports), assigned, mine, now)


def _without(record: Record, assigned: Assigned, old: Container | None, now: float) -> Record:
    """There is no container of the wanted content; `old`: what was running has another, and is replaced."""
    if record.phase not in ("running", "stopping"):
        return record
    if old is not None and old.state == "running":
        return stopping(record, now)
    if old is not None or record.phase == "stopping":
        return ended(record, now)
    message = "the container is gone: it was removed by someone else"
    return over(record, assigned.spec.restart, now, reason="container_gone", message=message)


def _adopted(record: Record, assigned: Assigned, mine: Container, now: float) -> Record:
    return replace(
        fresh(record),
        attempt=_attempt(record, assigned, mine),
        phase="running",
        container=mine.id,
        run=mine.run,
        image=mine.image,
        ports=mine.ports or record.ports,
        started_at=now if mine.started_at is None else mine.started_at,
    )


def _attempt(record: Record, assigned: Assigned, mine: Container) -> int:
    """Number the attempt of a container that is taken up, above all that was ever reported."""
    if record.phase in ("running", "stopping", "ended"):
        return max(mine.attempt, record.attempt + 1)
    if record.phase == "starting":
        return max(mine.attempt, record.attempt)
    return mine.attempt if mine.attempt >= max(assigned.seen_attempt, 1) else assigned.seen_attempt + 1


def _begun(record: Record, assigned: Assigned, now: float) -> Record:
    begun = recent(record, assigned.spec.restart, now)
    return replace(
        fresh(record),
        attempt=max(record.attempt, assigned.seen_attempt, assigned.restart) + 1,
        phase="starting",
        begun=(*begun, now) if record.counts else begun,
    )


def _start(wish: Wish, assigned: Assigned, record: Record, now: float, node: Node) -> Step:
    spec = assigned.spec
    refused = refusal(taken(spec), node.allowance)
    if refused is not None:
        record = failed(record, "not_allowed", f"this node does not allow {refused}")
        return _clear(record, (), assigned, now)
    fixed = {name: port.host for name, port in spec.ports.items() if port.host}
    record = replace(record, ports={name: record.ports[name] for name in record.ports if name in spec.ports} | fixed)
    missing = tuple(name for name in sorted(spec.ports) if name not in record.ports)
    if missing:
        return Step(record, Reserve(missing, record.avoid))
    try:
        blank = dict.fromkeys(assigned.secrets, b"")
        local = dict.fromkeys(referred(spec), "")
        attempt, ports = record.attempt, record.ports
        description = describe(assigned, node, attempt, ports, wish.incarnation, secrets=blank, services=local)
    except UnknownReference as error:
        return _clear(failed(record, "unknown_reference", str(error)), (), assigned, now)
    if record.absent:
        return Step(record, Pull(description.image, _login(spec)))
    return Step(record, Start(description, assigned))


def _login(spec: Task) -> str:
    """Name the secret in `image_auth`, which holds one reference and nothing else."""
    parts = parse(spec.image_auth or "")
    return next((part.name for part in parts if isinstance(part, Reference) and part.kind == SECRET), "")


# ── the end of an attempt ────────────────────────────────────────────────────────────────────────────────────────────


def _exited(record: Record, assigned: Assigned, container: Container, now: float) -> Record:
    spec, code = assigned.spec, container.exit_code
    if assigned.work is not None and code == 0 and not container.oom:
        return completed(replace(record, container=container.id, exit_code=code, oom=False))
    if container.oom:
        reason, message = "oom", f"ran out of memory (limit {spec.resources.memory})"
    elif code is None:
        reason, message = "exited", "ended; its exit code is not known"
    else:
        reason, message = "exited", f"exited with code {code}"
    seen = replace(record, container=container.id, exit_code=code, oom=container.oom)
    message = "\n".join(part for part in (container.message or message, container.output) if part)
    return over(seen, spec.restart, now, reason=reason, message=message)


def _other_ports(record: Record, assigned: Assigned, fault: Fault) -> Record:
    dynamic = {name for name, port in assigned.spec.ports.items() if not port.host}
    taken = {name for name in dynamic if fault.port in (0, record.ports.get(name))}
    avoid = (*record.avoid, *sorted(record.ports[name] for name in taken if name in record.ports))
    if not taken or len(avoid) > PORT_TRIES:
        return failed(record, fault.reason, fault.message)
    return replace(record, ports={name: record.ports[name] for name in record.ports if name not in taken}, avoid=avoid)
