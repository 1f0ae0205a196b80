"""The vault: bytes that must never be in the log, as rows under random ids. Events name the id.

A row is written first and the event that names it second, so the append makes it true. A row that no event names is an
orphan of something that did not happen; what removes it is what also removes rows whose name the fold has dropped.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from eventstore.arrays import Texts
from eventstore.database import Database

_PUT: Final = "INSERT INTO heroctl.vault (id, kind, bytes) VALUES (%b, %b, %b) ON CONFLICT (id) DO NOTHING"
_GET: Final = "SELECT bytes FROM heroctl.vault WHERE id = %b"
# No process may update a row: it is another one under the same id.
_RENEW: Final = """
    WITH old AS (DELETE FROM heroctl.vault WHERE id = %b AND bytes = %b RETURNING id, kind, created_at)
    INSERT INTO heroctl.vault (id, kind, bytes, created_at) SELECT id, kind, %b, created_at FROM old"""
_DELETE: Final = "DELETE FROM heroctl.vault WHERE id = ANY(%b)"
_OLDER: Final = """
    SELECT id FROM heroctl.vault
    WHERE id > %b AND kind = ANY(%b) AND created_at < clock_timestamp() - %b::float8 * interval '1 second'
    ORDER BY id LIMIT %b"""
_ALL_OF: Final = """
    SELECT id, bytes, extract(epoch FROM clock_timestamp() - created_at)::float8 FROM heroctl.vault
    WHERE kind = %b ORDER BY created_at, id LIMIT %b"""
_UNLIKE: Final = """
    SELECT id, bytes, extract(epoch FROM clock_timestamp() - created_at)::float8 FROM heroctl.vault
    WHERE kind = %b AND id > %b AND substring(bytes FROM 1 FOR octet_length(%b)) <> %b ORDER BY id LIMIT %b"""
_COUNT: Final = """
    SELECT count(*) FROM heroctl.vault
    WHERE kind = %b AND (octet_length(%b) = 0 OR substring(bytes FROM 1 FOR octet_length(%b)) <> %b)"""
PAGE: Final = 1_000  # rows that are named at once
HANDFUL: Final = 100  # rows that are given at once, whatever is in them
SIGNING_KEY: Final = "signing_key"  # the kind of row that signs and verifies the tokens of logins


class Kept(NamedTuple):
    """A row: its id, what is kept under it, and for how many seconds already."""

    id: str
    data: bytes
    age: float


class Vault(Protocol):
    """Where secret bytes are kept. Every call raises LogUnavailable when that cannot be reached."""

    async def put(self, kind: str, data: bytes) -> str:
        """Keep bytes under a new random id; the kind says what they are, to people and to what removes orphans."""
        ...

    async def keep(self, identity: str, kind: str, data: bytes) -> bytes:
        """Keep bytes under a known id unless there are some already; return what is kept."""
        ...

    async def get(self, identity: str) -> bytes | None:
        """Return what is kept under an id."""
        ...

    async def renew(self, identity: str, old: bytes, new: bytes) -> None:
        """Keep other bytes under an id, unless somebody else has put others there than `old` meanwhile."""
        ...

    async def all_of(self, kind: str) -> list[Kept]:
        """Return the rows of a kind of which there are few, oldest first."""
        ...

    async def unlike(self, kind: str, begin: bytes, after: str = "") -> list[Kept]:
        """Return the rows of a kind whose bytes begin otherwise, at most a hundred, in order, from behind an id on."""
        ...

    async def count(self, kind: str, begin: bytes = b"") -> int:
        """Return how many rows of a kind there are; those whose bytes begin so are not counted."""
        ...

    async def delete(self, identities: Iterable[str]) -> None:
        """Forget rows; those that are not there are no matter."""
        ...

    async def older(self, seconds: float, kinds: Sequence[str], after: str = "") -> list[str]:
        """Name rows of some kinds older than that, at most a thousand, in order, from behind an id on."""
        ...


class PostgresVault:
    """The vault in the log's database; see Vault."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, kind: str, data: bytes) -> str:
        """See Vault.put."""
        identity = new_id()
        await self._database.fetch(_PUT, [identity, kind, data])
        return identity

    async def keep(self, identity: str, kind: str, data: bytes) -> bytes:
        """See Vault.keep."""
        await self._database.fetch(_PUT, [identity, kind, data])
        [(kept,)] = await self._database.fetch(_GET, [identity])
        return bytes(kept)

    async def get(self, identity: str) -> bytes | None:
        """See Vault.get."""
        rows = await self._database.fetch(_GET, [identity])
        return bytes(rows[0][0]) if rows else None

    async def renew(self, identity: str, old: bytes, new: bytes) -> None:
        """See Vault.renew."""
        await self._database.fetch(_RENEW, [identity, old, new])

    async def all_of(self, kind: str) -> list[Kept]:
        """See Vault.all_of."""
        rows = await self._database.fetch(_ALL_OF, [kind, PAGE])
        return [Kept(identity, bytes(data), age) for identity, data, age in rows]

    async def unlike(self, kind: str, begin: bytes, after: str = "") -> list[Kept]:
        """See Vault.unlike."""
        rows = await self._database.fetch(_UNLIKE, [kind, after, begin, begin, HANDFUL])
        return [Kept(identity, bytes(data), age) for identity, data, age in rows]

    async def count(self, kind: str, begin: bytes = b"") -> int:
        """See Vault.count."""
        [(found,)] = await self._database.fetch(_COUNT, [kind, begin, begin, begin])
        return int(found)

    async def delete(self, identities: Iterable[str]) -> None:
        """See Vault.delete."""
        await self._database.fetch(_DELETE, [Texts(list(identities))])

    async def older(self, seconds: float, kinds: Sequence[str], after: str = "") -> list[str]:
        """See Vault.older."""
        rows = await self._database.fetch(_OLDER, [after, Texts(list(kinds)), seconds, PAGE])
        return [identity for (identity,) in rows]


