"""How our own processes are started in dev mode: as in production, with other settings."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from heroctl.dev.child import Recipe
from heroctl.dev.machine import Share

HOST: Final = "127.0.0.1"
_THIS_MACHINE: Final = "127.0.0.0/8,::1"
_NODE: Final = "node-"
# Every beat of every agent is one; who is refused hears it himself.
_SERVED: Final = re.compile(r'"event": ?"request".*"status": ?[1234]')


class Stores(NamedTuple):
    """Where our processes find Postgres and Redis."""

    dsn: str
    redis_url: str

    @property
    def environ(self) -> dict[str, str]:
        """As they are told."""
        return {"HEROCTL_DSN": self.dsn, "HEROCTL_REDIS_URL": self.redis_url}


def migration(owning: str, application: str) -> Recipe:
    """Bring the database to this release, as its owner."""
    return Recipe(
        command=_module("eventstore", "migrate", "--application-role", application), environ={"HEROCTL_DSN": owning}
    )


def api(
    stores: Stores,
    port: int,
    password_file: Path,
    folder: Path,
    ready: Callable[[int], Awaitable[bool]],
    *,
    registries: tuple[str, ...],
    secrets_key: Path,
) -> Recipe:
    """Run an api on loopback; the database is in `folder`."""
    where = ("--listen", f"{HOST}:{port}", "--database-folder", str(folder), "--secrets-key-file", str(secrets_key))
    images = {"HEROCTL_REGISTRIES": ",".join(registries), "HEROCTL_REGISTRY_NETWORKS": _THIS_MACHINE}
    images["HEROCTL_WEBHOOK_NETWORKS"] = _THIS_MACHINE
    return Recipe(
        command=_module("api", *where, "--admin-password-file", str(password_file)),
        environ={**stores.environ, **images},
        ready=ready,
        noise=_SERVED,
    )


def reconciler(stores: Stores, secrets_key: Path) -> Recipe:
    """Run a reconciler. Webhooks may lead to this machine."""
    return Recipe(
        command=_module("reconciler", "--secrets-key-file", str(secrets_key)),
        environ={**stores.environ, "HEROCTL_WEBHOOK_NETWORKS": _THIS_MACHINE},
    )


def agent(name: str, url: str, folder: Path, share: Share, *, docker: bool, token: str) -> Recipe:
    """Run an agent with its share of the machine. It dies with us by SIGKILL, so that its workloads stay."""
    first, last = share.ports
    return Recipe(
        command=_module(
            "agents",
            *("--api", url, "--name", name, "--data", str(folder), "--address", HOST, "--publish", HOST),
            *("--cpu", str(share.cpu), "--memory", str(share.memory), "--ports", f"{first}-{last}"),
            *("--runtime", "docker" if docker else "process", "--allow-process", "--stop-workloads-on-exit"),
        ),
        environ={"HEROCTL_JOIN_TOKEN": token} if token else {},
        orphaned=signal.SIGKILL,
        final=frozenset({0}),  # unasked: the node was removed from the cluster
        dutiful=True,  # it takes the workloads along
    )


def node(number: int) -> str:
    """Name a node; its folder is named alike."""
    return f"{_NODE}{number}"


def numbers(place: Path) -> list[int]:
    """List the nodes that have joined from this folder."""
    rooms = [room for room in place.glob(f"{_NODE}*") if has_joined(room)]
    return sorted(int(room.name.removeprefix(_NODE)) for room in rooms if room.name.removeprefix(_NODE).isdecimal())


def has_joined(folder: Path) -> bool:
    """Tell whether an agent with this folder is a node already."""
    return (folder / "identity.json").exists()


def _module(name: str, *words: str) -> tuple[str, ...]:
    # -P: a folder named `api` where somebody happens to stand is not our api.
    return (sys.executable, "-P", "-m", name, *words)
