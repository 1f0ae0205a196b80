"""The table of phases, over all pairs."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain.lifecycle import RANK, TERMINAL, TRANSITIONS, Phase, supersedes

PHASES = st.sampled_from(sorted(RANK))


def test_phases_only_rise() -> None:
    """Within an attempt, every allowed step goes up, and nothing follows the end."""
    for before, after in product(RANK, RANK):
        allowed = after in TRANSITIONS[before]
        assert allowed == (before not in TERMINAL and RANK[after] > RANK[before])


@given(st.lists(st.tuples(st.integers(1, 4), PHASES), min_size=1, max_size=8), st.randoms())
def test_order_of_arrival_does_not_matter(history: list[tuple[int, Phase]], random: object) -> None:
    """Reports of one life, shuffled and doubled, end where the greatest of them is."""
    life = sorted(set(history), key=lambda seen: (seen[0], RANK[seen[1]]))
    ends = [position for position, seen in enumerate(life) if seen[1] in TERMINAL]
    life = life[: ends[0] + 1] if ends else life
    shuffled = [*life, *life]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    now = (0, "pending")
    for seen in shuffled:
        if supersedes(*seen, *now):  # type: ignore[arg-type]  # plain tuples here
            now = seen
    assert now == life[-1]
