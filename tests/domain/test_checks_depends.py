"""What the tasks of a job may wait for, and what a system job may say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import spec as specs
from heroctl.domain.checks_depends import circle_through
from heroctl.domain.errors import Invalid
from heroctl.domain.validate import parse


def job(waits: Mapping[str, list[dict[str, Any]]], kind: str = "service", **task: Any) -> dict[str, Any]:  # noqa: ANN401 - a spec's fields
    """Make a document with a task for each name, which waits for these."""
    plain = {"driver": "process", "command": ["serve"], **task}
    return {
        "job": "shop",
        "type": kind,
        "tasks": [{"name": name, "depends_on": each, **plain} for name, each in waits.items()],
    }


BAD = [
    ({"web": [{}]}, "tasks[0].depends_on[0]", "invalid_value"),
    ({"web": [{"job": "db", "task": "db"}]}, "tasks[0].depends_on[0]", "invalid_value"),
    ({"web": [{"job": "shop"}]}, "tasks[0].depends_on[0].job", "invalid_value"),
    ({"web": [{"task": "web"}]}, "tasks[0].depends_on[0].task", "invalid_value"),
    ({"web": [{"task": "db"}]}, "tasks[0].depends_on[0].task", "invalid_value"),
    ({"web": [{"job": "db", "condition": "there"}]}, "tasks[0].depends_on[0].condition", "invalid_value"),
    ({"web": [{"job": "db", "state": "healthy"}]}, "tasks[0].depends_on[0].state", "unknown_field"),
    ({"web": [{"job": "db"}, {"job": "db", "condition": "running"}]}, "tasks[0].depends_on", "duplicate"),
    ({"web": [{"task": "db", "condition": "complete"}], "db": []}, "tasks[0].depends_on[0].condition", "invalid_value"),
    ({"a": [{"task": "b"}], "b": [{"task": "c"}], "c": [{"task": "a"}]}, "tasks", "circular"),
]


@pytest.mark.parametrize(("waits", "path", "code"), BAD)
def test_what_cannot_be_waited_for_is_refused(waits: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(job(waits))
    assert [(each.path, each.code) for each in refused.value.details] == [(path, code)]


def test_a_circle_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        parse(job({"d": [{"task": "a"}], "a": [{"task": "b"}], "b": [{"task": "a"}]}))
    assert refused.value.details[0].message == "these tasks wait for each other: a, b, a"


def test_what_is_waited_for_is_kept() -> None:
    read = parse(job({"web": [{"job": "db"}, {"task": "cache", "condition": "running"}], "cache": []}))
    assert read.tasks[0].depends_on == (
        specs.Dependency(job="db"),
        specs.Dependency(task="cache", condition="running"),
    )
    assert specs.decode(specs.encode(read)) == read


def test_waiting_is_no_part_of_a_container() -> None:
    """A change of it replaces nothing."""
    bare, waiting = (parse(job({"web": waits})).tasks[0] for waits in ([], [{"job": "db"}]))
    assert specs.content_digest(bare) == specs.content_digest(waiting)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3)))
def test_a_way_round_is_found_where_there_is_one(waits: dict[str, list[str]]) -> None:
    reached = {name: set(others) for name, others in waits.items()}
    for _ in waits:
        reached = {name: set().union(some, *(reached.get(one, ()) for one in some)) for name, some in reached.items()}
    for name in waits:
        way = circle_through(name, lambda one: waits.get(one, ()))
        assert bool(way) == (name in reached[name])
        assert all(after in waits[before] for before, after in itertools.pairwise(way))
        assert not way or way[0] == way[-1] == name


# ── system ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rainbow"])
def test_a_system_job_only_rolls(strategy: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(job({"agent": []}, "system", update={"strategy": strategy}))
    assert refused.value.details[0].path == "tasks[0].update.strategy"


@pytest.mark.parametrize("count", [0, 2])
def test_a_system_job_counts_nothing(count: int) -> None:
    with pytest.raises(Invalid) as refused:
        parse(job({"agent": []}, "system", count=count))
    assert refused.value.details[0].path == "tasks[0].count"


def test_a_system_job_is_read() -> None:
    read = parse(job({"agent": []}, "system", count=1, update={"max_parallel": 3}))
    assert (read.type, read.tasks[0].count) == ("system", 1)
