"""Who may what, decided: the table of rights, rules that give and deny them, and what a holder's rules amount to.

A right is `resource:capability`, such as `job:submit`. What no rule gives, nobody has; what one rule denies (it names
no capabilities), no other gives. Rules name things by patterns of whole names: `app` is `app`, never `app-evil`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from heroctl.domain import pattern as patterns
from heroctl.domain.errors import Problem
from heroctl.domain.pattern import ALL, any_matches, contains, overlap, tidy

EVERYWHERE: Final = (ALL,)
DEFAULT_NAMESPACES: Final = ("default",)

# ── the table of rights ──────────────────────────────────────────────────────────────────────────────────────────────


class Resource(Struct, frozen=True):
    """Something that can be done to a kind of thing. `named_by`: the field of a rule that says which ones.

    `bounded`: a holder has these rights in its own namespaces only; `of_jobs`: for its own jobs only. `spelled`: the
    capability `*` does not give them, each must be named. `seen_by`: who has it knows that a thing is there.
    """

    capabilities: tuple[str, ...]
    named_by: Literal["namespace", "name", ""] = ""
    bounded: bool = False
    of_jobs: bool = False
    spelled: bool = False
    seen_by: str = "read"


def _of_jobs(*capabilities: str, spelled: bool = False) -> Resource:
    return Resource(capabilities, "namespace", bounded=True, of_jobs=True, spelled=spelled)


def _of_namespaces(*capabilities: str, seen_by: str = "read") -> Resource:
    return Resource(capabilities, "namespace", bounded=True, seen_by=seen_by)


RESOURCES: Final[dict[str, Resource]] = {
    "job": _of_jobs("read", "submit", "stop", "scale", "rollback", "restart", "dispatch", "purge", "rebalance"),
    "alloc": _of_jobs("read", "stop", "restart", "signal", "exec"),
    "deployment": _of_jobs("read", "write"),
    "service": _of_jobs("read"),
    "log": _of_jobs("read"),
    "metric": _of_jobs("read"),
    "event": _of_jobs("read"),
    "ingress": _of_jobs("read"),
    "container": _of_jobs(
        *("privileged", "host-network", "host-namespaces", "devices", "capabilities", "host-paths", "process"),
        spelled=True,
    ),
    "secret": _of_namespaces("list", "use", "write", "read", seen_by="list"),
    "webhook": _of_namespaces("read", "write"),
    "alert": _of_namespaces("read", "write"),
    "namespace": Resource(("read", "write"), "name", bounded=True),
    "node": Resource(("read", "eligibility", "drain", "release", "remove", "join"), "name"),
    "cluster": Resource(("read", "brake", "transfer", "settings", "snapshot", "rekey", "log")),
    "acl": Resource(("read", "write")),
    "audit": Resource(("read",)),
}
RIGHTS: Final = tuple(f"{name}:{each}" for name, resource in RESOURCES.items() for each in resource.capabilities)


def resource_of(right: str) -> Resource:
    """Return the resource of a right. KeyError: there is no such right."""
    return RESOURCES[right.partition(":")[0]]


def seeing(right: str) -> str:
    """Return the right without which nothing is told of what this right is about, not even that it is there."""
    return f"{right.partition(':')[0]}:{resource_of(right).seen_by}"


def placed(right: str) -> bool:
    """Tell whether a right is held at places (namespaces, nodes), so that each thing has to be judged at its own."""
    return bool(right) and bool(resource_of(right).named_by)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Rule(Struct, frozen=True, gc=False, omit_defaults=True):
    """What may be done to the things of a resource in some namespaces, or of some names; no capabilities: nothing."""

    resource: str
    capabilities: tuple[str, ...]
    namespace: str | None = None
    name: str | None = None

    @property
    def place(self) -> str:
        """The pattern of namespaces or names that it is about."""
        return self.namespace or self.name or ALL

    def rights(self) -> frozenset[str]:
        """Give the rights that it gives. What this release does not know gives nothing."""
        resource = RESOURCES.get(self.resource)
        if resource is None or (resource.named_by == "namespace" and not self.namespace):
            return frozenset()
        known = resource.capabilities
        given = known if ALL in self.capabilities and not resource.spelled else self.capabilities
        return frozenset(f"{self.resource}:{each}" for each in given if each in known)


def problems(rules: Iterable[Rule]) -> list[Problem]:
    """Say what is wrong with rules, each with its path."""
    return [problem for at, rule in enumerate(rules) for problem in _problems(rule, f"rules[{at}]")]


def _problems(rule: Rule, path: str) -> list[Problem]:
    resource = RESOURCES.get(rule.resource)
    if resource is None:
        known = ", ".join(RESOURCES)
        return [Problem(f"{path}.resource", "unknown_resource", f"there is no '{rule.resource}': {known}")]
    found = [
        Problem(f"{path}.capabilities[{at}]", "unknown_capability", _unknown(rule.resource, resource, each))
        for at, each in enumerate(rule.capabilities)
        if each not in resource.capabilities and (each != ALL or resource.spelled)
    ]
    for field, pattern in (("namespace", rule.namespace), ("name", rule.name)):
        if pattern is None and field == "namespace" == resource.named_by:
            message = f"rights to '{rule.resource}' are given in namespaces: name one, or write * for all"
            found.append(Problem(f"{path}.{field}", "required", message))
        elif pattern is not None and field != resource.named_by:
            found.append(Problem(f"{path}.{field}", "unknown_field", f"'{rule.resource}' has no {field}s"))
        elif pattern is not None and (wrong := patterns.problem(pattern)):
            found.append(Problem(f"{path}.{field}", "invalid_value", wrong))
    return found


def _unknown(name: str, resource: Resource, capability: str) -> str:
    if capability == ALL:
        return f"rights to '{name}' are given one by one: {', '.join(resource.capabilities)}"
    return f"'{name}' has no '{capability}': {', '.join(resource.capabilities)}"


# ── what a holder's rules amount to ──────────────────────────────────────────────────────────────────────────────────


class Reach(Struct, frozen=True, gc=False):
    """Where one right holds: at places that rules allow, within the holder's, less what rules deny; for its jobs."""

    allowed: tuple[str, ...]
    within: tuple[str, ...] = EVERYWHERE
    denied: tuple[str, ...] = ()
    jobs: tuple[str, ...] = EVERYWHERE

    def covers(self, place: str | None, job: str | None = None) -> bool:
        """Tell whether it holds at a place, for a job; None: whichever it is."""
        if self.denied and (place is None or any_matches(self.denied, place)):
            return False
        return any_matches(self.allowed, place) and any_matches(self.within, place) and any_matches(self.jobs, job)

    def regions(self) -> list[tuple[str, str]]:
        """Give the pairs of patterns that a place must match both of, less those of which nothing is left."""
        pairs = [(one, other) for one in self.allowed for other in self.within if overlap(one, other)]
        return [pair for pair in pairs if not any(contains(deny, each) for deny in self.denied for each in pair)]

    def holds(self, other: Reach) -> bool:
        """Tell whether it holds wherever another does. A doubt is a no."""
        return all(
            any(contains(allow, each) for allow in self.allowed for each in pair)
            and any(contains(bound, each) for bound in self.within for each in pair)
            and all(
                any(contains(theirs, deny) for theirs in other.denied) or not all(overlap(deny, each) for each in pair)
                for deny in self.denied
            )
            for pair in other.regions()
        ) and all(any(contains(mine, job) for mine in self.jobs) for job in other.jobs)


