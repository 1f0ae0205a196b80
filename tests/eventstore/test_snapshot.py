"""A snapshot's bytes: a state comes back as it was, goes on as it would have, and nothing damaged is believed."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventstore import codec, snapshot
from eventstore.log import Position
from eventstore.snapshot import ROW, Header, Newer, Unreadable, Writing
from heroctl.domain.assignment import Capacity, Report
from heroctl.domain.evolve import Touch, apply, evolve
from heroctl.domain.holders import Namespace
from heroctl.domain.state import State
from tests.domain import stories
from tests.domain.worlds import World
from tests.histories import history, made, snapshots

CHAIN = bytes(range(32))


def written(state: State) -> list[bytes]:
    """Write a state as this release does."""
    return list(Writing(state, Position(state.index, CHAIN), "0.1.0"))


def plain(rows: list[bytes]) -> bytes:
    """Unpack the rows."""
    return zlib.decompress(b"".join(rows))


def whole() -> State:
    """A state with something in every map that there is."""
    return history.fold(made.story()[:-4])


# ── it comes back, and goes on ───────────────────────────────────────────────────────────────────────────────────────


@given(stories.steps())
def test_goes_on_from_every_append_as_if_it_had_been_folded(steps: list[stories.Step]) -> None:
    """Fold, write, read, fold the rest: the same state, order and topics included, wherever it is cut."""
    records = stories.told(steps).records
    folded = State()
    cuts = [(0, written(State()))]
    for record in records:
        evolve(folded, record)
        if record.index == record.last:
            cuts.append((record.index, written(folded)))
    for index, rows in cuts:
        state = snapshots.read(rows)[0]
        for record in records[index:]:
            evolve(state, record)
        assert state == folded
        assert written(state) == cuts[-1][1]


@pytest.mark.parametrize("name", history.names())
def test_recorded_histories_go_on_from_every_append(name: str) -> None:
    """As real clusters wrote them, and the one with every event there is."""
    rows = history.read(name)
    expected = written(history.fold(rows))
    folded = State()
    for record in codec.records(rows):
        evolve(folded, record)
        if record.index == record.last:
            state = snapshots.read(written(folded))[0]
            for later in codec.records(rows[record.index :]):
                evolve(state, later)
            assert written(state) == expected


@given(stories.steps(), st.lists(st.integers(1, 12), min_size=1))
def test_pages_leave_no_trace(steps: list[stories.Step], pages: list[int]) -> None:
    """Who reads the same log in other pages writes the same bytes."""
    world = stories.told(steps)
    state, records = State(), iter(world.records)
    for length in itertools.cycle(pages):
        page = list(itertools.islice(records, length))
        if not page:
            break
        touch = Touch()
        for record in page:
            apply(state, record, touch)
        touch.settle(state)
    assert written(state) == written(world.state)


@given(stories.steps())
def test_what_was_read_is_written_as_it_was(steps: list[stories.Step]) -> None:
    world = stories.told(steps)
    rows = written(world.state)
    state, reading = snapshots.read(rows)
    assert state == world.state
    assert (written(state), reading.position) == (rows, Position(world.state.index, CHAIN))


def test_every_map_of_the_state_is_in_it() -> None:
    """A new map of the state gets an event in the story, and with it a place in here."""
    state = whole()
    empty = [name for name in snapshot._FORM.maps if not getattr(state, name)]
    assert set(empty) <= {"removed_nodes", "join_tokens"}
    assert snapshots.read(written(state))[0] == state


def test_words_are_kept_once() -> None:
    """A read state needs no more room than a folded one: its records share their words as a fold's do."""
    world = World()
    node = world.node()
    job = world.submit(count=5)
    for slot in range(5):
        world.place(job, node, slot)
    state = snapshots.read(written(world.state))[0]
    [uid] = state.by_job
    allocs = list(state.allocs_of(uid))
    for name in ("namespace", "job", "task", "node", "content", "deployment"):
        assert len({id(getattr(alloc, name)) for alloc in allocs}) == 1, name
    keys = {id(key) for key in state.allocs}
    assert {id(alloc.id) for alloc in allocs} == {id(each) for each in state.by_job[uid]} == keys
    assert {id(topic) for alloc in allocs for topic in alloc.topics} <= {id(topic) for topic in state.topics}


