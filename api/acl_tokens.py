"""ACL tokens: for machines and for people's scripts. The secret is shown once; the vault keeps its hash."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, structs
from msgspec.structs import replace

from api import tokens
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.users import Names, place_problems, refuse
from api.wire import Written, encode, stamp, stamp_or_none
from api.world import World
from heroctl.domain.duration import Duration
from heroctl.domain.errors import Problem, not_found
from heroctl.domain.events import TokenCreated, TokenKind
from heroctl.domain.evolve.access import token_of
from heroctl.domain.giving import end_of, refuse_longer, refuse_more_to
from heroctl.domain.holders import Token
from heroctl.domain.intents import access as intents
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.policy import EVERYWHERE
from heroctl.domain.state import State
from heroctl.domain.topics import ACL


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/tokens`.

    `user`: for whom, the caller unless given; `namespaces` and `jobs`: the caller's unless given; `ttl`: unless given
    for ever, or as long as the ACL token that makes it, and never longer. A `user` token may what its roles and its
    user both may; a `service` token what its roles may.
    """

    name: str
    roles: Names
    user: str | None = None
    kind: TokenKind = "user"
    namespaces: Names | None = None
    jobs: Names | None = None
    ttl: str | None = None


class TokenItem(Struct, frozen=True):
    """A token, without its secret. `last_used_at`: to the minute."""

    id: str
    name: str
    kind: TokenKind
    user: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]
    jobs: tuple[str, ...]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class MadeToken(TokenItem, frozen=True):
    """A token as its maker sees it, once."""

    secret: str


@tells(list[TokenItem])
def listing(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """All ACL tokens, oldest first."""

    def make() -> bytes:
        found = sorted(world.state.tokens.values(), key=lambda token: (token.created_at, token.id))
        return encode([_show(token, world.uses.last) for token in found])

    return Reading(ACL, make, fresh=1.0)


@tells(TokenItem, "token_not_found")
def detail(world: World, query: Query) -> Reading:
    """One ACL token."""

    def make() -> bytes:
        token = world.state.tokens.get(query.path["id"])
        if token is None:
            raise not_found("token", query.path["id"])
        return encode(_show(token, world.uses.last))

    return Reading(ACL, make, fresh=1.0)


def _show(token: Token, last: Callable[[str], int | None]) -> TokenItem:
    return TokenItem(
        id=token.id,
        name=token.name,
        kind=token.kind,
        user=token.user,
        roles=token.roles,
        namespaces=token.namespaces,
        jobs=token.jobs,
        created_at=stamp(token.created_at),
        expires_at=stamp_or_none(token.expires_at),
        last_used_at=stamp_or_none(last(token.id)),
    )


@tells(MadeToken, "user_not_found", "exceeds_own_rights", body=NewToken, status=201)
async def create(call: Call) -> Answer:
    """Make a token."""
    wanted = await call.body(NewToken)
    identity, secret = tokens.new_id(), tokens.new_secret()
    event = _event(call, identity, wanted)

    def decide(state: State, credential: str) -> Change:
        change = intents.create_token(state, replace(event, credential=credential))
        refuse_more_to(state, call.principal.grants, token_of(event, 0))
        refuse_longer(state, call.principal.token, event.expires_at)
        return change

    decide(call.parts.view.state, "")  # what is refused anyway leaves no row
    credential = await call.parts.vault.put("token", tokens.hashed(secret))
    index = await call.write(claim_stream("token", identity), lambda state: decide(state, credential))
    shown = _show(token_of(event, call.parts.view.state.time), lambda _: None)
    return answer(MadeToken(**structs.asdict(shown), secret=tokens.spell("ht", identity, secret)), 201, index=index)


def _event(call: Call, identity: str, wanted: NewToken) -> TokenCreated:
    """Say what is to be made, with all that was left out. Raises Invalid."""
    found = place_problems("namespaces", wanted.namespaces) + place_problems("jobs", wanted.jobs)
    if not 0 < len(wanted.name) <= 128:
        found.append(Problem("name", "invalid_value", "a name has 1 to 128 characters"))
    life = lifetime(wanted.ttl, found)
    refuse(found)
    namespaces, jobs, end = _of_maker(call)
    return TokenCreated(
        id=identity,
        name=wanted.name,
        user=wanted.user or call.principal.user,
        roles=wanted.roles,
        credential="",
        expires_at=end if life is None else int((call.parts.clock() + life) * 1000),
        kind=wanted.kind,
        namespaces=namespaces if wanted.namespaces is None else wanted.namespaces,
        jobs=jobs if wanted.jobs is None else wanted.jobs,
    )


def _of_maker(call: Call) -> tuple[tuple[str, ...], tuple[str, ...], int | None]:
    """Give the namespaces, jobs and end of whoever asks."""
    state, who = call.parts.view.state, call.principal
    if who.token in state.tokens:
        mine = state.tokens[who.token]
        return mine.namespaces, mine.jobs, mine.expires_at
    return intents.find_user(state, who.user).namespaces, EVERYWHERE, end_of(state, who.token)


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
    await call.nothing()
    identity = call.path["id"]
    index = await call.write(claim_stream("token", identity), lambda state: intents.delete_token(state, identity))
    return answer(Written(index, id=identity), index=index)
