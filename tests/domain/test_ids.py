"""Names that are derived."""

from __future__ import annotations

import re

from heroctl.domain.ids import allocation_id


def test_no_two_allocations_have_one_name() -> None:
    names = {allocation_id(log, uid, n) for log in ("abcd", "abce") for uid in (1, 11, 2) for n in range(1, 1_200)}
    assert len(names) == 2 * 3 * 1_199
    assert all(re.fullmatch("[a-z2-7]{16}", name) for name in names)


def test_an_allocation_has_one_name_for_ever() -> None:
    assert [allocation_id("abcd", 7, n) for n in (3, 4)] == ["rb4and4tplicqela", "7sltgwvk5wseu6vn"]
