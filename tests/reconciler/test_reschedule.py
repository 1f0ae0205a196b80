"""When a failed replica is placed again, and how long its node is barred."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain.duration import Duration
from heroctl.domain.records import Alloc
from heroctl.domain.spec import Reschedule
from reconciler.planner.reschedule import BARRED_MS, barred_until, due

FINISHED = 10_000_000
HOUR = 3_600_000


def failed(**fields: Any) -> Alloc:  # noqa: ANN401 - an allocation's fields
    """Make an allocation that has failed at FINISHED."""
    needed: dict[str, Any] = dict.fromkeys(Alloc.__struct_fields__[: -len(Alloc.__struct_defaults__)], 0)
    made = {"id": "abc", "phase": "failed", "finished_at": FINISHED, "reason": "exited"}
    return Alloc(**(needed | made | fields))


@pytest.mark.parametrize(("times", "seconds"), [(0, 30), (1, 60), (2, 120), (6, 1920), (7, 3600), (60, 3600)])
def test_the_delay_doubles_up_to_its_maximum(times: int, seconds: int) -> None:
    when = due(failed(reschedules=times), Reschedule())
    assert when is not None
    at, count = when
    assert seconds * 1000 <= at - FINISHED < seconds * 1125
    assert count == times + 1


def test_those_that_failed_together_do_not_come_back_together() -> None:
    moments = {due(failed(id=f"alloc{number}"), Reschedule()) for number in range(50)}
    assert len(moments) > 40


def test_a_long_healthy_run_begins_anew() -> None:
    after = due(failed(reschedules=5, first_healthy_at=FINISHED - HOUR), Reschedule())
    before = due(failed(reschedules=5, first_healthy_at=FINISHED - HOUR + 1), Reschedule())
    assert after is not None
    assert before is not None
    assert (after[1], before[1]) == (1, 6)


def test_limited_is_once() -> None:
    assert due(failed(), Reschedule(unlimited=False)) is not None
    assert due(failed(reschedules=1), Reschedule(unlimited=False)) is None


def test_no_delay_is_still_a_second() -> None:
    when = due(failed(), Reschedule(delay=Duration(0)))
    assert when is not None
    assert when[0] >= FINISHED + 1000


def test_a_port_in_use_is_its_nodes_fault() -> None:
    """Elsewhere at once, and it counts for nothing; that node waits."""
    alloc = failed(reason="port_in_use", reschedules=3)
    assert due(alloc, Reschedule()) == (FINISHED, 3)
    assert barred_until(alloc) == FINISHED + BARRED_MS
    assert barred_until(failed()) is None
    assert barred_until(failed(reason="port_in_use", finished_at=None)) is None
