"""When ACL tokens were last used: a row each, written by every api about once a minute. No event tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from eventstore.arrays import Bigints, Texts
from eventstore.database import Database

FORGOTTEN: Final = 24 * 3600 * 1000  # ms after which a row goes whose token is not there

_EXCHANGE: Final = f"""
    WITH known AS (SELECT %b::text[] AS tokens),
    noted AS (
        INSERT INTO heroctl.uses AS u (token, used_at)
        SELECT * FROM unnest(%b, %b) AS n(token, used_at) ORDER BY token
        ON CONFLICT (token) DO UPDATE SET used_at = greatest(u.used_at, EXCLUDED.used_at)
        RETURNING token, used_at
    ),
    gone AS (
        DELETE FROM heroctl.uses USING known
        WHERE NOT token = ANY(known.tokens) AND used_at < extract(epoch FROM clock_timestamp()) * 1000 - {FORGOTTEN}
    )
    SELECT token, max(used_at) FROM (
        SELECT token, used_at FROM heroctl.uses UNION ALL SELECT token, used_at FROM noted
    ) AS all_of_them GROUP BY token"""  # noqa: S608 - a constant


class Uses(Protocol):
    """The rows. Every call raises LogUnavailable when they cannot be reached."""

    async def exchange(self, noted: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
        """Say when tokens were used (ms since the epoch), and learn it of all; those not `known` go in a day."""
        ...


class PostgresUses:
    """The rows in the log's database; see Uses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exchange(self, noted: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
        """See Uses.exchange."""
        values = [Texts(list(known)), Texts(list(noted)), Bigints(list(noted.values()))]
        return dict(await self._database.fetch(_EXCHANGE, values))


class MemoryUses:
    """The rows in memory, for tests; see Uses."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    async def exchange(self, noted: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
        """See Uses.exchange."""
        del known
        for token, at in noted.items():
            self._rows[token] = max(at, self._rows.get(token, 0))
        return dict(self._rows)
