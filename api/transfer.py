"""Handing coordination to another reconciler, because an administrator asks. No Raft is inside: it is a lease."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.write import CATCH_UP, Done, Replayed, outdated
from eventstore import codec
from eventstore.handover import FRESH, ROLE, Refused
from eventstore.log import Appended
from eventstore.members import Present
from heroctl.domain.errors import Conflict, Refusal, Unavailable, not_found
from heroctl.domain.events import CoordinatorElected, CoordinatorTransferred
from heroctl.domain.intents.change import NOTHING, claim_stream
from heroctl.domain.state import State
from heroctl.domain.topics import CLUSTER

STREAM: Final = claim_stream("cluster", "coordinator")
SHORTEST: Final = 4  # characters of an id that may stand for it


class Transfer(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/raft/transfer-leadership`. `target`: id, the beginning of one, or address of a reconciler.

    Without it, the reconciler that was heard of last is taken.
    """

    target: str | None = None


class Transferred(Struct, frozen=True):
    """Who coordinates from this index on, and who did before: the same where it was so already."""

    coordinator: str
    previous: str
    epoch: int
    index: int


@tells(Transferred, "no_coordinator", "no_successor", "member_not_found", "ambiguous_id", body=Transfer)
async def transfer(call: Call) -> Answer:
    """Hand coordination to another reconciler, at once: what is decided from then on, it decides."""
    wanted, parts = await call.body(Transfer), call.parts
    parts.need_coordinator()
    if not parts.view.sound:
        raise outdated()
    target = _target(parts.view.state, await parts.pulse.live(), wanted.target)
    given = await parts.handovers.hand_over(target, call.meta, call.key)
    if given == Refused("held"):
        return await transferred(call, await call.change(STREAM, lambda _: NOTHING))
    if isinstance(given, Refused):
        raise _refusal(target, given)
    call.key = None
    await parts.view.reached(given.last, CATCH_UP)
    if given.replayed:
        raise Replayed(given)
    return await transferred(call, await _done(call, given))


async def _done(call: Call, place: Appended) -> Done:
    rows = await call.parts.writer.rows(place)
    return Done(tuple(record.event for record in codec.records(rows)), place.last)


async def transferred(call: Call, done: Done) -> Answer:
    """Say who coordinates."""
    state = call.parts.view.state
    moved = next((event for event in done.events if isinstance(event, CoordinatorTransferred)), None)
    elected = next((event for event in done.events if isinstance(event, CoordinatorElected)), None)
    index = done.index or state.topic_index(CLUSTER)
    if moved is None or elected is None:
        return answer(Transferred(state.coordinator, state.coordinator, state.epoch, index), index=index)
    return answer(Transferred(moved.target, moved.source, elected.epoch, index), index=index)


def _target(state: State, live: list[Present], wanted: str | None) -> str:
    """Name the process that is meant. Raises NotFound or Conflict."""
    others = [each for each in live if each.member.role == ROLE and each.level >= state.level]
    if wanted == state.coordinator:
        return state.coordinator
    if wanted is None:
        fit = [each for each in others if each.member.id != state.coordinator and each.seconds < FRESH]
        if not fit:
            raise Conflict("no_successor", "no other reconciler lives that could coordinate: start one first")
        return min(fit, key=lambda each: (each.seconds, each.member.id)).member.id
    named = _named(others, wanted)
    if len(named) > 1:
        some = ", ".join(sorted(named)[:3])
        raise Conflict("ambiguous_id", f"'{wanted}' names {len(named)} reconcilers ({some} …): give more of an id")
    if named:
        return named[0]
    if wanted in state.members or _named(live, wanted):
        raise _refusal(wanted, Refused("gone"))
    raise not_found("member", wanted)


def _named(live: list[Present], wanted: str) -> list[str]:
    """Give the ids that a word means: an id, else an address, else the beginning of ids."""
    ids = [each.member.id for each in live]
    if wanted in ids:
        return [wanted]
    there = [each.member.id for each in live if each.member.address == wanted]
    return there or [each for each in ids if len(wanted) >= SHORTEST and each.startswith(wanted)]


def _refusal(target: str, refused: Refused) -> Refusal:
    match refused.why:
        case "gone":
            return Conflict(
                "no_successor",
                f"'{target}' is no reconciler of this release that lives: /v1/cluster/peers lists those that do",
            )
        case "vacant":
            return Unavailable("no_coordinator", "no reconciler coordinates just now: try again", retry_after=1)
        case _:
            return Unavailable("busy", "others were elected at the same time: try again", retry_after=1)
