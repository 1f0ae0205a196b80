"""The cluster's signing keys: where they are kept, how all processes learn of a new one, and when an old one goes.

They are rows of the vault, `signing-key-<n>`, the first of which is made at the first start; or, where an operator
wants them outside of the database, lines of a file. The newest signs. One that a newer has replaced verifies what it
signed until the last of that has ended, access tokens within a day, refresh tokens with their session.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import structlog

from api.tokens import KEY_BYTES, MARGIN, Claims, Keys, Refresh, SigningKey
from eventstore.sessions import LIFE as SESSION_LIFE
from eventstore.strength import weakness
from eventstore.vault import SIGNING_KEY, Kept, Vault
from heroctl.domain.errors import Conflict, Refusal

PREFIX: Final = "signing-key-"
Tell = Callable[[], Awaitable[None]]
_log: Final = structlog.get_logger(__name__)


class Source(Protocol):
    """Where signing keys are kept. Raises LogUnavailable where that cannot be reached.

    `noted`: a change shows in what the vault tells of its keys. `turned`: another key signs, and nobody asked for it.
    """

    noted: bool
    turned: bool

    async def read(self, now: float) -> list[SigningKey]:
        """Give the keys, newest last, and forget those of which nothing can be about. `now`: since the epoch."""
        ...

    def check(self) -> None:
        """Raise Conflict where keys are not for us to rotate."""
        ...

    async def rotate(self, *, only: bool) -> None:
        """Add a key that is newer than all others; `only`: and forget the others at once. Raises as `check`."""
        ...


class VaultKeys:
    """Signing keys as rows of the vault; see Source."""

    noted = True

    def __init__(self, vault: Vault) -> None:
        self.turned = False
        self._vault = vault
        self._known = False

    async def read(self, now: float) -> list[SigningKey]:
        """See Source.read; makes the first."""
        rows = await self._rows()
        if not rows:
            await self._make(1)
            rows = await self._rows()
            self.turned = self._known  # the first of all replaces none
        self._known = True
        spent = [old.id for old, newer in pairwise(rows) if newer.age > SESSION_LIFE + MARGIN]
        if spent:
            await self._vault.delete(spent)
            _log.info("signing_keys_forgotten", keys=spent)
        left = rows[len(spent) :]
        retired = [now - newer.age for newer in left[1:]]
        return [SigningKey(row.data, since) for row, since in zip(left, [*retired, None], strict=True)]

    def check(self) -> None:
        """See Source.check: they are."""

    async def rotate(self, *, only: bool) -> None:
        """See Source.rotate. Of several at once, one makes the key, and all have rotated."""
        rows = await self._rows()
        await self._make(_number(rows[-1]) + 1 if rows else 1)
        if only:
            await self._vault.delete([row.id for row in rows])

    async def _rows(self) -> list[Kept]:
        rows = [row for row in await self._vault.all_of(SIGNING_KEY) if row.id.removeprefix(PREFIX).isdecimal()]
        weak = {row.id: why for row in rows if (why := weakness(row.data))}
        if weak:
            _log.error("signing_key_refused", keys=weak)
        return sorted((row for row in rows if row.id not in weak), key=_number)

    async def _make(self, number: int) -> None:
        await self._vault.keep(f"{PREFIX}{number}", SIGNING_KEY, secrets.token_bytes(KEY_BYTES))


class FileKeys:
    """Signing keys as lines of a file; see Source. Nobody but its owner adds and removes lines."""

    noted = False

    def __init__(self, path: Path) -> None:
        self.turned = False
        self._path = path
        self._known: list[SigningKey] = []

    async def read(self, now: float) -> list[SigningKey]:
        """See Source.read. A file that cannot be used any more changes nothing."""
        del now
        try:
            found = [SigningKey(line) for line in lines(self._path)]
        except (OSError, ValueError) as error:
            if not self._known:
                raise
            _log.error("signing_key_file_unusable", file=str(self._path), error=str(error))
            return self._known
        self.turned = self.turned or (bool(self._known) and found[-1] != self._known[-1])
        self._known = found
        return found

    async def rotate(self, *, only: bool) -> None:
        """See Source.rotate."""
        del only
        self.check()

    def check(self) -> None:
        """See Source.check."""
        raise Conflict(
            "keys_in_file", f"the signing keys are lines of {self._path.name}: add one at its end, on every server"
        )


def lines(path: Path) -> list[bytes]:
    """Read a file of signing keys, one a line, the newest last. Raises OSError, or ValueError for what is no good."""
    found = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    if not found:
        raise ValueError("there is no key in it")
    for number, line in enumerate(found, 1):
        if why := weakness(line):
            raise ValueError(f"key {number} {why}")
    return found


class Keyring:
    """What this process knows of the signing keys. `clock` gives seconds since the epoch.

    `tell` lets the audit know that another key signs here of which nobody told it.
    """

    def __init__(self, source: Source, keys: Keys, clock: Callable[[], float], tell: Tell | None = None) -> None:
        self.keys = keys
        self._source = source
        self._clock = clock
        self._tell = tell
        self._noted: frozenset[str] | None = None
        self._looking: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    async def look(self) -> None:
        """Learn which keys there are now; those who ask meanwhile share the next look. Raises LogUnavailable."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._looking))
        await asyncio.shield(self._next)

    async def heed(self, noted: frozenset[str]) -> None:
        """Look again if what the vault tells of its keys has changed, or tells nothing. Raises LogUnavailable."""
        if noted != self._noted or not self._source.noted:
            await self.look()
            self._noted = noted

    async def report(self) -> None:
        """Tell of what nobody else tells, until it is told. Raises LogUnavailable."""
        if not self._source.turned or self._tell is None:
            return
        try:
            await self._tell()
        except Refusal as error:
            _log.warning("signing_key_not_told", error=str(error))
        else:
            self._source.turned = False

    def check(self) -> None:
        """See Source.check."""
        self._source.check()

    async def rotate(self, *, only: bool) -> None:
        """Sign with a new key from here on; see Source.rotate."""
        await self._source.rotate(only=only)
        await self.look()

    async def read(self, token: str) -> Claims:
        """Read an access token; one that another process may have signed with a newer key is worth a look."""
        if self.keys.may_be_news(token):
            await self.look()
        return self.keys.read(token)

    async def read_refresh(self, token: str) -> Refresh | None:
        """Read a refresh token in the same way."""
        found = self.keys.read_refresh(token)
        if found is None:
            await self.look()
            found = self.keys.read_refresh(token)
        return found

    async def _after(self, looking: asyncio.Future[None] | None) -> None:
        if looking is not None:
            await asyncio.wait({looking})
        self._looking, self._next = self._next, None
        self.keys.take(await self._source.read(self._clock()))


async def keyring(source: Source, clock: Callable[[], float], tell: Tell | None = None) -> Keyring:
    """Read the keys, and make the first if there is none."""
    return Keyring(source, Keys(await source.read(clock()), clock), clock, tell)


def _number(row: Kept) -> int:
    return int(row.id.removeprefix(PREFIX))
