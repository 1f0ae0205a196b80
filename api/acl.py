"""ACL tokens: for machines and for people's scripts. The secret is shown once; the vault keeps its hash."""

from __future__ import annotations

from msgspec import Struct

from api import tokens
from api.access import ROLES
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import Written, encode, stamp_or_none
from api.world import World
from heroctl.domain.duration import Duration
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import TokenCreated
from heroctl.domain.intents import access as intents
from heroctl.domain.intents.change import claim_stream
from heroctl.domain.state import ACL, Token


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/tokens`. `user`: for whom, the caller unless given; `ttl`: for ever unless given."""

    name: str
    roles: tuple[str, ...]
    user: str | None = None
    ttl: str | None = None


class TokenItem(Struct, frozen=True):
    """A token, without its secret."""

    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    expires_at: str | None


class MadeToken(TokenItem, frozen=True):
    """A token as its maker sees it, once."""

    secret: str


@tells(list[TokenItem])
def listing(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """All ACL tokens."""
    return Reading(ACL, lambda: encode([_show(token) for _, token in sorted(world.state.tokens.items())]))


def _show(token: Token) -> TokenItem:
    return TokenItem(token.id, token.name, token.user, token.roles, stamp_or_none(token.expires_at))


@tells(MadeToken, "user_not_found", body=NewToken, status=201)
async def create(call: Call) -> Answer:
    """Make a token."""
    wanted = await call.body(NewToken)
    expires_at = _judge(wanted, call.parts.clock())
    identity, secret = tokens.new_id(), tokens.new_secret()
    event = TokenCreated(
        id=identity,
        name=wanted.name,
        user=wanted.user or call.principal.user,
        roles=wanted.roles,
        credential=await call.parts.vault.put("token", tokens.hashed(secret)),
        expires_at=expires_at,
    )
    index = await call.write(claim_stream("token", identity), lambda state: intents.create_token(state, event))
    made = MadeToken(
        identity, event.name, event.user, event.roles, stamp_or_none(expires_at), tokens.spell("ht", identity, secret)
    )
    return answer(made, 201, index=index)


def _judge(wanted: NewToken, now: float) -> int | None:
    problems = [
        Problem(f"roles[{number}]", "unknown_role", f"there is no role '{role}': {', '.join(ROLES)}")
        for number, role in enumerate(wanted.roles)
        if role not in ROLES
    ]
    if not 0 < len(wanted.name) <= 128:
        problems.append(Problem("name", "invalid_value", "a name has 1 to 128 characters"))
    life = lifetime(wanted.ttl, problems)
    if problems:
        raise Invalid("invalid_body", f"{problems[0].path}: {problems[0].message}", details=tuple(problems))
    return None if life is None else int((now + life) * 1000)


def lifetime(text: str | None, problems: list[Problem]) -> float | None:
    """Read how long something shall live, in seconds."""
    if text is None:
        return None
    try:
        life = Duration.parse(text).seconds
    except ValueError as error:
        problems.append(Problem("ttl", "invalid_value", str(error)))
        return None
    if life <= 0:
        problems.append(Problem("ttl", "invalid_value", "more than nothing is needed"))
    return life


@tells(Written, "token_not_found")
async def delete(call: Call) -> Answer:
    """Take a token away, and with it every login that was made by it."""
    identity = call.path["id"]
    index = await call.write(claim_stream("token", identity), lambda state: intents.delete_token(state, identity))
    return answer(Written(index, id=identity), index=index)
