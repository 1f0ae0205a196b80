"""Holds answers to the OpenAPI document: status, code, media type, headers and the whole shape of the body.

The tests' own requests pass through here, so that no answer of any test is other than documented. Stricter than the
document itself: a field that a shape has not named is a failure, where a client must expect more to come.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

import jsonschema_rs
from litestar.utils import normalize_path

from api.contract import told_by
from api.openapi import document
from api.refusals import OF_NO_ROUTE
from api.routes import ROUTES
from api.row import Row
from api.wait import ClientLeft
from heroctl.domain.shape import Schema
from tests.growth import whole

# What is judged before it is known that there is no route.
_STRAY: Final = frozenset(
    {
        *("token_invalid", "token_expired", "invalid_request", "uri_too_long", "headers_too_large"),
        *("rate_limited", "too_many_connections", "log_unavailable"),
    }
)


@cache
def today() -> Schema:
    """Make the document of the present table, with the answers where they belong."""
    return whole(document(ROUTES, "0"))


def row_of(method: str, path: str) -> Row | None:
    """Find the row that serves a path: of those of its shape the one that leaves least to placeholders."""
    path = normalize_path(path)
    fit = [row for row in ROUTES if row.method == method and row.takes(path)]
    return min(fit, key=lambda row: row.path.count("{"), default=None)


def broken(row: Row, status: int, headers: dict[str, str], raw: bytes) -> str:
    """Say what an answer has that its row does not tell; empty: nothing. A row that tells nothing is another test's."""
    if told_by(row.read or row.do) is None or status == ClientLeft.status:
        return ""
    operation = today()["paths"][row.path][row.method.lower()]
    told = operation["responses"].get(str(status))
    if told is None:
        return f"{row.method} {row.path} answered {status}, which it does not tell: {raw[:300]!r}"
    lacking = [
        name
        for name in told["headers"]
        if name.lower() not in headers and today()["components"]["headers"][name]["required"]
    ]
    if lacking:
        return f"{row.method} {row.path} answered {status} without {lacking}"
    media = headers.get("content-type", "").partition(";")[0]
    content = told.get("content", {})
    if not content:
        return f"{row.method} {row.path} answered {status} with a body" if raw else ""
    if media not in content and "*/*" not in content:
        return f"{row.method} {row.path} answered {status} with {media}"
    if media != "application/json":
        return ""
    problems = [
        f"{'.'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(row, str(status)).iter_errors(json.loads(raw))
    ]
    return f"{row.method} {row.path} {status}: {'; '.join(problems)[:1000]}" if problems else ""


def stray(error: str) -> bool:
    """Tell whether a code may come where no row is."""
    return error in OF_NO_ROUTE | _STRAY


@cache
def _validator(row: Row, status: str) -> jsonschema_rs.Draft202012Validator:
    content = today()["paths"][row.path][row.method.lower()]["responses"][status]["content"]["application/json"]
    return jsonschema_rs.Draft202012Validator({**content["schema"], "components": _closed(today()["components"])})


def _closed(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Let objects have no other properties than those that are named."""
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(each) for name, each in value.items()}
    if value.get("type") == "object" and "properties" in value:
        closed.setdefault("additionalProperties", False)
    return closed
