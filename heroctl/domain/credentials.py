"""Credentials: which rows of the vault the state names. What it names no more is of no use to anybody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from heroctl.domain.records import Webhook
from heroctl.domain.state import State

# Kinds of rows that live by being named. Rows of any other kind, such as the signing key, are nobody's to remove.
SEALED: Final = "secret"  # the kind of a secret's version, and of what signs for a webhook
KINDS: Final = ("join_token", "node", "password", SEALED, "token")


class Login(Protocol):
    """A session, or what a token says of it: whose, by which ACL token (""; by password), by which password."""

    @property
    def user(self) -> str:
        """The user's name."""
        ...

    @property
    def token(self) -> str:
        """The ACL token's id."""
        ...

    @property
    def credential(self) -> str:
        """The row of the password."""
        ...


SPARED: Final = 16  # digits of a session's id that are told


def good(state: State, login: Login, session: str) -> bool:
    """Tell whether what a login was made by is still there: the ACL token, or that very password of that user.

    The session that changed the password goes on. Somebody else who is given a name that was free again is not who
    logged in under it.
    """
    user = state.users.get(login.user)
    if user is None:
        return False
    if login.token:
        return login.token in state.tokens
    return login.credential == user.credential or (bool(session) and session[:SPARED] == user.spared)


def named(state: State) -> set[str]:
    """Give the id of every row that a credential, a version of a secret, or what signs webhooks is kept under."""
    holders = (state.users, state.tokens, state.nodes, state.join_tokens)
    credentials = {one.credential for records in holders for one in records.values()}
    versions = (version.row for secret in state.secrets.values() for version in secret.versions)
    return credentials.union(versions, *(rows_of(hook, state.time) for hook in state.webhooks.values()))


def rows_of(hook: Webhook, now: int) -> tuple[str, ...]:
    """Give the rows of the secrets that sign for a webhook at a time (ms), the present one first."""
    return (hook.row, hook.old_row) if hook.old_row and now < hook.old_until else (hook.row,)


def orphans(state: State, rows: Iterable[str]) -> list[str]:
    """Give those rows that the state does not name."""
    kept = named(state)
    return [row for row in rows if row not in kept]
