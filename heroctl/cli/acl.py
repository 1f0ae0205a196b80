"""`heroctl acl`: who may use the cluster, and what they may."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.acl_shapes import Reach, Self, Token, User
from heroctl.cli.client import Answer, decode, path
from heroctl.cli.faults import Fault
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

app = App(name="acl")
user = App(name="user", help="Users: who may log in.")
token = App(name="token", help="ACL tokens, for machines and scripts.")
app.command(user)
app.command(token)
app.command("heroctl.cli.policies:role", name="role", help="Roles: named sets of policies.")
app.command("heroctl.cli.policies:policy", name="policy", help="Policies: named sets of rules.")

Name = Annotated[str, Parameter(help="The user's name.")]
Roles = Annotated[
    list[str] | None, Parameter(name=("--role", "-r"), metavar="ROLE", negative="", help="A role; repeat for more.")
]
Namespaces = Annotated[
    list[str] | None,
    Parameter(name=("--namespace", "-n"), metavar="NAME", negative="", help="A namespace, * for all; repeat for more."),
]
FromStdin = Annotated[
    bool, Parameter(negative="", show_default=False, help="Read the password from stdin, a line each.")
]

# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@user.command(name="list")
def list_users(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the users."""
    read(
        access, Page(path("acl", "users"), list[User], _users, lambda users: [each.name for each in users]), watch=watch
    )


@user.command(name="show")
def show_user(name: Name, /, *, access: Access = ACCESS) -> None:
    """Show one user."""
    read(access, Page(path("acl", "users", name), User, lambda one: _users([one]), lambda one: [one.name]))


@user.command(name="create")
def create_user(
    name: Name,
    /,
    *,
    role: Roles = None,
    namespace: Namespaces = None,
    password_stdin: FromStdin = False,
    access: Access = ACCESS,
) -> None:
    """Make a user. Its password is asked for, or read from stdin: 12 characters at least."""
    body = {"name": name, "password": new_password(from_stdin=password_stdin), "roles": needed(role, "--role")}
    if namespace is not None:
        body["namespaces"] = namespace
    with Session(access) as session:
        answer = session.client.ask("POST", path("acl", "users"), json=body)
        made = decode(answer, User, session.client.caller)
    tell(access, answer, f"user {name} is made: {words(made.roles)} in {words(made.namespaces)}", made.name)


@user.command(name="update")
def update_user(name: Name, /, *, role: Roles = None, namespace: Namespaces = None, access: Access = ACCESS) -> None:
    """Give a user other roles or other namespaces: at once, also where it is logged in."""
    body = {key: value for key, value in (("roles", role), ("namespaces", namespace)) if value is not None}
    if not body:
        raise Fault("nothing to change", hints=["say --role, --namespace, or both"])
    with Session(access) as session:
        answer = session.client.ask("PUT", path("acl", "users", name), json=body)
    tell(access, answer, f"user {name} is changed", name)


@user.command(name="password")
def set_password(name: Name, /, *, password_stdin: FromStdin = False, access: Access = ACCESS) -> None:
    """Give a user another password; it is logged out everywhere."""
    body = {"password": new_password(from_stdin=password_stdin)}
    with Session(access) as session:
        answer = session.client.ask("PUT", path("acl", "users", name, "password"), json=body)
    tell(access, answer, f"user {name} has another password, and is logged out everywhere", name)


@user.command(name="delete")
def delete_user(name: Name, /, *, access: Access = ACCESS) -> None:
    """Remove a user, and with it its tokens and logins."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("acl", "users", name))
    tell(access, answer, f"user {name} is removed, and its tokens with it", name)


def _users(users: list[User]) -> Sheet:
    rows = [(each.name, words(each.roles), words(each.namespaces), each.created_at) for each in users]
    return [Grid(("NAME", "ROLES", "NAMESPACES", "CREATED"), rows)]


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@token.command(name="list")
def list_tokens(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the tokens, the oldest first; their secrets are nowhere."""
    page = Page(path("acl", "tokens"), list[Token], _tokens, lambda tokens: [each.id for each in tokens])
    read(access, page, watch=watch)


@token.command(name="show")
def show_token(token: Annotated[str, Parameter(help="Its id.")], /, *, access: Access = ACCESS) -> None:
    """Show one token."""
    read(access, Page(path("acl", "tokens", token), Token, _token, lambda one: [one.id]))


