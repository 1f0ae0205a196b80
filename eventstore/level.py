"""The log's level, on the head row: which events may be in it. It is raised with the event that says so, in one."""

from __future__ import annotations

from typing import Final, Protocol

from eventstore.database import Database
from eventstore.log import Append, LogUnavailable
from eventstore.memory import MemoryLog
from heroctl.domain.events import LevelRaised, encode

_RAISE: Final = "SELECT heroctl.raise_level(%b::bigint, %b::integer, %b::integer, %b, %b::integer, %b)"


class Levels(Protocol):
    """The level. Raises LogUnavailable when it cannot be reached."""

    async def raise_to(self, level: int, held: int, epoch: int) -> bool:
        """Raise it from `held`, as the coordinator of an epoch.

        False: the log is at another level or epoch, or a process lives that could not fold what may be written then.
        """
        ...


class PostgresLevels:
    """The level on the log's head row; see Levels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raise_to(self, level: int, held: int, epoch: int) -> bool:
        """See Levels.raise_to."""
        tag, schema, data = encode(LevelRaised(level))
        [(raised,)] = await self._database.fetch(_RAISE, [epoch, held, level, tag, schema, data], once=True)
        return bool(raised)


class MemoryLevels:
    """The level of a log in memory, for tests; see Levels. It knows no members."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def raise_to(self, level: int, held: int, epoch: int) -> bool:
        """See Levels.raise_to."""
        log = self._log
        if log.away:
            raise LogUnavailable("the log is away")
        if log.level != held or level <= held or log.epoch != epoch:
            return False
        log.raise_level(Append((LevelRaised(level),), epoch=epoch), level)
        return True
