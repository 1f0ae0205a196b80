"""The gate: from a request's headers to the principal whose token it carries.

A token is verified once and then known by its bytes until it expires, or until anything about who may what changes (the
`acl` topic moves, a session is revoked). A token that this process has never heard of may be news: the view catches up
with the log once, shared by all who ask, before it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from msgspec.structs import replace

from api import tokens
from api.access import Principal, expired, no_token
from api.answer import Header
from api.keys import Keyring
from api.tokens import Claims, Keys, Opaque
from api.uses import LastUses
from eventstore.sessions import Session
from eventstore.vault import Vault
from eventstore.view import View
from heroctl.domain.credentials import good
from heroctl.domain.errors import Gone, Refusal, Unavailable
from heroctl.domain.holders import JoinToken, grants_of
from heroctl.domain.state import State
from heroctl.domain.topics import ACL

T = TypeVar("T")

UNSEEN: Final = 30.0  # seconds without the log after which only tokens are good that were seen before
_MOST: Final = 20_000
_BEARER: Final = b"bearer "


def token_of(headers: Iterable[Header]) -> bytes | None:
    """Find the token of a request: `Authorization: Bearer …`, or `X-HeroCtl-Token`. Raises where it says two."""
    found = None
    for name, value in headers:
        if name == b"authorization":
            given = value[7:].strip() if value[:7].lower() == _BEARER else b""
        elif name == b"x-heroctl-token":
            given = value.strip()
        else:
            continue
        if found is not None and found != given:
            raise no_token()
        found = given
    return found


class Gate:
    """Knows whose token is whose. `clock` gives seconds since the epoch."""

    def __init__(self, view: View, vault: Vault, keyring: Keyring, clock: Callable[[], float]) -> None:
        self.keyring = keyring
        self._view = view
        self._vault = vault
        self._clock = clock
        self._known: dict[bytes, Principal] = {}
        self._hashes: dict[str, bytes] = {}
        self.uses = LastUses(clock)
        self._acl = 0
        self._revoked: frozenset[str] = frozenset()
        self._keys = self.keys.headers

    @property
    def keys(self) -> Keys:
        """What signs tokens, and reads them."""
        return self.keyring.keys

    def known(self, token: bytes) -> Principal | None:
        """Give the principal of a token that was verified before and is still good."""
        acl = self._view.state.topics.get(ACL, 0)
        if acl != self._acl:
            self._known.clear()
            self._acl = acl
        principal = self._known.get(token)
        if principal is None or principal.until <= self._clock():
            return None
        if principal.token:
            self.uses.note(principal.token)
        return principal

    async def principal(self, headers: Iterable[Header]) -> Principal | None:
        """Give the principal of a request; None: it carries no token. Raises `token_invalid` or `token_expired`."""
        token = token_of(headers)
        if token is None:
            return None
        known = self.known(token)
        if known is not None:
            return known
        if self._view.stale_seconds > UNSEEN:
            raise Unavailable(
                "log_unavailable",
                "the log has been away for too long to judge a token that was not seen before: try again",
                retry_after=5,
            )
        principal = await self.verify(token)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[token] = principal
        if principal.token:
            self.uses.note(principal.token)
        return principal

    async def verify(self, token: bytes) -> Principal:
        """Read a token and find whose it is."""
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            raise no_token() from None
        opaque = tokens.parse(text)
        if opaque is None:
            claims = await self.keyring.read(text)
            found = await self._sure(lambda state: self._of_claims(state, claims))
            return replace(found, key=text.partition(".")[0])
        if opaque.kind == "ht":
            return await self._of_token(opaque)
        if opaque.kind == "hn":
            return await self._of_node(opaque)
        raise no_token()

    def revoke(self, sessions: frozenset[str]) -> bool:
        """Take in which sessions are revoked, and which keys there still are; answers whether any is news."""
        keys = self.keys.headers
        if (sessions, keys) == (self._revoked, self._keys):
            return False
        self._revoked, self._keys = sessions, keys
        self._known.clear()
        return True

    def ended(self, session: str) -> bool:
        """Tell whether a session is known to be revoked."""
        return session in self._revoked

    def still(self, principal: Principal) -> bool:
        """Tell whether a principal admitted earlier would be admitted now, with the same rights."""
        now = self.now(principal)
        return now is not None and now.grants == principal.grants

    def now(self, principal: Principal) -> Principal | None:
        """Give a principal admitted earlier as it would be admitted now; None: it would not be."""
        state = self._view.state
        if principal.until <= self._clock():
            return None
        if principal.node:
            return principal if principal.node in state.nodes else None
        if principal.session and (
            principal.key not in self.keys.headers or not good(state, principal, principal.session)
        ):
            return None
        found = self._user(state, principal.user, principal.token, principal.session)
        return found and replace(principal, grants=found.grants, roles=found.roles, kind=found.kind)

    async def join_token(self, text: str) -> JoinToken:
        """Find the join token that a server shows. Raises `join_token_invalid`."""
        opaque = tokens.parse(text)
        if opaque is None or opaque.kind != "hj":
            raise _no_join_token()
        found = await self._sure(lambda state: state.join_tokens.get(opaque.id), _no_join_token)
        if not await self._matches(found.credential, opaque.secret) or found.expires_at <= self._clock() * 1000:
            raise _no_join_token()
        return found

    # ── kinds of tokens ──────────────────────────────────────────────────────────────────────────────────────────────

    def _of_claims(self, state: State, claims: Claims) -> Principal | None:
        login = Session(claims.sid, claims.sub, claims.tok, claims.end, claims.crd)
        found = self._user(state, login.user, login.token, login.id) if good(state, login, login.id) else None
        if found is None:
            return None
        return replace(found, until=claims.exp, session=login.id, credential=login.credential)

    def _user(self, state: State, user: str, token: str, session: str) -> Principal | None:
        record = state.users.get(user)
        if record is None or session in self._revoked:
            return None
        own = grants_of(record, state.roles, state.policies)
        if not token:
            return Principal(f"user:{user}", (own,), user=user, roles=record.roles)
        made_from = state.tokens.get(token)
        if made_from is None:
            return None
        given = grants_of(made_from, state.roles, state.policies)
        grants = (given,) if made_from.kind == "service" else (given, own)
        return Principal(f"token:{token}", grants, user=user, token=token, roles=made_from.roles, kind=made_from.kind)

    async def _of_token(self, opaque: Opaque) -> Principal:
        token = await self._sure(lambda state: state.tokens.get(opaque.id))
        if not await self._matches(token.credential, opaque.secret):
            raise no_token()
        until = float("inf") if token.expires_at is None else token.expires_at / 1000
        if until <= self._clock():
            raise expired()
        found = self._user(self._view.state, token.user, token.id, "")
        if found is None:
            raise no_token()
        return replace(found, until=until)

    async def _of_node(self, opaque: Opaque) -> Principal:
        if opaque.id in self._view.state.removed_nodes:
            raise Gone("node_removed", "this node was removed from the cluster")
        node = await self._sure(lambda state: state.nodes.get(opaque.id))
        if not await self._matches(node.credential, opaque.secret):
            raise no_token()
        return Principal(f"node:{node.name}", node=node.id)

    # ── looking twice ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sure(self, look: Callable[[State], T | None], refusal: Callable[[], Refusal] = no_token) -> T:
        found = look(self._view.state)
        if found is None:
            await self._view.catch_up()
            found = look(self._view.state)
        if found is None:
            raise refusal()
        return found

    async def _matches(self, credential: str, secret: str) -> bool:
        expected = self._hashes.get(credential)
        if expected is None:
            expected = await self._vault.get(credential)
            if expected is None:
                return False
            if len(self._hashes) >= _MOST:
                self._hashes.clear()
            self._hashes[credential] = expected
        return tokens.equal(expected, tokens.hashed(secret))


def _no_join_token() -> Refusal:
    refusal = no_token()
    refusal.code = "join_token_invalid"
    return refusal
