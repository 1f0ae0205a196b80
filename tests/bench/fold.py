"""How quickly a log is folded: a recorded history, many times over, from stored bytes to one state."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from eventstore import codec
from eventstore.log import Row
from heroctl.domain.events import JobRestarted, JobReverted, JobSubmitted, Record, decode
from heroctl.domain.evolve import Touch, apply, evolve
from heroctl.domain.ids import deployment_id
from heroctl.domain.state import State
from tests.bench.rows import Case, Gauge
from tests.histories import history

_PAGE: Final = 5_000  # events that a view applies at once
_EVENTS: Final = 200_000
_ROUNDS: Final = 5
_TAGS: Final = 15
# Fields that hold the name or id of something that a copy of the history has for itself.
_NAMES: Final = frozenset({"alloc", "deployment", "id", "job", "join_token", "name", "node", "replaces"})
_HISTORY: Final = "run-1"

Stored = tuple[int, int, int, str, int, bytes]


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give events a second: decode and evolve, on a state that grows with them."""
    rows = history.read(_HISTORY)
    tags = {row[3] for row in rows}
    assert len(tags) >= _TAGS, f"only {len(tags)} tags were recorded: python -m tests.histories.record"
    copies = _EVENTS // len(rows)
    log = widen(rows, copies)
    say(f"{len(log)} events of {len(tags)} tags")
    once, often = history.fold(rows), fold(log)[1]
    assert (len(often.jobs), len(often.allocs)) == (len(once.jobs) * copies, len(once.allocs) * copies), "other states"
    rates = [len(log) / fold(log)[0] for _ in range(_ROUNDS)]
    say(f"{min(rates):,.0f}..{max(rates):,.0f} events/s")
    return {"fold_events_s": statistics.median(rates)}


def fold(log: list[Stored]) -> tuple[float, State]:
    """Give the CPU seconds that a fold of stored events takes, and the state."""
    gc.collect()
    state = State()
    began = time.process_time()  # there is nothing to wait for, and the machine may be shared
    for start in range(0, len(log), _PAGE):
        touch = Touch()
        for index, last, at, tag, schema, data in log[start : start + _PAGE]:
            apply(state, Record(index, last, at, decode(tag, schema, data)), touch)
        touch.settle(state)
    return time.process_time() - began, state


def widen(rows: list[Row], copies: int) -> list[Stored]:
    """Repeat a history with everything in it renamed: as many jobs, nodes and allocations as copies."""
    [first] = [row for row in rows if row[3] == "cluster.created"]
    # All of it is one incarnation: ids of deployments are made from that, and from where the copy's events stand.
    once = [row for row in rows if row[3] not in ("cluster.created", "cluster.incarnation_drawn")]
    incarnation = str(msgspec.json.decode(first[6])["incarnation"])
    deployments = _deployments(rows)
    log: list[Stored] = [(1, 1, first[2], first[3], first[4], first[6])]
    for copy in range(copies):
        shift = copy * len(rows)
        words = {old: deployment_id(incarnation, index + shift) for old, index in deployments.items()}
        for index, last, at, tag, schema, _, data, _ in once:
            changed = _rename(msgspec.json.decode(data), copy, shift, words)
            log.append((index + shift, last + shift, at, tag, schema, msgspec.json.encode(changed)))
    return log


def _deployments(rows: list[Row]) -> dict[str, int]:
    """Give the ids of all deployments that a history begins, and the index of the event that began each."""
    state = State()
    found: dict[str, int] = {}
    for record in codec.records(rows):
        evolve(state, record)
        if isinstance(record.event, JobSubmitted | JobRestarted | JobReverted):
            job = state.job(record.event.namespace, record.event.name)
            assert job is not None
            found[job.deployment] = record.index
    return found


def _rename(value: Any, copy: int, shift: int, words: dict[str, str], field: str = "") -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        if field in {"spec", "drivers", "attributes", "labels", "ports"}:
            return value
        return {name: _rename(each, copy, shift, words, name) for name, each in value.items()}
    if field == "uid":
        return value + shift if value else 0
    if isinstance(value, str) and field in _NAMES and value:
        return words.get(value, f"{value}-{copy}")
    return value


CASE: Final = Case(
    gauges=(Gauge("fold_events_s", "events/s", at_least=250_000),),
    run=run,
    method=(
        f"A history recorded from a real run, repeated under new names to {_EVENTS:,} events; decoding the stored "
        f"bytes and evolving one state, in pages of {_PAGE:,} as a start does; CPU time, median of {_ROUNDS}."
    ),
)
