"""`heroctl acl role` and `heroctl acl policy`: what may be done, given names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from heroctl.cli.acl import needed, tell, words
from heroctl.cli.acl_shapes import Policy, Role
from heroctl.cli.client import path
from heroctl.cli.faults import Fault
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

role = App(name="role")
policy = App(name="policy")

Name = Annotated[str, Parameter(help="Its name.")]
Policies = Annotated[
    list[str] | None, Parameter(name=("--policy", "-p"), metavar="NAME", negative="", help="A policy; repeat for more.")
]
Description = Annotated[str, Parameter(metavar="TEXT", help="What it is for.")]
File = Annotated[str, Parameter(allow_leading_hyphen=True, help="Rules in YAML or JSON; - reads stdin.")]

# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@role.command(name="list")
def list_roles(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the roles: those that are built in, and your own."""
    page = Page(path("acl", "roles"), list[Role], _roles, lambda roles: [each.name for each in roles])
    read(access, page, watch=watch)


@role.command(name="show")
def show_role(name: Name, /, *, access: Access = ACCESS) -> None:
    """Show one role."""
    read(access, Page(path("acl", "roles", name), Role, lambda one: _roles([one]), lambda one: [one.name]))


@role.command(name="create")
def create_role(
    name: Name, /, *, policy: Policies = None, description: Description = "", access: Access = ACCESS
) -> None:
    """Make a role of policies."""
    body = {"name": name, "policies": needed(policy, "--policy"), "description": description}
    with Session(access) as session:
        answer = session.client.ask("POST", path("acl", "roles"), json=body)
    tell(access, answer, f"role {name} is made", name)


@role.command(name="update")
def update_role(
    name: Name, /, *, policy: Policies = None, description: Description = "", access: Access = ACCESS
) -> None:
    """Make a role of other policies: for all who have it, at once."""
    body = {"policies": needed(policy, "--policy"), "description": description}
    with Session(access) as session:
        answer = session.client.ask("PUT", path("acl", "roles", name), json=body)
    tell(access, answer, f"role {name} is changed", name)


@role.command(name="delete")
def delete_role(name: Name, /, *, access: Access = ACCESS) -> None:
    """Remove a role that nobody has."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("acl", "roles", name))
    tell(access, answer, f"role {name} is removed", name)


def _roles(roles: list[Role]) -> Sheet:
    rows = [(each.name, words(each.policies), "yes" if each.built_in else "", each.description) for each in roles]
    return [Grid(("NAME", "POLICIES", "BUILT IN", "DESCRIPTION"), rows)]


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@policy.command(name="list")
def list_policies(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the policies: those that are built in, and your own."""
    page = Page(path("acl", "policies"), list[Policy], _policies, lambda policies: [each.name for each in policies])
    read(access, page, watch=watch)


@policy.command(name="show")
def show_policy(name: Name, /, *, access: Access = ACCESS) -> None:
    """Show one policy, with its rules."""
    read(access, Page(path("acl", "policies", name), Policy, _policy, lambda one: [one.name]))


@policy.command(name="create")
def create_policy(name: Name, file: File, /, *, access: Access = ACCESS) -> None:
    """Make a policy of the rules in a file: a list of them, or {rules, description}."""
    body = {"name": name, **_document(file)}
    with Session(access) as session:
        answer = session.client.ask("POST", path("acl", "policies"), json=body)
    tell(access, answer, f"policy {name} is made; give it to somebody in a role: heroctl acl role create", name)


@policy.command(name="update")
def update_policy(name: Name, file: File, /, *, access: Access = ACCESS) -> None:
    """Make a policy of the rules in a file: for all who have it, at once."""
    body = _document(file)
    with Session(access) as session:
        answer = session.client.ask("PUT", path("acl", "policies", name), json=body)
    tell(access, answer, f"policy {name} is changed", name)


@policy.command(name="delete")
def delete_policy(name: Name, /, *, access: Access = ACCESS) -> None:
    """Remove a policy that no role has."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("acl", "policies", name))
    tell(access, answer, f"policy {name} is removed", name)


def _policies(policies: list[Policy]) -> Sheet:
    rows = [(each.name, len(each.rules), "yes" if each.built_in else "", each.description) for each in policies]
    return [Grid(("NAME", "RULES", "BUILT IN", "DESCRIPTION"), rows)]


def _policy(one: Policy) -> Sheet:
    rows = [
        (rule.resource, rule.namespace or rule.name or "*", words(rule.capabilities) or "none: denied")
        for rule in one.rules
    ]
    facts = Facts([("Name", one.name), ("Description", one.description), ("Built in", "yes" if one.built_in else "")])
    return [facts, Grid(("RESOURCE", "WHERE", "CAPABILITIES"), rows)]


def _document(file: str) -> dict[str, Any]:
    """Read rules as they are written; the API judges them."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Fault(f"{file} cannot be read: {error.strerror}", hints=["heroctl acl policy create --help"]) from error
    found = _read(content, file)
    if isinstance(found, list):
        return {"rules": found}
    if not isinstance(found, dict):
        raise Fault(f"{file} holds no rules", hints=["a rule: {resource: job, namespace: shop, capabilities: [read]}"])
    return {key: value for key, value in found.items() if key != "name"}


def _read(content: bytes, file: str) -> Any:  # noqa: ANN401 - whatever is in there
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise Fault(f"{file} is no JSON: {error}", hints=["mend it, and type the command again"]) from error
    import yaml

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise Fault(f"{file} is no YAML: {error}", hints=["mend it, and type the command again"]) from error
