"""What the first process of a cluster makes, once for all: its secret for marking keys, and the user `admin`.

Many may start at once: the secret is whatever row was written first, the user is claimed by one append, and only its
winner knows the password.
"""

from __future__ import annotations

import secrets
from typing import Final

from api.marks import KEY_BYTES as MARK_BYTES
from api.marks import Marks
from api.passwords import Passwords
from eventstore.log import Append, Conflicted, Log
from eventstore.passwords import drawn
from eventstore.vault import Vault
from eventstore.view import View
from heroctl.domain.errors import Conflict
from heroctl.domain.events import Meta
from heroctl.domain.intents.access import create_user

ADMIN: Final = "admin"
MARKING_KEY: Final = "marking-key-1"


async def marks(vault: Vault) -> Marks:
    """Return what marks idempotency keys, with the cluster's secret, made if there is none."""
    return Marks(await vault.keep(MARKING_KEY, "marking_key", secrets.token_bytes(MARK_BYTES)))


async def first_admin(log: Log, view: View, vault: Vault, passwords: Passwords, given: str = "") -> str | None:
    """Make the user `admin` unless there is one; return the password if it was this call that made it.

    The password is random, unless one is `given`.
    """
    if ADMIN in view.state.users:
        return None
    password = given or drawn()
    credential = await vault.put("password", await passwords.hashed(password))
    try:
        change = create_user(view.state, ADMIN, ("admin",), credential)
        await log.append(
            Append(change.events, change.moves, tuple((stream, 0) for stream in change.moves), meta=Meta("system"))
        )
    except (Conflict, Conflicted):  # another process was first: our view knows already, or only the log
        return None
    return password
