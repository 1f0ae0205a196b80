"""Credentials: which rows of the vault the state names. What it names no more is of no use to anybody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from heroctl.domain.state import State

# Kinds of rows that live by being named. Rows of any other kind, such as the signing key, are nobody's to remove.
KINDS: Final = ("join_token", "node", "password", "token")


def named(state: State) -> set[str]:
    """Give the id of every row that somebody's credential is kept under."""
    holders = (state.users, state.tokens, state.nodes, state.join_tokens)
    return {one.credential for records in holders for one in records.values()}


def orphans(state: State, rows: Iterable[str]) -> list[str]:
    """Give those rows that the state does not name."""
    kept = named(state)
    return [row for row in rows if row not in kept]
