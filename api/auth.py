"""Logging in, refreshing and logging out; the first administrator."""

from __future__ import annotations

from typing import Final, Literal

import structlog
from msgspec import UNSET, Struct, UnsetType

from api import tokens
from api.access import no_token
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.gate import token_of
from api.tokens import LIFE, Claims, Refresh
from api.wire import whole_stamp
from eventstore import passwords
from eventstore.sessions import LIFE as SESSION_LIFE
from eventstore.sessions import Session
from eventstore.view import View
from heroctl.domain.credentials import good
from heroctl.domain.errors import Invalid, Problem, Unauthenticated
from heroctl.domain.events import Event, Meta, SessionEnded, SessionOpened
from heroctl.domain.holders import User
from heroctl.domain.intents.change import Change

_NOBODY: Final = "nobody"  # no row of the vault: what is looked for where there is no user
_log: Final = structlog.get_logger(__name__)


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


@tells(
    LoggedIn,
    "token_invalid",
    "token_expired",
    "node_removed",
    "invalid_credentials",
    "too_many_logins",
    "busy",
    "outdated",
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
    await call.parts.throttle.attempt(given.username, call.client)
    user = await _user_of(call, given.username, given.password)
    await call.parts.throttle.good(given.username, call.client)
    return await _begin(call, user.name, "", float("inf"), user.credential)


async def _user_of(call: Call, username: str, password: str) -> User:
    """Find the user to a name and a password; an unknown name costs the same steps as a wrong password."""
    view, vault = call.parts.view, call.parts.vault
    await view.catch_up()
    user = view.state.users.get(username)
    kept = await vault.get(user.credential if user else _NOBODY)
    if not await call.parts.passwords.match(kept, password) or user is None or kept is None:
        refusal = Unauthenticated("invalid_credentials", "no user has this name and password")
        refusal.tried = username
        raise refusal
    if passwords.outdated(kept):
        await vault.renew(user.credential, kept, await call.parts.passwords.hashed(password))
    return user


async def _begin(call: Call, user: str, token: str, until: float, credential: str = "") -> Answer:
    now = call.parts.clock()
    session = Session(tokens.new_session(), user, token, min(now + SESSION_LIFE, until), credential)
    await call.parts.sessions.open(session)
    await _tell(call, session, SessionOpened(session.id[:8], user, token))
    return _both(call, session)


async def _tell(call: Call, session: Session, event: Event) -> None:
    """Let the log say who came and went: without that nobody does. The event stands on no stream."""
    actor = f"token:{session.token}" if session.token else f"user:{session.user}"
    meta = Meta(actor, call.request_id, call.client)
    await call.parts.writer.write(f"session:{session.id}", lambda _: Change((event,)), meta)


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
        crd=session.credential,
        jti=tokens.new_id(),
    )
    return Renewed(call.parts.gate.keys.sign(claims), whole_stamp(expires))


@tells(
    Renewed,
    "token_invalid",
    "token_expired",
    "node_removed",
    "not_a_session",
    "busy",
    "outdated",
    body=Renewal,
    writes=False,
)
async def refresh(call: Call) -> Answer:
    """Swap a token for a new one: an access token for `{token, expires_at}`, a refresh token for all three."""
    given = (await call.body(Renewal)).refresh_token
    bearer = token_of(call.headers)
    if given is None and bearer is not None and not bearer.startswith(b"rt_"):
        return await _refresh_access(call, bearer)
    if given is None:
        given = (bearer or b"").decode("latin-1")
    session = await _rotated(call, given)
    if session is None or not await _is_good(call.parts.view, session):
        raise no_token()
    return _both(call, session)


async def _is_good(view: View, session: Session) -> bool:
    """Tell whether a session is good; one that does not look so may rest on what this process has not heard of yet."""
    if not good(view.state, session, session.id):
        await view.catch_up()
    return good(view.state, session, session.id)


async def _rotated(call: Call, given: str) -> Session | None:
    """Take a refresh token for the next; None: its session is over, maybe by this very use."""
    used = await call.parts.gate.keyring.read_refresh(given)
    if used is None:
        return None
    session = await call.parts.sessions.rotate(used.session, used.number)
    if session is None or not session.revoked:
        return session
    if not call.parts.gate.ended(session.id):
        family = {"session": session.id[:8], "user": session.user}
        _log.warning("refresh_token_reused", **family, address=call.client, request_id=call.request_id)
        await _tell(call, session, SessionEnded(session.id[:8], session.user, "refresh_token_reused"))
    await call.parts.pulse.look_at_logins()
    return None


async def _refresh_access(call: Call, bearer: bytes) -> Answer:
    who = await call.parts.gate.verify(bearer)
    if not who.session:
        raise Invalid("not_a_session", "only the tokens of a login are refreshed: this one lives until it is deleted")
    claims = call.parts.gate.keys.read(bearer.decode())
    return answer(_access(call, Session(who.session, who.user, who.token, claims.end, claims.crd)))


@tells(Ended, "not_a_session", "busy", "outdated", writes=False)
async def logout(call: Call) -> Answer:
    """End the session of the token: it and all that came of the same login are refused from now on."""
    await call.nothing()
    if not call.principal.session:
        raise Invalid("not_a_session", "this token belongs to no login: delete it to end it")
    who = call.principal
    await call.parts.sessions.revoke(who.session)
    await _tell(call, Session(who.session, who.user, who.token, 0.0), SessionEnded(who.session[:8], who.user))
    await call.parts.pulse.look_at_logins()
    return answer(Ended("ended"))
