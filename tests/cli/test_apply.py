"""`apply`: files become jobs, and what the same source applied before and has no file any more goes, if one says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal

ZERO = {"place": 0, "stop": 0, "replace": 0, "in_place": 0}
SOURCE = 'meta["heroctl.source"]'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two jobs, of which the cluster knows one."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "jobs"
    (made / "deep").mkdir(parents=True)
    task = "tasks: [{name: web, image: shop:1, health: {tcp: http}, ports: {http: 80}}]\n"
    (made / "a.yaml").write_text(f"job: a\nmeta: {{team: shop}}\n{task}")
    (made / "deep" / "b.yaml").write_text(f"name: b\nnamespace: other\n{task}")
    return made


def planned(request: Request, *, known: str = "a", changed: bool = True, rows: list[Any] | None = None) -> Reply:
    """Plan as a cluster that knows one of the jobs."""
    spec = request.json()
    is_known = spec["job"] == known
    body = {
        **ZERO,
        "place": 0 if is_known else 1,
        "name": spec["job"],
        "namespace": spec["namespace"],
        "version": 2 if is_known else 1,
        "changed": changed,
        "diff": rows or [],
        "tasks": {},
        "check_index": 17 if is_known else 0,
    }
    return Reply(200, body, 20)


def submitted(request: Request) -> Reply:
    """Take a job, all of which is healthy at once."""
    spec = request.json()
    return Reply(201, {**samples.submitted(2), "name": spec["job"], "namespace": spec["namespace"]}, 42)


@pytest.fixture
def cluster(api: FakeApi) -> FakeApi:
    api.act("POST", "/v1/jobs/plan", planned)
    api.act("POST", "/v1/jobs", submitted)
    api.act("DELETE", "/v1/jobs/old", Reply(200, {"index": 60, "name": "old"}, 60))
    for name in "ab":
        api.page(f"/v1/jobs/{name}", samples.job(name, version=2), 50)
    api.page("/v1/allocations", [], 50)
    api.page("/v1/deployments/d0000001", samples.deployment("successful", version=2), 50)
    api.page("/v1/jobs", [samples.job("a"), samples.job("old", spec_index=9)], 50)
    return api


def sent(api: FakeApi, path: str = "/v1/jobs") -> list[dict[str, Any]]:
    return [request.json() for request in api.asked("POST", path)]


def test_what_files_say_is_planned_submitted_on_that_plan_and_waited_for(
    heroctl_here: Run, cluster: FakeApi, folder: Path
) -> None:
    result = heroctl_here("apply", "-f", str(folder), "--source", "git/shop")
    assert result.code == 0
    assert "1 job to make, 1 to change, 0 as they are\n" in result.out
    assert [(spec["job"], spec["namespace"], spec["meta"]) for spec in sent(cluster)] == [
        ("a", "default", {"team": "shop", "heroctl.source": "git/shop"}),
        ("b", "other", {"heroctl.source": "git/shop"}),
    ]
    assert [request.query for request in cluster.asked("POST", "/v1/jobs")] == [
        {"check_index": "17"},
        {"check_index": "0"},
    ]
    assert "a version 2 is healthy" in result.err
    assert "b version 2 is healthy" in result.err
    assert cluster.asked("DELETE", "/v1/jobs/old") == []


def test_without_a_source_nothing_is_kept_of_where_it_came_from(
    heroctl_here: Run, cluster: FakeApi, folder: Path
) -> None:
    assert heroctl_here("apply", "-f", str(folder / "a.yaml"), "--detach").code == 0
    [spec] = sent(cluster)
    assert spec["meta"] == {"team": "shop"}
    assert cluster.asked("GET", "/v1/jobs/a") == []


def test_a_dry_run_shows_all_and_does_nothing(heroctl_here: Run, cluster: FakeApi, folder: Path) -> None:
    words = ("apply", "-f", str(folder), "--source", "shop", "--prune", "--dry-run")
    result = heroctl_here(*words)
    assert result.code == 0
    assert "- old: to be deleted; shop applied it, and has no file for it\n" in result.out
    assert {request.method for request in cluster.requests if request.path != "/v1/jobs/plan"} == {"GET"}
    [listed] = cluster.asked("GET", "/v1/jobs")
    assert listed.query == {"meta": "heroctl.source=shop"}
    assert heroctl_here(*words, "--detailed-exitcode").code == 2
    rows = json.loads(heroctl_here(*words, "-o", "json").out)
    assert [(row["name"], row["action"]) for row in rows] == [("a", "change"), ("b", "create"), ("old", "delete")]


def test_pruning_comes_last_and_rests_on_what_was_shown(heroctl_here: Run, cluster: FakeApi, folder: Path) -> None:
    cluster.page("/v1/jobs", [samples.job("a"), samples.job("b", namespace="other"), samples.job("old", spec_index=9)])
    result = heroctl_here("apply", "-f", str(folder), "--source", "shop", "--prune", "--yes")
    assert (result.code, result.err.endswith("old is deleted; its replicas stop\n")) == (0, True)
    [delete] = cluster.asked("DELETE", "/v1/jobs/old")
    assert delete.query == {"namespace": "default", "check_index": "9"}
    assert cluster.requests[-1].method == "DELETE"


def test_nothing_is_pruned_where_a_job_did_not_become_healthy(
    heroctl_here: Run, cluster: FakeApi, folder: Path
) -> None:
    cluster.page("/v1/deployments/d0000001", samples.deployment("failed", reason="replica_failed"), 50)
    result = heroctl_here("apply", "-f", str(folder), "--source", "shop", "--prune", "--yes")
    assert (result.code, cluster.asked("DELETE", "/v1/jobs/old")) == (2, [])
    assert "1 job not deleted, because not all went well" in result.err
    assert result.err.count("error: ") == 2  # each is told


def test_where_nobody_can_be_asked_nothing_is_deleted_unless_said(
    heroctl_here: Run, cluster: FakeApi, folder: Path
) -> None:
    result = heroctl_here("apply", "-f", str(folder), "--source", "shop", "--prune")
    assert (result.code, sent(cluster)) == (1, [])
    assert "1 job would be deleted: old; nothing has been done" in result.err
    assert "--yes" in result.err


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", 1), ("yes\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_people_are_asked(heroctl_here: Run, cluster: FakeApi, folder: Path, answer: str, *, deleted: int) -> None:
    result = heroctl_here("apply", "-f", str(folder), "--source", "shop", "--prune", stdin=answer, typed=True)
    assert len(cluster.asked("DELETE", "/v1/jobs/old")) == deleted
    assert (result.code, len(sent(cluster))) == ((0, 2) if deleted else (1, 0))


def test_a_job_of_another_source_is_told(heroctl_here: Run, cluster: FakeApi, folder: Path) -> None:
    rows = [{"path": SOURCE, "kind": "changed", "from": "theirs", "to": "ours"}]
    cluster.act("POST", "/v1/jobs/plan", lambda request: planned(request, rows=rows))
    result = heroctl_here("apply", "-f", str(folder / "a.yaml"), "--source", "ours", "--dry-run")
    assert "warning: a was applied by source theirs, and is ours's from here on" in result.err


def test_what_is_so_already_is_left_alone(heroctl_here: Run, cluster: FakeApi, folder: Path) -> None:
    cluster.act("POST", "/v1/jobs/plan", lambda request: planned(request, changed=False))
    result = heroctl_here("apply", "-f", str(folder / "a.yaml"), "--source", "shop", "--detailed-exitcode")
    assert (result.code, sent(cluster)) == (0, [])
    assert result.out == "a: nothing to do, version 2 is this already\n0 jobs to make, 0 to change, 1 as they are\n"


def bad_spec(folder: Path) -> None:
    (folder / "bad.yaml").write_text("job: c\ntasks: [{name: web, imag: x}]\n")


def twice(folder: Path) -> None:
    (folder / "c.yaml").write_text((folder / "a.yaml").read_text())


def empty(folder: Path) -> None:
    for each in folder.rglob("*.yaml"):
        each.unlink()


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (bad_spec, (), "bad.yaml: tasks[0].imag: there is no field `imag`"),
        (twice, (), "are both job a in default"),
        (empty, ("--prune", "--source", "shop"), "holds no job specs"),
        (None, ("--prune",), "it needs --source"),
        (None, ("--source", "a b"), "--source 'a b'"),
        (None, ("-n", "mine"), "b.yaml is for namespace other, and you say mine"),
        (None, ("--timeout", "soon"), "--timeout: 'soon' is not a duration"),
    ],
)
def test_what_cannot_be_meant_stops_everything_before_anything_is_asked(
    heroctl_here: Run,
    cluster: FakeApi,
    folder: Path,
    spoil: Callable[[Path], None] | None,
    *,
    words: tuple[str, ...],
    said: str,
) -> None:
    if spoil is not None:
        spoil(folder)
    result = heroctl_here("apply", "-f", str(folder), *words)
    assert (result.code, result.out, cluster.requests) == (1, "", [])
    assert said in result.err
    assert "next: " in result.err


def test_a_refusal_on_the_way_says_what_was_done_before(heroctl_here: Run, cluster: FakeApi, folder: Path) -> None:
    def once(request: Request) -> Reply:
        if request.json()["job"] == "a":
            return submitted(request)
        return refusal(409, "index_conflict", "job 'b' is at spec_index 5, not 0")

    cluster.act("POST", "/v1/jobs", once)
    result = heroctl_here("apply", "-f", str(folder), "--source", "shop", "--prune", "--yes")
    assert (result.code, cluster.asked("DELETE", "/v1/jobs/old")) == (1, [])
    assert "b.yaml: job 'b' is at spec_index 5, not 0 (submitted before it: a)" in result.err
    assert "next: then run the same again: what is done stays done" in result.err
