"""What a task may want when its node falls silent, and when its agent acts on it."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain.disconnect import DOWN_AND_GIVEN_UP, stops_after
from heroctl.domain.errors import Invalid
from heroctl.domain.spec import OnDisconnect, Task
from tests.domain.worlds import spec


def _task(**fields: Any) -> Task:  # noqa: ANN401 - a task's fields
    task: Task = spec(**fields).tasks[0]
    return task


def test_usually_it_is_replaced_at_once() -> None:
    assert _task().on_disconnect == OnDisconnect()
    assert (OnDisconnect().lost_after.ms, OnDisconnect().mode) == (0, "replace")


@pytest.mark.parametrize("mode", ["replace", "keep"])
def test_only_a_stop_is_the_agents_affair(mode: str) -> None:
    assert stops_after(_task(on_disconnect={"mode": mode, "lost_after": "5m"})) is None


def test_the_agent_has_ended_before_the_coordinator_gives_up_though_its_clock_is_slow() -> None:
    task = _task(on_disconnect={"mode": "stop", "lost_after": "2m"}, kill_timeout="20s", shutdown_delay="10s")
    moment = stops_after(task)
    assert moment == pytest.approx(0.95 * 138 - 32)
    ended = (moment or 0) + 20 + 10
    assert ended / 0.95 < DOWN_AND_GIVEN_UP + 120


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"on_disconnect": {"mode": "stop"}}, "lost_after"),
        ({"on_disconnect": {"mode": "stop", "lost_after": "59s"}}, "lost_after"),
        ({"on_disconnect": {"mode": "stop", "lost_after": "60s"}, "kill_timeout": "65s"}, "lost_after"),
        ({"on_disconnect": {"mode": "never"}}, "mode"),
        ({"on_disconnect": {"lost_after": "-1s"}}, "lost_after"),
        ({"on_disconnect": {"after": "1s"}}, "after"),
    ],
)
def test_what_leaves_no_time_to_stop_in_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        spec(**fields)
    assert [problem.path for problem in refused.value.details] == [f"tasks[0].on_disconnect.{path}"]


def test_just_enough_is_taken() -> None:
    moment = stops_after(_task(on_disconnect={"mode": "stop", "lost_after": "60s"}, kill_timeout="64s"))
    assert moment == pytest.approx(8.1)
