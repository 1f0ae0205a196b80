"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain.moment import Ago, At, Instant, parse

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of aware ones
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(0, 10**18 - 1))
def test_digits_are_an_index(index: int) -> None:
    assert parse(str(index)) == At(index)


@given(TIMES, ZONES, st.sampled_from("Tt "), st.booleans())
def test_a_time_means_the_same_in_every_zone_and_spelling(time: datetime, zone: timezone, cut: str, raw: bool) -> None:  # noqa: FBT001 - drawn
    """Also with its `+` read as a space, as in a query string that was not escaped. Parts of a ms are cut off."""
    text = time.astimezone(zone).isoformat(sep=cut)
    found = parse(text.replace("+", " ") if raw else text)
    assert found == Instant((time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def test_so_long_ago_is_reckoned_from_now() -> None:
    assert parse("-1h30m") == Ago(5_400_000)
    assert Ago(5_400_000).instant(10_000_000) == Instant(4_600_000)


@pytest.mark.parametrize("text", ["", "now", "1h", "-", "--1", "-1x", "1.5", "2026-03-01", "2026-03-01T12:00:00",
                                  "2026-13-01T12:00:00Z", "2026-03-01T12:00:61Z", "1" * 19, "٣", "1\n"])  # fmt: skip
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is no time|not a duration"):
        parse(text)