def test_much_is_cut_into_rows() -> None:
    """No row is longer than it may be, and a reader holds no more than a frame of what it has not read yet."""
    state = State(index=1, topics={f"jobs:default/{zlib.crc32(str(n).encode()):x}-{n}": n for n in range(60_000)})
    rows = written(state)
    assert len(rows) > 2
    assert {len(row) for row in rows[:-1]} == {ROW}
    reading = snapshot.Reading()
    held = []
    for row in rows:
        reading.feed(row)
        held.append(len(reading._held))
    assert max(held) < 2 * snapshot._FRAME
    assert reading.end() == state


def test_holds_no_secret() -> None:
    """What its records have fields for: of credentials it knows where they are kept."""
    fields = {f"{kind}.{field}" for kind, names in snapshot._FORM.shape.items() for field in names}
    suspicious = ("secret", "password", "hash", "key", "private", "bytes")
    of_records = {field for field in fields if any(word in field.partition(".")[2].lower() for word in suspicious)}
    assert of_records == {"State.secrets"}, "names, numbers and rows: a record has no value"
    assert {name for name in fields if name.startswith("SecretVersion.")} == {
        f"SecretVersion.{name}" for name in ("version", "row", "created_at", "index", "action", "of", "by")
    }
    credentials = {name for name in fields if name.endswith(".credential")}
    state = whole()
    kept = [each.credential for each in state.users.values()]
    kept += [each.credential for each in state.tokens.values()]
    kept += [each.credential for each in state.nodes.values()]
    assert credentials
    assert all(credential.startswith("vault-") for credential in kept)


@pytest.mark.parametrize("number", ["1180591620717411303424", "1e300", "-1180591620717411303424"])
def test_an_agents_numbers_are_none_that_it_could_not_hold(number: str) -> None:
    """MessagePack ends at 64 bits and JSON does not: one such number would keep a cluster from any snapshot."""
    for kind, fixed in ((Report, '"alloc":"a",'), (Capacity, "")):
        for field in msgspec.structs.fields(kind):
            if any(name in str(field.type) for name in ("int", "float")):
                value = f'{{"http":{number}}}' if "dict" in str(field.type) else number
                with pytest.raises(msgspec.ValidationError):
                    msgspec.json.decode(f'{{{fixed}"{field.name}":{value}}}', type=kind)


def test_position_is_the_states_own() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        Writing(State(index=3), Position(4, CHAIN), "0.1.0")


# ── it is believed only as a whole ───────────────────────────────────────────────────────────────────────────────────

ROWS = written(whole())
BYTES = b"".join(ROWS)


@settings(max_examples=300)
@example(1, 95)  # how hard the packer tried
@example(len(BYTES) - 5, 128)  # what fills its last byte up, before the checksum, if it does
@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, flip: int) -> None:
    """It is refused; or, where nothing hangs on it, what is unpacked is the same, and so is the state."""
    damaged = bytearray(BYTES)
    damaged[at] ^= flip
    try:
        read = snapshots.read([bytes(damaged)])[0]
    except Unreadable:
        return
    assert plain([bytes(damaged)]) == plain(ROWS)
    assert read == whole()


@settings(max_examples=300)
@given(st.data())
def test_a_change_that_the_packing_does_not_notice_is_noticed(data: st.DataObject) -> None:
    """Whoever writes to the table packs well; the hash and the shape of the frames remain."""
    damaged = bytearray(plain(ROWS))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unreadable):
        snapshots.read(list(snapshot.packed([bytes(damaged)])))


@pytest.mark.parametrize("stop", [0, 1, 100, len(BYTES) - 1])
def test_a_part_is_not_the_whole(stop: int) -> None:
    with pytest.raises(Unreadable, match="cut short"):
        snapshots.read([BYTES[:stop]] if stop else [])


@given(st.integers(0, len(BYTES) - 2), st.integers(1, 200))
def test_a_gap_is_noticed(at: int, length: int) -> None:
    with pytest.raises(Unreadable):
        snapshots.read([BYTES[:at], BYTES[at + length :]])


