"""Which codes a route can answer: what every route of its kind may refuse, and what its handler tells of itself.

Said here once for each kind, so that a new row has them without a word.
"""

from __future__ import annotations

from typing import Final

from api.codes import CODES, known
from api.contract import LINES, NOTHING, STREAM, Told, told_by
from api.row import AT, Row
from heroctl.domain import spec

HEALTH: Final = "/v1/health/"
_ALL: Final = ("invalid_request", "invalid_query", "unknown_parameter", "uri_too_long", "headers_too_large", "internal")
_BESIDE_HEALTH: Final = (
    "invalid_index",  # X-HeroCtl-Index, and
    "behind",
    "log_unavailable",  # for too long
    "rate_limited",
    "too_many_connections",
)
_TOKEN: Final = ("token_invalid", "token_expired", "forbidden", "node_removed")
_READ: Final = ("invalid_index", "invalid_wait")
_PAST: Final = ("invalid_at", "index_compacted", "busy", "past_timeout", "past_failed", "log_broken")
_BODY: Final = (
    "invalid_json",
    "duplicate_key",
    "too_deep",
    "invalid_body",
    "unsupported_encoding",
    "body_timeout",
    "body_cut_off",
    "body_too_large",
)
_SPEC: Final = ("invalid_yaml",)
_WRITE: Final = ("busy", "outdated", "disk_low", "log_unavailable", "upgrade_incomplete")
_KEYED: Final = ("invalid_idempotency_key",)
_ONCE: Final = ("idempotency_key_reused", "already_done")

# For no route's row: what the front says where there is none, and what nobody hears.
OF_NO_ROUTE: Final = frozenset({"route_not_found", "method_not_allowed"})


def told(row: Row) -> Told:
    """Give what a row's handler tells of itself."""
    return told_by(row.read or row.do) or NOTHING


def writes(row: Row) -> bool:
    """Tell whether a row's handler appends to the log."""
    return row.method != "GET" and told(row).writes


def caches(row: Row) -> bool:
    """Tell whether a row's answers carry an ETag, which the client may name to be spared them."""
    return row.read is not None or told(row).tagged


def codes_of(row: Row) -> frozenset[str]:
    """Give every code that a route can answer."""
    codes = {*_ALL, *told(row).codes}
    if not row.path.startswith(HEALTH):
        codes.update(_BESIDE_HEALTH)
    if row.access.kind != "public":
        codes.update(_TOKEN)
    if row.read is not None:
        codes.update(_READ)
    if AT in row.args:
        codes.update(_PAST)
    if "wait" in row.args:
        codes.add("too_many_waiters")
    if told(row).media == LINES or STREAM in told(row).also:
        codes.add("too_many_streams")
    codes.update(f"invalid_{name}" for name in row.args if f"invalid_{name}" in CODES)
    if row.method in ("POST", "PUT", "PATCH"):
        codes.update(_BODY)
    if told(row).body is spec.Job:
        codes.update(_SPEC)
    if writes(row):
        codes.update(_WRITE)
    if row.keyed:
        codes.update(_KEYED)
    if row.keyed and writes(row):
        codes.update(_ONCE)
    return frozenset(codes)


def by_status(codes: frozenset[str]) -> dict[int, list[str]]:
    """Sort codes by the status that they come with."""
    statuses = sorted({known(code).kind.status for code in codes})
    return {status: sorted(code for code in codes if known(code).kind.status == status) for status in statuses}
