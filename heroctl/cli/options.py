"""The options that many commands share, and what they come to: which cluster, with which token.

A flag wins over a variable, a variable over the chosen context; `--context` is a flag, so it wins over HEROCTL_ADDR.
A context's token goes to that context's address and to no other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

from cyclopts import Group, Parameter

from heroctl.cli.config import Context, Contexts
from heroctl.cli.faults import Caller, Fault

GLOBAL: Final = Group("Global options", sort_key=100)
TAKES_VALUE: Final = ("--output", "-o", "--address", "--token", "--context", "--namespace", "-n", "--ca-cert")

Output = Literal["table", "json", "yaml", "name"]
Name = Annotated[str, Parameter(help="The job's name.")]
Watch = Annotated[
    bool, Parameter(name=("--watch", "-w"), negative="", show_default=False, help="Stay; print anew at every change.")
]
At = Annotated[
    str | None,
    Parameter(
        metavar="MOMENT",
        allow_leading_hyphen=True,
        help="As it was: at an index, at a time (2026-03-01T12:00:00Z), or so long ago (-1h).",
    ),
]


@Parameter(name="*", group=GLOBAL)
@dataclass(frozen=True, kw_only=True)
class Access:
    """Which cluster, as whom, and how to print."""

    output: Annotated[Output, Parameter(name=("--output", "-o"), metavar="FORMAT", help="How to print.")] = "table"
    address: Annotated[str | None, Parameter(metavar="ADDR", help="The API's address. [env: HEROCTL_ADDR]")] = None
    token: Annotated[str | None, Parameter(metavar="TOKEN", help="A token to send. [env: HEROCTL_TOKEN]")] = None
    context: Annotated[str | None, Parameter(metavar="NAME", help="A saved context. [env: HEROCTL_CONTEXT]")] = None
    ca_cert: Annotated[
        str | None, Parameter(metavar="FILE", help="Trust this authority (PEM file). [env: HEROCTL_CA_CERT]")
    ] = None


@Parameter(name="*", group=GLOBAL)
@dataclass(frozen=True, kw_only=True)
class Scope(Access):
    """The same for what lives in namespaces."""

    namespace: Annotated[
        str | None, Parameter(name=("--namespace", "-n"), metavar="NAME", help="A namespace. [env: HEROCTL_NAMESPACE]")
    ] = None


ACCESS: Final = Access()
SCOPE: Final = Scope()


class Target(NamedTuple):
    """What options, variables and contexts come to. `context` is the one whose token this is, else ""."""

    address: str
    token: str = ""
    origin: str = ""
    context: str = ""
    namespace: str | None = None
    ca_cert: str | None = None
    expires_at: str = ""

    @property
    def caller(self) -> Caller:
        """Who asks, as messages name it."""
        return Caller(self.address, self.origin, self.context)


def resolve(access: Access, environ: Mapping[str, str], contexts: Contexts) -> Target:
    """Decide where to go and with which token. `Fault` where that cannot be known."""
    name, context = _context(access, environ, contexts)
    explicit = access.context is not None
    address = access.address or (not explicit and environ.get("HEROCTL_ADDR")) or (context and context.address)
    if not address:
        raise Fault(
            "no cluster is chosen", hints=["start one here: heroctl dev", "or log in to one: heroctl login ADDR"]
        )
    address = normalise(address)
    target = Target(
        address,
        namespace=getattr(access, "namespace", None)
        or environ.get("HEROCTL_NAMESPACE")
        or (context and context.namespace)
        or None,
        ca_cert=access.ca_cert or environ.get("HEROCTL_CA_CERT") or (context and context.ca_cert) or None,
    )
    if access.token:
        return target._replace(token=access.token, origin="--token")
    if not explicit and environ.get("HEROCTL_TOKEN"):
        return target._replace(token=environ["HEROCTL_TOKEN"], origin="HEROCTL_TOKEN")
    if context is None or normalise(context.address) != address:
        name, context = _at(contexts, address)
    if context is None or not context.token:
        return target
    return target._replace(token=context.token, origin=name, context=name, expires_at=context.expires_at)


def normalise(address: str) -> str:
    """Complete an address: a scheme (http for loopback, else https), no path, no slash at the end."""
    given, lowered = address.strip(), address.strip().lower()
    if "://" not in given:
        host = given.partition("/")[0]
        given = f"{'http' if is_loopback(host) else 'https'}://{given}"
    elif not lowered.startswith(("http://", "https://")):
        raise Fault(f"{address} is no address of an API", hints=["it looks like https://manage.example.com"])
    scheme, _, rest = given.partition("://")
    rest = rest.rstrip("/").removesuffix("/v1").rstrip("/")
    if not rest or rest.startswith(":") or any(mark in rest for mark in (" ", "@", "?", "#")):
        raise Fault(f"{address!r} is no address of an API", hints=["it looks like https://manage.example.com"])
    return f"{scheme.lower()}://{rest}"


def _context(access: Access, environ: Mapping[str, str], contexts: Contexts) -> tuple[str, Context | None]:
    name = access.context or environ.get("HEROCTL_CONTEXT") or contexts.current
    context = contexts.contexts.get(name)
    if context is None and name and name != contexts.current:
        known = ", ".join(sorted(contexts.contexts)) or "none"
        raise Fault(f"there is no context {name!r} (there is: {known})", hints=["heroctl login ADDR --context " + name])
    return name, context


def _at(contexts: Contexts, address: str) -> tuple[str, Context | None]:
    for name, context in sorted(contexts.contexts.items()):
        if normalise(context.address) == address:
            return name, context
    return "", None


def is_loopback(host: str) -> bool:
    """Tell whether a host, with a port or without, is this machine."""
    bare = host.rpartition(":")[0] if host.count(":") == 1 else host
    bare = bare.partition("]")[0].lstrip("[")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare == "localhost" or bare.endswith(".localhost")