EVERY: Final = Reach(EVERYWHERE)
NOWHERE: Final = Reach(())
Scope = tuple[Reach, ...]  # where all of these hold; none of them: everywhere


class Grants:
    """What one holder may: immutable, compared by what it gives. Made by `grants`, which keeps one of each."""

    __slots__ = ("_reaches",)

    def __init__(self, reaches: Mapping[str, Reach]) -> None:
        """Take where each right holds; what is not in there holds nowhere."""
        self._reaches = dict(sorted(reaches.items()))

    def __eq__(self, other: object) -> bool:
        """Tell whether another gives the same."""
        return isinstance(other, Grants) and self._reaches == other._reaches

    def __hash__(self) -> int:
        """Stand for what it gives; those who hold it have names of their own, which tell them apart."""
        return len(self._reaches)

    def allows(self, right: str, namespace: str | None = None, job: str | None = None) -> bool:
        """Tell whether a right holds in a namespace, for a job; None: in every one. Of other things: by their name."""
        reach = self._reaches.get(right)
        return reach is not None and reach.covers(namespace, job)

    def anywhere(self, right: str) -> bool:
        """Tell whether a right may hold somewhere; where it says no, it holds nowhere."""
        return right in self._reaches

    def everywhere(self, right: str) -> bool:
        """Tell whether a right holds at every place and for every job."""
        return self.allows(right)

    def reach(self, right: str) -> Reach:
        """Return where a right holds."""
        return self._reaches.get(right, NOWHERE)

    def hold(self, other: Grants) -> bool:
        """Tell whether all that another gives is given here, too. A doubt is a no."""
        return all(
            (mine := self._reaches.get(right)) is not None and mine.holds(theirs)
            for right, theirs in other._reaches.items()
        )

    def rights(self) -> dict[str, Reach]:
        """Give every right that holds somewhere, and where."""
        return dict(self._reaches)


