"""Who may what: each row of the route table names the right that it takes, and each caller holds grants.

Default-deny: a row without an access cannot be written, and who holds no grants may nothing. A right that is held at
places (in namespaces, on nodes) opens the gate to who has it anywhere; each thing is then judged at its own place.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from msgspec import Struct

from heroctl.domain.errors import Forbidden, Refusal, Unauthenticated
from heroctl.domain.policy import ADMIN, EVERY, NOWHERE, Grants, Scope

TokenKind = Literal["user", "service"]


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
    """Who a token speaks for: all of its `grants` must allow what it does. `until`: its end in seconds since the epoch.

    `roles` and `kind` are those of the token itself, or of its user where it is of a login.
    """

    actor: str  # the word in events and log lines: `user:admin`, `token:<id>`, `node:<id>`
    grants: tuple[Grants, ...] = ()
    until: float = math.inf
    user: str = ""
    token: str = ""  # the ACL token's id, also where a JWT was made from it
    session: str = ""
    credential: str = ""  # the vault row of the password that its session was begun with
    key: str = ""  # of a JWT: what it begins with, which names the key that signed it
    node: str = ""
    roles: tuple[str, ...] = ()
    kind: TokenKind = "user"

    @property
    def admin(self) -> bool:
        """Whether it has the role admin by itself."""
        return ADMIN in self.roles

    def allows(self, right: str, namespace: str | None = None, job: str | None = None) -> bool:
        """Tell whether it may do this in a namespace, to a job; None: in every one. Of other things: by their name."""
        return bool(self.grants) and all(each.allows(right, namespace, job) for each in self.grants)

    def anywhere(self, right: str) -> bool:
        """Tell whether it may do this somewhere; where that is a no, it may nowhere."""
        return bool(self.grants) and all(each.anywhere(right) for each in self.grants)

    def everywhere(self, right: str) -> bool:
        """Tell whether it may do this everywhere."""
        return self.allows(right)

    def scope(self, right: str) -> Scope:
        """Say where it may do this; callers with the same scope see the same."""
        if not self.grants:
            return (NOWHERE,)
        reaches = (each.reach(right) for each in self.grants)
        return tuple([reach for reach in reaches if reach != EVERY])


NOBODY: Final = Principal("anonymous")


def allows(access: Access, principal: Principal) -> bool:
    """Tell whether a principal may pass here; what it may reach behind the gate is another question."""
    match access.kind:
        case "public":
            return True
        case "node":
            return bool(principal.node)
        case "user":
            return not principal.node and (not access.right or principal.anywhere(access.right))


def check(access: Access, principal: Principal | None) -> None:
    """Refuse unless the caller may: Unauthenticated without a valid token, Forbidden without the right."""
    if principal is None:
        raise no_token()
    if not allows(access, principal):
        raise forbidden(access.right or access.kind)


def forbidden(right: str, why: str = "this") -> Refusal:
    """Refuse who is known, and may not."""
    return Forbidden("forbidden", f"{why} needs {right}, which your token does not give here")


def no_token() -> Refusal:
    """Refuse a request whose token is missing, malformed, unknown or revoked: one answer for all of these."""
    return Unauthenticated("token_invalid", "send a valid token: Authorization: Bearer <token>")


def expired() -> Refusal:
    """Refuse a token that was good once."""
    return Unauthenticated("token_expired", "the token has expired: log in again, or refresh it")
