"""The OpenAPI document: whole, valid, and the same as what the code does."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from api.codes import CODES, explained, known
from api.contract import told_by
from api.refusals import OF_NO_ROUTE, codes_of
from api.routes import ROUTES
from api.row import Row
from heroctl.domain.errors import Refusal
from heroctl.domain.shape import DIALECT
from tests import house
from tests.api import contract
from tests.api.rig import Rig

METHODS = ("get", "post", "put", "patch", "delete")
OWN_CODE = {"MethodNotAllowed", "ClientLeft", "Limited"}  # they know theirs
KINDS = {"Refusal", *(kind.__name__ for kind in Refusal.__subclasses__())} - OWN_CODE
# Raised with a code that was made elsewhere, and where.
PASSED_ON = {
    "api/past.py": {"told.code"},
    "api/parts.py": {"code"},
    "api/wait.py": {"self._code"},
    "api/idempotency.py": {"problem.code"},
}
# Codes made of a word, each of which is found where the word is given.
COMPUTED = {
    "heroctl/domain/errors.py",
    "heroctl/domain/intents/access.py",
    "api/query.py",
    "api/audit.py",
    "api/metrics.py",
}
# Who raises what the api answers.
ROOMS = ("api/", "heroctl/document.py", "heroctl/domain/", "eventstore/", "reconciler/planner/")
UNSENT = {"client_left"}  # for the log alone: nobody is there to be answered


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in contract.today()["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def name(row: Row) -> str:
    return f"{row.method} {row.path}"


async def test_it_is_served_to_everybody_and_is_what_the_table_says(api: Rig) -> None:
    reply = await api.get("/v1/openapi.json", token="")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.body["openapi"] == "3.1.0"
    assert reply.body["info"]["version"] == api.parts.world.release
    served = {(method.upper(), path) for path, methods in reply.body["paths"].items() for method in methods}
    assert served == {(row.method, row.path) for row in ROUTES}
    known = await api.get("/v1/openapi.json", headers={"if-none-match": reply.headers["etag"]}, token="")
    assert (known.status, known.raw) == (304, b"")


@pytest.mark.parametrize("row", ROUTES, ids=name)
def test_every_route_tells_what_it_answers(row: Row) -> None:
    handler = row.read or row.do
    assert told_by(handler) is not None, f"{name(row)}: put @tells(...) on {handler.__module__}.{handler.__name__}"  # type: ignore[union-attr] # both are functions
    operation = contract.today()["paths"][row.path][row.method.lower()]
    assert operation["summary"], f"{name(row)}: its handler has no docstring"
    assert [code for code in codes_of(row) if not explained(code)] == [], "put these into api/codes.py"
    told = {code for each in operation["responses"].values() for code in _codes(each)}
    assert told == codes_of(row)


def _codes(response: dict[str, Any]) -> list[str]:
    content = response.get("content", {}).get("application/json", {})
    return list(content.get("examples", {}))


def test_references_lead_somewhere_and_names_are_unique() -> None:
    document = contract.today()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place: Any = document
        for word in reference.split("/"):
            place = place[word]
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_schemas_are_schemas_and_examples_are_of_them() -> None:
    components = contract.today()["components"]
    for schema in components["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})
    for method, path, operation in operations():
        for where, media, content in _contents(operation):
            if "example" not in content:
                continue
            given = yaml.safe_load(content["example"]) if "yaml" in media else content["example"]
            valid = jsonschema_rs.Draft202012Validator({**content["schema"], "components": components})
            assert [error.message for error in valid.iter_errors(given)] == [], (method, path, where)


def _contents(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    places = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for where, place in places.items():
        for media, content in place.get("content", {}).items():
            yield where, media, content


def test_every_json_answer_and_body_has_an_example_and_every_refusal_one_a_code() -> None:
    for method, path, operation in operations():
        for where, media, content in _contents(operation):
            refusal = where.isdecimal() and int(where) >= 400
            if media == "application/json":
                assert "examples" in content if refusal else "example" in content, (method, path, where)


# ── codes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_code_that_is_raised_is_in_the_table_with_its_status() -> None:
    raised = dict(_raised())
    assert [code for code in sorted(raised.keys() - UNSENT) if not explained(code)] == [], "put these into api/codes.py"
    assert {code: kind for code, kind in raised.items() if kind not in ("", known(code).kind.__name__)} == {}


def test_no_code_stands_in_the_table_that_nobody_raises() -> None:
    assert sorted(CODES.keys() - dict(_raised()).keys() - {"internal"}) == []


def test_every_code_that_the_api_raises_is_told_for_a_route() -> None:
    told = OF_NO_ROUTE | frozenset().union(*map(codes_of, ROUTES))
    raised = dict(_raised("api/")).keys()
    assert sorted(raised - UNSENT - told) == [], "put these into @tells(...) of who raises them"


def _raised(*rooms: str) -> Iterator[tuple[str, str]]:
    """Find every code in the code: `(code, class)`."""
    for file in house.product():
        if house.name(file).startswith(rooms or ROOMS):
            for node in ast.walk(house.tree(file)):
                yield from _codes_at(node, file)


def _codes_at(node: ast.AST, file: Path) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        if node.targets[0].attr == "code" and isinstance(node.value, ast.Constant):
            yield str(node.value.value), ""
        return
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func)
    given = node.args[0] if node.args else None
    made = _made(called, node, file)
    if made is not None:
        yield from made
    elif called in KINDS and given is not None:
        found = list(_words(given))
        known = ast.unparse(given) in PASSED_ON.get(house.name(file), set())
        computed = isinstance(given, ast.JoinedStr) and house.name(file) in COMPUTED
        assert found or known or computed, f"{house.name(file)}:{node.lineno}: which code is this?"
        yield from ((word, called) for word in found)


def _made(called: str, node: ast.Call, file: Path) -> list[tuple[str, str]] | None:
    """Find the codes that a call gives to what raises them; None: it is another call."""
    given = node.args[0] if node.args else None
    match called:
        case "not_found":
            return [(f"{word}_not_found", "NotFound") for word in _words(given)]
        case "_unused":
            return [(f"{word}_in_use", "Conflict") for word in _words(given)]
        case "call.number" | "number":
            return [(f"invalid_{word}", "Invalid") for word in _words(node.args[-1])]
        case "_invalid" if house.name(file) in COMPUTED:
            return [(f"invalid_{word}", "Invalid") for word in _words(given)]
        case "_Heads":
            return [(word, "TooMany") for word in _words(node.args[1])]
        case "not_ready":
            return [(word, "Unavailable") for word in _words(given)]
        case "super().__init__" if file.parent.name in ("api", "domain") and len(node.args) > 1:
            return [(word, "") for word in _words(given)]
        case "Problem" if len(node.args) == 3 and file.name == "idempotency.py":
            return [(word, "Invalid") for word in _words(node.args[1])]
    return None


def _words(node: ast.expr | None) -> Iterator[str]:
    """Give the texts that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _words(node.body)
        yield from _words(node.orelse)
