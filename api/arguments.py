"""The arguments of requests and the headers of answers, described once for the OpenAPI document.

A name that is not here is described as a text: a new argument of a route needs no line to be in the document.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from api.marks import NAME as KEY
from heroctl.domain.shape import Schema

_INDEX: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_TEXT: Final[Schema] = {"type": "string"}
_AMONG: Final = "Only those with this"

_QUERY: Final[dict[str, tuple[Schema, str]]] = {
    "index": (_INDEX, "Long poll: answer once the index of what is asked for is above this. 0: now."),
    "wait": (
        {"type": "string", "pattern": r"^(\d{1,8}(\.\d{1,3})?(ms|d|h|m|s)){1,2}$", "examples": ["30s"]},
        "How long to wait for that at most; 5m unless given, never more than 10m.",
    ),
    "at": (
        {"type": "string", "examples": ["-1h"]},
        "As it was: an index, a time (RFC 3339), or so long ago (`-1h`). Not with `index` or `wait`.",
    ),
    "namespace": (_TEXT, "Lists: only this one; all that the token may see unless given. Single things: `default`."),
    "status": (_TEXT, f"{_AMONG} status."),
    "meta": ({"type": "string", "examples": ["team=shop"]}, "Only those whose meta says so: `key=value`, or `key`."),
    "job": (_TEXT, f"{_AMONG} job."),
    "node": (_TEXT, f"{_AMONG} node, by id or name."),
    "check_index": (_INDEX, "Only if it stands at this index (a job: its `spec_index`); 0: only if it is not there."),
    "dry_run": ({"type": "string", "enum": ["true", "false"]}, "`true`: tell what it would do, and do nothing."),
    "after": (_INDEX, "Only what comes after this index."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 1000}, "At most so many."),
    "cursor": (_TEXT, "Go on where a page ended: what its `X-HeroCtl-Next-Cursor` says. With the same filters."),
    "actor": ({"type": "string", "examples": ["user:admin"]}, f"{_AMONG} actor."),
    "type": ({"type": "string", "examples": ["job.*"]}, f"{_AMONG} type; it may end in `*`."),
    "request_id": (_TEXT, f"{_AMONG} request id: all that one request did."),
    "topic": (
        {"type": "string", "examples": ["job:web,node"]},
        "Only what is about any of these; a kind alone means all of it. It may stand again.",
    ),
    "stream": ({"type": "string", "enum": ["true", "false"]}, "`true`: as it happens, as server-sent events."),
    "address": (_TEXT, f"{_AMONG} client's address."),
    "from": ({"type": "string", "examples": ["-1h"]}, "Not before this time (RFC 3339), or so long ago."),
    "to": ({"type": "string", "examples": ["-1h"]}, "Not after this time (RFC 3339), or so long ago."),
    "metric": ({"type": "string", "examples": ["cpu"]}, "What was measured: `cpu`, `memory`, `network_in` …"),
    "step": (
        {"type": "string", "examples": ["1m"]},
        "How long each point stands for; what suits the time unless given, and never finer than what is kept.",
    ),
    "aggregation": (
        {"type": "string", "enum": ["avg", "max"]},
        "How samples of a step become one point; `avg` unless given.",
    ),
    "group": (
        {"type": "string", "enum": ["alloc", "task", "job", "node", "all"]},
        "What series are put together by: those of a group are added up (percentages: their mean).",
    ),
    "format": ({"type": "string", "enum": ["json", "prometheus"]}, "As with `Accept`."),
    "tail": ({"type": "integer", "minimum": 0, "maximum": 10_000}, "So many of the last lines; 100 unless given."),
    "since": ({"type": "string", "examples": ["10m"]}, "Not before this time (RFC 3339), or so long ago."),
    "grep": (_TEXT, "Only lines that hold this text."),
    "output": ({"type": "string", "enum": ["stdout", "stderr"]}, "Only what was written there."),
    "task": (_TEXT, f"{_AMONG} task."),
    "outcome": ({"type": "string", "enum": ["done", "refused"]}, f"{_AMONG} outcome."),
}
_PATH: Final[dict[str, str]] = {
    "name": "Its name.",
    "id": "Its id, or the beginning of it, at least 4 letters; of a node its name, too.",
    "index": "The index of an event.",
    "file": "The file's name.",
}
_SENT: Final[dict[str, tuple[Schema, str]]] = {
    "X-Request-Id": (
        {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
        "A word of your own, at most 128 letters, that answer, log lines and events of this request will carry.",
    ),
    "X-HeroCtl-Index": (_INDEX, "An index that you have seen: whoever answers has come as far."),
    "If-None-Match": (_TEXT, "An `ETag` that you have: 304 if it is still that."),
    KEY: (
        {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
        "A word of your own for this call: sent again with the same word, it is done once.",
    ),
}
ANSWERED: Final[Schema] = {
    name: {"description": said, "schema": schema, "required": name == "X-Request-Id"}
    for name, schema, said in (
        ("X-Request-Id", _TEXT, "The request's id."),
        ("X-HeroCtl-Index", _INDEX, "Of a read: the index of what was read. Of a write: that of its last event."),
        ("ETag", _TEXT, "Names this answer, for `If-None-Match`."),
        ("Link", _TEXT, 'Where the next page is, as `<…>; rel="next"`; not on the last one.'),
        ("X-HeroCtl-Next-Cursor", _TEXT, "The next page's `cursor`."),
        ("X-HeroCtl-Scanned-To", _INDEX, "Everything at or after this index was looked through."),
        ("X-HeroCtl-Truncated-Before", _INDEX, "What stood before this index is not kept any more."),
        ("X-HeroCtl-Stale", _INDEX, "So many seconds the log has been away: this is from memory."),
        ("X-HeroCtl-At", {"type": "string", "format": "date-time"}, "The time of the append that this is as of."),
        ("Idempotency-Replayed", {"const": "true"}, "This was done before, under the same key."),
        ("Retry-After", {"type": "integer", "minimum": 1}, "Ask again after so many seconds."),
        ("RateLimit", _TEXT, "What is left of the limit (`r`), and the seconds until it is whole again (`t`)."),
        ("RateLimit-Policy", _TEXT, "The limit: so many requests (`q`) in so many seconds (`w`)."),
        ("WWW-Authenticate", {"const": "Bearer"}, "How to say who you are."),
    )
}
# The same names, of paths where they mean something else.
_QUERY_OF: Final[dict[str, dict[str, tuple[Schema, str]]]] = {
    "/v1/events": {
        "index": (
            {"anyOf": [_INDEX, {"const": "now"}]},
            "Only what comes after this index; `now`: only what comes. With `wait`: wait until there is something.",
        ),
        "type": (
            {"type": "string", "examples": ["job.*,node.down"]},
            "Only of any of these types; each may end in `*`.",
        ),
    },
    "/v1/jobs/{name}/versions/diff": {
        "from": (_INDEX, "The version to begin with; the one before `to` unless given."),
        "to": (_INDEX, "The version to end with; the present one unless given."),
    },
}


def in_path(path: str, name: str) -> Schema:
    """Describe a placeholder of a path."""
    said = "The host name." if name == "host" else _PATH.get(name, f"Which {name} of {path}.")
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": said, "schema": schema}


def in_query(path: str, name: str) -> Schema:
    """Describe an argument of a path's query."""
    known = _QUERY | _QUERY_OF.get(path, {})
    schema, said = known.get(name, (_TEXT, f"{_AMONG} {name.replace('_', ' ')}."))
    return {"name": name, "in": "query", "description": said, "schema": schema}


def in_headers(*, caches: bool, keyed: bool) -> Iterator[Schema]:
    """Describe the headers that a request may carry."""
    names = ["X-Request-Id", "X-HeroCtl-Index", *(["If-None-Match"] if caches else []), *([KEY] if keyed else [])]
    for name in names:
        schema, said = _SENT[name]
        yield {"name": name, "in": "header", "description": said, "schema": schema}
