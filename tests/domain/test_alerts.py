"""Alerts: what may be asked for, when one fires, and when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from heroctl.domain.alerts import Alert, check, judge, read_condition
from heroctl.domain.errors import Invalid
from heroctl.domain.events import AlertFired, AlertResolved, AlertSet

NOW = 1_790_000_000
SAID = AlertSet("default", "hot", "cpu_percent", ">", 90.0, 300, job="web")
QUIET = Alert(SAID, 1, 1, 1)
FIRING = replace(QUIET, fired_at=5, of="a1", value=95.0)


def flat(value: float, seconds: int, *, until: int = NOW, step: int = 10) -> list[tuple[int, float]]:
    return [(at, value) for at in range(until - seconds, until, step)]


def test_it_fires_when_it_held_for_so_long_and_says_for_what() -> None:
    event = judge(QUIET, {"a1": flat(50.0, 400), "a2": flat(95.0, 400)}, NOW)
    assert event == AlertFired("default", "hot", "cpu_percent", "> 90", "a2", 95.0, "web")
    assert judge(QUIET, {"a1": flat(95.0, 200)}, NOW) is None, "not for so long yet"
    assert judge(QUIET, {"a1": [*flat(95.0, 400), (NOW - 1, 10.0)]}, NOW) is None
    assert (
        judge(
            QUIET, {"a1": [*flat(95.0, 150), *flat(10.0, 10, until=NOW - 150), *flat(95.0, 150, until=NOW - 160)]}, NOW
        )
        is None
    )
    assert judge(QUIET, {}, NOW) is None
    assert judge(QUIET, {"a1": flat(95.0, 400, until=NOW - 100)}, NOW) is None, "nobody knows how it is now"


def test_two_samples_far_apart_are_not_all_the_time() -> None:
    assert judge(QUIET, {"a1": [(NOW - 300, 95.0), (NOW - 10, 95.0)]}, NOW) is None


def test_without_a_time_the_newest_value_is_enough() -> None:
    at_once = replace(QUIET, said=replace(SAID, seconds=0))
    assert isinstance(judge(at_once, {"a1": [(NOW - 10, 95.0)]}, NOW), AlertFired)


def test_it_is_over_when_nothing_is_beyond_it_or_nothing_is_measured() -> None:
    assert judge(FIRING, {"a1": flat(95.0, 400)}, NOW) is None
    assert judge(FIRING, {"a1": flat(10.0, 400), "a2": flat(95.0, 20)}, NOW) is None, "another one is"
    over = AlertResolved("default", "hot", "cpu_percent", "> 90", "web")
    assert judge(FIRING, {"a1": flat(10.0, 400)}, NOW) == over
    assert judge(FIRING, {}, NOW) == over


@given(st.floats(0, 200, width=32), st.sampled_from([">", ">=", "<", "<="]), st.integers(0, 21_600))
def test_what_fires_is_not_over_by_the_same_values(value: float, comparison: Any, seconds: int) -> None:  # noqa: ANN401 - a literal
    said = AlertSet("default", "hot", "cpu_percent", comparison, 90.0, seconds)
    series = {"n1": flat(value, seconds + 2_000, step=Alert(said, 1, 1, 1).step)}
    event = judge(Alert(said, 1, 1, 1), series, NOW)
    if event is not None:
        assert judge(Alert(said, 1, 1, 1, fired_at=1), series, NOW) is None
    beyond = {">": value > 90, ">=": value >= 90, "<": value < 90, "<=": value <= 90}[comparison]
    assert (event is not None) == beyond


@pytest.mark.parametrize("text", ["", "90", "> x", "=> 90", "> 90 %", "> -1", "> 1e9"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        read_condition(text)
    assert read_condition(">=90.5") == (">=", 90.5)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (replace(SAID, name="Hot!"), "name"),
        (replace(SAID, metric="colour"), "metric"),
        (replace(SAID, metric="load"), "metric"),
        (replace(SAID, seconds=30_000), "for"),
        (replace(SAID, job="", task="app"), "job"),
        (replace(SAID, job="a\0b"), "job"),
        (replace(SAID, task="../app"), "task"),
        (replace(SAID, job="", metric="cpu", node="n\0"), "node"),
        (replace(SAID, job="", metric="cpu", node="n" * 64), "node"),
        (replace(SAID, description="x" * 501), "description"),
    ],
)
def test_all_that_is_wrong_is_told(said: AlertSet, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(said)
    assert path in [problem.path for problem in refused.value.details]
