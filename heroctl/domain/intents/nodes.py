"""Intents of nodes and their agents: joining, sessions, reports."""

from __future__ import annotations

from heroctl.domain.assignment import Outcome, Report, SessionRequest
from heroctl.domain.errors import Conflict, Gone, not_found
from heroctl.domain.events import (
    AllocFailed,
    AllocReported,
    Event,
    JoinTokenCreated,
    NodeEligibilitySet,
    NodeRegistered,
    NodeRemoved,
    NodeSessionOpened,
    NodeUnknownContainers,
)
from heroctl.domain.ids import node_id
from heroctl.domain.intents.change import NOTHING, Change, agent_stream, claim_stream, node_stream
from heroctl.domain.intents.drains import check_not_draining
from heroctl.domain.lifecycle import TERMINAL, supersedes
from heroctl.domain.records import Alloc, Node
from heroctl.domain.state import State


def create_join_token(token: str, credential: str, expires_at: int, by: str) -> Change:
    """Allow one server to join until `expires_at` (ms); `credential` is the vault row with the secret's hash."""
    return Change((JoinTokenCreated(token, credential, expires_at, by),), (claim_stream("join_token", token),))


def register_node(state: State, name: str, token: str, credential: str) -> Change:
    """Spend a join token (its secret was checked) for a node of this name."""
    if token not in state.join_tokens:
        raise Conflict("join_token_spent", "this join token was used or has expired: ask for a new one")
    if name in state.node_names:
        raise Conflict("node_exists", f"a node named '{name}' exists: remove it first, or join under another name")
    node = node_id(name, token)
    return Change(
        (NodeRegistered(node, name, token, credential),),
        (node_stream(node), claim_stream("node", name), claim_stream("join_token", token)),
    )


def find_node(state: State, node: str) -> Node:
    """Return an agent's own node, or refuse: `node_removed` (410) is the one answer that ends an agent."""
    found = state.nodes.get(node)
    if found is None and node in state.removed_nodes:
        raise Gone("node_removed", "this node was removed from the cluster")
    if found is None:
        raise not_found("node", node)
    return found


def open_session(state: State, node: str, request: SessionRequest, *, beating: bool) -> Change:
    """Let an agent speak for its node. `beating`: the present session has been heard in the last seconds."""
    known = find_node(state, node)
    if known.session and known.boot_id != request.boot_id and beating:
        raise Conflict(
            "node_in_use",
            f"another machine speaks for node '{known.name}' (a clone of this disk?): join this one under its own name",
        )
    events: list[Event] = [
        NodeSessionOpened(
            node,
            request.boot_id,
            request.capacity,
            request.drivers,
            request.address,
            request.version,
            request.labels,
            request.attributes,
        )
    ]
    events += report_events(state, known, request.inventory.reports)[0]
    if request.inventory.unknown or known.released:
        events.append(NodeUnknownContainers(node, tuple(request.inventory.unknown)))
    return Change(tuple(events), (node_stream(node), agent_stream(node)))


def report(state: State, node: str, session: int, reports: list[Report]) -> tuple[Change, list[Outcome]]:
    """Take an agent's observations: what they change, and an outcome each. Nothing in a batch blocks the rest."""
    known = find_node(state, node)
    check_session(known, session)
    events, outcomes = report_events(state, known, reports)
    change = Change(tuple(events), (agent_stream(node),), (node_stream(node),)) if events else NOTHING
    return change, outcomes


def check_session(node: Node, session: int) -> None:
    """Refuse an agent that does not hold its node's session.

    `session_replaced`: a newer agent does; this one exits, its containers stay. `session_unknown` (the log was restored
    to before it) and `session_lapsed` (silent until its node was declared down): it opens one anew, and goes on.
    """
    if session < node.session:
        raise Conflict("session_replaced", "a newer agent speaks for this node")
    if session > node.session:
        raise Conflict("session_unknown", "this cluster does not know that session: open one again")
    if node.up is False and node.changed > session:
        raise Conflict(
            "session_lapsed", "this node was silent for so long that it counts as down: open a session again"
        )


def report_events(state: State, node: Node, reports: list[Report]) -> tuple[list[Event], list[Outcome]]:
    """Judge each report against what is known: events for the news, and an outcome each."""
    events: list[Event] = []
    outcomes: list[Outcome] = []
    for item in reports:
        alloc = state.allocs.get(item.alloc)
        outcome = _judge(alloc, item, node)
        outcomes.append(outcome)
        if outcome == "ok" and alloc is not None and _news(alloc, item):
            events.append(AllocReported(node.id, item))
            events.extend(_failures(alloc, item, node))
    return events, outcomes


def _judge(alloc: Alloc | None, item: Report, node: Node) -> Outcome:
    if alloc is None:
        return "unknown"
    if alloc.node != node.id:
        return "foreign"
    return "ok" if supersedes(item.attempt, item.phase, alloc.attempt, alloc.phase) else "old"


def _news(alloc: Alloc, item: Report) -> bool:
    """A report that says what is known already is no event."""
    said = (item.attempt, item.phase, item.health, item.restarts, item.exit_code, item.reason, item.message)
    known = (
        alloc.attempt,
        alloc.phase,
        alloc.health,
        alloc.restarts,
        alloc.exit_code,
        alloc.reason,
        alloc.message,
    )
    answers = any(each.number > alloc.signalled for each in item.signalled)
    placed = tuple(sorted(item.ports.items())) != alloc.ports or item.container != alloc.container
    return said != known or placed or answers


def _failures(alloc: Alloc, item: Report, node: Node) -> list[Event]:
    """An attempt that ended unasked is told once, whichever report shows it first."""
    if item.failed_attempt <= alloc.failed_attempt or alloc.wanted == "stop":
        return []
    return [
        AllocFailed(
            alloc=alloc.id,
            namespace=alloc.namespace,
            job=alloc.job,
            task=alloc.task,
            slot=alloc.slot,
            node=node.name,
            attempt=item.failed_attempt,
            reason=item.reason or "exited",
            message=item.message,
            exit_code=item.exit_code,
            oom=item.oom,
            will_restart=item.phase not in TERMINAL,
        )
    ]


def set_eligibility(node: Node, *, eligible: bool) -> Change:
    """Say whether new allocations may come to a node; so already: nothing."""
    if eligible:
        check_not_draining(node)
    if node.eligible == eligible:
        return NOTHING
    return Change((NodeEligibilitySet(node.id, eligible),), (node_stream(node.id),))


def remove_node(node: Node) -> Change:
    """Remove a node and with it all it held."""
    return Change((NodeRemoved(node.id, node.name),), (node_stream(node.id), claim_stream("node", node.name)))
