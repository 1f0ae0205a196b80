"""`heroctl cluster settings`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

PATH = "/v1/cluster/settings"
USUAL = {"placement": "binpack", "preemption": True, "auto_rebalance": False, "index": 7}


def test_they_are_shown(heroctl_here: Run, api: FakeApi) -> None:
    api.act("GET", PATH, Reply(200, USUAL, 7))
    result = heroctl_here("cluster", "settings", "get")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["placement", "binpack"],
        ["preemption", "on"],
        ["auto_rebalance", "off"],
    ]


def test_some_are_set(heroctl_here: Run, api: FakeApi) -> None:
    api.act("PUT", PATH, Reply(200, {**USUAL, "placement": "spread", "preemption": False}, 8))
    said = heroctl_here("cluster", "settings", "set", "placement=spread", "preemption=off", "--check-index", "7")
    assert said == (0, "", "set: placement=spread, preemption=off\n")
    asked = api.requests[0]
    assert (asked.json(), asked.query) == ({"placement": "spread", "preemption": False}, {"check_index": "7"})


@pytest.mark.parametrize("word", ["placement", "=spread"])
def test_what_is_no_pair_is_asked_of_nobody(heroctl_here: Run, api: FakeApi, word: str) -> None:
    result = heroctl_here("cluster", "settings", "set", word)
    assert (result.code, api.requests) == (1, [])
    assert "heroctl cluster settings get" in result.err


def test_a_refusal_is_told(heroctl_here: Run, api: FakeApi) -> None:
    api.act("PUT", PATH, refusal(409, "settings_changed", "the settings changed at index 9, not 7"))
    result = heroctl_here("cluster", "settings", "set", "preemption=on", "--check-index", "7")
    assert (result.code, "changed at index 9" in result.err) == (1, True)
