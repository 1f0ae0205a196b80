"""The OpenAPI 3.1 document: made from the table of routes, the shapes of what passes, and the codes of refusals.

A row brings method, path, arguments and access; its handler brings its docstring and what it tells (`api.contract`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

from api import arguments
from api.codes import known
from api.contract import JSON
from api.refusals import HEALTH, by_status, caches, codes_of, told, writes
from api.row import AT, Row
from api.samples import Sampler
from api.wire import Refused
from heroctl.domain import jobschema
from heroctl.domain import spec as specs
from heroctl.domain.execs import PROTOCOL
from heroctl.domain.shape import Schema, Shapes

_AT: Final = "#/components/schemas/"
_SPEC: Final = "JobSpec"
_YAML: Final = ("application/yaml", "application/x-yaml", "text/yaml")
_SENTENCE: Final = re.compile(r"(?<=[^.:;])[.:;](?=\s|$)")
_SECURITY: Final[dict[str, list[Schema]]] = {
    "public": [],
    "user": [{"bearer": []}, {"token": []}],
    "node": [{"node": []}],
}
_LIMITS: Final = ("RateLimit", "RateLimit-Policy")
_WHERE: Final = {401: ("WWW-Authenticate",), 429: ("Retry-After", *_LIMITS), 503: ("Retry-After",)}
_INTRODUCTION: Final = """\
Everything that the command line does passes through here. JSON in, JSON out; a job spec may be YAML, too.

