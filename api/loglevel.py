"""From which level on the processes of the cluster write lines of their logs, while they run."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import encode
from api.world import World
from heroctl.domain.cluster_settings import Value, cluster_settings
from heroctl.domain.intents import settings as intents
from heroctl.domain.state import State
from heroctl.domain.topics import SETTINGS

Level = Literal["debug", "info", "warning", "error"]
Role = Literal["api", "reconciler", "agent"]
ROLES: Final[tuple[Role, ...]] = ("api", "reconciler", "agent")


class LogLevelBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/cluster/loglevel`: for the processes of one role, or for all, whatever was asked of one before.

    `level` null: each process goes back to what it was told at its start.
    """

    level: Level | None
    role: Role | None = None


class LogLevels(Struct, frozen=True):
    """What is asked of all processes, and of those of one role before that; null: nothing. `index`: of the settings."""

    level: str | None
    api: str | None
    reconciler: str | None
    agent: str | None
    index: int


@tells(LogLevels)
def show(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """From which level on processes write lines of their logs."""
    return Reading(SETTINGS, lambda: encode(_levels(world.state)))


def _levels(state: State) -> LogLevels:
    now = cluster_settings(state)
    return LogLevels(
        now.log_level or None,
        now.log_level_api or None,
        now.log_level_reconciler or None,
        now.log_level_agent or None,
        intents.settings_index(state),
    )


@tells(LogLevels, body=LogLevelBody)
async def update(call: Call) -> Answer:
    """Let processes write from another level on, at once: those of a role, or all."""
    wanted = await call.body(LogLevelBody)
    level = wanted.level or ""
    given: dict[str, Value] = {"log_level": level, **{f"log_level_{role}": "" for role in ROLES}}
    if wanted.role is not None:
        given = {f"log_level_{wanted.role}": level}
    done = await call.change(intents.STREAM, lambda state: intents.set_settings(state, given))
    now = _levels(call.parts.view.state)
    return answer(now, index=done.index or call.parts.view.state.topic_index(SETTINGS))
