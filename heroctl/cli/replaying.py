"""Folds the log on this machine, with the very code that the cluster's processes fold it with."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from heroctl.cli import output, records
from heroctl.cli.client import Client
from heroctl.cli.faults import Fault, Refused
from heroctl.cli.options import Output
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.shapes import Record
from heroctl.domain import events, moment
from heroctl.domain.evolve import evolve
from heroctl.domain.moment import Ago, At, Instant
from heroctl.domain.state import State, job_status

_LONGEST_PAUSE_S: Final = 5.0  # between two events, however quiet the night was
_SPOKEN: Final = 50_000  # events between two words on how far it is
KINDS: Final = ("job", "allocation", "node", "deployment")

Seen = dict[str, dict[str, dict[str, Any]]]  # of each kind, by name, what is to be seen of it


class Wish(NamedTuple):
    """How to replay: up to where, showing events from where on, how much faster than it was."""

    to: str | None = None
    since: str | None = None
    speed: float | None = None


def play(client: Client, wish: Wish, how: Output) -> None:
    """Fold up to a moment, and print what the state amounts to there."""
    if wish.speed is not None and wish.speed <= 0:
        raise Fault("--speed: expected a number above 0", hints=["heroctl log replay --speed 10"])
    until = _moment(wish.to)
    since = _moment(wish.since) if wish.since is not None else None
    loud = wish.speed is not None or since is not None
    fold = Fold(client)
    clock: float | None = None
    for record in fold.on(until):
        if not loud or (since is not None and not _reached(record, since)):
            continue
        clock = _in_time(record, clock, wish.speed)
        records.tell(record)
        sys.stdout.flush()
    fold.whole()
    _show(fold, how)


def compare(client: Client, between: tuple[str, str], how: Output) -> None:
    """Fold up to one moment and then to another; print what came, went and changed, and which events did it."""
    first, second = map(_moment, between)
    fold = Fold(client)
    for _ in fold.on(first):
        pass
    fold.whole()
    before, begin = look(fold.state), fold.state.index
    counts: Counter[str] = Counter()
    counts.update(record.type for record in fold.on(second))
    fold.whole()
    if fold.state.index == begin and not counts and _earlier(second, fold.state):
        raise Fault("--diff: the second moment lies before the first", hints=["give them the other way round"])
    changes = list(differences(before, look(fold.state)))
    if how in ("json", "yaml"):
        body = {"from": begin, "to": fold.state.index, "changes": changes, "events": dict(counts)}
        output.dump(msgspec.json.encode(body), how)
        return
    if how == "name":
        output.lines([f"{each['kind']}/{each['name']}" for each in changes])
        return
    rows = [(each["kind"], each["name"], each["change"], _spell(each["fields"])) for each in changes]
    sheet: list[Grid | Facts] = [Facts([("From", begin), ("To", fold.state.index), ("Changes", len(rows))])]
    if rows:
        sheet.append(Grid(("KIND", "NAME", "CHANGE", "WHAT"), rows))
    if counts:
        sheet.append(Grid(("EVENTS", "TYPE"), [(number, kind) for kind, number in counts.most_common()]))
    output.show(sheet)


class Fold:
    """A state that follows the log, whole appends only."""

    def __init__(self, client: Client) -> None:
        self.state = State()
        self.unread = 0
        self._client = client
        self._waiting: Iterator[Record] | None = None
        self._next: Record | None = None

    def on(self, until: At | Instant | None) -> Iterator[Record]:
        """Fold up to a moment, rounded down to a whole append; give each event that was folded."""
        if self._waiting is None:
            self._waiting = self._records()
        while record := self._next or next(self._waiting, None):
            self._next = record
            # An append is judged by its end: in it or not, but not in part.
            if until is not None and not _within(record, until):
                return
            self._next = None
            self._apply(record)
            yield record

    def whole(self) -> None:
        """Say what could not be folded."""
        _status("")
        if self.unread:
            output.note(f"warning: {self.unread} events are of a newer release than this command line: passed over")

    def _apply(self, record: Record) -> None:
        data = bytes(record.data)
        try:
            event = events.decode(record.type, record.schema, data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            event = events.Opaque(record.type, record.schema, data)
        try:
            evolve(self.state, events.Record(record.index, record.last, _ms(record), event))
        except Exception:  # noqa: BLE001 - whatever it is, the others' events must be folded all the same
            self.unread += 1
        else:
            self.unread += isinstance(event, events.Opaque)

    def _records(self) -> Iterator[Record]:
        try:
            for page in records.pages(self._client, 0, follow=False):
                for _, record in page:
                    yield record
                    if record.index % _SPOKEN == 0:
                        _status(f"folded {record.index:,}")
        except Refused as fault:
            if fault.status != 410:
                raise
            hints = ["ask the cluster, which begins at a snapshot: heroctl job list --at MOMENT", "heroctl log tail"]
            raise Fault(f"the log cannot be folded from its start: {fault.message}", hints=hints) from fault


# ── moments ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _moment(text: str | None) -> At | Instant | None:
    if text is None:
        return None
    try:
        found = moment.parse(text)
    except ValueError as error:
        raise Fault(str(error), hints=["write it as 42, -1h or 2026-03-01T12:00:00Z"]) from error
    return found.instant(int(time.time() * 1000)) if isinstance(found, Ago) else found


def _within(record: Record, until: At | Instant) -> bool:
    return record.last <= until.index if isinstance(until, At) else _ms(record) <= until.ms


def _reached(record: Record, since: At | Instant) -> bool:
    return record.index >= since.index if isinstance(since, At) else _ms(record) >= since.ms


def _earlier(moment_: At | Instant | None, state: State) -> bool:
    if isinstance(moment_, At):
        return moment_.index < state.index
    return moment_ is not None and moment_.ms < state.time


def _ms(record: Record) -> int:
    return round(record.time.timestamp() * 1000)


def _in_time(record: Record, before: float | None, speed: float | None) -> float:
    """Wait as long as it took then, less the factor; give the event's time."""
    now = record.time.timestamp()
    if speed is not None and before is not None and now > before:
        time.sleep(min((now - before) / speed, _LONGEST_PAUSE_S))
    return now