Every refusal has one shape, `{error, message, request_id[, details]}`. `error` is a stable code; each route lists \
those that it can answer. Every read of state long-polls: `?index=N&wait=5m` answers once that thing has changed.
"""
_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of a login, or an ACL token (`ht_…`).",
    },
    "token": {"type": "apiKey", "in": "header", "name": "X-HeroCtl-Token", "description": "The same, by another name."},
    "node": {"type": "http", "scheme": "bearer", "description": "The token that a server got when it joined."},
}


def document(rows: Iterable[Row], version: str) -> Schema:
    """Make the whole document."""
    book = _Book()
    paths: dict[str, Schema] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = book.operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": "HeroCtl", "version": version, "description": _INTRODUCTION},
        "tags": [{"name": tag} for tag in sorted({_tag(row) for row in rows})],
        "paths": paths,
        "components": {
            "schemas": book.shapes.definitions,
            "responses": book.refused,
            "headers": arguments.ANSWERED,
            "examples": {code: _refusal(code) for code in sorted(book.codes)},
            "securitySchemes": _SCHEMES,
        },
    }


def _refusal(code: str) -> Schema:
    value = {"error": code, "message": known(code).meaning, "request_id": "req_a1b2c3"}
    return {"summary": code, "description": known(code).remedy, "value": value}


def _tag(row: Row) -> str:
    return row.words[2].removesuffix(".json")


class _Book:
    """Writes operations, and gathers the shapes that they name."""

    def __init__(self) -> None:
        self.codes: set[str] = set()
        self.refused: dict[str, Schema] = {}
        self._names: dict[tuple[str, ...], str] = {}
        self.shapes = Shapes(_AT)
        self.shapes.of(Refused)
        self.shapes.of(specs.Job)  # what `wire.Spec` refers to
        self.shapes.definitions |= jobschema.definitions(_AT, _SPEC)
        self._samples = Sampler(self.shapes.definitions)

    def operation(self, row: Row) -> Schema:
        """Describe a route."""
        handler = row.read or row.do
        said = " ".join((handler.__doc__ or "").split())
        made: Schema = {
            "operationId": f"{handler.__module__.rpartition('.')[2]}_{getattr(handler, '__name__', 'call')}",
            "summary": _SENTENCE.split(said, maxsplit=1)[0].replace("`", ""),
            "description": f"{said}\n\n{_needs(row)}",
            "tags": [_tag(row)],
            "security": _SECURITY[row.access.kind],
            "parameters": list(_parameters(row)),
            "responses": self._responses(row),
        }
        if told(row).body is not None:
            made["requestBody"] = self._body(told(row).body)
        return made

    def _body(self, kind: Any) -> Schema:  # noqa: ANN401 - a type
        if kind is specs.Job:
            schema: Schema = {"$ref": _AT + _SPEC}
            example = self._samples.of(schema)
            text = yaml.safe_dump(example, sort_keys=False)
            content = {media: {"schema": schema, "example": text} for media in _YAML}
            return {"required": True, "content": {JSON: {"schema": schema, "example": example}, **content}}
        schema = self.shapes.of(kind)
        needed = bool(self.shapes.definitions.get(kind.__name__, {}).get("required"))
        return {"required": needed, "content": {JSON: {"schema": schema, "example": self._samples.of(schema)}}}

    def _responses(self, row: Row) -> Schema:
        made: dict[str, Schema] = {str(status): self._success(row, status) for status in told(row).status}
        if row.meet is not None:
            made["101"] = {"description": f"It goes on as a WebSocket, in the subprotocol `{PROTOCOL}`."}
        if caches(row):
            headers = _headers("X-Request-Id", "ETag", *(["X-HeroCtl-Index"] if row.read else []))
            made["304"] = {"description": "It is the one that `If-None-Match` names.", "headers": headers}
        self.codes |= codes_of(row)
        for status, codes in by_status(codes_of(row)).items():
            made[str(status)] = self._refused(status, codes)
        return made

    def _refused(self, status: int, codes: list[str]) -> Schema:
        """Refer to the answer that stands for these codes; many routes share one."""
        key = tuple(codes)
        if key not in self._names:
            same = sum(name.startswith(f"{status}-") for name in self.refused)
            self._names[key] = f"{status}-{same + 1}"
            self.refused[self._names[key]] = _refused(status, codes)
        return {"$ref": f"#/components/responses/{self._names[key]}"}

    def _success(self, row: Row, status: int) -> Schema:
        tells = told(row)
        schema = self.shapes.of(tells.answer)
        content: Schema = {"schema": schema}
        if tells.media == JSON:
            content["example"] = self._samples.of(schema)
        names = ["X-Request-Id", *([] if row.path.startswith(HEALTH) else _LIMITS)]
        if row.read is not None:
            names += ["X-HeroCtl-Index", "X-HeroCtl-Stale"]
        elif writes(row):
            names += ["X-HeroCtl-Index"]
        if caches(row):
            names += ["ETag"]
        if "cursor" in row.args:
            names += ["Link", "X-HeroCtl-Next-Cursor"]
        if AT in row.args:
            names += ["X-HeroCtl-At"]
        if row.keyed and writes(row):
            names += ["Idempotency-Replayed"]
        said = "Done, and something of a new name was made." if status == 201 else "Done."
        media = {tells.media: content} | {each: {"schema": {"type": "string"}} for each in tells.also}
        return {"description": said, "headers": _headers(*names), "content": media}


def _refused(status: int, codes: list[str]) -> Schema:
    names = {"type": "object", "properties": {"error": {"enum": codes}}}
    lines = "".join(f"\n- `{code}`: {known(code).meaning} {known(code).remedy}" for code in codes)
    return {
        "description": f"Refused:\n{lines}",
        "headers": _headers("X-Request-Id", *_WHERE.get(status, ())),
        "content": {
            JSON: {
                "schema": {"allOf": [{"$ref": _AT + "Refused"}, names]},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _needs(row: Row) -> str:
    match row.access.kind:
        case "public":
            return "Needs no token."
        case "node":
            return "Needs a node's token."
        case "user":
            return f"Needs `{row.access.right}`." if row.access.right else "Needs a token, and no right."


def _parameters(row: Row) -> Iterable[Schema]:
    for word in row.words:
        if word.startswith("{"):
            yield arguments.in_path(row.path, word[1:-1])
    for name in row.args:
        yield arguments.in_query(row.path, name)
    yield from arguments.in_headers(caches=caches(row), keyed=row.keyed)
