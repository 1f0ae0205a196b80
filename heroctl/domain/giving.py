"""Nobody gives what he has not: a change of who may what makes nobody more than the one who makes the change.

Else the right to write users would be every right. Who holds all that somebody would become may make him that; what
somebody had before, he may keep. And nobody gives for longer than he has: what an ACL token with an end makes to log in
with ends by then, too, or an hour's token would be one for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from heroctl.domain.errors import Forbidden
from heroctl.domain.holders import Policy, Role, Token, User, grants_of
from heroctl.domain.policy import NO_GRANTS, Grants
from heroctl.domain.state import State


def refuse_more(by: Sequence[Grants], after: Grants, before: Grants = NO_GRANTS) -> None:
    """Refuse with `exceeds_own_rights` what would make somebody more than he was, and than who makes the change is."""
    if after == before or before.hold(after) or (by and all(each.hold(after) for each in by)):
        return
    gained = sorted(after.rights().items() - before.rights().items())
    beyond = [right for right, reach in gained if not all(each.reach(right).holds(reach) for each in by)]
    raise Forbidden("exceeds_own_rights", f"you would give what you do not have: {', '.join(beyond[:10])}")


def refuse_more_to(
    state: State, by: Sequence[Grants], holder: User | Token, before: User | Token | None = None
) -> None:
    """The same for a user or token as it would be, and was."""
    had = NO_GRANTS if before is None else grants_of(before, state.roles, state.policies)
    refuse_more(by, grants_of(holder, state.roles, state.policies), had)


def refuse_more_by(
    state: State,
    by: Sequence[Grants],
    *,
    role: Role | None = None,
    policy: Policy | None = None,
) -> None:
    """The same for everybody who would be changed by another role, or another policy."""
    roles = {**state.roles, **({role.name: role} if role else {})}
    policies = {**state.policies, **({policy.name: policy} if policy else {})}
    for holder in _holders(state.users, state.tokens):
        refuse_more(by, grants_of(holder, roles, policies), grants_of(holder, state.roles, state.policies))


def end_of(state: State, token: str) -> int | None:
    """Say until when (ms) whoever holds an ACL token has what it gives; None: for ever, as has a user ("")."""
    if not token:
        return None
    known = state.tokens.get(token)
    return 0 if known is None else known.expires_at


def refuse_longer(state: State, token: str, until: int | None) -> None:
    """Refuse with `exceeds_own_rights` what one could log in with for longer than by the ACL token that makes it.

    `until` in ms; None: for ever, as with a password.
    """
    end = end_of(state, token)
    if end is None or (until is not None and until <= end):
        return
    if until is None:
        message = "your token has an end, and this has none: let somebody do it who logged in with a password"
    else:
        message = "this would live longer than your own token: ask for less, or log in with a password"
    raise Forbidden("exceeds_own_rights", message)


def _holders(users: Mapping[str, User], tokens: Mapping[str, Token]) -> Iterator[User | Token]:
    yield from users.values()
    yield from tokens.values()
