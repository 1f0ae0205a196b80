"""The part of the made history that is about secrets: written, rolled back, read, rekeyed and deleted."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.evolve.secrets import KEPT_VERSIONS
from heroctl.domain.intents import secrets
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it, of secrets of its own."""
    _write(world, "db")
    _write(world, "db", action="update")
    _write(world, "db", action="rollback", of=1)
    for _ in range(KEPT_VERSIONS):
        _write(world, "often", action="update")
    _write(world, "often", action="update")
    world.add(e.SecretRead("default", "db", 3), e.SecretsRekeyed("a1b2c3d4e5f60718"))
    _write(world, "spare")
    world.do(secrets.delete_secret(world.state, "default", "spare", force=True))
    world.do(secrets.delete_secret(world.state, "default", "db"))


def _write(world: World, name: str, action: str = "create", of: int | None = None) -> None:
    number = secrets.next_version(world.state, "default", name)
    event = e.SecretWritten("default", name, number, f"vault-{name}-{number}", action, of, "user:admin")  # type: ignore[arg-type] # one of them
    world.do(secrets.write_secret(world.state, event))
