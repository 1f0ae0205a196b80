"""Who am I: whose token this is, and all that it may."""

from __future__ import annotations

from msgspec import Struct

from api.access import Principal, TokenKind
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.wire import stamp
from heroctl.domain.intents.access import find_user
from heroctl.domain.policy import RIGHTS, Reach


class Right(Struct, frozen=True):
    """A right that is held somewhere. `limits`: where, each of them must hold; none: everywhere."""

    right: str
    everywhere: bool
    limits: tuple[Reach, ...]


class Self(Struct, frozen=True):
    """Who asks. `token`: the ACL token's id, also of a login that was made by one; `expires_at`: of what was sent."""

    actor: str
    user: str
    token: str | None
    kind: TokenKind | None
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]
    jobs: tuple[str, ...]
    expires_at: str | None
    rights: list[Right]


@tells(Self)
async def show(call: Call) -> Answer:
    """Say who asks, and what that one may."""
    state, who = call.parts.view.state, call.principal
    token = state.tokens.get(who.token)
    holder = token or find_user(state, who.user)
    found = Self(
        actor=who.actor,
        user=who.user,
        token=who.token or None,
        kind=token.kind if token else None,
        roles=holder.roles,
        namespaces=holder.namespaces,
        jobs=token.jobs if token else ("*",),
        expires_at=None if who.until == float("inf") else stamp(int(who.until * 1000)),
        rights=_rights(who),
    )
    return answer(found, index=call.parts.view.index)


def _rights(who: Principal) -> list[Right]:
    held = ((right, who.scope(right)) for right in RIGHTS if who.anywhere(right))
    return [Right(right, everywhere=not scope, limits=scope) for right, scope in held]
