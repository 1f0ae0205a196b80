"""What is said of a command that is run in an allocation, and what is kept of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import assign
from heroctl.domain.assignment import MOST_EXECS, ExecWish, Report
from heroctl.domain.errors import Conflict
from heroctl.domain.events import AllocExecEnded, AllocExecRequested
from heroctl.domain.execs import (
    MOST,
    STDERR,
    STDIN,
    STDOUT,
    Data,
    Eof,
    Exit,
    Fault,
    NotUnderstood,
    Resize,
    Start,
    Started,
    asked,
    data,
    said,
    text,
)
from heroctl.domain.intents.allocs import exec_alloc
from tests.domain.worlds import World

API = "http://10.0.0.1:8080"
sides = st.integers(1, 10_000)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
ours = st.one_of(
    st.builds(Start, st.lists(words, min_size=1, max_size=5).map(tuple), st.booleans(), sides, sides),
    st.builds(Resize, sides, sides),
    st.just(Eof()),
)
theirs = st.one_of(st.just(Started()), st.builds(Exit, st.integers(0, 255)), st.builds(Fault, words, words))


@given(ours)
def test_what_a_caller_says_is_read_as_it_was_meant(thing: Start | Resize | Eof) -> None:
    assert asked(text(thing)) == thing


@given(theirs)
def test_what_an_agent_says_is_read_as_it_was_meant(thing: Started | Exit | Fault) -> None:
    assert said(text(thing)) == thing


@given(st.binary(max_size=100))
def test_bytes_are_read_as_they_are(part: bytes) -> None:
    assert asked(data(STDIN, part)) == Data(STDIN, part)
    assert said(data(STDERR, part)) == Data(STDERR, part)


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40)))
def test_whatever_comes_is_read_or_refused(message: str | bytes) -> None:
    for read in (asked, said):
        try:
            read(message)
        except NotUnderstood:
            continue


@pytest.mark.parametrize(
    "message",
    [
        *(b"", data(STDOUT, b"x"), data(9, b"x"), b"\0" + b"x" * MOST),
        *("", "null", "{}", '{"type":"exit","code":0}', '{"type":"resize","width":0,"height":1}'),
        *('{"type":"start","command":[]}', '{"type":"start","command":["a\\u0000b"]}'),
        '{"type":"start","command":["sh"],"user":"root"}',
    ],
)
def test_what_no_caller_says_is_refused(message: str | bytes) -> None:
    with pytest.raises(NotUnderstood):
        asked(message)


class Told:
    """One allocation of a world that runs."""

    def __init__(self) -> None:
        self.world = World()
        self.node = self.world.node()
        self.id = self.world.place(self.world.submit(), self.node).id
        self.world.report(self.node, Report(self.id, 1, "running", running_for=1.0))

    def ask(self, name: str) -> None:
        request = AllocExecRequested(self.id, "default", "web", name, API, ("sh",))
        self.world.do(exec_alloc(self.world.state.allocs[self.id], request))

    def end(self, name: str) -> None:
        self.world.add(AllocExecEnded(self.id, "default", "web", name, 1.0, 0, 0, exit_code=0))

    @property
    def wishes(self) -> list[str]:
        alloc = self.world.state.allocs[self.id]
        [named] = assign.changed(self.world.state, self.node, alloc.assign_index - 1)
        return [wish.id for wish in named.execs]


def test_its_agent_is_told_where_somebody_waits_until_it_has_ended() -> None:
    told = Told()
    told.ask("e1")
    told.ask("e2")
    assert told.world.state.allocs[told.id].execs == (ExecWish("e1", API), ExecWish("e2", API))
    told.end("e1")
    assert told.wishes == ["e2"]
    told.end("e2")
    assert told.wishes == []


def test_ends_that_nobody_wrote_make_no_endless_list() -> None:
    told = Told()
    for number in range(MOST_EXECS + 5):
        told.ask(f"e{number}")
    assert told.wishes == [f"e{number}" for number in range(5, MOST_EXECS + 5)]


def test_what_was_run_is_in_no_timeline() -> None:
    told = Told()
    told.ask("e1")
    told.end("e1")
    lines = [(event, what) for _, _, event, what in told.world.state.allocs[told.id].timeline[-2:]]
    assert lines == [("alloc.exec_requested", "exec e1"), ("alloc.exec_ended", "exec e1: exit code 0")]


def test_where_nothing_runs_nothing_is_run() -> None:
    told = Told()
    told.world.report(told.node, Report(told.id, 1, "stopping"))
    with pytest.raises(Conflict) as refused:
        told.ask("e1")
    assert refused.value.code == "allocation_not_running"
