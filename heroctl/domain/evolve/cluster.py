"""Folding what concerns the cluster itself."""

from __future__ import annotations

from typing import Final

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.records import Member
from heroctl.domain.state import State
from heroctl.domain.topics import CAPACITY, CLUSTER, PEERS, SETTINGS


def _created(state: State, event: e.ClusterCreated, touch: Touch) -> None:
    state.cluster = event.cluster
    state.incarnation = event.incarnation
    touch.add(CLUSTER)


def _drawn(state: State, event: e.IncarnationDrawn, touch: Touch) -> None:
    state.incarnation = event.incarnation
    touch.add(CLUSTER)


def _elected(state: State, event: e.CoordinatorElected, touch: Touch) -> None:
    state.coordinator = event.holder
    state.epoch = event.epoch
    touch.add(CLUSTER, PEERS)


def _transferred(state: State, event: e.CoordinatorTransferred, touch: Touch) -> None:
    """It is the election beside it that makes the coordinator."""


def _level_raised(state: State, event: e.LevelRaised, touch: Touch) -> None:
    state.level = max(state.level, event.level)
    touch.add(CLUSTER, PEERS)


def _joined(state: State, event: e.MemberJoined, touch: Touch) -> None:
    state.members[event.id] = Member(event.id, event.role, event.address, event.version)
    touch.add(CLUSTER, PEERS)


def _left(state: State, event: e.MemberLeft, touch: Touch) -> None:
    state.members.pop(event.id, None)
    touch.add(CLUSTER, PEERS)


def _brake_requested(state: State, event: e.BrakeRequested, touch: Touch) -> None:
    state.brake_wanted = True if event.on else False if state.brake else None
    touch.add(CLUSTER)


def _settings_set(state: State, event: e.ClusterSettingsSet, touch: Touch) -> None:
    state.settings.update(event.settings)
    touch.add(SETTINGS, CAPACITY)


def _brake_on(state: State, _: e.BrakeOn, touch: Touch) -> None:
    state.brake = True
    state.brake_changed = touch.time
    touch.add(CLUSTER)


def _brake_off(state: State, _: e.BrakeOff, touch: Touch) -> None:
    state.brake = False
    state.brake_wanted = None
    state.brake_changed = touch.time
    touch.add(CLUSTER, CAPACITY)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.ClusterCreated: _created,
    e.IncarnationDrawn: _drawn,
    e.CoordinatorElected: _elected,
    e.CoordinatorTransferred: _transferred,
    e.LevelRaised: _level_raised,
    e.MemberJoined: _joined,
    e.MemberLeft: _left,
    e.BrakeRequested: _brake_requested,
    e.ClusterSettingsSet: _settings_set,
    e.BrakeOn: _brake_on,
    e.BrakeOff: _brake_off,
}
