"""The signing keys as administrators see them: which there are, and a newer one. The audit tells of each rotation."""

from __future__ import annotations

from typing import Final

import structlog
from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.tokens import SigningKey, key_id
from api.wire import whole_stamp
from api.write import Writer
from heroctl.domain.events import Meta, SigningKeyRotated
from heroctl.domain.intents.change import Change

_log: Final = structlog.get_logger(__name__)


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a rotation. `end_sessions`: forget the keys so far at once, and with them every login."""

    end_sessions: bool = False


class KeyItem(Struct, frozen=True):
    """A signing key by the `kid` of its tokens. `retired_at`: since when it only verifies."""

    id: str
    signs: bool
    retired_at: str | None


@tells(tuple[KeyItem, ...])
async def listing(call: Call) -> Answer:
    """All signing keys, the one that signs first; never the keys themselves."""
    await call.parts.gate.keyring.look()
    return answer(_items(call))


@tells(tuple[KeyItem, ...], "keys_in_file", "busy", "outdated", body=Rotation, writes=False)
async def rotate(call: Call) -> Answer:
    """Sign with a new key from here on. Nobody is logged out, unless that is asked for."""
    wanted, parts = await call.body(Rotation), call.parts
    parts.gate.keyring.check()
    await tell(parts.writer, call.meta, end_sessions=wanted.end_sessions)  # first: no rotation goes untold
    await parts.gate.keyring.rotate(only=wanted.end_sessions)
    await parts.pulse.look_at_logins()  # what the keys that went have signed ends here at once
    by = {"by": call.principal.actor, "address": call.client, "request_id": call.request_id}
    _log.warning("signing_key_rotated", end_sessions=wanted.end_sessions, **by)
    return answer(_items(call))


async def tell(writer: Writer, meta: Meta, *, end_sessions: bool = False) -> None:
    """Let the log say that another key signs from here on, and by whom. The event stands on no stream."""
    await writer.write("signing-key", lambda _: Change((SigningKeyRotated(end_sessions),)), meta)


def _items(call: Call) -> list[KeyItem]:
    return [_item(key) for key in reversed(call.parts.gate.keys.all)]


def _item(key: SigningKey) -> KeyItem:
    retired = None if key.retired is None else whole_stamp(int(key.retired))
    return KeyItem(key_id(key.secret), retired is None, retired)
