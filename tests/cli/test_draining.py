"""`heroctl node drain`, `undrain`, `release`, `cluster brake`, `job rebalance`: what they send, wait for and say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heroctl.cli import draining, output
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal

BEGAN = "2026-03-01T12:00:00.000Z"
DRAIN: dict[str, Any] = {
    "deadline": "2026-03-01T13:00:00.000Z",
    "remaining": 2,
    "started_at": BEGAN,
    "moved": 0,
    "stopped": 0,
    "ignore_system": False,
}
WEB: dict[str, Any] = {
    "job": "web",
    "namespace": "default",
    "task": "app",
    "replicas": 3,
    "nodes": [{"node": "n2", "replicas": 1}, {"node": "n3", "replicas": 2}],
    "stays": 0,
    "why": "",
    "reasons": [],
}
STUCK: dict[str, Any] = {**WEB, "job": "db", "replicas": 1, "nodes": [], "stays": 1, "why": "no_room"}


def _asked(*jobs: dict[str, Any], dry_run: bool = False, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    replicas, stays = sum(job["replicas"] for job in jobs), sum(job["stays"] for job in jobs)
    return {
        "id": "n0000001",
        "name": "node-1",
        "index": 50,
        "dry_run": dry_run,
        "drain": None if dry_run else DRAIN,
        "replicas": replicas,
        "moves": replicas - stays,
        "stays": stays,
        "jobs": list(jobs),
        "warnings": [],
        **more,
    }


def _drained(moved: int = 3, stopped: int = 0, began: str = BEGAN) -> dict[str, Any]:
    return {"started_at": began, "finished_at": "2026-03-01T12:05:00.000Z", "moved": moved, "stopped": stopped}


def _empties(api: FakeApi, *, end: dict[str, Any] | None, **more: Any) -> None:  # noqa: ANN401 - any JSON
    """Let a node empty itself as soon as it is asked to: at the second look it is."""

    def begin(_: Request) -> Reply:
        api.page("/v1/nodes/n0000001", samples.node(status="draining", eligibility="ineligible", drain=DRAIN), 50)
        api.page("/v1/nodes/n0000001", samples.node(eligibility="ineligible", drained=end, **more), 51)
        return Reply(200, _asked(WEB), 50)

    api.act("POST", "/v1/nodes/n1/drain", begin)


def test_it_says_what_goes_where_and_waits_until_the_node_is_empty(heroctl_here: Run, api: FakeApi) -> None:
    _empties(api, end=_drained())
    result = heroctl_here("node", "drain", "n1")
    assert result.code == 0
    assert result.out.splitlines()[1:] == ["web\tdefault\tapp\t3\tn2, n3 (2)\t\t"]
    assert result.err == (
        "node node-1 is empty: 3 allocations left in time\n"
        "it gets nothing new until: heroctl node eligibility node-1 on\n"
    )
    assert api.asked("POST", "/v1/nodes/n1/drain")[0].json() == {"ignore_system": False, "dry_run": False}


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("--deadline", "5m"), {"deadline_seconds": 300}),
        (("--deadline", "0s"), {"deadline_seconds": 0}),
        (("--deadline", "none"), {"deadline_seconds": None}),
        (("--ignore-system",), {"ignore_system": True}),
    ],
)
def test_what_is_asked_for_is_sent(heroctl_here: Run, api: FakeApi, words: tuple[str, ...], sent: Any) -> None:  # noqa: ANN401 - any JSON
    api.act("POST", "/v1/nodes/n1/drain", Reply(200, _asked(WEB), 50))
    assert heroctl_here("node", "drain", "n1", "-d", *words).code == 0
    assert api.requests[0].json() == {"ignore_system": False, "dry_run": False, **sent}
    assert len(api.requests) == 1, "it does not wait"


def test_a_deadline_that_is_none_is_refused_before_anything_is_sent(heroctl_here: Run, api: FakeApi) -> None:
    result = heroctl_here("node", "drain", "n1", "--deadline", "soon")
    assert (result.code, api.requests) == (1, [])
    assert "give one such as 90s, 5m or 1h; or none" in result.err


def test_it_tells_of_progress_and_of_what_was_forced(heroctl_here: Run, api: FakeApi) -> None:
    def begin(_: Request) -> Reply:
        half = {**DRAIN, "remaining": 1, "moved": 1}
        api.page("/v1/nodes/n0000001", samples.node(status="draining", drain=half), 50)
        return Reply(200, _asked(WEB), 50)

    api.act("POST", "/v1/nodes/n1/drain", begin)
    told: list[str] = []

    def note(text: str) -> None:
        told.append(text)
        if "1 left" in text:
            api.page("/v1/nodes/n0000001", samples.node(drained=_drained(1, 1)), 51)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "note", note)
        assert heroctl_here("node", "drain", "n1").code == 0
    assert [text[9:] for text in told[:1]] == ["1 left, 1 gone"]
    assert told[1] == "node node-1 is empty: 1 allocation left in time, 1 had to be stopped at the deadline"


def test_a_dry_run_changes_nothing_and_ends_with_4_where_something_fits_nowhere(
    heroctl_here: Run, api: FakeApi
) -> None:
    warning = {"path": "", "code": "no_room", "message": "1 replica fits nowhere else: such stay until the deadline"}
    api.act("POST", "/v1/nodes/n1/drain", Reply(200, _asked(WEB, STUCK, dry_run=True, warnings=[warning]), 50))
    result = heroctl_here("node", "drain", "n1", "--dry-run")
    assert result.code == 4
    assert "db\tdefault\tapp\t1\t\t1\tno room" in result.out
    assert "1 replica fits nowhere else" in result.err
    assert result.err.endswith("3 of 4 replicas would move; nothing was changed\n")
    api.act("POST", "/v1/nodes/n1/drain", Reply(200, _asked(WEB, dry_run=True), 50))
    assert heroctl_here("node", "drain", "n1", "--dry-run").code == 0


def test_who_leaves_is_told_that_the_drain_goes_on(
    heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(draining, "_follow", leave)
    api.act("POST", "/v1/nodes/n1/drain", Reply(200, _asked(WEB), 50))
    result = heroctl_here("node", "drain", "n1")
    assert result.code == 130
    assert "the drain goes on without us: heroctl node status node-1 --watch" in result.err
    assert "heroctl node undrain node-1" in result.err
    assert not api.asked("DELETE", "/v1/nodes/n1/drain")


@pytest.mark.parametrize("end", [None, _drained(began="2026-02-01T12:00:00.000Z")])
def test_a_drain_that_somebody_cancelled_has_failed(heroctl_here: Run, api: FakeApi, end: dict[str, Any]) -> None:
    _empties(api, end=end)
    result = heroctl_here("node", "drain", "n1")
    assert (result.code, "the drain of node node-1 was cancelled" in result.err) == (2, True)


def test_a_node_that_is_removed_meanwhile_has_failed_to_drain(heroctl_here: Run, api: FakeApi) -> None:
    def begin(_: Request) -> Reply:
        api.answer("/v1/nodes/n0000001", refusal(404, "node_not_found", "node 'n0000001' does not exist"))
        return Reply(200, _asked(WEB), 50)

    api.act("POST", "/v1/nodes/n1/drain", begin)
    result = heroctl_here("node", "drain", "n1")
    assert (result.code, "node node-1 was removed while it was drained" in result.err) == (2, True)


@pytest.mark.parametrize("words", [("node", "undrain", "n1"), ("node", "drain", "n1", "--cancel")])
def test_undrain(heroctl_here: Run, api: FakeApi, words: tuple[str, ...]) -> None:
    api.page("/v1/nodes/n1", samples.node(drain=DRAIN))
    api.act("DELETE", "/v1/nodes/n1/drain", Reply(200, {"index": 9}, 9))
    assert heroctl_here(*words) == (0, "", "node n1 is drained no more, and gets new allocations again\n")
    assert api.asked("DELETE", "/v1/nodes/n1/drain")[0].query == {}


def test_undrain_may_keep_it_ineligible_and_says_where_there_is_nothing_to_end(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/nodes/n1", samples.node(drain=DRAIN))
    api.act("DELETE", "/v1/nodes/n1/drain", Reply(200, {"index": 9}, 9))
    result = heroctl_here("node", "undrain", "n1", "--keep-ineligible")
    assert result.err == "node n1 is drained no more, and gets no new allocations\n"
    assert api.asked("DELETE", "/v1/nodes/n1/drain")[0].query == {"eligible": "false"}
    api.page("/v1/nodes/n1", samples.node(eligibility="ineligible"))
    said = "node n1 is not being drained; to use it again: heroctl node eligibility n1 on\n"
    assert heroctl_here("node", "undrain", "n1").err == said


@pytest.mark.parametrize(
    ("words", "sent", "said"),
    [((), {}, "all unknown containers"), (("c1", "c2"), {"containers": ["c1", "c2"]}, "2 unknown containers")],
)
def test_release(heroctl_here: Run, api: FakeApi, words: tuple[str, ...], sent: Any, said: str) -> None:  # noqa: ANN401 - any JSON
    api.act("POST", "/v1/nodes/n1/unknown/release", Reply(200, {"index": 9}, 9))
    result = heroctl_here("node", "release", "n1", *words)
    assert result.err == f"node n1 stops {said}: heroctl node status n1 --watch\n"
    assert api.requests[0].json() == sent


def test_purge_is_another_word_for_remove(heroctl_here: Run, api: FakeApi) -> None:
    api.act("DELETE", "/v1/nodes/n1", Reply(200, {"index": 9}, 9))
    assert heroctl_here("node", "purge", "n1") == (0, "", "node n1 is removed\n")


@pytest.mark.parametrize(("want", "said"), [("on", "is not replaced until it is let go"), ("off", "is replaced again")])
def test_brake(heroctl_here: Run, api: FakeApi, want: str, said: str) -> None:
    api.act("POST", "/v1/cluster/brake", Reply(200, {"on": want == "on", "index": 9}, 9))
    result = heroctl_here("cluster", "brake", want)
    assert (result.code, said in result.err) == (0, True)
    assert api.requests[0].json() == {"on": want == "on"}


def test_rebalance(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/jobs/web/rebalance", Reply(200, {"index": 9, "name": "web"}, 9))
    result = heroctl_here("job", "rebalance", "web", "-n", "shop")
    assert (result.code, "web is balanced" in result.err) == (0, True)
    assert api.requests[0].query == {"namespace": "shop"}


def test_the_answer_is_printed_as_json(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/nodes/n1/drain", Reply(200, _asked(WEB, dry_run=True), 50))
    assert json.loads(heroctl_here("node", "drain", "n1", "--dry-run", "-o", "json").out)["moves"] == 3


def test_the_page_of_a_node_tells_of_its_drain_and_of_unknown_containers(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/nodes/n1", samples.node(drain=DRAIN, unknown_containers=["c1", "c2"], released_containers=["c2"]))
    page = heroctl_here("node", "status", "n1").out
    assert "Drain\tuntil 2026-03-01T13:00:00Z, 2 left\n" in page
    assert "Unknown container\tc1\n" in page
    assert "Unknown container\tc2 (released: it is being stopped)\n" in page
    api.page("/v1/nodes/n1", samples.node(drained=_drained(4, 1)))
    ended = "Drain\tended 2026-03-01T12:05:00Z, 4 left in time, 1 stopped at the deadline\n"
    assert ended in heroctl_here("node", "status", "n1").out