@token.command(name="create")
def create_token(
    name: Annotated[str, Parameter(help="What it is for, such as `ci`.")],
    /,
    *,
    role: Roles = None,
    namespace: Namespaces = None,
    job: Annotated[
        list[str] | None, Parameter(metavar="JOB", negative="", help="A job, or some by `*`; repeat for more.")
    ] = None,
    kind: Annotated[
        Literal["user", "service"], Parameter(help="user: bounded by what its user may; service: stands by itself.")
    ] = "user",
    user: Annotated[str | None, Parameter(metavar="NAME", help="For whom; yourself if left out.")] = None,
    ttl: Annotated[
        str | None, Parameter(metavar="TIME", help="How long it lives, such as 90d; for ever if left out.")
    ] = None,
    access: Access = ACCESS,
) -> None:
    """Make a token. Its secret is printed, this once."""
    given = {"namespaces": namespace, "jobs": job, "user": user, "ttl": ttl}
    body = {"name": name, "roles": needed(role, "--role"), "kind": kind}
    body |= {key: value for key, value in given.items() if value is not None}
    with Session(access) as session:
        answer = session.client.ask("POST", path("acl", "tokens"), json=body)
        made = decode(answer, Token, session.client.caller)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
        return
    output.lines([made.secret])
    until = f", until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else ""
    jobs = "" if made.jobs == ("*",) else f", for jobs {words(made.jobs)}"
    output.note(f"token {made.id}: {words(made.roles)} in {words(made.namespaces)}{jobs}{until}. It is shown this once")


@token.command(name="delete")
def delete_token(token: Annotated[str, Parameter(help="Its id.")], /, *, access: Access = ACCESS) -> None:
    """Take a token away, and with it every login that was made by it."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("acl", "tokens", token))
    tell(access, answer, f"token {token} is no good any more", token)


def _tokens(tokens: list[Token]) -> Sheet:
    titles = ("ID", "NAME", "KIND", "USER", "ROLES", "NAMESPACES", "JOBS", "EXPIRES", "LAST USED")
    rows = [
        (
            each.id,
            each.name,
            each.kind,
            each.user,
            words(each.roles),
            words(each.namespaces),
            words(each.jobs),
            _moment(each),
            each.last_used_at,
        )
        for each in tokens
    ]
    return [Grid(titles, rows)]


def _token(one: Token) -> Sheet:
    facts = [
        ("ID", one.id),
        ("Name", one.name),
        ("Kind", one.kind),
        ("User", one.user),
        ("Roles", words(one.roles)),
        ("Namespaces", words(one.namespaces)),
        ("Jobs", words(one.jobs)),
        ("Created", one.created_at),
        ("Expires", _moment(one)),
        ("Last used", one.last_used_at),
    ]
    return [Facts(facts)]


def _moment(one: Token) -> str:
    return one.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ") if one.expires_at else "never"


# ── oneself ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command(name="self")
def show_self(*, access: Access = ACCESS) -> None:
    """Show who you are to the cluster, and all that you may."""
    read(access, Page(path("acl", "self"), Self, _self, lambda one: [one.user]))


def _self(one: Self) -> Sheet:
    facts = Facts(
        [
            ("User", one.user),
            ("Token", f"{one.token} ({one.kind})" if one.token else ""),
            ("Roles", words(one.roles)),
            ("Namespaces", words(one.namespaces)),
            ("Jobs", "" if one.jobs == ("*",) else words(one.jobs)),
        ]
    )
    rows = [
        (right.right, "everywhere" if right.everywhere else " and ".join(map(_limit, right.limits)))
        for right in one.rights
    ]
    return [facts, Grid(("RIGHT", "WHERE"), rows)]


def _limit(reach: Reach) -> str:
    parts = [each for each in (reach.allowed, reach.within) if each != ("*",)]
    told = " within ".join(words(each) for each in parts) or "all"
    told += f" but not {words(reach.denied)}" if reach.denied else ""
    return told + (f", jobs {words(reach.jobs)}" if reach.jobs != ("*",) else "")


@app.command(name="password")
def change_password(*, password_stdin: FromStdin = False, access: Access = ACCESS) -> None:
    """Change your own password; your other logins end. On stdin: the present one, then the new one."""
    current = _line("present password") if password_stdin else _hidden("Present password: ")
    body = {"current": current, "new": new_password(from_stdin=password_stdin)}
    with Session(access) as session:
        answer = session.client.ask("POST", path("acl", "self", "password"), json=body)
    tell(access, answer, "your password is changed; other logins of yours are over", "")


# ── what all share ───────────────────────────────────────────────────────────────────────────────────────────────────


def new_password(*, from_stdin: bool) -> str:
    """Get a new password, never from the command line: two times the same, where people type it."""
    if from_stdin:
        return _line("password")
    first = _hidden("New password: ")
    if _hidden("The same again: ") != first:
        raise Fault("these are two different passwords", hints=["type the command again"])
    return first


def _line(what: str) -> str:
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise Fault(f"no {what} on stdin", hints=["leave out --password-stdin to be asked for it"])
    return text


def _hidden(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise Fault("there is no terminal to ask on", hints=["use --password-stdin"])
    import getpass

    return getpass.getpass(prompt)


def needed(values: list[str] | None, option: str) -> list[str]:
    """Refuse where nothing was given."""
    if not values:
        raise Fault(f"{option} is needed", hints=["see what there is: heroctl acl role list"])
    return values


def tell(access: Access, answer: Answer, said: str, name: str) -> None:
    """Say what was done: in words, or the answer as it came."""
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    elif access.output == "name":
        output.lines([name] if name else [])
    else:
        output.note(said)


def words(names: tuple[str, ...]) -> str:
    """Write names in one column."""
    return ",".join(names)