NO_GRANTS: Final = Grants({})


@lru_cache(maxsize=4096)
def grants(
    rules: frozenset[Rule], namespaces: tuple[str, ...] = EVERYWHERE, jobs: tuple[str, ...] = EVERYWHERE
) -> Grants:
    """Say what rules amount to for a holder with these namespaces and jobs."""
    allowed: dict[str, set[str]] = {}
    denied: dict[str, set[str]] = {}
    for rule in rules:
        if not rule.capabilities:
            denied.setdefault(rule.resource, set()).add(rule.place)
        for right in rule.rights():
            allowed.setdefault(right, set()).add(rule.place)
    found = {
        right: Reach(
            tidy(places),
            tidy(namespaces) if resource_of(right).bounded else EVERYWHERE,
            tidy(denied.get(right.partition(":")[0], ())),
            tidy(jobs) if resource_of(right).of_jobs else EVERYWHERE,
        )
        for right, places in allowed.items()
    }
    return Grants({right: reach for right, reach in found.items() if reach.regions() and reach.jobs})


# ── what is there from the start ─────────────────────────────────────────────────────────────────────────────────────


def _added(*parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for resource, capabilities in part.items():
            found[resource] = (*found.get(resource, ()), *capabilities)
    return found


def _everywhere(given: Mapping[str, tuple[str, ...]]) -> tuple[Rule, ...]:
    return tuple(
        Rule(name, capabilities, namespace=ALL if RESOURCES[name].named_by == "namespace" else None)
        for name, capabilities in given.items()
    )


_SEEN: Final = (
    "job", "alloc", "deployment", "service", "log", "metric", "alert", "event", "ingress", "node", "cluster",
    "namespace",
)  # fmt: skip
_VIEWER: Final = dict.fromkeys(_SEEN, ("read",))
_DEPLOYER: Final = _added(
    _VIEWER,
    {
        "job": ("submit", "stop", "scale", "rollback", "restart", "dispatch"),
        "alloc": ("stop", "restart", "signal"),
        "deployment": ("write",),
        "alert": ("write",),
        "secret": ("list", "use"),
        "container": ("process",),  # the node's operator has the say about it, too
    },
)
_OPERATOR: Final = _added(
    _DEPLOYER,
    {
        "job": ("purge", "rebalance"),
        "alloc": ("exec",),
        "secret": ("write",),
        "webhook": ("read", "write"),
        "node": ("eligibility", "drain", "release", "remove", "join"),
        "cluster": ("brake",),
    },
)
_ADMIN: Final = {name: resource.capabilities for name, resource in RESOURCES.items()}

# Each is a policy, and a role of that one policy. They are part of the release, and cannot be changed or removed.
BUILT_IN: Final[dict[str, tuple[Rule, ...]]] = {
    "viewer": _everywhere(_VIEWER),
    "deployer": _everywhere(_DEPLOYER),
    "operator": _everywhere(_OPERATOR),
    "admin": _everywhere(_ADMIN),
}
ADMIN: Final = "admin"
_OF_ALL_NAMESPACES: Final = frozenset({"operator", ADMIN})


def usual_namespaces(roles: Iterable[str]) -> tuple[str, ...]:
    """Say which namespaces somebody with these roles has where nobody said: all for those who run the cluster."""
    return DEFAULT_NAMESPACES if _OF_ALL_NAMESPACES.isdisjoint(roles) else EVERYWHERE
