"""Which versions of secrets a version of a job is made with, and what follows when they change."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heroctl.domain import assign
from heroctl.domain import events as e
from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict
from heroctl.domain.events import TaskSummary
from heroctl.domain.intents import jobs, secrets
from heroctl.domain.intents.change import NOTHING
from heroctl.domain.intents.secrets import secret_stream
from heroctl.domain.pinned import pins_of, users
from heroctl.domain.pinning import lacking, missing, repinned
from heroctl.domain.records import Job
from tests.domain.worlds import World, spec

USES: Final = {"env": {"DB": "${secret.db}"}}


def write(world: World, *names: str) -> None:
    """Write another version of secrets."""
    for name in names:
        number = secrets.next_version(world.state, "default", name)
        event = e.SecretWritten("default", name, number, f"row-{name}-{number}")
        world.do(secrets.write_secret(world.state, event))


def delete(world: World, name: str = "db") -> None:
    world.do(secrets.delete_secret(world.state, "default", name, force=True))


def submit(world: World, images: dict[str, str] | None = None, **fields: Any) -> Job:  # noqa: ANN401 - fields of a task
    """Submit a job of one task, a container."""
    task = {"driver": "docker", "image": "shop:1", "command": (), **fields}
    world.do(jobs.submit_job(world.state, spec(**task), "tester", None, images or {}))
    return job(world)


def job(world: World) -> Job:
    found = world.state.job("default", "web")
    assert found is not None
    return found


def task(world: World) -> TaskSummary:
    return job(world).current.tasks[0]


def repin(world: World) -> Job:
    """Do as the coordinator."""
    now = job(world)
    tasks = repinned(world.state, now)
    assert tasks
    world.add(e.JobRepinned(now.uid, "default", "web", now.current.version + 1, tasks, ("db",)))
    return job(world)


# ── at submit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_version_is_made_with_what_its_secrets_are_at_submit() -> None:
    world = World()
    write(world, "db", "db", "a")
    found = submit(world, env={"X": "${secret.db} ${secret.a}"}, files=(specs.File("/x", "${secret.none}"),))
    assert found.current.tasks[0].pins == (("a", 1), ("db", 2), ("none", 0))


def test_a_submit_stands_on_what_it_read_of_secrets() -> None:
    """Or one that changes at the same moment would be taken for older than the version."""
    world = World()
    change = jobs.submit_job(world.state, spec(**USES), "tester")
    assert secret_stream("default", "db") in change.reads


def test_who_uses_no_secret_has_the_digest_that_it_always_had() -> None:
    world = World()
    found = submit(world)
    wanted = specs.decode(found.current.spec).tasks[0]
    assert (task(world).content, task(world).pins) == (specs.content_digest(wanted), ())


def test_other_versions_of_secrets_are_other_containers() -> None:
    world = World()
    write(world, "db")
    first = submit(world, **USES).current.tasks[0]
    write(world, "db")
    second = repin(world).current.tasks[0]
    assert (second.pins, second.content != first.content, second.policy) == ((("db", 2),), True, first.policy)


def test_what_only_pulls_the_image_is_not_pinned_and_always_the_newest() -> None:
    world = World()
    first = submit(world, image_auth="${secret.registry}")
    assert (task(world).pins, task(world).pull) == ((), "registry")
    assert lacking(world.state, "default", task(world)) == ["secret registry does not exist"]
    write(world, "registry")
    assert lacking(world.state, "default", task(world)) == []
    node = world.node("n1")
    alloc = world.place(first, node, 0)
    for number in (1, 2):
        given = pins_of(world.state, node.id, alloc.id)
        assert isinstance(given, dict)
        assert given["registry"].version == number
        assert [(use.job.name, use.version) for use in users(world.state, "default", "registry")] == [("web", number)]
        write(world, "registry")
    assert repinned(world.state, job(world)) == ()
    wanted = specs.decode(job(world).current.spec).tasks[0]
    assert task(world).content == specs.content_digest(wanted), "no container is made from it"


def test_what_pulls_the_image_and_is_in_a_variable_is_pinned() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES, image_auth="${secret.db}")
    assert (task(world).pins, task(world).pull) == ((("db", 1),), "")


def test_what_runs_pulls_as_the_present_version_says() -> None:
    world = World()
    write(world, "old", "new")
    node = world.node("n1")
    alloc = world.place(submit(world, image_auth="${secret.old}"), node, 0)
    submit(world, image_auth="${secret.new}")
    given = pins_of(world.state, node.id, alloc.id)
    assert isinstance(given, dict)
    assert given.keys() == {"new"}
    assigned = assign.assigned(world.state, world.state.nodes[node.id], world.state.allocs[alloc.id])
    assert assigned.secrets == ("new",)


def test_a_secret_that_was_deleted_and_made_anew_is_another_one() -> None:
    world = World()
    write(world, "db")
    first = submit(world, **USES)
    delete(world)
    world.do(jobs.submit_job(world.state, spec(**USES, image="shop:2", driver="docker", command=()), "me"))
    assert task(world).pins == (("db", 0),)
    assert repinned(world.state, job(world)) == ()
    world.do(jobs.stop_job(world.state, "default", "web"))
    write(world, "db")
    again = submit(world, **USES)
    assert again.current.tasks[0].pins == (("db", 2),), "the number that was in use is not used again"
    assert again.current.tasks[0].content != first.current.tasks[0].content


def test_an_equal_spec_makes_no_version_because_a_secret_changed() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    write(world, "db")
    wanted = specs.decode(job(world).current.spec)
    assert jobs.submit_job(world.state, wanted, "tester") == NOTHING


def test_a_job_that_was_stopped_starts_with_what_its_secrets_are_then() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES, on_secret_change="none")
    world.do(jobs.stop_job(world.state, "default", "web"))
    write(world, "db")
    assert submit(world, **USES, on_secret_change="none").current.tasks[0].pins == (("db", 2),)


@pytest.mark.parametrize("policy", ["restart", "none"])
def test_what_is_replaced_anyway_takes_what_its_secrets_are(policy: str) -> None:
    world = World()
    write(world, "db")
    submit(world, **USES, on_secret_change=policy)
    write(world, "db")
    assert submit(world, **USES, on_secret_change=policy, image="shop:2").current.tasks[0].pins == (("db", 2),)


def test_a_tag_that_stands_for_another_image_replaces_too() -> None:
    world = World()
    write(world, "db")
    submit(world, {"main": "sha256:1"}, **USES, on_secret_change="none")
    write(world, "db")
    assert submit(world, {"main": "sha256:2"}, **USES, on_secret_change="none").current.tasks[0].pins == (("db", 2),)


def test_what_goes_on_as_it_is_goes_on_with_the_secrets_that_it_has() -> None:
    world = World()
    write(world, "db")
    before = submit(world, **USES, on_secret_change="none").current.tasks[0]
    write(world, "db")
    after = submit(world, **USES, on_secret_change="none", count=5).current.tasks[0]
    assert (after.pins, after.content) == (before.pins, before.content)
    delete(world)
    write(world, "db")
    gone = submit(world, **USES, on_secret_change="none", count=6).current.tasks[0]
    assert gone.pins == (("db", 2),), "it could not be started anew"


def test_the_image_that_was_known_stays_known() -> None:
    world = World()
    write(world, "db")
    submit(world, {"main": "sha256:1"}, **USES)
    write(world, "db")
    assert repin(world).current.tasks[0].image == "sha256:1"
    write(world, "db")
    assert submit(world, **USES, count=3).current.tasks[0].image == "sha256:1"


def test_what_is_missing_is_warned_of_at_the_first_field_that_names_it() -> None:
    world = World()
    write(world, "db")
    wanted = spec(env={"A": "${secret.db}", "B": "${secret.key}", "C": "${secret.key}"})
    (problem,) = missing(world.state, wanted)
    assert (problem.path, problem.code) == ("tasks[0].env.B", "secret_missing")


# ── when they change ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_secret_is_taken_once() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    assert repinned(world.state, job(world)) == ()
    write(world, "db", "db")
    made = repin(world)
    assert (made.current.kind, made.current.by, made.current.tasks[0].pins) == ("secret", "coordinator", (("db", 3),))
    assert made.spec_index == made.current.index
    assert repinned(world.state, made) == ()


def test_several_that_changed_are_taken_at_once_and_each_task_as_it_says() -> None:
    world = World()
    write(world, "db", "a")
    both = {"A": "${secret.db} ${secret.a}"}
    tasks = tuple(
        specs.Task(name, driver="process", command=("x",), env=both, on_secret_change=policy)  # type: ignore[arg-type] # one of them
        for name, policy in (("web", "restart"), ("report", "none"))
    )
    world.do(jobs.submit_job(world.state, specs.Job("web", tasks), "tester"))
    before = job(world).current.tasks
    write(world, "db", "a")
    web, report = repinned(world.state, job(world))
    assert (web.pins, report) == ((("a", 2), ("db", 2)), before[1])


@pytest.mark.parametrize("policy", ["restart", "none"])
def test_one_that_was_lacking_is_taken_whatever_the_policy(policy: str) -> None:
    world = World()
    submit(world, **USES, on_secret_change=policy)
    assert lacking(world.state, "default", task(world)) == ["secret db does not exist"]
    write(world, "db")
    assert repin(world).current.tasks[0].pins == (("db", 1),)
    assert lacking(world.state, "default", task(world)) == []


def test_a_scale_hides_no_change() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    write(world, "db")
    world.do(jobs.scale_job(job(world), "main", 4, "tester"))
    assert task(world).pins == (("db", 1),), "another count replaces nothing"
    assert repin(world).current.tasks[0].pins == (("db", 2),)


def test_a_rollback_repeats_what_it_was_made_with_until_that_changes_again() -> None:
    world = World()
    write(world, "db")
    first = submit(world, **USES).current
    write(world, "db")
    repin(world)
    world.do(jobs.rollback_job(world.state, job(world), 1, "tester"))
    assert (job(world).current.spec, job(world).current.tasks) == (first.spec, first.tasks)
    assert repinned(world.state, job(world)) == ()
    world.do(jobs.scale_job(job(world), "main", 4, "tester"))
    assert repinned(world.state, job(world)) == (), "nor is it by a scale"
    write(world, "db")
    assert repin(world).current.tasks[0].pins == (("db", 3),)


def test_the_way_back_is_not_undone() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    write(world, "db")
    now = repin(world)
    world.add(e.JobReverted(now.uid, "default", "web", 3, 1, now.deployment))
    assert (task(world).pins, repinned(world.state, job(world))) == ((("db", 1),), ())
    write(world, "db")
    assert repin(world).current.tasks[0].pins == (("db", 3),)


def test_no_rollback_to_what_cannot_be_made_again() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    submit(world, image="shop:2")
    delete(world)
    with pytest.raises(Conflict) as refused:
        jobs.rollback_job(world.state, job(world), 1, "tester")
    assert refused.value.code == "secret_version_gone"
    assert "version 1 of secret 'db'" in refused.value.message


def test_a_version_that_lacked_a_secret_can_be_repeated_and_takes_it() -> None:
    world = World()
    submit(world, **USES)
    submit(world, image="shop:2")
    write(world, "db")
    world.do(jobs.rollback_job(world.state, job(world), 1, "tester"))
    assert repin(world).current.tasks[0].pins == (("db", 1),)


def test_a_deleted_secret_is_told_of() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES, on_secret_change="none")
    delete(world)
    assert lacking(world.state, "default", task(world)) == ["secret db was deleted"]
    write(world, "db")
    assert repinned(world.state, job(world)) == ()
    (said,) = lacking(world.state, "default", task(world))
    assert said == "version 1 of secret db was deleted: a restart of the job takes version 2"


# ── restart ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_takes_what_its_secrets_are_as_a_version_of_its_own() -> None:
    world = World()
    write(world, "db")
    before = submit(world, **USES, on_secret_change="none")
    write(world, "db")
    world.do(jobs.restart_job(world.state, before, "tester"))
    after = job(world)
    assert (after.current.version, after.current.kind, after.current.by) == (2, "restart", "tester")
    assert (after.current.tasks[0].pins, after.renewed) == ((("db", 2),), world.state.index)
    deployment = world.state.deployments[after.deployment]
    assert (deployment.kind, deployment.version, deployment.previous_version) == ("restart", 2, 1)


def test_a_restart_without_news_makes_no_version() -> None:
    world = World()
    write(world, "db")
    submit(world, **USES)
    world.do(jobs.restart_job(world.state, job(world), "tester"))
    assert (job(world).current.version, job(world).renewed) == (1, world.state.index)


# ── launches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_launch_that_lacked_a_secret_goes_on_with_it_and_others_with_what_they_began_with() -> None:
    world = World()
    one = specs.Task("main", driver="process", command=("x",), env={"DB": "${secret.db}"})
    world.do(jobs.submit_job(world.state, specs.Job("web", (one,), type="batch"), "tester"))
    uid = job(world).uid
    assert [launch.version for launch in world.state.launches[uid]] == [1]
    write(world, "db")
    repin(world)
    assert [launch.version for launch in world.state.launches[uid]] == [2]
    write(world, "db")
    repin(world)
    assert [launch.version for launch in world.state.launches[uid]] == [2]
    assert job(world).current.version == 3
