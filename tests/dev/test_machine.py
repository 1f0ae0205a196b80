"""Nodes share one machine: nothing is given twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from heroctl.dev import machine
from heroctl.domain.spec import DYNAMIC_PORTS


@given(st.integers(1, 16), st.floats(0.5, 256), st.integers(1 << 28, 1 << 42), st.integers(20_000, 32_000))
def test_shares_fit_the_machine_and_no_port_is_given_twice(count: int, cpu: float, memory: int, port: int) -> None:
    shares = machine.shares(count, cpu, memory, port)
    assert len(shares) == count
    assert sum(share.memory for share in shares) <= memory
    assert abs(sum(share.cpu for share in shares) - cpu) <= 0.005 * count + 1e-9
    for one, other in itertools.pairwise(shares):
        assert one.ports[0] < one.ports[1] < other.ports[0]
    for first, last in (share.ports for share in shares):
        assert first in DYNAMIC_PORTS
        assert last in DYNAMIC_PORTS
        assert last - first == 499


def test_this_machine_has_something() -> None:
    assert machine.cores() > 0
    assert machine.memory() > 1 << 27