# ── what is to be seen ───────────────────────────────────────────────────────────────────────────────────────────────


def look(state: State) -> Seen:
    """Say of everything in a state what people would see of it."""
    nodes = {node.id: node.name for node in state.nodes.values()}
    return {
        "job": {
            f"{job.namespace}/{job.name}": {
                "status": job_status(state, job),
                "version": job.current.version,
                "desired": sum(task.count for task in job.current.tasks) if job.wanted else 0,
                "running": sum(alloc.status == "running" for alloc in state.allocs_of(job.uid)),
                "healthy": sum(alloc.health == "healthy" for alloc in state.allocs_of(job.uid)),
                "blocked": "; ".join(job.blocked),
            }
            for uid in sorted(state.names.values())
            for job in [state.jobs[uid]]
        },
        "allocation": {
            alloc.id: {
                "job": f"{alloc.namespace}/{alloc.job}",
                "task": f"{alloc.task}[{alloc.slot}]",
                "version": alloc.version,
                "node": nodes.get(alloc.node, alloc.node),
                "status": alloc.status,
                "health": alloc.health,
                "attempt": alloc.attempt,
                "reason": alloc.reason or alloc.why,
            }
            for alloc in sorted(state.allocs.values(), key=lambda each: (each.create_index, each.id))
        },
        "node": {
            node.name: {
                "status": node.status,
                "eligible": node.eligible,
                "address": node.address,
                "version": node.version,
                "allocations": usage.allocs if (usage := state.usage.get(node.id)) else 0,
            }
            for node in sorted(state.nodes.values(), key=lambda each: each.name)
        },
        "deployment": {
            each.id: {
                "job": f"{each.namespace}/{each.job}",
                "version": each.version,
                "status": each.status,
                "reason": each.reason,
            }
            for each in sorted(state.deployments.values(), key=lambda each: each.create_index)
        },
    }


def differences(before: Seen, after: Seen) -> Iterator[dict[str, Any]]:
    """Name what was added, removed and changed, with each field's old and new value."""
    for kind in KINDS:
        old, new = before[kind], after[kind]
        for name in [*old, *(each for each in new if each not in old)]:
            mine, theirs = old.get(name), new.get(name)
            if mine == theirs:
                continue
            change = "added" if mine is None else "removed" if theirs is None else "changed"
            fields = {
                word: [(mine or {}).get(word), (theirs or {}).get(word)]
                for word in (theirs or mine or {})
                if (mine or {}).get(word) != (theirs or {}).get(word)
            }
            yield {"kind": kind, "name": name, "change": change, "fields": fields}


def _spell(fields: dict[str, list[Any]]) -> str:
    return ", ".join(
        f"{word} {old}→{new}" if old not in (None, "") and new not in (None, "") else f"{word} {_one(old, new)}"
        for word, (old, new) in fields.items()
        if (old, new) not in ((None, ""), ("", None))
    )


def _one(old: object, new: object) -> str:
    return f"{new}" if old in (None, "") else f"was {old}"


def _show(fold: Fold, how: Output) -> None:
    state, seen = fold.state, look(fold.state)
    if how in ("json", "yaml"):
        body = {
            "index": state.index,
            "time": state.time,
            "coordinator": state.coordinator,
            "epoch": state.epoch,
            **seen,
        }
        output.dump(msgspec.json.encode(body), how)
        return
    if how == "name":
        output.lines(list(seen["job"]))
        return
    output.show(sheet(state, seen))


def sheet(state: State, seen: Seen) -> Sheet:
    """Make the page of a state: where it stands, how many there are of each kind and in which status, the jobs."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(state.time / 1000)) + f".{state.time % 1000:03d}Z"
    facts = Facts(
        [
            ("Index", state.index),
            ("Time", at),
            ("Cluster", state.cluster),
            ("Coordinator", state.coordinator),
            ("Epoch", state.epoch),
            ("Brake", "on" if state.brake else ""),
        ]
    )
    counts = [(kind, len(seen[kind]), _statuses(seen[kind])) for kind in KINDS]
    jobs = [
        (name, job["status"], job["version"], f"{job['healthy']}/{job['desired']}", job["blocked"])
        for name, job in seen["job"].items()
    ]
    blocks: list[Grid | Facts] = [facts, Grid(("KIND", "COUNT", "STATUSES"), counts)]
    return [*blocks, Grid(("JOB", "STATUS", "VERSION", "HEALTHY", "BLOCKED"), jobs)] if jobs else blocks


def _statuses(things: dict[str, dict[str, Any]]) -> str:
    counts = Counter(str(each["status"]) for each in things.values())
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))


def _status(text: str) -> None:
    """Say how far it is, where people look."""
    if output.fancy(sys.stderr):
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
