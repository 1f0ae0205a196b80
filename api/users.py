"""Users: who may log in, and with which roles in which namespaces. Passwords are hashed, and kept in the vault."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import Written, encode, stamp
from api.world import World
from api.write import Done
from eventstore import passwords
from heroctl.domain import pattern
from heroctl.domain.credentials import SPARED
from heroctl.domain.errors import Forbidden, Invalid, Problem
from heroctl.domain.events import UserCreated
from heroctl.domain.giving import refuse_longer, refuse_more_to
from heroctl.domain.holders import User
from heroctl.domain.intents import access as intents
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.policy import usual_namespaces
from heroctl.domain.state import State
from heroctl.domain.topics import ACL

Names = Annotated[tuple[str, ...], Meta(max_length=100)]  # roles, patterns …: each is looked at for every other
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}")


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/users`. `namespaces`: all for operators and admins, else `default`, unless given."""

    name: str
    password: str
    roles: Names
    namespaces: Names | None = None


class UserChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/acl/users/:name`; what is not given stays."""

    roles: Names | None = None
    namespaces: Names | None = None


class NewPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/acl/users/:name/password`."""

    password: str


class OwnPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/self/password`."""

    current: str
    new: str


class MadeUser(Struct, frozen=True):
    """A user, just made."""

    name: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]


class UserItem(MadeUser, frozen=True):
    """A user."""

    created_at: str


# ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[UserItem])
def listing(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """All users, by name."""
    return Reading(ACL, lambda: encode([_show(user) for _, user in sorted(world.state.users.items())]))


@tells(UserItem, "user_not_found")
def detail(world: World, query: Query) -> Reading:
    """One user."""
    return Reading(ACL, lambda: encode(_show(intents.find_user(world.state, query.path["name"]))))


def _show(user: User) -> UserItem:
    return UserItem(user.name, user.roles, user.namespaces, stamp(user.created_at))


# ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(MadeUser, "user_exists", "exceeds_own_rights", "busy", body=NewUser, status=201)
async def create(call: Call) -> Answer:
    """Make a user."""
    wanted = await call.body(NewUser)
    problems = password_problems(wanted.password, "password") + place_problems("namespaces", wanted.namespaces)
    if _NAME.fullmatch(wanted.name) is None:
        message = "1 to 63 of a-z, 0-9, '.', '_', '-', '@' and '+', beginning with a letter or digit"
        problems.append(Problem("name", "invalid_name", message))
    refuse(problems)
    user = User(
        wanted.name,
        wanted.roles,
        "",
        usual_namespaces(wanted.roles) if wanted.namespaces is None else wanted.namespaces,
    )

    def decide(state: State, credential: str) -> Change:
        change = intents.create_user(state, user.name, user.roles, credential, user.namespaces)
        refuse_more_to(state, call.principal.grants, user)
        refuse_longer(state, call.principal.token, None)  # a password has no end
        return change

    decide(call.parts.view.state, "")  # what is refused anyway needs no hash
    credential = await _kept(call, wanted.password)
    done = await call.change(claim_stream("user", user.name), lambda state: decide(state, credential))
    return await created(call, done)


async def created(_: Call, done: Done) -> Answer:
    """Say again which user was made."""
    event = next(each for each in done.events if isinstance(each, UserCreated))
    return answer(MadeUser(event.name, event.roles, event.namespaces), 201, index=done.index)


@tells(Written, "user_not_found", "last_admin", "exceeds_own_rights", body=UserChange)
async def update(call: Call) -> Answer:
    """Give a user other roles or namespaces."""
    wanted, name = await call.body(UserChange), call.path["name"]
    refuse(place_problems("namespaces", wanted.namespaces))

    def decide(state: State) -> Change:
        change = intents.update_user(state, name, wanted.roles, wanted.namespaces)
        was = intents.find_user(state, name)
        now = replace(
            was,
            roles=was.roles if wanted.roles is None else wanted.roles,
            namespaces=was.namespaces if wanted.namespaces is None else wanted.namespaces,
        )
        refuse_more_to(state, call.principal.grants, now, was)
        return change

    return written(call, await call.change(claim_stream("user", name), decide), name)


@tells(Written, "user_not_found", "last_admin")
async def delete(call: Call) -> Answer:
    """Remove a user, its tokens and its logins."""
    await call.nothing()
    name = call.path["name"]
    done = await call.change(claim_stream("user", name), lambda state: intents.delete_user(state, name))
    return written(call, done, name)


def written(call: Call, done: Done, name: str) -> Answer:
    """Say where a change of who may what stands."""
    index = done.index or call.parts.view.state.topic_index(ACL)
    return answer(Written(index, name=name), index=index)


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(Written, "user_not_found", "exceeds_own_rights", "busy", body=NewPassword)
async def set_password(call: Call) -> Answer:
    """Give a user another password; all of its logins are over."""
    wanted, name = await call.body(NewPassword), call.path["name"]
    refuse(password_problems(wanted.password, "password"))

    def decide(state: State, credential: str) -> Change:
        refuse_more_to(state, call.principal.grants, intents.find_user(state, name))  # who knows it is that user
        refuse_longer(state, call.principal.token, None)
        return intents.change_password(state, name, credential)

    decide(call.parts.view.state, "")  # what is refused anyway needs no hash
    credential = await _kept(call, wanted.password)
    done = await call.change(claim_stream("user", name), lambda state: decide(state, credential))
    return written(call, done, name)


@tells(Written, "wrong_password", "not_a_password_login", "too_many_logins", "busy", body=OwnPassword)
async def change_own_password(call: Call) -> Answer:
    """Change the password of the user who is logged in; all of its other logins are over."""
    wanted, who = await call.body(OwnPassword), call.principal
    refuse(password_problems(wanted.new, "new"))
    if who.token:
        message = "an ACL token changes no password: log in with the one that there is"
        raise Forbidden("not_a_password_login", message)
    user = intents.find_user(call.parts.view.state, who.user)
    await call.parts.throttle.attempt(user.name, call.client)  # whoever stole a login guesses no faster than others
    if not await call.parts.passwords.match(await call.parts.vault.get(user.credential), wanted.current):
        raise Forbidden("wrong_password", "current: this is not the password of the user who is logged in")
    await call.parts.throttle.good(user.name, call.client)
    credential, session = await _kept(call, wanted.new), who.session[:SPARED]
    stream = claim_stream("user", user.name)

    def decide(state: State) -> Change:
        if intents.find_user(state, user.name).credential != user.credential:  # another change came first
            raise Forbidden("wrong_password", "current: this was the password, until a moment ago")
        return intents.change_password(state, user.name, credential, session)

    return await own_password_changed(call, await call.change(stream, decide))


async def own_password_changed(call: Call, done: Done) -> Answer:
    """Say again where the change of the caller's password stands."""
    return written(call, done, call.principal.user)


async def _kept(call: Call, password: str) -> str:
    return await call.parts.vault.put("password", await call.parts.passwords.hashed(password))


# ── what is wrong with a body ────────────────────────────────────────────────────────────────────────────────────────


def password_problems(password: str, path: str) -> list[Problem]:
    """Say what is wrong with a password: its length, nothing else."""
    wrong = passwords.wrong(password)
    return [Problem(path, "invalid_password", wrong)] if wrong else []


def place_problems(path: str, patterns: tuple[str, ...] | None) -> list[Problem]:
    """Say what is wrong with a list of patterns; none given: nothing."""
    if patterns == ():
        return [Problem(path, "invalid_value", "name at least one, or write * for all")]
    return [
        Problem(f"{path}[{at}]", "invalid_value", wrong)
        for at, each in enumerate(patterns or ())
        if (wrong := pattern.problem(each))
    ]


def refuse(problems: list[Problem]) -> None:
    """Refuse a body with all that is wrong with it."""
    if problems:
        first = problems[0]
        raise Invalid("invalid_body", f"{first.path}: {first.message}", details=tuple(problems))
