"""Which lines go where there are too many, and the places of lines that clients bring back: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.log_past import Mark
from api.log_sweep import cut_off
from api.logs import Size


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=20),
    st.integers(1, 5000),
)
def test_a_cut_is_made_where_there_is_too_much_and_only_as_far_as_needed(
    made: list[tuple[int, int, int]], most: int
) -> None:
    sizes = [Size(f"k{number}", size, at, at + span) for number, (size, at, span) in enumerate(made)]
    cut = cut_off(sizes, most)
    assert (cut is None) == (sum(each.bytes for each in sizes) <= most)
    if cut is not None:
        assert sum(each.bytes for each in sizes if each.first >= cut) <= most


def test_a_mark_is_read_back_and_nonsense_is_none() -> None:
    assert Mark.parse("12-3-4-abc") == Mark(12, 3, 4, "abc")
    for text in ("", "1", "1-2-3-", "a-b-c-d", "1-2-3", "²-1-1-a", "9" * 30 + "-1-1-a"):
        assert Mark.parse(text) is None
