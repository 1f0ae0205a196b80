"""Who may know of an event: what it asks of its reader, what it is about, and what of it is told.

Default-deny: each family of tags has its line, and what has none is shown to nobody. What an event does not say itself
(an agent's report names an allocation, not its job) is looked up in a state; what is not known any more is shown to
those alone who may see all of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from heroctl.domain.events import Event, payload
from heroctl.domain.policy import Grants
from heroctl.domain.state import State

# Left out of what is told: a job's spec may hold what its owner takes for secret, and rows of the vault say nothing.
UNTOLD: Final = frozenset({"spec", "tasks", "credential", "row", "payload", "command"})


class Need(Struct, frozen=True, gc=False):
    """The right that somebody must have to be told: at a place, for a job; None: at each, for each."""

    right: str
    place: str | None = None
    job: str | None = None

    def met(self, grants: tuple[Grants, ...]) -> bool:
        """Tell whether all of a reader's grants give it. Who has none is told nothing."""
        return bool(grants) and all(each.allows(self.right, self.place, self.job) for each in grants)


class Subject(Struct, frozen=True, gc=False):
    """What an event is about. `topics`: kinds and names, such as `job:web`; `need` None: nobody is told."""

    tag: str
    namespace: str
    topics: tuple[str, ...]
    need: Need | None


# The right that each family of tags asks for, and where: in its namespace for its job, in its namespace, at its node's
# name, at its own name, or everywhere.
_FAMILIES: Final[dict[str, tuple[str, str]]] = {
    "job": ("event:read", "job"),
    "deployment": ("event:read", "job"),
    "image": ("event:read", "job"),
    "alloc": ("event:read", "job"),
    "secret": ("secret:list", "namespace"),
    "webhook": ("webhook:read", "namespace"),
    "alert": ("alert:read", "namespace"),
    "namespace": ("namespace:read", "name"),
    "node": ("node:read", "node"),
    "cluster": ("cluster:read", ""),
    "coordinator": ("cluster:read", ""),
    "member": ("cluster:read", ""),
    "join_token": ("node:join", ""),
    "user": ("acl:read", ""),
    "token": ("acl:read", ""),
    "role": ("acl:read", ""),
    "policy": ("acl:read", ""),
    "session": ("audit:read", ""),
    "signing_key": ("audit:read", ""),
}
# Tags that ask for more than their family.
_TAGS: Final[dict[str, tuple[str, str]]] = {
    "secret.read": ("audit:read", ""),
    "secret.rekeyed": ("audit:read", ""),
}
_JOBS: Final = frozenset({"job", "deployment", "image"})  # whose `name` is a job's


def subject(tag: str, event: Event, state: State) -> Subject:
    """Say what an event is about, and what it asks of its reader; `state`: as it is after it, or later."""
    family = tag.partition(".")[0]
    found = _Words(family, event, state)
    right, where = _TAGS.get(tag) or _FAMILIES.get(family) or ("", "")
    return Subject(tag, found.namespace, tuple(dict.fromkeys(found.topics())), found.need(right, where))


def told(event: Event) -> dict[str, Any]:
    """Give what an event says to those who may know of it."""
    return {name: said for name, said in payload(event).items() if name not in UNTOLD}


class _Words:
    """What an event names, and what a state adds to it; "": not known."""

    def __init__(self, family: str, event: Event, state: State) -> None:
        said = {name: value for name in _NAMED if isinstance(value := getattr(event, name, None), str)}
        report = getattr(event, "report", None)
        self.family = family
        self.alloc = said.get("alloc", "") or (report.alloc if report is not None else "")
        self.alloc = self.alloc or (said.get("id", "") if family == "alloc" else "")
        self.node = said.get("node", "") or (said.get("id", "") if family == "node" else "")
        self.namespace = said.get("namespace", "")
        self.job = said.get("name", "") if family in _JOBS else said.get("job", "")
        self.name = said.get("name", "")
        self.own = said.get("id", "")
        self.deployment = said.get("deployment", "")
        alloc = state.allocs.get(self.alloc)
        if alloc is not None:
            self.namespace, self.job, self.node = alloc.namespace, alloc.job, alloc.node
        node = state.nodes.get(self.node)
        self.node_name = node.name if node is not None else self.name if family == "node" else ""

    def topics(self) -> Iterator[str]:
        if self.namespace and self.namespace != "*":
            yield f"namespace:{self.namespace}"
        if self.job:
            yield f"job:{self.job}"
        if self.alloc:
            yield f"alloc:{self.alloc}"
        if self.deployment:
            yield f"deployment:{self.deployment}"
        for node in (self.node, self.node_name):
            if node:
                yield f"node:{node}"
        if self.family not in (*_JOBS, "alloc", "node"):
            yield f"{self.family}:{self.name or self.own}" if self.name or self.own else self.family

    def need(self, right: str, where: str) -> Need | None:
        if not right:
            return None
        match where:
            case "job":
                return Need(right, self.namespace or None, self.job or None)
            case "namespace":
                return Need(right, self.namespace if self.namespace != "*" else None)
            case "node":
                return Need(right, self.node_name or None)
            case "name":
                return Need(right, self.name or None)
            case _:
                return Need(right)


_NAMED: Final = ("alloc", "node", "namespace", "job", "name", "id", "deployment")
