"""Secrets as they are read: names and numbers by whoever may list them, a value by few, and never untold."""

from __future__ import annotations

import base64
from typing import Literal

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import encode, stamp
from api.world import World
from eventstore.master import Master
from eventstore.seal import Place
from heroctl.domain.errors import not_found
from heroctl.domain.events import SecretRead
from heroctl.domain.intents import secrets as intents
from heroctl.domain.intents.change import Change
from heroctl.domain.pinned import users
from heroctl.domain.records import Secret, SecretVersion
from heroctl.domain.state import State
from heroctl.domain.topics import JOBS, SECRETS, secret_topic


class SecretItem(Struct, frozen=True, gc=False):
    """A secret, without its value. `versions`: those that are kept; `modify_index`: what `check_index` is held to."""

    name: str
    namespace: str
    version: int
    versions: int
    created_at: str
    updated_at: str
    create_index: int
    modify_index: int


class SecretVersionItem(Struct, frozen=True, gc=False):
    """A version of a secret, without its value. `of`: the version that a rollback repeats."""

    version: int
    action: str
    of: int | None
    by: str
    created_at: str
    index: int


class SecretUse(Struct, frozen=True, gc=False):
    """A job that is to run and uses a secret. `secret_version`: of it, as the job's present version has it; 0: none."""

    job: str
    namespace: str
    version: int
    secret_version: int


class SecretValue(Struct, frozen=True):
    """What a version of a secret holds: text, or in base64 what is not."""

    name: str
    namespace: str
    version: int
    value: str
    encoding: Literal["base64"] | None


# ── names and numbers ────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[SecretItem], "secrets_not_configured")
def listing(world: World, query: Query) -> Reading:
    """All secrets that one may see, by namespace and name; never a value."""
    sees = query.sees

    def make() -> bytes:
        world.need_keys()
        found = (secret for _, secret in sorted(world.state.secrets.items()))
        return encode(
            [_item(each) for each in found if sees(each.namespace) and query.passes("namespace", each.namespace)]
        )

    return Reading(SECRETS, make)


@tells(list[SecretVersionItem], "secret_not_found", "secrets_not_configured")
def versions(world: World, query: Query) -> Reading:
    """The kept versions of a secret, newest first; never a value."""
    name = query.path["name"]
    namespace = query.namespace if query.sees(query.namespace) else ""

    def make() -> bytes:
        world.need_keys()
        return encode([_version(each) for each in reversed(intents.find_secret(world.state, namespace, name).versions)])

    return Reading(secret_topic(namespace, name), make)


@tells(list[SecretUse], "secrets_not_configured")
def uses(world: World, query: Query) -> Reading:
    """The jobs that are to run and use a secret of this name, of those that one may see, by name."""
    name, namespace, sees = query.path["name"], query.namespace, query.sees

    def make() -> bytes:
        world.need_keys()
        return encode(
            [
                SecretUse(use.job.name, namespace, use.job.current.version, use.version)
                for use in users(world.state, namespace, name)
                if sees(namespace, use.job.name)
            ]
        )

    return Reading(JOBS, make)


def _item(secret: Secret) -> SecretItem:
    return SecretItem(
        name=secret.name,
        namespace=secret.namespace,
        version=secret.current.version,
        versions=len(secret.versions),
        created_at=stamp(secret.created_at),
        updated_at=stamp(secret.current.created_at),
        create_index=secret.create_index,
        modify_index=secret.modify_index,
    )


def _version(version: SecretVersion) -> SecretVersionItem:
    return SecretVersionItem(
        version.version, version.action, version.of, version.by, stamp(version.created_at), version.index
    )


# ── a value ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(
    SecretValue,
    "secret_not_found",
    "version_not_found",
    "secret_lost",
    "secrets_not_configured",
    "secrets_key_missing",
    "busy",
    "outdated",
    "disk_low",
    "upgrade_incomplete",
)
async def show(call: Call) -> Answer:
    """What a secret holds, the present version or `?version=`. That it is shown, and to whom, stands in the audit."""
    namespace, name, number = call.namespace, call.path["name"], call.number("version")
    call.parts.master.need()
    call.allow(namespace, absent=not_found("secret", name))
    version = intents.find_version(intents.find_secret(call.parts.view.state, namespace, name), number)
    value = await opened(call.parts.master, namespace, name, version)

    def told(state: State) -> Change:
        intents.find_version(intents.find_secret(state, namespace, name), version.version)
        return Change((SecretRead(namespace, name, version.version),))

    await call.write(intents.secret_stream(namespace, name), told)
    index = call.parts.view.state.topic_index(secret_topic(namespace, name))
    return answer(SecretValue(name, namespace, version.version, *_spelled(value)), index=index)


async def opened(master: Master, namespace: str, name: str, version: SecretVersion) -> bytes:
    """Give what a version of a secret holds. Raises as Master.open, and `version_not_found` where it is gone by now."""
    value = await master.open(Place(version.row, namespace, name, version.version))
    if value is None:
        raise not_found("version", f"{version.version} of {name}")
    return value


def _spelled(value: bytes) -> tuple[str, Literal["base64"] | None]:
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"
