"""What is told of use is cut into requests: all of it, in order, the node's own first, and none of them too large."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agents.parcels import LARGEST, parcels
from heroctl.domain.exposition import Family, Sample
from heroctl.domain.metrics import METRICS
from heroctl.domain.sampling import Measured, SamplesRequest, Scraped, Taken

ROOM = LARGEST + 10_000  # what stands around the parts


def measured(count: int) -> list[Measured]:
    """Measure a node, and so many allocations."""
    values = {metric.name: 123_456.789 for metric in METRICS}
    return [Measured(values), *(Measured(values, f"alloc{n:04}") for n in range(count))]


def said(n: int, size: int) -> Scraped:
    """Say so many bytes, about."""
    samples = [Sample("a", f'n="{place}",more="{"x" * 900}"', "1") for place in range(size // 930)]
    return Scraped(f"alloc{n:04}", up=True, families=[Family("a", "gauge", "", samples)])


def length(request: SamplesRequest) -> int:
    return len(msgspec.json.encode(request))


@given(st.lists(st.integers(0, 2_000), max_size=4), st.lists(st.sampled_from([0, 3_000, 200_000, 260_000]), max_size=8))
def test_all_of_it_is_sent_in_order_and_within_bounds(counts: list[int], sizes: list[int]) -> None:
    taken = [Taken(10.0 * n, measured(count)) for n, count in enumerate(counts)]
    scraped = [said(n, size) for n, size in enumerate(sizes)]
    made = parcels(7, taken, scraped)
    assert all(request.session == 7 and length(request) <= ROOM for request in made)
    assert [(one.age, each) for request in made for one in request.taken for each in one.samples] == [
        (one.age, each) for one in taken for each in one.samples
    ]
    assert [each for request in made for each in request.scraped] == scraped
    kinds = [bool(request.scraped) for request in made]
    assert kinds == sorted(kinds), "what was measured comes first"
    assert not [request for request in made if request.taken and request.scraped]


def test_what_is_usual_is_one_request() -> None:
    assert len(parcels(1, [Taken(0.0, measured(25))], [])) == 1
    assert parcels(1, [], []) == []
