"""The comparison of contracts finds every kind of loss, and takes every addition."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from api.openapi import document
from api.routes import ROUTES
from tests.api.contract import today
from tests.generated import CONTRACT
from tests.growth import losses

Change = Callable[[dict[str, Any]], object]


def test_nothing_is_lost_since_the_recorded_contract() -> None:
    """`python -m tests.generated` records additions; what is listed here would break clients."""
    assert losses(json.loads(CONTRACT.read_text()), today()) == []


def _jobs(document: dict[str, Any], method: str = "get") -> dict[str, Any]:
    operation: dict[str, Any] = document["paths"]["/v1/jobs"][method]
    return operation


def _shapes(document: dict[str, Any]) -> dict[str, Any]:
    shapes: dict[str, Any] = document["components"]["schemas"]
    return shapes


LOST: dict[str, tuple[Change, str]] = {
    "a route": (lambda new: new["paths"].pop("/v1/jobs/{name}"), "DELETE /v1/jobs/{name}: the route is gone"),
    "a method": (lambda new: new["paths"]["/v1/jobs"].pop("post"), "POST /v1/jobs: the route is gone"),
    "a status": (lambda new: _jobs(new)["responses"].pop("401"), "GET /v1/jobs: the status 401 is gone"),
    "a code": (
        lambda new: _jobs(new)["responses"]["401"]["content"]["application/json"]["examples"].pop("token_expired"),
        "GET /v1/jobs 401: the code token_expired is gone",
    ),
    "a header": (lambda new: _jobs(new)["responses"]["200"]["headers"].pop("ETag"), "the header ETag is gone"),
    "a parameter": (lambda new: _jobs(new)["parameters"].pop(0), "the query parameter namespace is gone"),
    "a media type": (
        lambda new: _jobs(new, "post")["requestBody"]["content"].pop("text/yaml"),
        "a body of text/yaml is not taken any more",
    ),
    "a field of an answer": (
        lambda new: _shapes(new)["JobItem"]["properties"].pop("status"),
        "GET /v1/jobs 200[].status: the field is gone",
    ),
    "a field of a field": (
        lambda new: _shapes(new)["TaskState"]["properties"].pop("image"),
        "GET /v1/jobs 200[].tasks[].image: the field is gone",
    ),
    "a field that was always there": (
        lambda new: _shapes(new)["JobItem"]["required"].remove("status"),
        "GET /v1/jobs 200[].status: the field is not always there any more",
    ),
    "a field of one of two answers": (
        lambda new: _shapes(new)["Planned"]["properties"].pop("place"),
        "POST /v1/jobs 200.place: the field is gone",
    ),
    "a type": (
        lambda new: _shapes(new)["JobItem"]["properties"].update(version={"type": "string"}),
        "GET /v1/jobs 200[].version: was integer, is string",
    ),
    "a value that is never null": (
        lambda new: _shapes(new)["JobItem"]["properties"].update(version={"type": ["integer", "null"]}),
        "GET /v1/jobs 200[].version: was integer, is integer or null",
    ),
    "a field that is taken": (
        lambda new: _shapes(new)["Login"]["properties"].pop("acl_token"),
        "POST /v1/auth/login: body.acl_token: the field is gone",
    ),
    "a field that could be left out": (
        lambda new: _shapes(new)["Login"].update(required=["username"]),
        "POST /v1/auth/login: body.username: is needed now",
    ),
    "a type that is taken": (
        lambda new: _shapes(new)["JobSpecTask"]["properties"].update(count={"type": "string"}),
        "POST /v1/jobs: body.tasks[].count: took integer, takes string",
    ),
    "a value that is taken": (
        lambda new: _shapes(new)["JobSpecTask"]["properties"]["driver"].update(enum=["docker"]),
        "POST /v1/jobs: body.tasks[].driver: process is not taken any more",
    ),
    "a request without a parameter": (
        lambda new: _jobs(new)["parameters"].append({"in": "query", "name": "x", "schema": {}, "required": True}),
        "GET /v1/jobs: the query parameter x is needed now",
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_a_loss_is_found(what: str) -> None:
    change, told = LOST[what]
    new = copy.deepcopy(today())
    change(new)
    assert any(told in loss for loss in losses(today(), new)), losses(today(), new)[:5]


GAINED: dict[str, Change] = {
    "a route": lambda new: new["paths"].update({"/v1/more": new["paths"]["/v1/jobs"]}),
    "a status": lambda new: _jobs(new)["responses"].update({"418": _jobs(new)["responses"]["401"]}),
    "a parameter": lambda new: _jobs(new)["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "a field of an answer": lambda new: _shapes(new)["JobItem"]["properties"].update(more={"type": "string"}),
    "a field that may be left out": lambda new: _shapes(new)["Login"]["properties"].update(more={"type": "string"}),
    "a field that is always there now": lambda new: _shapes(new)["Written"]["required"].append("name"),
    "a value that is taken": lambda new: _shapes(new)["JobSpecTask"]["properties"]["driver"]["enum"].append("vm"),
    "another answer that has all fields": lambda new: _shapes(new).update(
        Written={"anyOf": [_shapes(new)["Written"], {**_shapes(new)["Written"], "title": "More"}]}
    ),
    "prose": lambda new: _jobs(new).update(description="Other words."),
}


@pytest.mark.parametrize("what", GAINED)
def test_an_addition_is_no_loss(what: str) -> None:
    new = copy.deepcopy(today())
    GAINED[what](new)
    assert losses(today(), new) == []


def test_whose_answers_are_shared_does_not_matter() -> None:
    shared = document(ROUTES, "0")
    assert "$ref" in shared["paths"]["/v1/jobs"]["get"]["responses"]["401"]
    assert losses(shared, today()) == losses(today(), shared) == []
