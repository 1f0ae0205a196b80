"""Another master key for all secrets, while everything goes on: each row's data key is sealed anew, values stay.

First the audit is told, then the new key seals whatever is written from here on, then the rows that are there already
are gone through. Each is changed only if it is still what was read: so this may be killed anywhere, and run again, by
several at once and beside writers. A call works for some seconds at most and says whether anything is left.
"""

from __future__ import annotations

import time
from typing import Final

import structlog
from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from eventstore.master import InUse, Master
from eventstore.seal import MasterKey, Unopened, key_of, rewrap
from eventstore.vault import Kept, Vault
from heroctl.domain.credentials import SEALED
from heroctl.domain.events import SecretsRekeyed
from heroctl.domain.intents.change import Change

LONGEST: Final = 10.0  # seconds of one call
_log: Final = structlog.get_logger(__name__)


class OldKey(Struct, frozen=True):
    """A master key that seals nothing any more. `position`: among those given to this api, from 1; null: not given."""

    id: str
    position: int | None


class Rekeyed(Struct, frozen=True):
    """How far a rekey has come; `done`: nothing is `left`, and the keys in `unneeded` may be taken away everywhere.

    `rewrapped`: values by this call. `left`: those under other keys. `lost`: of these, those that do not open any more.
    """

    key: str
    rewrapped: int
    left: int
    lost: int
    done: bool
    unneeded: list[OldKey]
    index: int


class Pass(Struct):
    """What one pass over the rows has come to; `ended`: it has looked at all of them."""

    rewrapped: int = 0
    lost: int = 0
    ended: bool = False


@tells(Rekeyed, "secrets_not_configured", "secrets_key_missing")
async def rekey(call: Call) -> Answer:
    """Seal all secrets with the newest master key that this api has. Ask again until `done`."""
    master, vault = call.parts.master, call.parts.vault
    master.need()
    await call.nothing()
    await master.look()
    event = SecretsRekeyed(master.keys[-1].id)
    index = await call.write("master-key", lambda _: Change((event,)))  # first: no rekey goes untold
    key = await master.turn()
    older = await _older(master, key)
    passed = await _pass(master, vault, key, {row.key for row in older})
    left = await vault.count(SEALED, key.head)
    done = passed.ended and left == passed.lost
    unneeded = await _retired(master, vault, key, older) if done else []
    by = {"by": call.principal.actor, "address": call.client, "request_id": call.request_id}
    _log.warning("secrets_rekeyed", key=key.id, rewrapped=passed.rewrapped, left=left, done=done, **by)
    shown = Rekeyed(key.id, passed.rewrapped, left, passed.lost, done, unneeded, index)
    return answer(shown, index=index)


async def _older(master: Master, key: MasterKey) -> list[InUse]:
    """Give the rows of the keys before this one. A newer one is another rekey's: that is not undone here."""
    rows = await master.in_use()
    mine = max((row.number for row in rows if row.key == key.id), default=0)
    return [row for row in rows if row.number < mine]


async def _pass(master: Master, vault: Vault, key: MasterKey, sources: set[str]) -> Pass:
    """Go through all rows that are under another key, a handful at a time, for as long as a call may take."""
    done, after, ends = Pass(), "", time.monotonic() + LONGEST
    while not done.ended and time.monotonic() < ends:
        rows = await vault.unlike(SEALED, key.head, after)
        for row in rows:
            after = row.id
            try:
                turned = await _turned(master, vault, key, row, sources)
            except Unopened as error:
                done.lost += 1
                _log.error("secret_not_rewrapped", row=row.id, error=str(error))
            else:
                done.rewrapped += turned
        done.ended = not rows
    return done


async def _turned(master: Master, vault: Vault, key: MasterKey, row: Kept, sources: set[str]) -> bool:
    """Seal a row's data key anew if it is of one of the older keys. Raises Unopened."""
    if key_of(row.data) not in sources:
        return False
    await vault.renew(row.id, row.data, rewrap(master.keys, key, row.id, row.data))
    return True


async def _retired(master: Master, vault: Vault, key: MasterKey, older: list[InUse]) -> list[OldKey]:
    """Let the cluster forget the older keys that nothing is sealed with; give them, and others of ours like them."""
    used = await _used(vault, key)
    await master.retire(row for row in older if row.key not in used)
    needed = used | {row.key for row in await master.in_use()}
    ours = [each.id for each in master.keys]
    unneeded = [each for each in dict.fromkeys([*ours, *(row.key for row in older)]) if each not in needed]
    return [OldKey(each, ours.index(each) + 1 if each in ours else None) for each in unneeded]


async def _used(vault: Vault, key: MasterKey) -> set[str]:
    """Name the other keys that anything is still sealed with: those that are lost."""
    found: set[str] = set()
    after = ""
    while rows := await vault.unlike(SEALED, key.head, after):
        for row in rows:
            after = row.id
            try:
                found.add(key_of(row.data))
            except Unopened:
                continue
    return found
