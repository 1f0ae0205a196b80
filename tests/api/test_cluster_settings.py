"""The settings of the cluster over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.rig import Rig

PATH = "/v1/cluster/settings"
USUAL = {"placement": "binpack", "preemption": True, "auto_rebalance": False, "index": 0}


async def test_what_is_set_stays_and_the_rest_is_as_it_was(api: Rig) -> None:
    assert (await api.get(PATH)).body == USUAL
    done = await api.do("PUT", PATH, {"placement": "spread"})
    assert done.body == {**USUAL, "placement": "spread", "index": done.index}
    again = await api.do("PUT", PATH, {"preemption": False})
    assert (await api.get(PATH)).body == {**USUAL, "placement": "spread", "preemption": False, "index": again.index}
    assert again.index > done.index


async def test_what_is_so_already_is_no_event(api: Rig) -> None:
    done = await api.do("PUT", PATH, {"placement": "spread"})
    same = await api.do("PUT", PATH, {"placement": "spread", "preemption": True})
    assert (same.status, same.body) == (200, done.body)
    assert (await api.do("PUT", PATH, {})).body == done.body


@pytest.mark.parametrize(
    "body", [{"colour": "red"}, {"placement": "random"}, {"preemption": "yes"}, {"preemption": None}, [], "placement"]
)
async def test_what_there_is_not_is_refused(api: Rig, body: object) -> None:
    refused = await api.do("PUT", PATH, body)
    assert refused.status == 400
    assert (await api.get(PATH)).body == USUAL


async def test_a_guard_holds_where_somebody_else_was_first(api: Rig) -> None:
    assert (await api.do("PUT", f"{PATH}?check_index=5", {"preemption": False})).error == "settings_changed"
    first = await api.do("PUT", f"{PATH}?check_index=0", {"preemption": False})
    assert first.status == 200
    assert (await api.do("PUT", f"{PATH}?check_index=0", {"preemption": True})).error == "settings_changed"
    assert (await api.do("PUT", f"{PATH}?check_index={first.index}", {"preemption": True})).status == 200


async def test_a_long_poll_hears_of_a_change(api: Rig) -> None:
    before = await api.get(PATH)
    waiting = asyncio.create_task(api.get(f"{PATH}?index={before.index}&wait=30s"))
    await api.do("PUT", PATH, {"auto_rebalance": True})
    assert (await waiting).body["auto_rebalance"] is True
