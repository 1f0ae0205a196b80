"""Logging in, refreshing and logging out; the first administrator."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError
from msgspec import UNSET, Struct, UnsetType

from api import tokens
from api.access import no_token
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.gate import token_of
from api.tokens import LIFE, Claims, Refresh
from api.wire import whole_stamp
from eventstore.sessions import Session
from heroctl.domain.errors import Invalid, Problem, Unauthenticated, Unavailable
from heroctl.domain.state import State

SESSION_LIFE: Final = 30 * 24 * 3600  # seconds
_AT_ONCE: Final = 4
_MOST_WAITING: Final = 100


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a login: a user's name and password, or an ACL token."""

    username: str | None = None
    password: str | None = None
    acl_token: str | None = None


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a refresh that does not send its refresh token as bearer."""

    refresh_token: str | None = None


class LoggedIn(Struct, frozen=True):
    """A session has begun. `expires_at` is the token's end, in whole seconds."""

    token: str
    expires_at: str
    refresh_token: str


class Renewed(Struct, frozen=True):
    """A new token of the same session; with a refresh token where one was given."""

    token: str
    expires_at: str
    refresh_token: str | UnsetType = UNSET


class Ended(Struct, frozen=True):
    """What became of the session."""

    session: Literal["ended"]


class Passwords:
    """Hashes and checks passwords: argon2id, in threads, few at once: logins exhaust neither memory nor cores."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._nobody = self._hasher.hash(tokens.new_secret())

    async def hashed(self, password: str) -> bytes:
        """Return what the vault keeps of a password."""
        return (await asyncio.to_thread(self._hasher.hash, password)).encode()

    async def match(self, kept: bytes | None, password: str) -> bool:
        """Compare; takes as long where there is nothing to compare with. Raises `busy` when too many wait."""
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("busy", "too many logins at once: try again", retry_after=2)
        self._waiting += 1
        try:
            async with self._room:
                same = await asyncio.to_thread(self._verify, kept.decode() if kept else self._nobody, password)
        finally:
            self._waiting -= 1
        return same and kept is not None

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except VerificationError:
            return False


@tells(
    LoggedIn,
    "token_invalid",
    "token_expired",
    "node_removed",
    "invalid_credentials",
    "busy",
    body=Login,
    writes=False,
)
async def login(call: Call) -> Answer:
    """Begin a session by password or by ACL token: `{token, expires_at, refresh_token}`."""
    given = await call.body(Login)
    if given.acl_token is not None and given.username is None and given.password is None:
        who = await call.parts.gate.verify(given.acl_token.encode())
        if not who.token or who.session:
            raise no_token()
        return await _begin(call, who.user, who.token, who.until)
    if given.username is None or given.password is None or given.acl_token is not None:
        problem = Problem("", "required", "send username and password, or acl_token")
        raise Invalid("invalid_body", problem.message, details=(problem,))
    await _check_password(call, given.username, given.password)
    return await _begin(call, given.username, "", float("inf"))


async def _check_password(call: Call, username: str, password: str) -> None:
    view = call.parts.view
    user = view.state.users.get(username)
    if user is None:
        await view.catch_up()
        user = view.state.users.get(username)
    kept = await call.parts.vault.get(user.credential) if user else None
    if not await call.parts.passwords.match(kept, password):
        raise Unauthenticated("invalid_credentials", "no user has this name and password")


async def _begin(call: Call, user: str, token: str, until: float) -> Answer:
    now = call.parts.clock()
    session = Session(tokens.new_session(), user, token, min(now + SESSION_LIFE, until))
    await call.parts.sessions.open(session)
    return _both(call, session)


def _both(call: Call, session: Session) -> Answer:
    refresh = call.parts.gate.keys.refresh_token(Refresh(session.id, session.number))
    made = _access(call, session)
    return answer(LoggedIn(made.token, made.expires_at, refresh))


def _access(call: Call, session: Session) -> Renewed:
    now = int(call.parts.clock())
    expires = min(now + LIFE, int(session.until))
    claims = Claims(
        sub=session.user,
        sid=session.id,
        iat=now,
        exp=expires,
        end=int(session.until),
        tok=session.token,
        jti=tokens.new_id(),
    )
    return Renewed(call.parts.gate.keys.sign(claims), whole_stamp(expires))


@tells(Renewed, "token_invalid", "token_expired", "node_removed", "not_a_session", body=Renewal, writes=False)
async def refresh(call: Call) -> Answer:
    """Swap a token for a new one: an access token for `{token, expires_at}`, a refresh token for all three."""
    given = (await call.body(Renewal)).refresh_token
    bearer = token_of(call.headers)
    if given is None and bearer is not None and not bearer.startswith(b"rt_"):
        return await _refresh_access(call, bearer)
    if given is None:
        given = (bearer or b"").decode("latin-1")
    used = call.parts.gate.keys.read_refresh(given)
    session = await call.parts.sessions.rotate(used.session, used.number)
    if session is None or session.revoked or not _known(call.parts.view.state, session):
        await call.parts.pulse.look_at_sessions()
        raise no_token()
    return _both(call, session)


async def _refresh_access(call: Call, bearer: bytes) -> Answer:
    who = await call.parts.gate.verify(bearer)
    if not who.session:
        raise Invalid("not_a_session", "only the tokens of a login are refreshed: this one lives until it is deleted")
    claims = call.parts.gate.keys.read(bearer.decode())
    return answer(_access(call, Session(who.session, who.user, who.token, claims.end)))


def _known(state: State, session: Session) -> bool:
    return session.user in state.users and (not session.token or session.token in state.tokens)


@tells(Ended, "not_a_session", writes=False)
async def logout(call: Call) -> Answer:
    """End the session of the token: it and all that came of the same login are refused from now on."""
    await call.nothing()
    if not call.principal.session:
        raise Invalid("not_a_session", "this token belongs to no login: delete it to end it")
    await call.parts.sessions.revoke(call.principal.session)
    await call.parts.pulse.look_at_sessions()
    return answer(Ended("ended"))
