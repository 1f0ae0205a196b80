"""Which nodes are up, which are down, and whether so many are down that it must be us who are cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from heroctl.domain.events import BrakeOff, BrakeOn, Event, MemberJoined, MemberLeft, NodeDown, NodeUp
from heroctl.domain.intents.change import node_stream
from heroctl.domain.records import Member, Node
from heroctl.domain.state import State
from heroctl.domain.topics import FLEET
from reconciler.planner.piece import Piece

SILENT_MS: Final = 13_000  # without a beat for so long: down
OPERATOR: Final = "operator"  # why the brake goes on or off that one asked for
_LOOKBACK_MS: Final = 60_000  # the brake compares with who was ready so long ago
_MASS: Final = 3  # fewer nodes than this are never a mass failure
_ON_ABOVE: Final = 55  # per cent
_OFF_AT: Final = 30  # per cent


class Heard(Struct, frozen=True):
    """What the coordinator heard of a node: of which session, how long ago (ms), and whether a beat at all."""

    session: int
    silent: int
    beating: bool = True


class Census:
    """The nodes by what they are, which seldom changes: a pass need not ask thousands that are well.

    A cache: made anew it says the same. What is said of a node otherwise is read from the state.
    """

    def __init__(self) -> None:
        self.up: list[str] = []
        self.others: list[str] = []  # that are down, or have yet to come up
        self.drained: list[str] = []
        self._read_at = (-1, -1)
        self._beats: Mapping[str, Heard] | None = None
        self._quiet: tuple[list[str], int | None] = [], None

    def refresh(self, state: State) -> None:
        """Read the nodes anew if any came, went or may be something else than before."""
        at = state.topics.get(FLEET, 0), len(state.nodes)
        if at == self._read_at:
            return
        self._read_at, self._beats = at, None
        self.up = [name for name, node in state.nodes.items() if node.up]
        self.others = [name for name, node in state.nodes.items() if not node.up]
        self.drained = [name for name, node in state.nodes.items() if node.drain is not None]

    def quiet(self, beats: Mapping[str, Heard]) -> tuple[list[str], int | None]:
        """Give those that are up and silent for too long, and the longest silence (ms) of the others.

        Who heard nothing since gives the very same beats again: they are not looked through twice.
        """
        if beats is not self._beats:
            get, silent = beats.get, []
            well = [heard.silent for name in self.up if (heard := get(name)) is not None and heard.silent < SILENT_MS]
            if len(well) < len(self.up):
                silent = [name for name in self.up if (heard := get(name)) is None or heard.silent >= SILENT_MS]
            self._beats, self._quiet = beats, (silent, max(well, default=None))
        return self._quiet


def liveness(state: State, census: Census, beats: Mapping[str, Heard], now: int) -> tuple[list[Piece], int | None]:
    """Decide who comes up and who goes down; and in how many ms the next could go down."""
    pieces: list[Piece] = []
    silent, longest = census.quiet(beats)
    soonest = SILENT_MS - longest if longest is not None else None
    for name in (*silent, *census.others):
        node, heard = state.nodes[name], beats.get(name)
        if heard is None:
            continue
        event = _down(state, node, heard) if node.up else _up(node, heard) or _down_again(state, node, heard, now)
        if event is not None:
            pieces.append(Piece((event,), moves=(node_stream(node.id),)))
        elif is_back(node):
            left = SILENT_MS - min(heard.silent, now - node.session_at)
            soonest = left if soonest is None else min(soonest, left)
    return sorted(pieces, key=lambda piece: piece.moves), soonest


def is_back(node: Node) -> bool:
    """Tell whether a node that is down has opened a session since, with a full inventory: it has yet to beat in it."""
    return node.up is False and node.session > node.changed


def _up(node: Node, heard: Heard) -> NodeUp | None:
    """A node comes up when it beats in a session that began, with a full inventory, after it went down."""
    fresh = node.session > node.changed and heard.session == node.session
    return NodeUp(node.id, node.name) if fresh and heard.beating and heard.silent < SILENT_MS else None


def _down(state: State, node: Node, heard: Heard) -> NodeDown | None:
    if heard.silent < SILENT_MS:
        return None
    held = tuple(alloc.id for alloc in state.allocs_on(node.id) if alloc.live)
    return NodeDown(node.id, node.name, round(heard.silent / 1000, 1), held)


def _down_again(state: State, node: Node, heard: Heard, now: int) -> NodeDown | None:
    """A node that came back and fell silent before it was up is down from now on: it may have been told to go on."""
    quiet = is_back(node) and now - node.session_at >= SILENT_MS
    return _down(state, node, heard) if quiet else None


def brake(state: State, census: Census, now: int) -> BrakeOn | BrakeOff | None:
    """Decide whether to hold back the replacement of what nodes held that are down.

    What an operator says goes. Else, on: at least 3 nodes, and more than 55 % of those ready 60 s ago, went down. Off:
    at most 30 % of the same are down still. What was down before an operator let go does not put it on again.
    """
    since = state.brake_changed - _LOOKBACK_MS if state.brake else max(now - _LOOKBACK_MS, state.brake_changed + 1)
    lost = [node for name in census.others if (node := state.nodes[name]).up is False]
    if not lost and not state.brake and state.brake_wanted is None:
        return None
    ready = len(census.up)
    down = sum(1 for node in lost if (node.down_at or 0) >= since)
    of = ready + down
    if state.brake_wanted is True:
        return None if state.brake else BrakeOn(down, of, OPERATOR)
    if state.brake_wanted is False and state.brake:
        return BrakeOff(OPERATOR)
    if not state.brake and down >= _MASS and 100 * down > _ON_ABOVE * of:
        return BrakeOn(down, of)
    if state.brake and 100 * down <= _OFF_AT * of:
        return BrakeOff("nodes_are_back")
    return None


def members(state: State, live: Iterable[Member]) -> list[Event]:
    """Decide which api and reconciler processes are new and which are gone, given those that renew their rows."""
    now = {member.id: member for member in live}
    events: list[Event] = [MemberLeft(gone) for gone in sorted(state.members.keys() - now.keys())]
    new = [member for _, member in sorted(now.items()) if state.members.get(member.id) != member]
    events += [MemberJoined(member.id, member.role, member.address, member.version) for member in new]
    return events
