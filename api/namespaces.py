"""Namespaces: spaces for names of jobs, secrets and webhooks, each with rights of its own."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.users import refuse
from api.wire import Written, encode, stamp
from api.world import World
from api.write import Done
from heroctl.domain.errors import Problem, not_found
from heroctl.domain.holders import Namespace
from heroctl.domain.intents import namespaces as intents
from heroctl.domain.intents.change import claim_stream
from heroctl.domain.names import misnamed
from heroctl.domain.topics import NAMESPACES

_LONGEST: Final = 500


class NewNamespace(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/namespaces`."""

    name: str
    description: str = ""


class NamespaceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/namespaces/:name`."""

    description: str


class MadeNamespace(Struct, frozen=True):
    """A namespace, just made."""

    name: str
    description: str


class NamespaceItem(MadeNamespace, frozen=True):
    """A namespace."""

    created_at: str


@tells(list[NamespaceItem])
def listing(world: World, query: Query) -> Reading:
    """All namespaces that one may see, by name."""
    sees = query.sees

    def make() -> bytes:
        return encode([_show(each) for name, each in sorted(world.state.namespaces.items()) if sees(name)])

    return Reading(NAMESPACES, make)


@tells(NamespaceItem, "namespace_not_found")
def detail(world: World, query: Query) -> Reading:
    """One namespace."""
    name = query.path["name"]
    seen = query.sees(name)

    def make() -> bytes:
        if not seen:
            raise not_found("namespace", name)
        return encode(_show(intents.find_namespace(world.state, name)))

    return Reading(NAMESPACES, make)


def _show(namespace: Namespace) -> NamespaceItem:
    return NamespaceItem(namespace.name, namespace.description, stamp(namespace.created_at))


@tells(MadeNamespace, "namespace_exists", "namespace_not_found", body=NewNamespace, status=201)
async def create(call: Call) -> Answer:
    """Make a namespace."""
    wanted = await call.body(NewNamespace)
    refuse(_problems(wanted.name, wanted.description))
    call.allow(wanted.name, absent=not_found("namespace", wanted.name))
    stream = claim_stream("namespace", wanted.name)
    done = await call.change(stream, lambda state: intents.create_namespace(state, wanted.name, wanted.description))
    return await created(call, done)


async def created(call: Call, done: Done) -> Answer:
    """Say again which namespace was made."""
    wanted = await call.body(NewNamespace)
    call.allow(wanted.name, absent=not_found("namespace", wanted.name))
    return answer(MadeNamespace(wanted.name, wanted.description), 201, index=done.index)


@tells(Written, "namespace_not_found", body=NamespaceBody)
async def update(call: Call) -> Answer:
    """Describe a namespace anew."""
    wanted, name = await call.body(NamespaceBody), call.path["name"]
    refuse(_problems(name, wanted.description))
    call.allow(name, absent=not_found("namespace", name))
    stream = claim_stream("namespace", name)
    done = await call.change(stream, lambda state: intents.update_namespace(state, name, wanted.description))
    return _written(call, done, name)


@tells(Written, "namespace_not_found", "namespace_not_empty", "default_namespace")
async def delete(call: Call) -> Answer:
    """Remove a namespace without jobs."""
    await call.nothing()
    name = call.path["name"]
    call.allow(name, absent=not_found("namespace", name))
    stream = claim_stream("namespace", name)
    done = await call.change(stream, lambda state: intents.delete_namespace(state, name))
    if name in call.parts.view.state.namespaces:  # a job came first, and it stays; or somebody made it anew
        intents.refuse_occupied(call.parts.view.state, name)
    return _written(call, done, name)


def _written(call: Call, done: Done, name: str) -> Answer:
    index = done.index or call.parts.view.state.topic_index(NAMESPACES)
    return answer(Written(index, name=name), index=index)


def _problems(name: str, description: str) -> list[Problem]:
    found = misnamed(name)
    if len(description) > _LONGEST:
        found.append(Problem("description", "out_of_range", f"at most {_LONGEST} characters"))
    return found
