"""Which images go, and that nothing else ever does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import images
from agents.disk import Disk

NAMES = st.sampled_from(["a:1", "b:1", "c:1", "d:1"])
KNOWN = st.dictionaries(NAMES, st.floats(0, 1000))


@given(KNOWN, st.sets(NAMES), st.floats(0, 2000), st.floats(0, 500))
def test_what_goes_was_brought_here_and_is_long_unused(
    known: dict[str, float], used: set[str], now: float, keep: float
) -> None:
    going = images.spare(known, used, now, keep)
    assert set(going) <= known.keys() - used
    assert all(known[image] <= now - keep for image in going)
    assert [known[image] for image in going] == sorted(known[image] for image in going)
    assert {image for image in known.keys() - used if known[image] <= now - keep} == set(going)


@given(KNOWN, st.sets(NAMES), st.floats(0, 2000))
def test_what_is_in_use_was_used_now(known: dict[str, float], used: set[str], now: float) -> None:
    seen = images.seen(known, used, now)
    assert seen.keys() == known.keys()
    assert all(seen[image] == now for image in known.keys() & used)
    assert all(seen[image] <= now for image in known), "a clock that was set back keeps nothing for ever"


class Full:
    def __init__(self, *percent: int) -> None:
        self.percent = list(percent)

    def __call__(self, folder: Path) -> tuple[int, int, int]:
        used = self.percent[int(folder.name)]
        return 200, used, 100 - used


def test_the_fullest_disk_counts() -> None:
    full = Full(79, 50)
    disk = Disk(Path("/0"), crowded=80, low=95, usage=full)
    disk.watch(Path("/1"))
    assert (disk.used, disk.crowded, disk.low) == (79, False, "")
    full.percent = [10, 81]
    assert (disk.used, disk.crowded, disk.low) == (81, True, "")
    full.percent = [10, 95]
    assert "95 %" in disk.low
    full.percent = [10, 92]
    assert "92 %" in disk.low, "it does not flicker"
    full.percent = [10, 91]
    assert disk.low == ""
    full.percent = [10, 94]
    assert disk.low == ""


def test_a_disk_that_is_not_there_is_none() -> None:
    def gone(_: Path) -> tuple[int, int, int]:
        raise FileNotFoundError

    assert Disk(Path("/0"), usage=gone).used == 0


@pytest.mark.parametrize("used", [0, 100])
def test_an_empty_and_a_full_disk(used: int) -> None:
    assert Disk(Path("/0"), usage=Full(used)).used == used
