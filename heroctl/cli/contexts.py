"""`heroctl login` and `heroctl context`: which clusters this machine knows, and as whom."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import config, output
from heroctl.cli.client import Answer, Client, decode, path
from heroctl.cli.config import Context
from heroctl.cli.faults import Caller, Fault, Refused
from heroctl.cli.options import GLOBAL, Output, normalise
from heroctl.cli.session import Grant

app = App(name="context")

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
_PORTS: Final = (":80", ":443")


def login(
    addr: Annotated[
        str | None,
        Parameter(name="--url", help="The API's address; the current context's if left out."),
    ] = None,
    *,
    username: Annotated[
        str | None,
        Parameter(name=("--username", "--user", "-u"), metavar="NAME", help="Who logs in; asked if left out."),
    ] = None,
    password_stdin: Annotated[Switch, Parameter(help="Read the password from stdin.")] = False,
    token_stdin: Annotated[Switch, Parameter(help="Read an ACL token (ht_...) from stdin and use that.")] = False,
    context: Annotated[
        str | None, Parameter(metavar="NAME", help="Name of the context; made from the address if left out.")
    ] = None,
    namespace: Annotated[
        str | None, Parameter(name=("--namespace", "-n"), metavar="NAME", help="Its namespace.")
    ] = None,
    ca_cert: Annotated[str | None, Parameter(metavar="FILE", help="Trust this authority (PEM file).")] = None,
) -> None:
    """Log in to a cluster and save it as a context, which becomes the current one."""
    place = config.place(os.environ)
    known = config.load(place)
    previous = known.contexts.get(context or known.current)
    if addr is None and previous is None:
        raise Fault("which cluster?", hints=["heroctl login https://manage.example.com"])
    address = normalise(addr or (previous.address if previous else ""))
    if addr is not None and previous is not None and normalise(previous.address) != address:
        previous = None
    ca_cert = ca_cert or (previous and previous.ca_cert) or None
    if token_stdin and (username or password_stdin):
        raise Fault("--token-stdin goes without a user name and a password", hints=["heroctl login --help"])
    with contextlib.closing(Client(Caller(address), ca_cert=ca_cert, say=output.note)) as client:
        if token_stdin:
            made = _with_token(client, _stdin("token"))
        else:
            made = _with_password(client, username, from_stdin=password_stdin)
    made = msgspec.structs.replace(
        made,
        namespace=namespace or (previous and previous.namespace) or "",
        ca_cert=os.path.abspath(ca_cert) if ca_cert else "",  # noqa: PTH100 - a text in a text file
    )
    name = context or (known.current if addr is None else _name(address))
    with config.changing(place) as contexts:
        contexts[name] = made
    config.select(place, name)
    output.note(f"logged in to {address}{f' as {made.username}' if made.username else ''} (context {name})")


def logout(
    *, context: Annotated[str | None, Parameter(metavar="NAME", help="Of which context; of the current one.")] = None
) -> None:
    """End the session of a context, on the server too; its address is kept."""
    place = config.place(os.environ)
    with config.changing(place) as contexts:
        name = context or config.load(place).current
        known = contexts.get(name)
        if known is None or not known.token:
            raise Fault(f"nobody is logged in to {name or 'any cluster'}", hints=["heroctl context list"])
        if known.refresh_token:
            _end(known, name)
        contexts[name] = msgspec.structs.replace(known, token="", refresh_token="", expires_at="")
    what = "logged out of" if known.refresh_token else "forgot the ACL token of"
    output.note(f"{what} {known.address} (context {name})")


def _end(known: Context, name: str) -> None:
    """End a session where it is kept; one that is over already is no matter."""
    caller = Caller(known.address, name, name)
    try:
        try:
            _ask_as(known, caller, known.token, "logout")
        except Refused as fault:
            if fault.status != 401:
                raise
            fresh = decode(_ask_as(known, caller, known.refresh_token, "refresh"), Grant, caller)
            _ask_as(known, caller, fresh.token, "logout")
    except Refused as fault:
        if fault.status != 401:
            raise


def _ask_as(known: Context, caller: Caller, token: str, what: str) -> Answer:
    with contextlib.closing(Client(caller, token, ca_cert=known.ca_cert or None, say=output.note)) as client:
        return client.ask("POST", path("auth", what))


@app.command(name="list")
def list_contexts(
    *,
    output_: Annotated[
        Output, Parameter(name=("--output", "-o"), metavar="FORMAT", group=GLOBAL, help="How to print.")
    ] = "table",
) -> None:
    """List the contexts; never their tokens."""
    known = config.load(config.place(os.environ))
    rows = [
        {
            "name": name,
            "current": name == known.current,
            "address": context.address,
            "user": context.username,
            "namespace": context.namespace,
        }
        for name, context in sorted(known.contexts.items())
    ]
    if output_ == "name":
        output.lines(sorted(known.contexts))
    elif output_ == "table":
        titles = ("CURRENT", "NAME", "ADDRESS", "USER", "NAMESPACE")
        cells = [("*" if r["current"] else "", r["name"], r["address"], r["user"], r["namespace"]) for r in rows]
        output.show([output.Grid(titles, [[str(cell) for cell in row] for row in cells])])
    else:
        output.dump(msgspec.json.encode(rows), output_)


@app.command
def use(name: Annotated[str, Parameter(help="The context.")], /) -> None:
    """Make a context the current one."""
    place = config.place(os.environ)
    known = config.load(place)
    if name not in known.contexts:
        there = ", ".join(sorted(known.contexts)) or "none"
        raise Fault(f"there is no context {name!r} (there is: {there})", hints=["heroctl login ADDR --context " + name])
    config.select(place, name)
    output.note(f"context {name}: {known.contexts[name].address}")


@app.command
def show(name: Annotated[str | None, Parameter(help="The context; the current one if left out.")] = None, /) -> None:
    """Show a context; never its token."""
    known = config.load(config.place(os.environ))
    context = known.contexts.get(name or known.current)
    if context is None:
        raise Fault(f"there is no context {name!r}" if name else "no context is chosen", hints=["heroctl context list"])
    kind = "session" if context.refresh_token else "ACL token" if context.token else "none"
    facts = [
        ("Name", name or known.current),
        ("Address", context.address),
        ("User", context.username),
        ("Namespace", context.namespace),
        ("Authority", context.ca_cert),
        ("Login", kind),
        ("Token ends", context.expires_at),
    ]
    output.show([output.Facts(facts)])


@app.command(name=("delete", "remove"))
def delete(name: Annotated[str, Parameter(help="The context.")], /) -> None:
    """Forget a context and its token."""
    with config.changing(config.place(os.environ)) as contexts:
        if contexts.pop(name, None) is None:
            raise Fault(f"there is no context {name!r}", hints=["heroctl context list"])
    output.note(f"context {name} is forgotten")


def _with_password(client: Client, username: str | None, *, from_stdin: bool) -> Context:
    if username is None and from_stdin:
        raise Fault("whose password?", hints=["name the user: --username NAME"])
    username = username or _ask("Username: ", secret=False)
    password = _stdin("password") if from_stdin else _ask("Password: ", secret=True)
    try:
        answer = client.ask("POST", path("auth", "login"), json={"username": username, "password": password})
    except Refused as fault:
        if fault.status == 401:
            fault.hints = ("check the user name and the password, and that this is the cluster you mean",)
        raise
    grant = decode(answer, Grant, client.caller)
    return Context(
        client.caller.address,
        token=grant.token,
        refresh_token=grant.refresh_token,
        expires_at=grant.expires_at,
        username=username,
    )


def _with_token(client: Client, token: str) -> Context:
    # The token itself is kept, not a session made of it: it ends when it is revoked, and needs no renewal.
    try:
        client.ask("POST", path("auth", "login"), json={"acl_token": token})
    except Refused as fault:
        if fault.status == 401:
            fault.hints = ("the token is wrong, expired or revoked: take another",)
        raise
    return Context(client.caller.address, token=token)


def _stdin(what: str) -> str:
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise Fault(f"no {what} on stdin", hints=["heroctl login --help"])
    return text


def _ask(prompt: str, *, secret: bool) -> str:
    if not sys.stdin.isatty():
        raise Fault("there is no terminal to ask on", hints=["use --username with --password-stdin, or --token-stdin"])
    if secret:
        import getpass

        return getpass.getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _name(address: str) -> str:
    name = address.partition("://")[2]
    for port in _PORTS:
        name = name.removesuffix(port)
    return name