class MemoryVault:
    """The vault in memory, for tests; see Vault. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[bytes, float, str]] = {}

    async def put(self, kind: str, data: bytes) -> str:
        """See Vault.put."""
        identity = new_id()
        await self.keep(identity, kind, data)
        return identity

    async def keep(self, identity: str, kind: str, data: bytes) -> bytes:
        """See Vault.keep."""
        return self._rows.setdefault(identity, (data, self._clock(), kind))[0]

    async def get(self, identity: str) -> bytes | None:
        """See Vault.get."""
        row = self._rows.get(identity)
        return None if row is None else row[0]

    async def renew(self, identity: str, old: bytes, new: bytes) -> None:
        """See Vault.renew."""
        row = self._rows.get(identity)
        if row is not None and row[0] == old:
            self._rows[identity] = (new, *row[1:])

    async def all_of(self, kind: str) -> list[Kept]:
        """See Vault.all_of."""
        now = self._clock()
        rows = [Kept(identity, data, now - at) for identity, (data, at, its) in self._rows.items() if its == kind]
        return sorted(rows, key=lambda row: (-row.age, row.id))

    async def unlike(self, kind: str, begin: bytes, after: str = "") -> list[Kept]:
        """See Vault.unlike."""
        rows = sorted(await self.all_of(kind), key=lambda row: row.id)
        return [row for row in rows if row.id > after and not row.data.startswith(begin)][:HANDFUL]

    async def count(self, kind: str, begin: bytes = b"") -> int:
        """See Vault.count."""
        return sum(not (begin and row.data.startswith(begin)) for row in await self.all_of(kind))

    async def delete(self, identities: Iterable[str]) -> None:
        """See Vault.delete."""
        for identity in identities:
            self._rows.pop(identity, None)

    async def older(self, seconds: float, kinds: Sequence[str], after: str = "") -> list[str]:
        """See Vault.older."""
        before = self._clock() - seconds
        return [
            identity
            for identity, (_, at, kind) in sorted(self._rows.items())
            if identity > after and kind in kinds and at < before
        ][:PAGE]


def new_id() -> str:
    """Draw the id of a row."""
    return secrets.token_hex(16)
