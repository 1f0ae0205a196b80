"""Secrets as they are written: named values of a namespace, sealed in the vault. The log has names and numbers.

A value is sealed for the very version that it will be, kept, and then named by the event that makes it true. Where
somebody else took that number meanwhile, it is sealed anew.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

import structlog
from msgspec import Meta, Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.secrets import opened
from api.users import refuse
from api.wire import Written
from api.write import ATTEMPTS, Done
from eventstore.log import KeyReused, LogUnavailable
from heroctl.domain.errors import Conflict, Invalid, NotFound, Problem, Unavailable, not_found
from heroctl.domain.events import SecretWritten
from heroctl.domain.intents import secrets as intents
from heroctl.domain.intents.change import NOTHING, Change
from heroctl.domain.intents.namespaces import find_namespace
from heroctl.domain.pinned import users
from heroctl.domain.records import Secret
from heroctl.domain.state import State
from heroctl.domain.topics import secret_topic

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
LARGEST: Final = 64 << 10  # bytes of a value
_NAMED: Final = 10  # jobs, in a refusal
_log: Final = structlog.get_logger(__name__)


class NewSecret(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/secrets`. `encoding`: of a value that is not text."""

    name: str
    value: str
    encoding: Literal["base64"] | None = None


class SecretRollback(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/secrets/:name/rollback`. Without a version: the one before the present one."""

    version: Annotated[int, Meta(ge=1)] | None = None


class WrittenSecret(Struct, frozen=True):
    """What became of a secret that was posted or rolled back: its present version."""

    name: str
    namespace: str
    version: int
    index: int


@tells(
    WrittenSecret,
    "namespace_not_found",
    "secret_exists",
    "index_conflict",
    "secret_lost",
    "secrets_not_configured",
    "secrets_key_missing",
    body=NewSecret,
    status=(200, 201),
)
async def put(call: Call) -> Answer:
    """Make a secret, or give it another value as its next version. An equal value makes none."""
    call.parts.master.need()
    wanted = await call.body(NewSecret)
    value = _value(wanted)
    call.allow(call.namespace, absent=not_found("namespace", call.namespace))
    return await written(call, await _write(call, wanted.name, value))


@tells(
    WrittenSecret,
    "secret_not_found",
    "version_not_found",
    "secret_exists",
    "index_conflict",
    "secret_lost",
    "secrets_not_configured",
    "secrets_key_missing",
    body=SecretRollback,
)
async def rollback(call: Call) -> Answer:
    """Repeat an earlier version of a secret as its next one; unless it is named, the one before the present one."""
    call.parts.master.need()
    wanted, namespace, name = await call.body(SecretRollback), call.namespace, call.path["name"]
    call.allow(namespace, absent=not_found("secret", name))
    good = intents.earlier_version(intents.find_secret(call.parts.view.state, namespace, name), wanted.version)
    value = await opened(call.parts.master, namespace, name, good)
    return await written(call, await _write(call, name, value, good.version))


async def written(call: Call, done: Done) -> Answer:
    """Say which version a secret has by what was written, or had where nothing was to be changed."""
    for event in done.events:
        if isinstance(event, SecretWritten):
            status = 201 if event.action == "create" else 200
            return answer(
                WrittenSecret(event.name, event.namespace, event.version, done.index), status, index=done.index
            )
    namespace, name = call.namespace, call.path.get("name") or (await call.body(NewSecret)).name
    call.allow(namespace, absent=not_found("secret", name))
    state = call.parts.view.state
    index = done.index or state.topic_index(secret_topic(namespace, name))
    then = [each for each in intents.find_secret(state, namespace, name).versions if each.index <= index]
    if not then:
        raise not_found("version", f"at {index} of {name}")
    return answer(WrittenSecret(name, namespace, then[-1].version, index), index=index)


def _value(wanted: NewSecret) -> bytes:
    """Read the bytes of a value. What is wrong with it is told without any of it."""
    found = []
    if NAME.fullmatch(wanted.name) is None:
        message = "use 1 to 63 of A-Z, a-z, 0-9, _, . and -, beginning with a letter, a digit or _"
        found.append(Problem("name", "invalid_name", message))
    try:
        value = base64.b64decode(wanted.value, validate=True) if wanted.encoding else wanted.value.encode()
    except ValueError:
        value = b""
        found.append(
            Problem(
                "value", "invalid_value", "this is not what `encoding` says" if wanted.encoding else "this is no text"
            )
        )
    if len(value) > LARGEST:
        found.append(Problem("value", "out_of_range", f"at most {LARGEST} bytes, and this has {len(value)}"))
    refuse(found)
    return value


async def _write(call: Call, name: str, value: bytes, of: int | None = None) -> Done:
    """Make a value the newest version of a secret, unless it is already."""
    namespace, guard = call.namespace, call.number("check_index")
    stream = intents.secret_stream(namespace, name)
    for _ in range(ATTEMPTS):
        state = call.parts.view.state
        find_namespace(state, namespace)
        secret = state.secrets.get((namespace, name)) if of is None else intents.find_secret(state, namespace, name)
        with contextlib.suppress(intents.Overtaken):
            if secret is not None and await _holds(call, secret, value):
                return await call.change(stream, _still(secret, guard))
            return await _append(call, name, value, of, secret)
    raise Unavailable("busy", "others write to this secret at the same time: try again", retry_after=1)


async def _holds(call: Call, secret: Secret, value: bytes) -> bool:
    """Tell whether a value is the present one. One that cannot be opened any more is another one."""
    try:
        return hmac.compare_digest(
            await opened(call.parts.master, secret.namespace, secret.name, secret.current), value
        )
    except (Conflict, NotFound):
        return False


def _still(secret: Secret, guard: int | None) -> Callable[[State], Change]:
    """Decide that nothing is to be changed, as long as the present version is the one that was looked at."""

    def decide(state: State) -> Change:
        now = state.secrets.get((secret.namespace, secret.name))
        intents.check_guard(now, secret.name, guard)
        if now is None or now.current.row != secret.current.row:
            raise intents.Overtaken
        return NOTHING

    return decide


async def _append(call: Call, name: str, value: bytes, of: int | None, secret: Secret | None) -> Done:
    namespace, guard, master, vault = call.namespace, call.number("check_index"), call.parts.master, call.parts.vault
    intents.check_guard(secret, name, guard)  # what is refused anyway leaves no row
    version = intents.next_version(call.parts.view.state, namespace, name)
    row = await master.seal(namespace, name, version, value)
    event = SecretWritten(
        namespace, name, version, row, "rollback" if of else "update" if secret else "create", of, call.principal.actor
    )

    def decide(state: State) -> Change:
        if (secret is None) != ((namespace, name) not in state.secrets):
            raise intents.Overtaken
        return intents.write_secret(state, event, guard)

    try:
        return await call.change(intents.secret_stream(namespace, name), decide)
    except (intents.Overtaken, Conflict, NotFound, KeyReused):  # no event names the row: after anything else one might
        await vault.delete([row])
        raise


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(
    Written,
    "secret_not_found",
    "secret_pinned",
    "secret_exists",
    "index_conflict",
    "invalid_force",
    "secrets_not_configured",
)
async def delete(call: Call) -> Answer:
    """Remove a secret and all its versions. While jobs that are to run use it, only with `?force=true`."""
    call.parts.master.need()
    await call.nothing()
    namespace, name, guard, force = call.namespace, call.path["name"], call.number("check_index"), _force(call)
    call.allow(namespace, absent=not_found("secret", name))
    rows: list[str] = []

    def decide(state: State) -> Change:
        secret = intents.find_secret(state, namespace, name)
        intents.check_guard(secret, name, guard)
        rows[:] = [version.row for version in secret.versions]
        if not force:
            _unpinned(call, state, secret)
        return intents.delete_secret(state, namespace, name, force=force)

    index = await call.write(intents.secret_stream(namespace, name), decide)
    try:
        await call.parts.vault.delete(rows)
    except LogUnavailable as error:
        _log.warning("secret_rows_left", secret=name, namespace=namespace, error=str(error))  # the sweep removes them
    return answer(Written(index, name=name, namespace=namespace), index=index)


def _force(call: Call) -> bool:
    word = call.args.get("force", "false")
    if word not in ("true", "false"):
        problem = Problem("force", "invalid_force", "expected true or false")
        raise Invalid("invalid_force", f"force: {problem.message}", details=(problem,))
    return word == "true"


def _unpinned(call: Call, state: State, secret: Secret) -> None:
    """Refuse while jobs need a secret, and name those that the caller may know of."""
    found = [use.job.name for use in users(state, secret.namespace, secret.name)]
    if not found:
        return
    known = [name for name in found if call.principal.allows("job:read", secret.namespace, name)][:_NAMED]
    more = len(found) - len(known)
    told = ", ".join(known) + (f" and {more} more" if known and more else "") if known else f"{len(found)} jobs"
    raise Conflict(
        "secret_pinned",
        f"secret '{secret.name}' is used by {told}: change or stop these first, or delete it with force",
    )
