"""The part of the made history that is about secrets: written, rolled back, read, rekeyed and deleted."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.evolve.secrets import KEPT_VERSIONS
from heroctl.domain.intents import jobs, secrets
from heroctl.domain.pinning import repinned
from heroctl.domain.records import Job
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it, of secrets of its own."""
    _write(world, "db")
    _write(world, "db", action="update")
    _write(world, "db", action="rollback", of=1)
    _used(world)
    for _ in range(KEPT_VERSIONS):
        _write(world, "often", action="update")
    _write(world, "often", action="update")
    world.add(e.SecretRead("default", "db", 3), e.SecretsRekeyed("a1b2c3d4e5f60718"))
    _write(world, "spare")
    world.do(secrets.delete_secret(world.state, "default", "spare", force=True))
    world.do(secrets.delete_secret(world.state, "default", "db"))


def _used(world: World) -> None:
    """A job is made with one that is there and one that comes, takes both anew, and goes."""
    world.submit(job="vaulted", env={"DB": "${secret.db}", "LATE": "${secret.late}"}, on_secret_change="none")
    _write(world, "late")
    job = _job(world)
    number = job.current.version + 1
    world.add(e.JobRepinned(job.uid, "default", "vaulted", number, repinned(world.state, job), ("late",)))
    _write(world, "db", action="update")
    world.do(jobs.restart_job(world.state, _job(world), "user:admin"))
    world.do(jobs.delete_job(world.state, "default", "vaulted"))


def _job(world: World) -> Job:
    found = world.state.job("default", "vaulted")
    assert found is not None
    return found


def _write(world: World, name: str, action: str = "create", of: int | None = None) -> None:
    number = secrets.next_version(world.state, "default", name)
    event = e.SecretWritten("default", name, number, f"vault-{name}-{number}", action, of, "user:admin")  # type: ignore[arg-type] # one of them
    world.do(secrets.write_secret(world.state, event))
