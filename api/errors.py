"""Refusals and faults as answers: one body for all, `{error, message, request_id[, details]}`."""

from __future__ import annotations

from typing import Any, Final

import structlog
from litestar.exceptions import HTTPException

from api.answer import Answer, Header, answer
from eventstore.log import Busy, Compacted, KeyReused, LogUnavailable
from heroctl.domain.errors import Conflict, Gone, Invalid, NotFound, Refusal, Unauthenticated, Unavailable, too_new
from heroctl.domain.events import TooNew

SECONDS_AWAY: Final = 2  # what Retry-After says when the log is away
_log: Final = structlog.get_logger("heroctl.api")


class MethodNotAllowed(Refusal):
    """405: the path is there, not with this method."""

    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__("method_not_allowed", f"{method} is not for this path: use {allowed}")
        self.allowed = allowed


def refusal_of(error: Exception) -> Refusal | None:
    """Read an exception as a refusal to the caller; None: it is a bug."""
    match error:
        case Refusal():
            return error
        case LogUnavailable():
            return Unavailable("log_unavailable", "the log cannot be reached: try again", retry_after=SECONDS_AWAY)
        case Busy():
            return Unavailable("busy", "too many writes are waiting: try again", retry_after=1)
        case TooNew():
            return too_new("this")
        case KeyReused():
            return Conflict(
                "idempotency_key_reused", "this idempotency key was used for another request: a new one needs a new key"
            )
        case Compacted():
            return Gone("index_compacted", f"{error}: read the state, and go on from its index")
        case HTTPException() if error.status_code < 500:
            return Invalid("invalid_request", error.detail or "the request cannot be understood")
        case _:
            return None


def answer_to(error: Exception, request_id: str) -> Answer:
    """Make the answer for whatever was raised. What no caller caused is logged in full, and said as `internal`."""
    refusal = refusal_of(error)
    if refusal is None:
        _log.error("request failed", request_id=request_id, exc_info=error)
        return answer(_body("internal", "an error of the server, which is in its log", request_id), 500)
    body = _body(refusal.code, refusal.message, request_id)
    if refusal.details:
        body["details"] = refusal.details
    return answer(body, refusal.status, headers=_headers(refusal))


def _body(code: str, message: str, request_id: str) -> dict[str, Any]:
    return {"error": code, "message": message, "request_id": request_id}


def _headers(refusal: Refusal) -> list[Header]:
    headers: list[Header] = []
    if isinstance(refusal, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(refusal, MethodNotAllowed):
        headers.append((b"allow", refusal.allowed.encode()))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    return headers


def missing_route() -> NotFound:
    """Refuse a path that is in no table."""
    return NotFound("route_not_found", "there is no such route")
