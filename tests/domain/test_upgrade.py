"""Releases side by side: what is written at which level, and that old histories mean the same under new code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import structs

from eventstore import codec
from eventstore.log import Append, Position, Row
from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict
from heroctl.domain.events import EVENTS, JobStopped, LevelRaised, Opaque, TooNew, decode, encode, release_level
from heroctl.domain.intents import jobs
from heroctl.domain.level import FIELDS, beyond, default_of
from heroctl.domain.state import State
from tests.domain.worlds import World, spec
from tests.histories import history
from tests.upgrade import tomorrow


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is one of the next release."""
    tomorrow.learn(monkeypatch)


# ── the level ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_release_knows_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    today = release_level()
    assert today == max([1, *(kind.LEVEL for kind in EVENTS.values()), *FIELDS.values()])
    tomorrow.learn(monkeypatch)
    assert release_level() == tomorrow.LEVEL > today


def test_the_level_is_never_lowered() -> None:
    world = World()
    for level in (1, 3, 2):
        world.add(LevelRaised(level))
    assert world.state.level == 3


def test_what_is_new_is_written_at_its_level_only(newer: None) -> None:
    """Below it the earlier schema serves, where that can say it; else nothing does."""
    plain, said = tomorrow.JobStopped(1, "default", "web"), tomorrow.JobStopped(1, "default", "web", "too dear")
    assert encode(plain, 1) == encode(JobStopped(1, "default", "web"))
    assert encode(plain, 2)[:2] == encode(said, 2)[:2] == (tomorrow.TAG, 2)
    with pytest.raises(TooNew):
        encode(said, 1)
    with pytest.raises(TooNew):
        codec.seal(Append((said,)))
    [(tag, schema, data)] = codec.seal(Append((said,), level=2)).events
    assert decode(tag, schema, data) == said


def test_an_earlier_schema_is_read_as_the_present_one(newer: None) -> None:
    assert decode(*encode(JobStopped(1, "default", "web"))) == tomorrow.JobStopped(1, "default", "web")


def test_a_later_schema_is_kept_byte_for_byte() -> None:
    """By a process of today: it cannot be folded, and it is not lost."""
    data = b'{"uid":1,"namespace":"default","called":"web", "why":"too dear"}'
    event = decode(tomorrow.TAG, 2, data)
    assert event == Opaque(tomorrow.TAG, 2, data)
    assert encode(event) == encode(event, 1) == (tomorrow.TAG, 2, data)


# ── fields of the spec that came later ───────────────────────────────────────────────────────────────────────────────


def test_a_late_field_is_refused_until_everybody_knows_it(newer: None) -> None:
    world = World()
    wanted = spec(stop_signal="SIGUSR1")
    with pytest.raises(Conflict) as refused:
        jobs.submit_job(world.state, wanted, "tester")
    assert refused.value.code == "upgrade_incomplete"
    assert "tasks[0].stop_signal" in refused.value.message
    jobs.submit_job(world.state, spec(), "tester")
    world.add(LevelRaised(tomorrow.LEVEL))
    assert jobs.submit_job(world.state, wanted, "tester").events


def test_a_late_field_is_found_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = spec(ports={"http": {"container": 80, "host": 8080}}, restart={"attempts": 7})
    assert beyond(wanted, 1) is None
    monkeypatch.setitem(FIELDS, tomorrow.field(specs.Restart, "attempts"), 3)
    assert beyond(wanted, 2) == "tasks[0].restart.attempts"
    monkeypatch.setitem(FIELDS, tomorrow.field(specs.Port, "host"), 2)
    assert beyond(wanted, 1) == "tasks[0].ports.http.host"
    assert beyond(wanted, 2) == "tasks[0].restart.attempts"
    assert beyond(wanted, 3) is None


# ── old specs under new code ─────────────────────────────────────────────────────────────────────────────────────────


