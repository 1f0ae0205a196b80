"""What is wanted of a node, whatever arrives in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.desired import GRACE, Desired, answered, forgotten, rung, wish
from heroctl.domain.assignment import Assigned, Mark, Ring, SyncReply
from tests.agents.world import assigned


def one(name: str, index: int = 1, wanted: str = "run") -> Assigned:
    return replace(assigned(wanted=wanted, index=index), id=name)


def complete(index: int, *allocs: Assigned, incarnation: str = "i1") -> SyncReply:
    return SyncReply(incarnation, index, index, 2.0, complete=list(allocs))


def changed(index: int, *allocs: Assigned, incarnation: str = "i1") -> SyncReply:
    return SyncReply(incarnation, index, index, 2.0, changed=list(allocs))


def held(*allocs: Assigned, index: int = 5, now: float = 0.0) -> Desired:
    return answered(Desired(), complete(index, *allocs), now).desired


def wanted(desired: Desired, alloc: str, *, origin: str = "i1", now: float = 0.0) -> str:
    return wish(desired, alloc, origin=origin, found_at=0.0, now=now).wanted


def test_nothing_heard_means_nothing_is_asked() -> None:
    assert wanted(Desired(), "a", now=10_000) == "keep"
    assert wanted(Desired("i1", 7, {"b": one("b")}), "a", now=10_000) == "keep"


def test_a_complete_assignment_says_what_runs() -> None:
    heard = answered(Desired(), complete(5, one("a"), one("b", wanted="stop")), 0.0)
    assert (wanted(heard.desired, "a"), wanted(heard.desired, "b")) == ("run", "stop")
    assert heard.touched == {"a", "b"}


def test_a_named_stop_acts_at_once_and_silence_only_after_the_grace() -> None:
    desired = held(one("a"), one("b"))
    desired = answered(desired, complete(6, one("b", 6, "stop")), 100.0).desired
    assert wanted(desired, "b", now=100.0) == "stop"
    quiet = wish(desired, "a", origin="i1", found_at=0.0, now=100.0)
    assert (quiet.wanted, quiet.until) == ("keep", 100.0 + GRACE)
    assert wanted(desired, "a", now=100.0 + GRACE) == "stop"


def test_changes_never_drop_what_they_do_not_name() -> None:
    desired = answered(held(one("a"), one("b")), changed(6, one("b", 6, "stop")), 0.0).desired
    assert (wanted(desired, "a", now=10_000), desired.index) == ("run", 6)


def test_older_answers_of_the_same_incarnation_change_nothing() -> None:
    desired = held(one("a"), index=9)
    for old in (complete(8), changed(8, one("a", 8, "stop"))):
        assert answered(desired, old, 0.0) == (desired, frozenset(), False)


def test_a_late_answer_does_not_undo_what_a_ring_brought() -> None:
    desired = rung(held(one("a", 5)), Ring("i1", 6, 5, [one("a", 6, "stop")])).desired
    assert wanted(answered(desired, changed(7, one("a", 5), one("b", 7)), 0.0).desired, "a") == "stop"


def test_another_incarnation_is_never_older_and_keeps_what_it_does_not_name() -> None:
    desired = held(one("a"), one("b"), index=900)
    heard = answered(desired, complete(3, one("b", 3), incarnation="i2"), 0.0)
    assert (heard.desired.incarnation, heard.desired.index) == ("i2", 3)
    assert wanted(heard.desired, "b") == "run"
    assert wanted(heard.desired, "a", now=10_000) == "keep"
    named = answered(heard.desired, changed(4, one("a", 4, "stop"), incarnation="i2"), 0.0)
    assert wanted(named.desired, "a") == "stop"


def test_what_was_in_its_grace_is_kept_by_another_incarnation() -> None:
    desired = answered(held(one("a")), complete(6), 0.0).desired
    desired = answered(desired, complete(1, incarnation="i2"), 10.0).desired
    assert wanted(desired, "a", now=10_000) == "keep"


def test_changes_of_another_incarnation_fit_on_nothing_and_are_a_reason_to_pull() -> None:
    desired = held(one("a"))
    assert answered(desired, changed(3, incarnation="i2"), 0.0) == (desired, frozenset(), True)


def test_a_container_nobody_ever_named_goes_after_the_grace_unless_an_older_incarnation_made_it() -> None:
    desired = held(now=50.0)
    assert wanted(desired, "x", now=50.0 + GRACE - 1) == "keep"
    assert wanted(desired, "x", now=50.0 + GRACE) == "stop"
    assert wanted(desired, "x", origin="", now=50.0 + GRACE) == "stop"
    assert wanted(desired, "x", origin="i0", now=10_000) == "keep"
    late = wish(desired, "x", origin="i1", found_at=1000.0, now=1000.0 + GRACE - 1)
    assert late.wanted == "keep"


def test_a_ring_is_taken_if_it_fits_and_asked_about_if_not() -> None:
    desired = held(one("a"))
    assert rung(desired, Ring("i1", 6, 5, [one("b", 6)])).touched == {"b"}
    assert rung(desired, Ring("i1", 7, 6, [one("b", 7)])) == (desired, frozenset(), True)
    assert rung(desired, Ring("i1", 6, 5)).pull
    assert rung(desired, Ring("i2", 6, 5, [])).pull
    assert rung(desired, Ring("i1", 5, 4, [one("a", 5, "stop")])) == (desired, frozenset(), False)


def test_what_is_over_can_be_forgotten() -> None:
    desired = forgotten(held(one("a"), one("b")), {"a"})
    assert list(desired.allocs) == ["b"]


Words = st.sampled_from(["a", "b", "c"])
Allocs = st.lists(
    st.builds(one, Words, st.integers(1, 9), st.sampled_from(["run", "stop"])), max_size=3, unique_by=lambda a: a.id
)
Incarnations = st.sampled_from(["i1", "i2"])
Messages = st.one_of(
    st.builds(lambda n, a, i: complete(n, *a, incarnation=i), st.integers(0, 9), Allocs, Incarnations),
    st.builds(lambda n, a, i: changed(n, *a, incarnation=i), st.integers(0, 9), Allocs, Incarnations),
    st.builds(lambda n, p, a, i: Ring(i, n, p, a), st.integers(0, 9), st.integers(0, 9), Allocs, Incarnations),
)


@given(st.lists(Messages, max_size=20))
def test_the_index_never_falls_within_an_incarnation_and_nothing_unnamed_is_stopped_in_its_grace(
    messages: list[SyncReply | Ring],
) -> None:
    desired, now = Desired(), 0.0
    for message in messages:
        before, now = desired, now + 1.0
        heard = rung(desired, message) if isinstance(message, Ring) else answered(desired, message, now)
        desired = heard.desired
        if desired.incarnation == before.incarnation:
            assert desired.index >= before.index
        for alloc in "abc":
            asked = wish(desired, alloc, origin=desired.incarnation, found_at=0.0, now=now)
            assert asked.wanted == "keep" or alloc in desired.allocs
            if asked != wish(before, alloc, origin=before.incarnation, found_at=0.0, now=now):
                assert alloc in heard.touched or before.complete_at != desired.complete_at


def marked(message: SyncReply | Ring, beyond: int | None) -> SyncReply | Ring:
    """Let it say where that history's log stood: so many events after the index; None: it is of an earlier release."""
    at = message.index + (beyond or 0)
    return message if beyond is None else replace(message, mark=Mark(at + 1, f"{message.incarnation} {at}".encode()))


@given(st.lists(st.builds(marked, Messages, st.none() | st.integers(0, 3)), max_size=20))
def test_the_mark_is_the_newest_that_was_told_of_the_history_that_is_held(messages: list[SyncReply | Ring]) -> None:
    desired = Desired()
    for now, message in enumerate(messages):
        before = desired
        heard = rung(desired, message) if isinstance(message, Ring) else answered(desired, message, float(now))
        desired = heard.desired
        same = desired.incarnation == before.incarnation
        if desired.mark is not None:
            assert desired.mark.chain.startswith(desired.incarnation.encode()), "never of another history"
            assert desired.mark in ((before.mark, message.mark) if same else (message.mark,))
        if same and before.mark is not None:
            assert desired.mark is not None
            assert desired.mark.index >= before.mark.index
        if message.mark is not None and desired.index > before.index:
            assert desired.marked, "what was told with a mark is covered by one"
