"""The master keys of secrets: those that this process was given, and what the cluster knows of them.

The vault keeps, for each key that secrets are sealed with, a numbered row sealed by that key. The newest of them says
which key seals from here on, for every process; all of them say which keys a process needs, so that one that lacks one
finds out when it starts. A key that is only given, and stands in no row yet, seals nothing: so it can be put on every
server before a rekey turns to it. Rows are added by number: of several processes at once one adds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from eventstore.seal import MasterKey, NoKey, Place, Unopened, key_of, keys_of, open_sealed, rewrap, seal
from eventstore.vault import Vault, new_id
from heroctl.domain.credentials import SEALED
from heroctl.domain.errors import Conflict, Refusal, Unavailable

MASTER_KEY: Final = "master_key"  # the kind of row that says of a key that it is in use
PREFIX: Final = "master-key-"
_PROOF: Final = b"heroctl"
_HOW: Final = "--secrets-key-file, or HEROCTL_SECRETS_KEYS in its environment"

Read = Callable[[], tuple[MasterKey, ...]]
_log: Final = structlog.get_logger(__name__)


class WrongKeys(Exception):  # noqa: N818 - told to people, with what to do
    """The process was given no master key, or not those that this cluster's secrets are sealed with."""


class InUse(NamedTuple):
    """A key that secrets are sealed with, by its id; the greatest number seals."""

    number: int
    key: str


def given(file: str, words: Iterable[str]) -> Read:
    """Say where this process's master keys are read: in a file, one a line, else among its settings."""
    if not file:
        found = keys_of(word.encode() for word in words)
        return lambda: found
    return lambda: keys_of(line for line in Path(file).read_bytes().splitlines() if line.strip())


def problems_of(file: str, words: Sequence[str]) -> list[str]:
    """Say what is wrong with the settings that keys are read by."""
    if file and words:
        return ["--secrets-key-file and HEROCTL_SECRETS_KEYS: one of them"]
    where = f"--secrets-key-file: {file}" if file else "HEROCTL_SECRETS_KEYS"
    try:
        keys = given(file, words)()
    except OSError as error:
        return [f"{where}: {error.strerror}"]
    except ValueError as error:
        return [f"{where}: {error}. `openssl rand -base64 32` makes a good key"]
    return [f"{where}: there is no key in it"] if file and not keys else []


