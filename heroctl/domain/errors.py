"""Refusals: every «no» that a caller can get, each with a stable code and an HTTP status.

    Refusal
    ├── Invalid          400   the request cannot be understood; `details` name the fields
    ├── Unauthenticated  401
    ├── Forbidden        403
    ├── NotFound         404   `<thing>_not_found`
    ├── Conflict         409
    ├── Gone             410
    ├── TooLarge         413
    ├── UpgradeRequired  426
    ├── TooMany          429
    └── Unavailable      503   with `retry_after` seconds

The code is the contract; the message is prose for people and may change.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing wrong with a document: where (`tasks[0].count`), a stable code, and prose."""

    path: str
    code: str
    message: str


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A «no» to the caller. `code` is stable, `message` says what to do next."""

    status: ClassVar[int] = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: tuple[Problem, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        """Hold the code, the prose, the problems and, in seconds, when to try again."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after


class Invalid(Refusal):
    """400: malformed, missing, mistyped, out of range."""

    status = 400


class Unauthenticated(Refusal):
    """401: no token, or one that is not valid. `tried`: the name of a login that failed."""

    status = 401
    tried = ""


class Forbidden(Refusal):
    """403: who you are is known, and it may not."""

    status = 403


class NotFound(Refusal):
    """404: no such thing, or not for you to see."""

    status = 404


class Conflict(Refusal):
    """409: true elsewhere or earlier, not here and now."""

    status = 409


class Gone(Refusal):
    """410: was here, and is no more."""

    status = 410


class TooLarge(Refusal):
    """413: the body is over the limit."""

    status = 413


class UpgradeRequired(Refusal):
    """426: this is spoken in another protocol."""

    status = 426


class TooMany(Refusal):
    """429: slow down; `retry_after` says for how long."""

    status = 429


class Unavailable(Refusal):
    """503: a part is away; `retry_after` says when to try again."""

    status = 503


def invalid_spec(problems: list[Problem]) -> Invalid:
    """Refuse a job spec with everything that is wrong with it."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = f"{first.path}: " if first.path else ""
    return Invalid("invalid_spec", f"{where}{first.message}{more}", details=tuple(problems))


def not_found(kind: str, name: str) -> NotFound:
    """Refuse because there is no such job, allocation, node …"""
    return NotFound(f"{kind}_not_found", f"{kind.replace('_', ' ')} '{name}' does not exist")


def too_new(what: str) -> Conflict:
    """Refuse what an older release, of which a process may still live, would not understand."""
    return Conflict(
        "upgrade_incomplete", f"{what} needs the whole control plane to be of this release: finish the upgrade first"
    )
