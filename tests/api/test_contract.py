"""What holds answers to the document finds each way in which one may differ from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api import contract

HEADERS = {"content-type": "application/json", "x-request-id": "req_1"}
CHECK = {"name": "log", "ok": True, "message": ""}
STATUS: dict[str, Any] = {
    "health": "ok",
    "coordinator": None,
    "epoch": 0,
    "members": 1,
    "index": 1,
    "version": "1",
    "level": 1,
    "incarnation": "a",
    "brake": False,
    "brake_by": "",
    "nodes": {"ready": 0, "down": 0, "draining": 0},
    "checks": [CHECK],
}
REFUSED = {"error": "token_invalid", "message": "no", "request_id": "req_1"}


def judged(status: int, body: object, headers: dict[str, str] | None = None) -> str:
    row = contract.row_of("GET", "/v1/cluster/status")
    assert row is not None
    return contract.broken(row, status, HEADERS if headers is None else headers, json.dumps(body).encode())


def test_what_is_documented_is_let_through() -> None:
    assert judged(200, STATUS) == ""
    assert judged(401, REFUSED) == ""
    assert judged(401, {**REFUSED, "details": [{"path": "a", "code": "b", "message": "c"}]}) == ""


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (418, STATUS, None),
        (201, STATUS, None),
        (200, {**STATUS, "more": 1}, None),
        (200, {**STATUS, "checks": [{**CHECK, "more": 1}]}, None),
        (200, {**STATUS, "members": "1"}, None),
        (200, {name: value for name, value in STATUS.items() if name != "brake"}, None),
        (200, [STATUS], None),
        (200, STATUS, {"content-type": "text/plain", "x-request-id": "req_1"}),
        (200, STATUS, {"content-type": "application/json"}),
        (304, STATUS, None),
        (401, {**REFUSED, "error": "job_not_found"}, None),
        (401, {**REFUSED, "error": "no_such_code"}, None),
        (401, {**REFUSED, "trace": "…"}, None),
        (401, {"error": "token_invalid", "message": "no"}, None),
    ],
)
def test_what_is_not_is_found(status: int, body: object, headers: dict[str, str] | None) -> None:
    assert judged(status, body, headers) != ""


def test_a_path_belongs_to_the_row_that_names_most_of_it() -> None:
    paths = {
        "/v1/jobs/validate": "GET /v1/jobs/{name}",
        "/v1/log/verify": "GET /v1/log/verify",
        "/v1/jobs/": "GET /v1/jobs",
    }
    for path, expected in paths.items():
        row = contract.row_of("GET", path)
        assert row is not None
        assert f"{row.method} {row.path}" == expected
    assert contract.row_of("GET", "/v1/none") is None