class Master:
    """Seals and opens values of secrets. `lost`: ids of keys that are gone for good, and not asked for any more."""

    def __init__(self, vault: Vault, read: Read, lost: Iterable[str] = ()) -> None:
        self._vault = vault
        self._read = read
        self._keys = read()
        self._lost = frozenset(lost)

    @property
    def keys(self) -> tuple[MasterKey, ...]:
        """The keys that this process was given, the newest last."""
        return self._keys

    async def begin(self) -> None:
        """Prove the keys at the start, and put the first in use. Raises WrongKeys, and LogUnavailable."""
        rows = await self.in_use()
        await self._prove()
        missing = sorted({row.key for row in rows} - self._lost - {key.id for key in self._keys})
        if not self._keys:
            if missing and await self._vault.count(SEALED):
                raise WrongKeys(f"this cluster has secrets, and this process has no master key to open them: {_give()}")
            return
        if missing:
            have = ", ".join(key.id for key in self._keys)
            raise WrongKeys(
                f"the secrets of this cluster are sealed with master key {', '.join(missing)}, and this process has "
                f"{have}: {_give()}. Where that key is lost for good, so is what it sealed: start with "
                "--secrets-lost-key and its id, and write those secrets anew"
            )
        if all(row.key in self._lost for row in rows):
            await self._use(self._keys[-1], rows)
            await self.begin()  # another process may have been first, with another key

    def need(self) -> None:
        """Go on if there is any key. Raises `secrets_not_configured`."""
        if not self._keys:
            raise Unavailable(
                "secrets_not_configured",
                f"this process has no master key for secrets: give it one by {_HOW}; "
                "`openssl rand -base64 32` makes one, and docs/secrets.md tells where to keep it",
                retry_after=300,
            )

    async def seal(self, namespace: str, name: str, version: int, value: bytes) -> str:
        """Keep a value, sealed, and return its row. Raises `secrets_key_missing` and LogUnavailable.

        A rekey may turn to another key meanwhile, and have passed by: so it is looked at once more.
        """
        key, place = await self.newest(), Place(new_id(), namespace, name, version)
        sealed = seal(key, place, value)
        await self._vault.keep(place.row, SEALED, sealed)
        now = await self.newest()
        if now.id != key.id:
            await self._vault.renew(place.row, sealed, rewrap((key,), now, place.row, sealed))
        return place.row

    async def open(self, place: Place) -> bytes | None:
        """Give what a row holds; None: it is gone. Raises `secrets_key_missing`, `secret_lost` and LogUnavailable."""
        sealed = await self._vault.get(place.row)
        if sealed is None:
            return None
        try:
            await self._have(key_of(sealed))
            return open_sealed(self._keys, place, sealed)
        except NoKey as error:
            raise self._without(key_of(sealed)) from error
        except Unopened as error:
            _log.error("secret_unopened", namespace=place.namespace, secret=place.name, version=place.version)
            raise self._without("") from error

    async def newest(self) -> MasterKey:
        """Give the key that seals now. Raises `secrets_not_configured`, `secrets_key_missing` and LogUnavailable."""
        self.need()
        rows = [row for row in await self.in_use() if row.key not in self._lost]
        if not rows:  # the vault is an older copy, without any: what this process has is as good as at its start
            with contextlib.suppress(WrongKeys):  # another process was first: its key is told below
                await self.begin()
            rows = await self.in_use()
        await self._have(rows[-1].key)
        for key in self._keys:
            if key.id == rows[-1].key:
                return key
        raise self._without(rows[-1].key)

    async def turn(self) -> MasterKey:
        """Let the newest key that this process has seal from here on, everywhere. Raises as `newest`."""
        self.need()
        await self.look()
        key = self._keys[-1]
        rows = await self.in_use()
        while not rows or rows[-1].key != key.id:
            await self._use(key, rows)
            rows = await self.in_use()
        return key

    async def in_use(self) -> list[InUse]:
        """Give the keys that the cluster's secrets are, or may be, sealed with, oldest first."""
        rows = await self._vault.all_of(MASTER_KEY)
        return sorted(InUse(int(row.id.removeprefix(PREFIX)), key_of(row.data)) for row in rows)

    async def retire(self, keys: Iterable[InUse]) -> None:
        """Let the cluster forget keys that nothing is sealed with any more."""
        await self._vault.delete([f"{PREFIX}{key.number}" for key in keys])

    async def look(self) -> None:
        """Read the keys again; those of a file may be others by now. One that cannot be used changes nothing."""
        try:
            found = await asyncio.to_thread(self._read)
        except (OSError, ValueError) as error:
            _log.error("secrets_keys_unusable", error=str(error))
            return
        self._keys = found or self._keys

    async def _prove(self) -> None:
        """Open what the keys have sealed in their own rows. Raises WrongKeys."""
        for row in await self._vault.all_of(MASTER_KEY):
            try:
                open_sealed(self._keys, Place(row.id, "", "", 0), row.data)
            except NoKey:
                continue  # that it is missing is told with all others that are
            except Unopened as error:
                raise WrongKeys(
                    f"row {row.id} of the vault, which says of a master key that it is used: {error}"
                ) from None

    async def _have(self, key: str) -> None:
        if key not in {each.id for each in self._keys}:
            await self.look()

    async def _use(self, key: MasterKey, rows: list[InUse]) -> None:
        row = f"{PREFIX}{rows[-1].number + 1 if rows else 1}"
        await self._vault.keep(row, MASTER_KEY, seal(key, Place(row, "", "", 0), _PROOF))
        _log.info("secrets_key_in_use", key=key.id)

    def _without(self, key: str) -> Refusal:
        if key and key not in self._lost:
            return Unavailable(
                "secrets_key_missing",
                f"this process lacks master key {key}, with which secrets are sealed: add it to its own ({_HOW})",
                retry_after=120,
            )
        return Conflict(
            "secret_lost", "the value cannot be opened: its master key is lost, or its row was changed: write it anew"
        )


def _give() -> str:
    return f"give it that key by {_HOW}"
