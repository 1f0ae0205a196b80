"""Scheduled times by the wall clock of a time zone, also where that is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain.cron import cron_problem, following, latest, zone_problem

BERLIN: Final = "Europe/Berlin"


def _ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    when = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(when.timestamp() * 1000)


def _next(cron: str, zone: str, after: str, count: int) -> list[str]:
    """Give the next scheduled times in UTC, as `03-29 01:00`."""
    at, found = _ms(after), []
    for _ in range(count):
        at = following(cron, zone, at) or 0
        found.append(datetime.fromtimestamp(at / 1000, UTC).strftime("%m-%d %H:%M"))
    return found


# In Berlin 02:00 to 03:00 is not there on 2026-03-29, and twice on 2026-10-25.
@pytest.mark.parametrize(
    ("cron", "zone", "after", "times"),
    [
        ("30 2 * * *", BERLIN, "2026-03-28T00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("10,50 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29 01:00", "03-30 00:10", "03-30 00:50"]),
        ("0 3 * * *", BERLIN, "2026-03-28T12:00", ["03-29 01:00", "03-30 01:00"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28T12:00", ["03-29 01:00", "03-30 00:00", "03-30 01:00"]),
        ("*/30 * * * *", BERLIN, "2026-03-29T00:15", ["03-29 00:30", "03-29 01:00", "03-29 01:30"]),
        ("15 * * * *", BERLIN, "2026-03-29T00:00", ["03-29 00:15", "03-29 01:15", "03-29 02:15"]),
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25 00:30", "10-26 01:30"]),
        ("*/30 * * * *", BERLIN, "2026-10-24T23:45", ["10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30"]),
        ("15 * * * *", BERLIN, "2026-10-25T00:00", ["10-25 00:15", "10-25 01:15", "10-25 02:15"]),
        ("0 12 * * *", "UTC", "2026-03-28T12:00", ["03-29 12:00", "03-30 12:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["02-29 00:00"]),
        ("0 0 13 * 5", "UTC", "2026-02-01T00:00", ["02-06 00:00", "02-13 00:00", "02-20 00:00"]),
        ("@daily", "Asia/Kolkata", "2026-01-01T00:00", ["01-01 18:30", "01-02 18:30"]),
    ],
)
def test_times_follow_the_wall_clock(cron: str, zone: str, after: str, times: list[str]) -> None:
    assert _next(cron, zone, after, len(times)) == times


def test_an_hour_that_a_day_has_twice_is_meant_once() -> None:
    first, second = (_ms("2026-10-25T02:30", BERLIN, fold) for fold in (0, 1))
    assert second - first == 3_600_000
    assert latest("30 2 * * *", BERLIN, first, second + 1) is None
    assert latest("30 2 * * *", BERLIN, first - 1, second + 1) == first


def test_of_many_that_were_missed_the_newest_is_found_at_once() -> None:
    until = _ms("2026-11-01T10:30:30")
    assert latest("* * * * *", "UTC", _ms("2020-01-01T00:00"), until) == _ms("2026-11-01T10:30")
    assert latest("0 0 1 1 *", "UTC", _ms("2020-01-01T00:00"), until) == _ms("2026-01-01T00:00")
    assert latest("0 0 1 1 *", "UTC", _ms("2026-01-01T00:00"), until) is None


CRONS: Final = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 * * * *", "0 */5 * * *", "* 2 * * 0", "5 4 * * 1"]
)
ZONES: Final = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])


@given(CRONS, ZONES, st.integers(0, 500 * 24 * 60), st.integers(0, 4 * 24 * 60))
def test_the_newest_is_the_last_of_those_that_follow_one_another(cron: str, zone: str, start: int, span: int) -> None:
    after = _ms("2026-01-01T00:00") + start * 60_000
    until = after + span * 60_000
    at, last = after, None
    while (found := following(cron, zone, at)) is not None and found <= until:
        assert found > at
        at = last = found
    assert latest(cron, zone, after, until) == last


@pytest.mark.parametrize(
    "cron", ["* * * * *", "@hourly", "@Daily", "0 0 29 2 *", "0 9 * * MON-FRI", "0 0 L * *", "0 0 * * 5L"]
)
def test_expressions_that_mean_something(cron: str) -> None:
    assert cron_problem(cron) is None


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "@reboot", "a b c d e", "*/0 * * * *"],
)
def test_expressions_that_mean_nothing(cron: str) -> None:
    assert cron_problem(cron)


@given(st.text(alphabet="0123456789*/,-#LW MONJAN@", max_size=30))
def test_whatever_is_written_is_judged(cron: str) -> None:
    if cron_problem(cron) is None:
        assert following(cron, "UTC", _ms("2026-01-01T00:00")) is not None


def test_time_zones() -> None:
    assert zone_problem("Europe/Berlin") is None
    for wrong in ("Mars/Olympus", "", "../etc/passwd", "Europe", "a\0b", "x" * 500):
        assert zone_problem(wrong), wrong


def test_a_day_is_a_day_over_a_year() -> None:
    at, days = _ms("2026-01-01T00:00"), []
    for _ in range(365):
        at = following("30 2 * * *", BERLIN, at) or 0
        days.append(datetime.fromtimestamp(at / 1000, ZoneInfo(BERLIN)).date())
    assert days == [days[0] + timedelta(days=number) for number in range(365)]
