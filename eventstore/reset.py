"""Another password for a user, on the server, without the API: for whoever has locked himself out.

It is what the API would write: a row of the vault, and an event by the actor `server`. Whoever may do this can reach
the database, and needs no other right. All logins of the user are over when the running processes have read the event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psycopg

from eventstore import passwords
from eventstore.database import Database
from eventstore.log import Append, Conflicted, Displaced
from eventstore.postgres import open_log
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.vault import PostgresVault
from eventstore.view import View
from heroctl.domain.errors import Invalid, Unavailable
from heroctl.domain.events import Meta
from heroctl.domain.intents.access import change_password, find_user

ACTOR: Final = "server"
_ATTEMPTS: Final = 5


async def reset(dsn: str, user: str, given: Callable[[], str]) -> str:
    """Give a user the password that is `given`, else one that is drawn; return it. Raises Refusal or LogUnavailable.

    Nothing is asked for unless there is such a user.
    """
    _reached(dsn)
    async with Database(dsn, connections=2) as database, open_log(database) as log:
        view = View(log, Snapshots(PostgresShelf(database), log))
        await view.catch_up()
        if not view.sound:
            raise Unavailable("outdated", "the log is of a newer release than this program: use that one's")
        find_user(view.state, user)
        password = given() or passwords.drawn()
        if why := passwords.wrong(password):
            raise Invalid("invalid_password", why)
        credential = await PostgresVault(database).put("password", passwords.hashed(password))
        for _ in range(_ATTEMPTS):
            change = change_password(view.state, user, credential)
            expects = tuple((stream, view.index) for stream in change.expects)
            append = Append(
                change.events, change.moves, expects, meta=Meta(ACTOR), level=view.state.level, view=view.position
            )
            try:
                await log.append(append)
            except Conflicted:
                await view.catch_up()
            except Displaced:
                await view.doubt()
            else:
                return password
    raise Unavailable("busy", f"others change user '{user}' at the same time: try again")


def _reached(dsn: str) -> None:
    """Raise psycopg.OperationalError where nobody answers: a pool would try for long, and say so each time."""
    psycopg.connect(dsn, connect_timeout=5).close()