def _defaulted(kind: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Name every field that has a default, in this struct and in those it holds."""
    for field in structs.fields(kind):
        default = default_of(field)
        if default is not msgspec.NODEFAULT:
            yield (*path, field.encode_name)
        if isinstance(default, msgspec.Struct):
            yield from _defaulted(type(default), (*path, field.encode_name))


_SAID = {("tasks", "driver"), ("tasks", "command")}  # what the tests' usual spec sets
LATE = [path for path in (*_defaulted(specs.Job, ()), *_defaulted(specs.Task, ("tasks",))) if path not in _SAID]


def _without(raw: bytes, path: tuple[str, ...]) -> bytes:
    """Give a stored spec as a release wrote it that did not have a field yet."""
    tree: Any = msgspec.json.decode(raw)
    at = tree
    for name in path[:-1]:
        at = at[name][0] if isinstance(at[name], list) else at[name]
    del at[path[-1]]
    return msgspec.json.encode(tree)


def _as_of_old(world: World, path: tuple[str, ...]) -> None:
    """Let the stored spec be one of before a field came."""
    job = world.state.job("default", "web")
    assert job is not None
    old = structs.replace(job.current, spec=_without(job.current.spec, path))
    world.state.jobs[job.uid] = structs.replace(job, versions=(old,))


@pytest.mark.parametrize("path", LATE, ids=".".join)
def test_the_same_spec_is_the_same_under_code_with_a_new_field(path: tuple[str, ...]) -> None:
    """Old history + new code + the same POST = no event; and what says otherwise than by default is a new version."""
    world = World()
    world.submit()
    _as_of_old(world, path)
    assert jobs.submit_job(world.state, spec(), "tester").events == ()
    assert jobs.submit_job(world.state, spec(count=2), "tester").events


def test_a_new_spelling_of_specs_restarts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are of the release that made them: what is as before keeps them, in whatever later version."""
    world = World()
    first = world.submit().current.tasks[0]
    monkeypatch.setattr(specs, "_CONTENT", (*specs._CONTENT, "reschedule"))  # a later release makes more of it
    monkeypatch.setattr(specs, "policy", lambda task: [task.health, task.restart, "and more"])
    assert specs.content_digest(spec().tasks[0]) != first.content, "or this would prove nothing"
    scaled = world.submit(count=3).current.tasks[0]
    assert (scaled.content, scaled.policy) == (first.content, first.policy)
    changed = world.submit(count=3, args=["v2"]).current.tasks[0]
    assert (changed.content == first.content, changed.policy == first.policy) == (False, True)
    back = world.submit(count=3).current.tasks[0]
    assert back.content == first.content, "a version that is kept may still run somewhere"
    assert world.submit(reschedule={"unlimited": False}).current.tasks[0].content != first.content


def test_a_spec_of_tomorrow_survives_in_the_state_of_today() -> None:
    """Fields that this release does not know stay in the bytes that it keeps."""
    world = World()
    wanted = jobs.submit_job(world.state, spec(), "tester").events[0]
    tag, schema, data = encode(wanted)
    tree = msgspec.json.decode(data)
    tree["spec"]["tasks"][0]["of_tomorrow"] = [{"attribute": "rack", "value": "r1"}]
    tree["tasks"][0].append("of tomorrow")
    world.add(decode(tag, schema, msgspec.json.encode(tree)))
    job = world.state.job("default", "web")
    assert job is not None
    assert msgspec.json.decode(job.current.spec)["tasks"][0]["of_tomorrow"][0]["value"] == "r1"
    assert specs.decode(job.current.spec) == spec()


@pytest.mark.parametrize("name", history.names())
def test_unknown_fields_are_passed_over_and_passed_on(name: str) -> None:
    """A history with a field more in each payload has another chain, and folds to the same state."""
    rows, more, end = history.read(name), list[Row](), Position()
    while len(more) < len(rows):
        body = [(*row[:6], _more(row[6]), row[7]) for row in rows[len(more) : rows[len(more)][1]]]
        _, _, time, _, _, meta, _, _ = body[0]
        end = codec.link(end, time, meta, [(row[3], row[4], row[6]) for row in body])
        more += [*body[:-1], (*body[-1][:7], end.chain)]
    assert history.amount(history.fold(more)).digest == history.amount(history.fold(rows)).digest
    assert codec.verify(more, Position()) == end


def _more(data: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(data) | {"of_tomorrow": {"a": [1, None, "b"]}})


def test_a_state_begins_at_the_first_level() -> None:
    assert State().level == 1
