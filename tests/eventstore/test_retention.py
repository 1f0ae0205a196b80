"""What may go: for whatever stands, never too much, and in the end all that is not wanted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventstore.log import Position
from eventstore.retention import STAY, Partition, Standing, Waits, Window, decide, settled, unexported

DAY = 86_400_000
SIZE = 10


def place(index: int) -> Position:
    """The end of an append, in the one history that counts."""
    return Position(index, index.to_bytes(32, "big"))


def partitions(head: int, first: int = 1, straddle: int = 0) -> list[Partition]:
    """All that are kept, two ahead of the head; appends straddle each boundary by so many events. A day a partition."""
    made = []
    for number, begin in enumerate(range(first, head + 3 * SIZE, SIZE)):
        last = begin + SIZE - 1
        full = head >= last + straddle
        made.append(
            Partition(
                begin,
                begin + SIZE,
                1_000,
                place(last + straddle) if full else None,
                number * DAY if full else 0,
            )
        )
    return made


def standing(head: int, parts: Sequence[Partition] | None = None) -> Standing:
    """Everything is as it must be for all to go that is old enough, a hundred days later."""
    parts = partitions(head) if parts is None else parts
    ends = frozenset(each.end for each in parts if each.end is not None)
    return Standing(parts, head, 100 * DAY, {}, ends, ends, "wanted")


OLD = Window(ms=DAY)


def test_the_oldest_goes_first() -> None:
    now = standing(45)
    assert decide(now, OLD) == now.partitions[0]


def test_the_head_s_partition_and_the_one_before_it_stay() -> None:
    for head in range(1, 45):
        going = decide(standing(head), Window(ms=1, bytes=1))
        assert (going is not None) == (head > STAY * SIZE)


def test_nothing_goes_for_ever_unless_asked() -> None:
    assert decide(standing(95), Window()) is None
    assert decide(standing(95), Window(ms=1_000 * DAY)) is None
    assert decide(standing(95), Window(bytes=1_000_000)) is None


def test_size_counts_as_well_as_age() -> None:
    now = standing(45)
    total = sum(each.bytes for each in now.partitions)
    assert decide(now, Window(ms=1_000 * DAY, bytes=total)) is None
    assert decide(now, Window(ms=1_000 * DAY, bytes=total - 1)) == now.partitions[0]


def test_each_condition_holds_it_up_by_name() -> None:
    now = standing(45)
    end = place(SIZE)
    for without, reason in (
        (replace(now, export="unsaid"), "export_unsaid"),
        (replace(now, exports=now.exports - {end}), "export_missing"),
        (replace(now, cursors={"webhooks/a": SIZE - 1, "webhooks/b": SIZE}), "cursor_behind"),
        (replace(now, snapshots=now.snapshots - {end}), "snapshot_missing"),
        (replace(now, snapshots=now.snapshots - {end} | {Position(SIZE, b"another")}), "snapshot_missing"),
        (replace(now, exports=now.exports - {end} | {Position(SIZE, b"another")}), "export_missing"),
    ):
        verdict = decide(without, OLD)
        assert isinstance(verdict, Waits)
        assert (verdict.partition, verdict.reason) == (now.partitions[0], reason)
    assert decide(replace(now, exports=frozenset(), export="unwanted"), OLD) == now.partitions[0]
    assert decide(replace(now, cursors={"webhooks/a": SIZE}), OLD) == now.partitions[0]


def test_what_waits_names_the_cursors_behind() -> None:
    verdict = decide(replace(standing(45), cursors={"b": 9, "a": 3, "c": 10}), OLD)
    assert isinstance(verdict, Waits)
    assert verdict.detail == "a at 3, b at 9"


def test_an_append_may_straddle_the_boundary() -> None:
    """The end is the append's: what stands at the partition's last index is not enough."""
    now = standing(45, partitions(45, straddle=3))
    assert now.partitions[0].end == place(SIZE + 3)
    assert decide(now, OLD) == now.partitions[0]
    held = decide(replace(now, snapshots=frozenset({place(SIZE)})), OLD)
    assert isinstance(held, Waits)
    assert held.reason == "snapshot_missing"
    behind = decide(replace(now, cursors={"a": SIZE}), OLD)
    assert isinstance(behind, Waits)
    assert behind.reason == "cursor_behind"


def test_what_is_full_is_exported_at_once() -> None:
    parts = partitions(45)
    assert unexported(parts, frozenset()) == parts[:4]
    assert unexported(parts, frozenset({place(10), place(30)})) == [parts[1], parts[3]]


@given(
    head=st.integers(1, 200),
    first=st.sampled_from([1, 11, 51]),
    straddle=st.integers(0, 3),
    cursors=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 220)),
    missing=st.sets(st.integers(0, 20)),
    unexported_=st.sets(st.integers(0, 20)),
    export=st.sampled_from(["wanted", "unwanted", "unsaid"]),
    window=st.builds(Window, ms=st.sampled_from([0, DAY, 95 * DAY]), bytes=st.sampled_from([0, 1, 4_000])),
    now=st.integers(0, 110),
)
def test_whatever_stands_nothing_goes_too_early(
    *,
    head: int,
    first: int,
    straddle: int,
    cursors: dict[str, int],
    missing: set[int],
    unexported_: set[int],
    export: str,
    window: Window,
    now: int,
) -> None:
    """Let go as often as it says so: every single one was allowed to, and the one that stays was not."""
    head = max(head, first)
    parts = partitions(head, first, straddle)
    ends = [each.end for each in parts if each.end is not None]
    snapshots = frozenset(end for number, end in enumerate(ends) if number not in missing)
    exports = frozenset(end for number, end in enumerate(ends) if number not in unexported_)
    here = Standing(parts, head, now * DAY, cursors, snapshots, exports, export)  # type: ignore[arg-type] # drawn
    while isinstance(gone := decide(here, window), Partition):
        assert gone == here.partitions[0]
        assert gone.end in snapshots
        assert gone.end is not None
        assert all(index >= gone.end.index for index in cursors.values())
        assert export == "unwanted" or (export == "wanted" and gone.end in exports)
        kept = [each for each in here.partitions[1:] if each.first <= head]
        assert len(kept) >= STAY
        assert kept[-1].first <= head < kept[-1].stop
        assert gone.end.index < head
        old = bool(window.ms) and here.now - gone.time > window.ms
        assert old or (window.bytes and sum(each.bytes for each in here.partitions) > window.bytes)
        here = replace(here, partitions=here.partitions[1:])
    if isinstance(gone, Waits):
        end = gone.partition.end
        assert end is not None
        assert (
            end not in snapshots
            or any(index < end.index for index in cursors.values())
            or export == "unsaid"
            or end not in exports
        )
    assert len([each for each in here.partitions if each.first <= head]) >= min(STAY, len(settled(parts, head)) + 1)
