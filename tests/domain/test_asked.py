"""What users ask of an allocation that runs: to begin anew, to take a signal."""

from __future__ import annotations

from typing import get_args

import pytest

from api.allocations import SignalName
from heroctl.domain import assign
from heroctl.domain.assignment import MOST_SIGNALS, Report, Signalled, SignalWish
from heroctl.domain.checks import SIGNALS
from heroctl.domain.errors import Conflict
from heroctl.domain.events import AllocFailed, AllocStopping
from heroctl.domain.intents.allocs import restart_alloc, signal_alloc
from heroctl.domain.intents.change import NOTHING
from heroctl.domain.intents.jobs import stop_alloc
from heroctl.domain.records import Alloc, Node
from tests.domain.worlds import World


class Told:
    """One allocation of a world, and what its node says of it."""

    def __init__(self) -> None:
        self.world = World()
        self.node: Node = self.world.node()
        self.id = self.world.place(self.world.submit(), self.node).id

    @property
    def alloc(self) -> Alloc:
        return self.world.state.allocs[self.id]

    def report(self, attempt: int, phase: str, **fields: object) -> None:
        said = Report(self.id, attempt, phase, **fields)  # type: ignore[arg-type] # one of the phases
        assert self.world.report(self.node, said) == ["ok"]

    def restart(self) -> None:
        self.world.do(restart_alloc(self.alloc))

    def signal(self, name: str) -> None:
        self.world.do(signal_alloc(self.alloc, name))

    def timeline(self) -> list[tuple[str, str]]:
        return [(event, said) for _, _, event, said in self.alloc.timeline]


@pytest.fixture
def told() -> Told:
    made = Told()
    made.report(1, "running", running_for=1.0)
    return made


def test_a_restart_reaches_the_assignment_and_is_told(told: Told) -> None:
    told.restart()
    [named] = assign.changed(told.world.state, told.node, told.alloc.assign_index - 1)
    assert (named.restart, named.wanted) == (1, "run")
    assert told.timeline()[-1] == ("alloc.restart_requested", "attempt 1")


def test_a_restart_asked_for_twice_is_one_and_one_of_the_next_attempt_another(told: Told) -> None:
    told.restart()
    assert restart_alloc(told.alloc) == NOTHING
    told.report(2, "running", running_for=1.0)
    told.restart()
    assert told.alloc.restart == 2


def test_a_restart_is_no_failure_and_its_health_starts_anew(told: Told) -> None:
    told.report(1, "running", health="healthy", running_for=9.0, healthy_for=5.0)
    told.restart()
    told.report(1, "stopping")
    told.report(2, "running", running_for=0.2)
    assert (told.alloc.attempt, told.alloc.health, told.alloc.healthy_since) == (2, "unknown", None)
    assert (told.alloc.failed_attempt, told.alloc.restarts) == (0, 0)
    assert not [record for record in told.world.records if isinstance(record.event, AllocFailed)]


def test_what_is_over_stopping_or_not_begun_is_refused() -> None:
    told = Told()
    for ask in (restart_alloc, lambda alloc: signal_alloc(alloc, "SIGHUP")):
        _refused(ask, told.alloc, "allocation_not_running")
    told.report(1, "running", running_for=1.0)
    told.world.do(stop_alloc(told.alloc))
    _refused(restart_alloc, told.alloc, "allocation_stopping")
    told.world.add(AllocStopping(told.id, "default", "web", "requested"))
    _refused(restart_alloc, told.alloc, "allocation_stopping")
    told.report(1, "complete", exit_code=0)
    _refused(restart_alloc, told.alloc, "allocation_over")
    _refused(lambda alloc: signal_alloc(alloc, "SIGHUP"), told.alloc, "allocation_over")


def _refused(ask: object, alloc: Alloc, code: str) -> None:
    with pytest.raises(Conflict) as refused:
        ask(alloc)  # type: ignore[operator] # an intent
    assert refused.value.code == code


def test_signals_are_numbered_kept_until_answered_for_and_what_became_of_each_is_told(told: Told) -> None:
    told.signal("SIGHUP")
    told.signal("SIGUSR1")
    told.signal("SIGUSR2")
    wishes = (SignalWish(1, 1, "SIGHUP"), SignalWish(2, 1, "SIGUSR1"), SignalWish(3, 1, "SIGUSR2"))
    [named] = assign.changed(told.world.state, told.node, told.alloc.assign_index - 1)
    assert named.signals == wishes
    told.report(1, "running", running_for=3.0, signalled=[Signalled(1), Signalled(2, "too late")])
    assert told.alloc.signals == wishes[2:]
    assert told.timeline()[-2:] == [("alloc.signalled", "SIGHUP"), ("alloc.signal_failed", "SIGUSR1: too late")]
    told.report(1, "running", running_for=4.0, signalled=[Signalled(1), Signalled(2, "too late")])
    assert told.timeline()[-1] == ("alloc.signal_failed", "SIGUSR1: too late"), "told once"
    told.report(1, "running", running_for=5.0, signalled=[Signalled(2, "too late"), Signalled(3)])
    told.signal("SIGHUP")
    assert told.alloc.signals == (SignalWish(4, 1, "SIGHUP"),)


def test_a_node_that_answers_for_nothing_gets_no_endless_list(told: Told) -> None:
    for _ in range(MOST_SIGNALS):
        told.signal("SIGHUP")
    _refused(lambda alloc: signal_alloc(alloc, "SIGHUP"), told.alloc, "too_many_signals")


def test_the_signals_of_the_api_are_those_of_a_spec() -> None:
    assert set(get_args(SignalName)) == SIGNALS
