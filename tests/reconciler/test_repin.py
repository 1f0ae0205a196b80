"""What the coordinator makes of secrets: a version when they change, once; and who waits for them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from eventstore.log import Append
from heroctl.domain.events import (
    AllocPlaced,
    DeploymentFinished,
    Event,
    JobFailed,
    JobRepinned,
    JobReverted,
    SecretWritten,
)
from heroctl.domain.intents import deployments, jobs, secrets
from heroctl.domain.intents.secrets import secret_stream
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import job_status
from reconciler.planner.check import BrokenPlanError, Ledger, check
from reconciler.planner.dryrun import dry_run, overlay
from reconciler.planner.explain import explain
from reconciler.planner.place import Fleet
from tests.domain.worlds import spec
from tests.reconciler.batches import Batches
from tests.reconciler.cluster import Cluster
from tests.reconciler.rig import Rig
from tests.reconciler.rig import run as tell

DB: Final[dict[str, Any]] = {"env": {"DB": "${secret.db}"}}


class Shop(Cluster):
    """A cluster whose containers behave by which version of the secret `db` they were given: `2` for the second."""

    def __init__(self, *written: str, **fields: Any) -> None:  # noqa: ANN401 - fields of a task
        super().__init__()
        for name in ("n1", "n2"):
            self.join(name, drivers=("process", "docker"))
        for name in written:
            self.write_secret(name)
        self.run(**{"count": 2, **DB, **fields})
        self.settle()

    @property
    def job(self) -> Job:
        found = self.state.job("default", "web")
        assert found is not None
        return found

    @property
    def deployment(self) -> Deployment:
        return self.state.deployments[self.job.deployment]

    @property
    def given(self) -> list[int]:
        """Which version of the secret each replica has that fills a slot."""
        return [int(self._args(alloc)) for alloc in self.live("web")]

    def told(self, *kinds: type[Event]) -> list[Event]:
        return [record.event for record in self.records if isinstance(record.event, kinds)]

    def _args(self, alloc: Alloc) -> str:
        versions = (version.task(alloc.task) for version in self.job.versions)
        return next(str(dict(task.pins).get("db")) for task in versions if task and task.content == alloc.content)


# ── a change ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_secret_rolls_once_and_nothing_more_is_decided() -> None:
    shop = Shop("db")
    assert shop.given == [1, 1]
    shop.write_secret("db")
    shop.settle()
    assert (shop.given, shop.job.current.version) == ([2, 2], 2)
    [made] = shop.told(JobRepinned)
    assert isinstance(made, JobRepinned)
    assert (made.version, made.secrets) == (2, ("db",))
    assert (shop.deployment.kind, shop.deployment.status) == ("secret", "successful")
    shop.memo.looks.clear()
    assert shop.look().pieces == ()


def test_it_stands_on_the_job_and_on_the_secrets_that_it_was_decided_by() -> None:
    shop = Shop("db")
    shop.write_secret("db")
    [piece] = shop.look().pieces
    assert piece.moves == ("job:default/web",)
    assert secret_stream("default", "db") in piece.expects


def test_another_write_at_the_same_moment_is_not_lost() -> None:
    """It comes between the decision and its append: taken for older than the version, nobody would ever have it."""

    async def story(rig: Rig) -> None:
        async def write(number: int) -> None:
            written = SecretWritten("default", "db", number, f"row-{number}")
            await rig.do(secrets.write_secret(rig.state, written))

        async def meddle(append: Append) -> None:
            if any(isinstance(event, JobRepinned) for event in append.events):
                rig.log.before = None
                await write(3)

        await rig.join("n1")
        await write(1)
        await rig.submit(**DB)
        rig.start("r1")
        await rig.until(lambda: [alloc.health for alloc in rig.live()] == ["healthy"])
        rig.log.before = meddle
        await write(2)
        await rig.until(
            lambda: [dict(task.pins) for job in rig.state.jobs.values() for task in job.current.tasks] == [{"db": 3}]
        )
        assert [event.version for event in await rig.told() if isinstance(event, JobRepinned)] == [2]

    tell(story)


def test_a_bad_secret_goes_back_and_is_not_tried_again_until_it_changes() -> None:
    shop = Shop("db")
    shop.behaviour["2"] = "fails"
    shop.write_secret("db")
    shop.settle()
    assert (shop.given, shop.deployment.kind) == ([1, 1], "revert")
    assert [type(event) for event in shop.told(JobRepinned, JobReverted, JobFailed)] == [
        JobRepinned,
        JobReverted,
        JobFailed,
    ]
    shop.wait(3_600_000)
    shop.settle()
    assert shop.given == [1, 1]
    shop.write_secret("db")
    shop.settle()
    assert (shop.given, shop.deployment.status) == ([3, 3], "successful")


def test_what_somebody_ends_is_ended_before_a_secret_is_taken() -> None:
    """Or their word would be lost with the deployment that it was about."""
    shop = Shop("db")
    shop.run(args="v2", count=2, **DB)
    shop.decide()
    shop.do(deployments.fail(shop.deployment, "no good"))
    shop.write_secret("db")
    first = shop.look().pieces[0].events
    assert [type(event) for event in first] == [DeploymentFinished, JobReverted]


def test_a_paused_deployment_stays_as_it_is() -> None:
    shop = Shop("db")
    shop.run(args="v2", count=2, **DB)
    shop.decide()
    shop.do(deployments.pause(shop.deployment))
    shop.write_secret("db")
    shop.settle()
    assert shop.told(JobRepinned) == []
    assert shop.deployment.status == "paused"
    shop.do(deployments.resume(shop.deployment))
    shop.settle()
    assert (shop.given, shop.job.current.version) == ([2, 2], 3)


def test_the_password_of_a_registry_disturbs_nobody() -> None:
    """Least of all a trial that somebody watches."""
    shop = Shop("db", "registry")
    canary = {"strategy": "canary", "canary": {"count": 1, "steps": [10, 50]}}
    pulled: dict[str, Any] = {"driver": "docker", "image": "shop:2", "command": [], "image_auth": "${secret.registry}"}
    shop.run(args="v2", count=2, update=canary, **pulled, **DB)
    shop.settle()
    shop.do(deployments.promote(shop.deployment, step=True))
    shop.settle()
    before = {alloc.id for alloc in shop.live("web")}
    assert (shop.deployment.status, shop.deployment.step) == ("awaiting_promotion", 1)
    shop.write_secret("registry")
    shop.settle()
    assert shop.told(JobRepinned) == []
    assert {alloc.id for alloc in shop.live("web")} == before
    assert (shop.deployment.status, shop.deployment.step) == ("awaiting_promotion", 1)


@pytest.mark.parametrize("end", [jobs.stop_job, jobs.delete_job])
def test_what_nobody_wants_gets_no_version(end: Any) -> None:  # noqa: ANN401 - either intent
    shop = Shop("db")
    shop.do(end(shop.state, "default", "web"))
    shop.write_secret("db")
    shop.settle()
    assert shop.told(JobRepinned) == []


def test_who_uses_other_secrets_is_not_even_looked_at() -> None:
    shop = Shop("db")
    before = shop.memo.looks[shop.job.uid]
    shop.write_secret("other")
    shop.decide()
    assert shop.memo.looks[shop.job.uid] is before


# ── what is not there ────────────────────────────────────────────────────────────────────────────────────────────────


def words(shop: Shop) -> list[str]:
    return [slot.words for slot in explain(shop.state, shop.job, shop.clock, Fleet()).slots]


def test_a_job_waits_for_a_secret_and_starts_with_it() -> None:
    shop = Shop(count=1)
    assert (shop.live("web"), job_status(shop.state, shop.job)) == ([], "blocked")
    assert list(shop.job.blocked) == ["secret db does not exist"]
    assert words(shop) == ["main[0]: secret db does not exist"]
    shop.write_secret("db")
    shop.settle()
    assert (shop.given, list(shop.job.blocked)) == ([1], [])


def test_it_starts_even_after_its_first_deployment_was_given_up() -> None:
    shop = Shop(count=1)
    shop.wait(3_600_000)
    shop.settle()
    assert shop.deployment.status == "failed"
    shop.write_secret("db")
    shop.settle()
    assert (shop.given, shop.deployment.status) == ([1], "successful")


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_an_update_that_lacks_one_stops_nothing(order: str) -> None:
    shop = Shop("db")
    before = {alloc.id for alloc in shop.live("web")}
    shop.run(args="v2", count=2, env={"DB": "${secret.db}", "KEY": "${secret.key}"}, update={"order": order})
    shop.decide()
    assert {alloc.id for alloc in shop.live("web")} == before
    assert shop.job.blocked == ("secret key does not exist",)
    assert "stays meanwhile" in words(shop)[0]
    shop.write_secret("key")
    shop.settle()
    assert before.isdisjoint(alloc.id for alloc in shop.live("web"))
    assert shop.deployment.status == "successful"


def test_each_task_waits_for_its_own() -> None:
    cluster = Cluster()
    cluster.join("n1")
    given = spec(args=["v1"])
    web = replace(given.tasks[0], name="web")
    late = replace(given.tasks[0], name="late", env={"K": "${secret.key}"})
    cluster.do(jobs.submit_job(cluster.state, replace(given, tasks=(web, late)), "tester"))
    cluster.settle()
    job = cluster.state.job("default", "web")
    assert job is not None
    assert [alloc.task for alloc in cluster.live("web")] == ["web"]
    assert job.blocked == ("late: secret key does not exist",)


def test_what_runs_outlives_its_secret_and_is_not_begun_anew_without_it() -> None:
    shop = Shop("db", on_secret_change="none")
    shop.delete_secret("db")
    shop.settle()
    assert (shop.given, shop.job.blocked) == ([1, 1], ())
    shop.fail(shop.live("web")[0])
    shop.settle()
    assert (shop.given, shop.job.blocked) == ([1], ("secret db was deleted",))
    shop.write_secret("db")
    shop.settle()
    said = "version 1 of secret db was deleted: a restart of the job takes version 2"
    assert (shop.given, shop.job.blocked) == ([1], (said,))
    shop.do(jobs.restart_job(shop.state, shop.job, "tester"))
    shop.settle()
    assert (shop.given, shop.job.blocked) == ([2, 2], ())


def test_who_could_not_begin_anew_stays_on_a_drained_node() -> None:
    shop = Shop("db", on_secret_change="none")
    shop.delete_secret("db")
    [leaves, _] = sorted(shop.live("web"), key=lambda alloc: alloc.slot)
    shop.drain(shop.state.nodes[leaves.node].name)
    shop.settle()
    assert (shop.given, list(shop.job.blocked)) == ([1, 1], ["to move: secret db was deleted"])
    told = "is to leave its node, and goes on meanwhile: secret db was deleted"
    assert [told in said for said in words(shop)] == [True, False]


def test_a_launch_waits_for_a_secret_too() -> None:
    there = Batches()
    there.join("n1")
    there.batch(env={"DB": "${secret.db}"})
    there.settle()
    assert (there.live("import"), there.job().blocked) == ([], ("secret db does not exist",))
    [slot] = explain(there.state, there.job(), there.clock, Fleet()).slots
    assert (slot.standing, slot.words) == ("secret", "main[0]: secret db does not exist")
    there.write_secret("db")
    there.settle()
    assert [launch.status for launch in there.launches()] == ["complete"]
    there.write_secret("db")
    there.settle()
    assert (there.job().current.version, len(there.launches())) == (3, 1), "a secret launches nothing"


# ── before it is done ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_says_what_would_wait() -> None:
    shop = Shop("db")
    wanted = spec(job="web", args=["v2"], count=2, env={"KEY": "${secret.key}"})
    change = jobs.submit_job(shop.state, wanted, "tester")
    before = msgspec.msgpack.encode(shop.state)
    outlook = dry_run(overlay(shop.state, shop.job.uid), "default", "web", change.events, shop.clock)
    assert outlook.blocked == ("secret key does not exist",)
    assert msgspec.msgpack.encode(shop.state) == before


def test_the_linter_lets_no_other_version_pass_for_one_with_other_secrets() -> None:
    shop = Shop("db")
    shop.write_secret("db")
    [piece] = shop.look().pieces
    [event] = piece.events
    assert isinstance(event, JobRepinned)
    check(shop.state, shop.job, [event], Ledger())
    more = tuple(replace(task, count=9) for task in event.tasks)
    placed = next(event for event in shop.told(AllocPlaced))
    for wrong in (
        [replace(event, version=5)],
        [replace(event, tasks=more)],
        [replace(event, tasks=shop.job.current.tasks)],
        [replace(event), event],
        [event, placed],
    ):
        with pytest.raises(BrokenPlanError):
            check(shop.state, shop.job, wrong, Ledger())
    shop.do(jobs.stop_job(shop.state, "default", "web"))
    with pytest.raises(BrokenPlanError, match="no other secrets"):
        check(shop.state, shop.job, [event], Ledger())
