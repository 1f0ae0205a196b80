"""Sessions: what a login began, until it is revoked or ends. Refresh tokens are numbered; only the newest rotates.

A token that was rotated already comes from a client that did not hear the answer, within `GRACE` seconds of it: it gets
the same successor. Any other one is stolen, or its thief was first: the whole session is revoked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Database
from eventstore.vault import SIGNING_KEY, Vault

LIFE: Final = 30 * 24 * 3600  # seconds from a login to the end of its session
GRACE: Final = 10.0  # seconds
REMEMBERED: Final = 25 * 3600  # seconds: an access token lives for a day

_OPEN: Final = """
    WITH gone AS (DELETE FROM heroctl.sessions WHERE expires_at < clock_timestamp())
    INSERT INTO heroctl.sessions (id, username, token, credential, expires_at)
    VALUES (%b, %b, %b, %b, to_timestamp(%b::float8))"""
_ROTATE: Final = f"""
    UPDATE heroctl.sessions AS s SET
        number = greatest(s.number, n.given + 1),
        rotated_at = CASE WHEN s.number <= n.given THEN clock_timestamp() ELSE s.rotated_at END,
        revoked = s.revoked OR s.number > n.given + 1
            OR (s.number = n.given + 1 AND s.rotated_at < clock_timestamp() - interval '{GRACE} seconds')
    FROM (SELECT %b::text AS id, %b::integer AS given) AS n
    WHERE s.id = n.id AND s.expires_at > clock_timestamp()
    RETURNING
        s.id, s.username, s.token, extract(epoch FROM s.expires_at)::float8, s.credential, s.number, s.revoked"""  # noqa: S608 - a constant
# A revoked session is remembered for as long as an access token of it may be about.
_REVOKE: Final = f"""
    UPDATE heroctl.sessions
    SET revoked = true, expires_at = least(expires_at, clock_timestamp() + interval '{REMEMBERED} seconds')
    WHERE id = %b AND NOT revoked"""  # noqa: S608 - a constant
# Every api asks this all the time: it is one statement, and no key is in its answer.
_STANDING: Final = """
    SELECT id, NULL FROM heroctl.sessions WHERE revoked AND expires_at > clock_timestamp()
    UNION ALL
    SELECT NULL, id || ' ' || created_at FROM heroctl.vault WHERE kind = %b"""


class Session(Struct, frozen=True):
    """A login: whose, by which ACL token (""; by password), and until when (seconds since the epoch).

    `credential` is the vault row of the password that it was made by: another password, and the session is over.
    """

    id: str
    user: str
    token: str
    until: float
    credential: str = ""
    number: int = 0  # of the newest refresh token
    revoked: bool = False


class Standing(NamedTuple):
    """What the tokens of logins rest on: the sessions that are revoked, of which tokens may still be about, and keys.

    `keys` has a word for each signing key of the vault, which tells nothing of it but whether it is still the same.
    """

    revoked: frozenset[str]
    keys: frozenset[str]


class Sessions(Protocol):
    """Where sessions are kept. Every call raises LogUnavailable when that cannot be reached."""

    async def open(self, session: Session) -> None:
        """Begin a session."""
        ...

    async def rotate(self, session: str, number: int) -> Session | None:
        """Take refresh token `number` for the next. None: unknown or over; `revoked`: this token's use has ended it."""
        ...

    async def revoke(self, session: str) -> None:
        """End a session, and with it all of its tokens."""
        ...

    async def standing(self) -> Standing:
        """Tell which sessions are revoked, and which signing keys there are: both as of one moment."""
        ...


class PostgresSessions:
    """Sessions as rows; see Sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, session: Session) -> None:
        """See Sessions.open; forgets what is over."""
        row = [session.id, session.user, session.token, session.credential, session.until]
        await self._database.fetch(_OPEN, row)

    async def rotate(self, session: str, number: int) -> Session | None:
        """See Sessions.rotate."""
        rows = await self._database.fetch(_ROTATE, [session, number])
        return Session(*rows[0]) if rows else None

    async def revoke(self, session: str) -> None:
        """See Sessions.revoke."""
        await self._database.fetch(_REVOKE, [session])

    async def standing(self) -> Standing:
        """See Sessions.standing."""
        rows = await self._database.fetch(_STANDING, [SIGNING_KEY])
        revoked, keys = (frozenset(row[column] for row in rows if row[column] is not None) for column in (0, 1))
        return Standing(revoked, keys)


class MemorySessions:
    """Sessions in memory, for tests; see Sessions. `clock` gives seconds since the epoch; keys are in the vault."""

    def __init__(self, clock: Callable[[], float] = time.time, vault: Vault | None = None) -> None:
        self._clock = clock
        self._vault = vault
        self._rows: dict[str, Session] = {}
        self._rotated: dict[str, float] = {}

    async def open(self, session: Session) -> None:
        """See Sessions.open."""
        self._rows[session.id] = session

    async def rotate(self, session: str, number: int) -> Session | None:
        """See Sessions.rotate."""
        now = self._clock()
        row = self._rows.get(session)
        if row is None or row.until <= now:
            return None
        late = row.number == number + 1 and self._rotated.get(session, now) < now - GRACE
        if row.number <= number:
            self._rotated[session] = now
        row = replace(
            row,
            number=max(row.number, number + 1),
            revoked=row.revoked or late or row.number > number + 1,
        )
        self._rows[session] = row
        return row

    async def revoke(self, session: str) -> None:
        """See Sessions.revoke."""
        row = self._rows.get(session)
        if row is not None:
            until = min(row.until, self._clock() + REMEMBERED)
            self._rows[session] = row if row.revoked else replace(row, revoked=True, until=until)

    async def standing(self) -> Standing:
        """See Sessions.standing."""
        revoked = frozenset(row.id for row in self._rows.values() if row.revoked and row.until > self._clock())
        keys = await self._vault.all_of(SIGNING_KEY) if self._vault is not None else []
        return Standing(revoked, frozenset(f"{key.id} {hash(key.data)}" for key in keys))
