"""`heroctl cluster peers` and `heroctl cluster transfer`."""

from __future__ import annotations

from typing import Any

from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

PEERS, TRANSFER = "/v1/cluster/peers", "/v1/raft/transfer-leadership"
DONE = {"coordinator": "reconciler-2", "previous": "reconciler-1", "epoch": 8, "index": 40}


def peer(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A process, as the API tells of it."""
    usual = {"role": name.partition("-")[0], "address": "10.0.0.1", "version": "1.2", "level": 1, "outdated": False}
    more = {"coordinator": False, "index": 40, "lag": 0, "last_seen_s": 1, "clock_skew_ms": 3, **more}
    return {"id": name, **usual, **more}


def test_peers_are_listed(heroctl_here: Run, api: FakeApi) -> None:
    processes = [peer("api-1", lag=3, outdated=True), peer("reconciler-1", coordinator=True, last_seen_s=4)]
    api.page(PEERS, processes)
    lines = [line.split("\t") for line in heroctl_here("cluster", "peers").out.splitlines()]
    assert lines == [
        ["ID", "ROLE", "ADDRESS", "VERSION", "COORDINATES", "INDEX", "LAG", "SEEN"],
        ["api-1", "api", "10.0.0.1", "1.2 (outdated)", "", "40", "3", "1s ago"],
        ["reconciler-1", "reconciler", "10.0.0.1", "1.2", "yes", "40", "0", "4s ago"],
    ]
    assert heroctl_here("cluster", "peers", "-o", "name").out == "api-1\nreconciler-1\n"


def test_the_cluster_shows_how_it_is_under_its_noun_too(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/cluster/status", {"health": "ok", "coordinator": "reconciler-1"})
    assert heroctl_here("cluster", "status") == heroctl_here("status")


def test_coordination_is_handed_over(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", TRANSFER, Reply(200, DONE, 40))
    assert heroctl_here("cluster", "transfer") == (
        0,
        "",
        "reconciler-2 coordinates now (epoch 8), after reconciler-1\n",
    )
    assert heroctl_here("cluster", "transfer", "reconciler-2", "-o", "name").out == "reconciler-2\n"
    assert [request.json() for request in api.requests] == [{}, {"target": "reconciler-2"}]


def test_who_coordinates_already_is_told(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", TRANSFER, Reply(200, {**DONE, "previous": "reconciler-2"}, 40))
    assert heroctl_here("cluster", "transfer", "reconciler-2").err == "reconciler-2 coordinates already\n"


def test_without_a_successor_it_says_what_to_look_at(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", TRANSFER, refusal(409, "no_successor", "no other reconciler lives"))
    result = heroctl_here("cluster", "transfer")
    assert (result.code, result.out) == (1, "")
    assert "no other reconciler lives" in result.err
    assert "heroctl cluster peers" in result.err
