"""How servers join: an operator makes a join token, the server spends it and gets a token of its own."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api import tokens
from api.acl_tokens import lifetime
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.wire import whole_stamp
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import NodeRegistered
from heroctl.domain.intents import nodes as intents
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.names import misnamed_node
from heroctl.domain.state import State

USUAL_LIFE: Final = 3600.0  # seconds of a join token
LONGEST_LIFE: Final = 7 * 24 * 3600.0


class NewJoinToken(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/cluster/join-tokens`."""

    ttl: str | None = None


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/nodes/join`."""

    token: str
    name: str


class MadeJoinToken(Struct, frozen=True):
    """A join token as its maker sees it, once."""

    id: str
    token: str
    expires_at: str


class Joined(Struct, frozen=True):
    """A node of the cluster, with its own token, shown once."""

    id: str
    name: str
    token: str
    cluster: str


@tells(MadeJoinToken, body=NewJoinToken, status=201)
async def create_token(call: Call) -> Answer:
    """Allow one server to join: 201 `{id, token, expires_at}`, the token shown this once."""
    call.allow_everywhere()
    problems: list[Problem] = []
    life = lifetime((await call.body(NewJoinToken)).ttl, problems) or USUAL_LIFE
    if life > LONGEST_LIFE:
        problems.append(Problem("ttl", "invalid_value", f"at most {LONGEST_LIFE / 3600:.0f}h"))
    if problems:
        raise Invalid("invalid_body", f"ttl: {problems[0].message}", details=tuple(problems))
    identity, secret = tokens.new_id(), tokens.new_secret()
    credential = await call.parts.vault.put("join_token", tokens.hashed(secret))
    expires = int(call.parts.clock() + life)
    index = await call.write(
        claim_stream("join_token", identity),
        lambda _: intents.create_join_token(identity, credential, expires * 1000, call.principal.actor),
    )
    made = MadeJoinToken(identity, tokens.spell("hj", identity, secret), whole_stamp(expires))
    return answer(made, 201, index=index)


@tells(Joined, "join_token_invalid", "join_token_spent", "node_exists", body=Join, status=201)
async def join(call: Call) -> Answer:
    """Spend a join token for a node: 201 `{id, name, token, cluster}`."""
    wanted = await call.body(Join)
    if problems := misnamed_node(wanted.name):
        raise Invalid("invalid_body", f"name: {problems[0].message}", details=tuple(problems))
    token = await call.parts.gate.join_token(wanted.token)
    secret = tokens.new_secret()
    credential = await call.parts.vault.put("node", tokens.hashed(secret))
    node = ""

    def decide(state: State) -> Change:
        nonlocal node
        change = intents.register_node(state, wanted.name, token.id, credential)
        node = next(event.id for event in change.events if isinstance(event, NodeRegistered))
        return change

    index = await call.write(claim_stream("join_token", token.id), decide)
    made = Joined(node, wanted.name, tokens.spell("hn", node, secret), call.parts.view.state.cluster)
    return answer(made, 201, index=index)
