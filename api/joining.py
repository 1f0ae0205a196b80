"""How servers join: an operator makes a join token, the server spends it and gets a token of its own."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from api import tokens
from api.acl import lifetime
from api.answer import Answer, answer
from api.call import Call
from api.wire import whole_stamp
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import NodeRegistered
from heroctl.domain.intents import nodes as intents
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.state import State

USUAL_LIFE: Final = 3600.0  # seconds of a join token
LONGEST_LIFE: Final = 7 * 24 * 3600.0
_NODE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class NewJoinToken(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/cluster/join-tokens`."""

    ttl: str | None = None


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/nodes/join`."""

    token: str
    name: str


async def create_token(call: Call) -> Answer:
    """Allow one server to join: 201 `{id, token, expires_at}`, the token shown this once."""
    problems: list[Problem] = []
    life = lifetime((await call.body(NewJoinToken)).ttl, problems) or USUAL_LIFE
    if problems:
        raise Invalid("invalid_body", f"ttl: {problems[0].message}", details=tuple(problems))
    identity, secret = tokens.new_id(), tokens.new_secret()
    credential = await call.parts.vault.put("join_token", tokens.hashed(secret))
    expires = int(call.parts.clock() + min(life, LONGEST_LIFE))
    index = await call.write(
        claim_stream("join_token", identity),
        lambda _: intents.create_join_token(identity, credential, expires * 1000, call.principal.actor),
    )
    made = {"id": identity, "token": tokens.spell("hj", identity, secret), "expires_at": whole_stamp(expires)}
    return answer(made, 201, index=index)


async def join(call: Call) -> Answer:
    """Spend a join token for a node: 201 `{id, name, token, cluster}`."""
    wanted = await call.body(Join)
    if _NODE_NAME.fullmatch(wanted.name) is None:
        problem = Problem("name", "invalid_value", "a node's name is a host name: a-z, 0-9, '-' and '.', at most 63")
        raise Invalid("invalid_body", f"name: {problem.message}", details=(problem,))
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
    made = {
        "id": node,
        "name": wanted.name,
        "token": tokens.spell("hn", node, secret),
        "cluster": call.parts.view.state.cluster,
    }
    return answer(made, 201, index=index)
