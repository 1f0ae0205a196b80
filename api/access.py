"""Who may what: roles are sets of rights, and each row of the route table names the one that it takes.

Default-deny: a row without an access cannot be written, a role without a right has none, and no role gives none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from heroctl.domain.errors import Forbidden, Refusal, Unauthenticated

EVERYTHING: Final = "*"

_VIEWER: Final = frozenset({"job:read", "alloc:read", "deployment:read", "node:read", "cluster:read"})
_DEPLOYER: Final = _VIEWER | {"job:submit", "job:stop", "alloc:stop"}
_OPERATOR: Final = _DEPLOYER | {"job:purge", "node:eligibility", "node:remove", "node:join"}
_ADMIN: Final = frozenset({EVERYTHING})

ROLES: Final[dict[str, frozenset[str]]] = {
    "viewer": _VIEWER,
    "deployer": _DEPLOYER,
    "operator": _OPERATOR,
    "admin": _ADMIN,
}


class Access(Struct, frozen=True):
    """What a row asks of its caller: nothing (`public`), a valid token and a right (`user`), or to be a node."""

    kind: Literal["public", "user", "node"]
    right: str = ""  # for users; empty: any valid token


PUBLIC: Final = Access("public")
NODE: Final = Access("node")
ANYONE: Final = Access("user")


def may(right: str) -> Access:
    """Ask for a right such as `job:read`."""
    return Access("user", right)


class Principal(Struct, frozen=True, gc=False):
    """Who a token speaks for. `until` is the token's end in seconds since the epoch."""

    actor: str  # the word in events and log lines: `user:admin`, `token:<id>`, `node:<id>`
    rights: frozenset[str] = frozenset()
    until: float = math.inf
    user: str = ""
    token: str = ""  # the ACL token's id, also where a JWT was made from it
    session: str = ""
    credential: str = ""  # the vault row of the password that the session was begun with
    key: str = ""  # of a JWT: what it begins with, which names the key that signed it
    node: str = ""


NOBODY: Final = Principal("anonymous")


def rights_of(roles: Iterable[str]) -> frozenset[str]:
    """Add up what roles may; a role that this release does not know adds nothing."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))


def allows(access: Access, principal: Principal) -> bool:
    """Tell whether a principal may pass here."""
    match access.kind:
        case "public":
            return True
        case "node":
            return bool(principal.node)
        case "user":
            rights = principal.rights
            return not principal.node and (not access.right or access.right in rights or EVERYTHING in rights)


def check(access: Access, principal: Principal | None) -> None:
    """Refuse unless the caller may: Unauthenticated without a valid token, Forbidden without the right."""
    if principal is None:
        raise no_token()
    if not allows(access, principal):
        raise Forbidden("forbidden", f"this needs {access.right or access.kind}, which your token does not give")


def no_token() -> Refusal:
    """Refuse a request whose token is missing, malformed, unknown or revoked: one answer for all of these."""
    return Unauthenticated("token_invalid", "send a valid token: Authorization: Bearer <token>")


def expired() -> Refusal:
    """Refuse a token that was good once."""
    return Unauthenticated("token_expired", "the token has expired: log in again, or refresh it")
