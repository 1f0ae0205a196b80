"""What a node is given of secrets: exactly the pins of what it is to run. And what keeps a pin true."""

from __future__ import annotations

from typing import Any, Final

import pytest
from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.credentials import named, orphans
from heroctl.domain.errors import Conflict, NotFound
from heroctl.domain.events import JobSubmitted
from heroctl.domain.evolve.secrets import KEPT_VERSIONS
from heroctl.domain.intents import jobs, namespaces, secrets
from heroctl.domain.pinned import pinned_versions, pins_of, users
from tests.domain.worlds import World, spec

DB: Final = ("default", "db")


def write(world: World, name: str = "db", row: str = "", **more: Any) -> int:  # noqa: ANN401 - fields of the event
    number = secrets.next_version(world.state, "default", name)
    event = e.SecretWritten("default", name, number, row or f"row-{name}-{number}", **more)
    world.do(secrets.write_secret(world.state, event))
    return number


def using(world: World, *pins: tuple[str, int], job: str = "web") -> Any:  # noqa: ANN401 - a job's record
    change = jobs.submit_job(world.state, spec(job=job, meta={"pins": str(pins)}), "tester")
    [event] = change.events
    assert isinstance(event, JobSubmitted)
    tasks = tuple(replace(task, pins=pins) for task in event.tasks)
    world.do(replace(change, events=(replace(event, tasks=tasks),)))
    found = world.state.job("default", job)
    assert found is not None
    return found


def test_a_node_is_given_the_pins_of_what_it_is_to_run_and_nothing_else() -> None:
    world = World()
    node, other = world.node("n1"), world.node("n2")
    write(world)
    write(world)
    write(world, "unused")
    job = using(world, ("db", 1))
    alloc = world.place(job, node, 0)
    given = pins_of(world.state, node.id, alloc.id)
    assert isinstance(given, dict)
    assert {name: version.row for name, version in given.items()} == {"db": "row-db-1"}, "the pin, not the newest"
    assert pins_of(world.state, other.id, alloc.id) == "foreign"
    assert pins_of(world.state, node.id, "nothing") == "unknown"
    world.add(e.AllocStopping(alloc.id, "default", "web", "rollout"))
    assert pins_of(world.state, node.id, alloc.id) == "over"


def test_what_was_not_there_or_is_gone_is_missing_even_beside_what_is() -> None:
    world = World()
    node = world.node("n1")
    write(world)
    alloc = world.place(using(world, ("db", 1), ("late", 0)), node, 0)
    assert pins_of(world.state, node.id, alloc.id) == "missing"
    write(world, "late")
    assert pins_of(world.state, node.id, alloc.id) == "missing", "it was made without: another version will have it"
    gone = world.place(using(world, ("db", 1), job="gone"), node, 0)
    world.do(secrets.delete_secret(world.state, *DB, force=True))
    assert pins_of(world.state, node.id, gone.id) == "missing"


def test_what_is_of_a_version_that_nobody_remembers_is_not_given_the_present_ones() -> None:
    world = World()
    node = world.node("n1")
    write(world)
    alloc = world.place(using(world, ("db", 1)), node, 0)
    world.state.allocs[alloc.id] = replace(world.state.allocs[alloc.id], version=99, content="another")
    assert pins_of(world.state, node.id, alloc.id) == "missing"


def test_a_task_without_secrets_is_given_nothing() -> None:
    world = World()
    node = world.node("n1")
    assert pins_of(world.state, node.id, world.place(using(world), node, 0).id) == {}


def test_a_number_that_a_version_was_made_with_never_means_another_value() -> None:
    world = World()
    assert [write(world) for _ in range(3)] == [1, 2, 3]
    using(world, ("db", 3))
    world.do(secrets.delete_secret(world.state, *DB, force=True))
    assert write(world) == 4
    world.do(secrets.delete_secret(world.state, "default", "db", force=True))
    assert pinned_versions(world.state, *DB) == {3}


def test_a_secret_that_nothing_ever_named_begins_anew_at_one() -> None:
    world = World()
    write(world)
    world.do(secrets.delete_secret(world.state, *DB))
    assert write(world) == 1


def test_who_seals_for_a_number_that_is_taken_seals_anew() -> None:
    world = World()
    write(world)
    with pytest.raises(secrets.Overtaken):
        secrets.write_secret(world.state, e.SecretWritten("default", "db", 1, "row"))


def test_a_secret_in_use_is_not_deleted_by_mistake() -> None:
    world = World()
    write(world)
    job = using(world, ("db", 1))
    assert [use.job.name for use in users(world.state, *DB)] == ["web"]
    with pytest.raises(Conflict, match="used by jobs"):
        secrets.delete_secret(world.state, *DB)
    world.do(jobs.stop_job(world.state, "default", job.name))
    assert users(world.state, *DB) == []
    world.do(secrets.delete_secret(world.state, *DB))
    with pytest.raises(NotFound):
        secrets.find_secret(world.state, *DB)


def test_versions_that_nothing_pins_go_and_their_rows_with_them() -> None:
    world = World()
    write(world)
    using(world, ("db", 1))
    for _ in range(KEPT_VERSIONS + 3):
        write(world)
    kept = [version.version for version in world.state.secrets[DB].versions]
    assert kept == [1, *range(5, 15)]
    rows = [f"row-db-{number}" for number in range(1, 15)]
    assert orphans(world.state, rows) == ["row-db-2", "row-db-3", "row-db-4"]
    assert {"row-db-1", "row-db-14"} <= named(world.state)


def test_a_namespace_with_secrets_is_kept() -> None:
    world = World()
    world.do(namespaces.create_namespace(world.state, "shop"))
    world.do(secrets.write_secret(world.state, e.SecretWritten("shop", "db", 1, "row")))
    with pytest.raises(Conflict, match=r"holds secrets \(db\)"):
        namespaces.delete_namespace(world.state, "shop")
    world.add(e.NamespaceDeleted("shop"))
    assert "shop" in world.state.namespaces, "decided while it was empty, applied when it was not"
    world.do(secrets.delete_secret(world.state, "shop", "db"))
    world.do(namespaces.delete_namespace(world.state, "shop"))
    with pytest.raises(NotFound, match="namespace"):
        secrets.write_secret(world.state, e.SecretWritten("shop", "db", 1, "row"))


def test_a_guard_is_held() -> None:
    world = World()
    write(world)
    secret = world.state.secrets[DB]
    secrets.check_guard(secret, "db", secret.modify_index)
    secrets.check_guard(None, "db", 0)
    for of, index in ((secret, 0), (secret, 1), (None, 7)):
        with pytest.raises(Conflict):
            secrets.check_guard(of, "db", index)
