"""Conditions on nodes: what they say of values, and which of them are refused before anybody waits for them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import constraint
from heroctl.domain.assignment import Driver
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.records import Node
from heroctl.domain.spec import Constraint, content_digest
from heroctl.domain.validate import parse

NODE = Node(
    "n-id",
    "n1",
    "",
    1,
    1,
    address="10.0.0.1",
    version="1.4.2",
    labels={"disk": "ssd", "rack.row": "r1"},
    attributes={"arch": "amd64"},
    drivers={"docker": Driver(healthy=True, version="20.10.5"), "process": Driver(healthy=True)},
)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("${node.labels.disk}", "ssd"),
        ("${node.labels.rack.row}", "r1"),
        ("${node.labels.gpu}", None),
        ("${node.attributes.arch}", "amd64"),
        ("${node.name}", "n1"),
        ("${node.id}", "n-id"),
        ("${node.address}", "10.0.0.1"),
        ("${node.version}", "1.4.2"),
        ("${node.drivers.docker.version}", "20.10.5"),
        ("${node.drivers.process.version}", None),
        ("${node.drivers.qemu.version}", None),
    ],
)
def test_attributes_are_read_off_a_node(attribute: str, value: str | None) -> None:
    assert constraint.reader(attribute)(NODE) == value


@pytest.mark.parametrize(
    "attribute",
    ["", "disk", "${node}", "${node.disk}", "${node.labels}", "${node.labels.}", "${node.name.x}", "${job.name}",
     "${node.drivers.docker}", "${node.drivers..version}", "x${node.name}", "${node.name} "],
)  # fmt: skip
def test_attributes_that_there_are_not_are_refused(attribute: str) -> None:
    with pytest.raises(constraint.Unreadable):
        constraint.reader(attribute)


@pytest.mark.parametrize(
    ("operator", "value", "true", "false"),
    [
        ("=", "ssd", ["ssd"], ["hdd", "SSD", "", None]),
        ("!=", "ssd", ["hdd", "", None], ["ssd"]),
        (">", "9", ["10", "9.5"], ["9", "-10", None]),
        (">=", "2", ["2", "2.0", "11"], ["1.99", None]),
        ("<", "b", ["a", "aa"], ["b", "c", None]),
        ("<=", "10", ["9", "-1"], ["11", None]),
        ("regexp", "^web-[0-9]+$", ["web-12"], ["web-", "xweb-1", None]),
        ("in", ("a", "b"), ["a", "b"], ["c", "", None]),
        ("not_in", ("a", "b"), ["c", "", None], ["a", "b"]),
        ("is_set", "", ["", "x"], [None]),
        ("version", ">= 1.2, < 2", ["1.2", "v1.9.9", "1.2.0+b1"], ["1.1.9", "2", "2.0.0", "1.2-rc1", "new", None]),
        ("version", "~> 1.4", ["1.4", "1.9"], ["1.3.9", "2.0"]),
        ("version", "~> 1.4.2", ["1.4.2", "1.4.9"], ["1.5", "1.4.1"]),
        ("version", "= 1.0", ["1", "1.0.0"], ["1.0.1"]),
        ("version", "!= 1.0", ["1.0.1", "1.0-rc1"], ["1"]),
        ("version", "> 1.0-rc.2", ["1.0-rc.10", "1.0"], ["1.0-rc.1", "1.0-beta"]),
    ],
)
def test_operators(operator: str, value: Any, true: list[str | None], false: list[str | None]) -> None:  # noqa: ANN401 - a spec's value
    judge = constraint.judge(operator, value)
    assert [found for found in (*true, *false) if judge(found)] == true


def test_all_that_is_wrong_is_told_with_its_path() -> None:
    found = _problems(
        constraints=[
            {"attribute": "${node.label.disk}", "value": "ssd"},
            {"attribute": "${node.name}", "operator": "regexp", "value": "(a+)+$"},
            {"attribute": "${node.name}", "operator": "version", "value": ">> 1"},
            {"attribute": "${node.name}", "operator": "in", "value": "a"},
            {"attribute": "${node.name}", "operator": "=", "value": ["a"]},
            {"attribute": "${node.name}", "operator": "is_set", "value": "a"},
            {"attribute": "${node.name}", "operator": ">"},
            {"attribute": "${node.name}", "operator": "distinct_hosts"},
        ],
        affinities=[
            {"attribute": "${node.name}", "value": "a", "weight": 0},
            {"attribute": "", "operator": "distinct_hosts"},
        ],
        spread=[
            {"attribute": "${node.labels.zone}", "targets": {"a": 60, "b": 41}},
            {"attribute": "${node.labels.zone}"},
            {"attribute": "${node.labels.rack}", "targets": {"a": 60, "*": 30}},
            {"attribute": "zone"},
        ],
    )
    assert [(problem.path.removeprefix("tasks[0]."), problem.code) for problem in found] == [
        ("constraints[0].attribute", "unknown_attribute"),
        ("constraints[1].value", "invalid_value"),
        ("constraints[2].value", "invalid_value"),
        ("constraints[3].value", "invalid_value"),
        ("constraints[4].value", "invalid_value"),
        ("constraints[5].value", "invalid_value"),
        ("constraints[6].value", "required"),
        ("constraints[7]", "invalid_value"),
        ("affinities[0].weight", "invalid_value"),
        ("affinities[1].operator", "invalid_value"),
        ("spread[0].targets", "out_of_range"),
        ("spread[1].attribute", "duplicate"),
        ("spread[2].targets", "invalid_value"),
        ("spread[3].attribute", "unknown_attribute"),
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"constraints": [{"attribut": "x"}]}, "constraints[0].attribut"),
        ({"constraints": [{"attribute": "${node.name}", "operator": "~", "value": "x"}]}, "constraints[0].operator"),
        ({"affinities": [{"attribute": "${node.name}", "value": "x", "weight": 101}]}, "affinities[0].weight"),
        ({"affinities": [{"value": "x"}]}, "affinities[0].attribute"),
        ({"spread": [{"attribute": "${node.name}", "targets": {"a": 101}}]}, "spread[0].targets[...]"),
        ({"constraints": [{"operator": "distinct_hosts"}] * 65}, "constraints"),
    ],
)
def test_shapes_are_checked(fields: dict[str, Any], path: str) -> None:
    assert [problem.path.removeprefix("tasks[0].") for problem in _problems(**fields)] == [path]


def _problems(**fields: Any) -> list[Problem]:  # noqa: ANN401 - a task's fields
    with pytest.raises(Invalid) as refused:
        parse({"job": "web", "tasks": [{"name": "main", "driver": "process", "command": ["x"], **fields}]})
    return list(refused.value.details)


def test_placement_is_no_part_of_what_a_container_is_made_from() -> None:
    """So nothing restarts when it changes."""
    plain = {"name": "main", "driver": "process", "command": ["x"]}
    said = {**plain, "constraints": [{"operator": "distinct_hosts"}], "spread": [{"attribute": "${node.name}"}]}
    first, second = (parse({"job": "web", "tasks": [task]}).tasks[0] for task in (plain, said))
    assert first != second
    assert content_digest(first) == content_digest(second)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(a*)*", "(a?){40}", "a*a*a*a*b", "a?" * 20 + "a" * 20, "(?=a)a", r"(a)\1", "(", "a" * 129,
     "((ab)+c)+", "(x{1,9}){1,9}"],
)  # fmt: skip
def test_patterns_that_may_be_slow_are_refused(pattern: str) -> None:
    with pytest.raises(constraint.Unreadable):
        constraint.compiled(pattern)


@pytest.mark.parametrize(
    "pattern", ["^web-[0-9]+$", "(?:eu|us)-[a-z]+-[0-9]", "a?b", r"\d{1,3}\.\(x\)", "[]*+?{]x*", "(ab)+"]
)
def test_patterns_that_people_write_are_taken(pattern: str) -> None:
    constraint.compiled(pattern)


@given(st.text("ab*+?|(){},12[]", max_size=24), st.sampled_from(["a" * 256, "ab" * 128, "a" * 255 + "b"]))
def test_whatever_pattern_is_taken_is_quick(pattern: str, value: str) -> None:
    try:
        compiled = constraint.compiled(pattern)
    except constraint.Unreadable:
        return
    began = time.process_time()
    compiled.search(value)
    assert time.process_time() - began < 10


def test_a_value_that_is_too_long_matches_no_pattern() -> None:
    assert not constraint.judge("regexp", "a")("a" * 257)


def test_conditions_are_told_as_they_are_written() -> None:
    said = [
        Constraint("${node.labels.disk}", "=", "ssd"),
        Constraint("${node.name}", "not_in", ("a", "b")),
        Constraint("${node.labels.gpu}", "is_set"),
        Constraint(operator="distinct_hosts"),
    ]
    assert [constraint.words(each) for each in said] == [
        "${node.labels.disk} = ssd",
        "${node.name} not_in (a, b)",
        "${node.labels.gpu} is_set",
        "distinct_hosts",
    ]