@pytest.mark.parametrize("more", [b"x", BYTES])
def test_nothing_may_follow(more: bytes) -> None:
    with pytest.raises(Unreadable):
        snapshots.read([BYTES + more])
    with pytest.raises(Unreadable):
        snapshots.read(list(snapshot.packed([plain(ROWS), more])))


def test_an_absurd_length_is_not_waited_for() -> None:
    with pytest.raises(Unreadable, match="frame of"):
        snapshots.read(list(snapshot.packed([b"\xff" * 5000])))


# ── formats and shapes ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(snapshot, "FORMAT", snapshot.FORMAT + 1)
        rows = written(whole())
    with pytest.raises(Unreadable, match=f"its format is {snapshot.FORMAT + 1}"):
        snapshots.read(rows)


def test_a_former_format_is_read_as_far_as_it_goes_and_brought_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release raises the format, derives something else of what it reads, and does not read the one before."""
    monkeypatch.setattr(snapshot, "FORMAT", snapshot.FORMAT + 1)
    with pytest.raises(Unreadable, match="format"):
        snapshots.read(ROWS)

    def upgrade(state: State) -> None:
        state.members.clear()

    monkeypatch.setattr(snapshot, "UPGRADES", {snapshot.FORMAT - 1: upgrade})
    state, expected = snapshots.read(ROWS)[0], whole()
    assert expected.members
    expected.members.clear()
    assert state == expected


def _relabelled(change: str, into: list[str]) -> list[bytes]:
    """Rows that announce other fields for a kind of record, with a hash that is right."""
    state = whole()
    writing = Writing(state, Position(state.index, CHAIN), "0.2.0")
    shape = {**writing.header.shape, change: into}
    writing.header = msgspec.structs.replace(writing.header, shape=shape)
    return list(writing)


def test_an_unknown_field_of_a_newer_release_is_refused() -> None:
    fields = snapshot._FORM.shape["Node"]
    with pytest.raises(Newer, match=r"release 0\.2\.0.*Node\.colour"):
        snapshots.read(_relabelled("Node", [*fields, "colour"]))
    with pytest.raises(Newer, match="Spaceship"):
        snapshots.read(_relabelled("Spaceship", ["name"]))


def test_a_map_that_came_later_is_as_it_is_in_an_empty_state() -> None:
    """A release that adds a map for events of its own reads what was written before there were any."""
    state = State(index=1, namespaces={"default": Namespace("default"), "shop": Namespace("shop", "of a shop", 7)})
    writing = Writing(state, Position(1, CHAIN), "0.0.9")
    before = [name for name in snapshot._FORM.shape["State"] if name != "namespaces"]
    writing.header = msgspec.structs.replace(writing.header, shape={**snapshot._FORM.shape, "State": before})
    with pytest.raises(Unreadable, match="did not announce"):
        snapshots.read(list(writing))
    state.namespaces = {}
    assert snapshots.read(list(writing))[0].namespaces == {"default": Namespace("default")}
    assert snapshots.read(written(state))[0].namespaces == {}


def test_a_header_that_contradicts_itself_is_refused() -> None:
    writing = Writing(whole(), Position(whole().index, CHAIN), "0.1.0")
    writing.header = msgspec.structs.replace(writing.header, index=99)
    with pytest.raises(Unreadable, match="contradicts"):
        snapshots.read(list(writing))
    assert isinstance(writing.header, Header)


# ── what former releases wrote ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", snapshots.files(), ids=lambda file: file.name)
def test_a_recorded_snapshot_is_read_for_ever(file: Path) -> None:
    """It is what its history folds to, and goes on to where that ends: so no fold changed without a new format."""
    state, reading = snapshots.read([file.read_bytes()])
    rows = history.read(snapshots.of(file))
    before = rows[: state.index]
    assert state == history.fold(before)
    assert reading.position == codec.verify(before, Position())
    for record in codec.records(rows[state.index :]):
        evolve(state, record)
    assert state == history.fold(rows)


def test_this_format_was_recorded() -> None:
    assert any(file.name.endswith(f".format-{snapshot.FORMAT}.snapshot") for file in snapshots.files())
