"""`heroctl webhook`: who outside is told what happens, and how that goes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.acl import tell, words
from heroctl.cli.client import Answer, Client, decode, path
from heroctl.cli.faults import FAILED, HEALTHY, TIMED_OUT, Fault, Refused
from heroctl.cli.options import ACCESS, SCOPE, Access, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.webhook_shapes import Delivery, Made, Told, Webhook

app = App(name="webhook")

_PATIENCE_S: Final = 30.0  # for what a ping comes to: an attempt takes 15 at most
_PAUSE_S: Final = 0.3
_FEW: Final = 10  # deliveries that a status shows
_REASONS: Final = {
    "receiver_gone": "its receiver answered 410: it is gone",
    "backlog": "10,000 deliveries waited for it",
    "creator_gone": "whom it read for is no more, or its token",
}

Id = Annotated[str, Parameter(help="Its id, or the beginning of it (4 characters at least).")]
Events = Annotated[
    list[str] | None,
    Parameter(
        name=("--event", "-e"), metavar="NAME", negative="", help="An event to be told; repeat for more, '*' for all."
    ),
]
SecretFile = Annotated[
    Path | None, Parameter(metavar="FILE", help="Sign with what is in this file; else a secret is made.")
]
SecretStdin = Annotated[
    bool, Parameter(negative="", show_default=False, help="Sign with what comes on stdin; else a secret is made.")
]
Description = Annotated[str | None, Parameter(metavar="TEXT", help="What it is for.")]


@app.command
def create(
    url: Annotated[str, Parameter(help="Where events are sent.")],
    /,
    *,
    event: Events = None,
    description: Description = None,
    secret_file: SecretFile = None,
    secret_stdin: SecretStdin = False,
    scope: Scope = SCOPE,
) -> None:
    """Have events told to a URL: job.submitted, job.deployed, job.failed, alloc.failed, node.down, secret.changed.

    A secret that is made is printed once, on a line of its own: the receiver needs it to know what is ours. Of all
    namespaces, for admins: -n '*'.
    """
    if not event:
        raise Fault("--event is needed", hints=["for all of them: --event '*'"])
    body = {"url": url, "events": event, "description": description or ""}
    body |= _given(secret_file, from_stdin=secret_stdin)
    with Session(scope) as session:
        answer = session.client.ask("POST", path("webhooks"), query=session.scope, json=body)
        made = decode(answer, Made, session.client.caller)
    _tell_secret(scope, answer, made, f"webhook {made.id} is made; try it: heroctl webhook ping {made.id}")


@app.command(name="list")
def list_webhooks(*, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """List the webhooks."""
    page = Page(path("webhooks"), list[Webhook], _grid, lambda all_: [each.id for each in all_], in_namespace=True)
    read(scope, page, watch=watch)


@app.command
def status(webhook: Id, /, *, access: Access = ACCESS) -> None:
    """Show a webhook, whether it works, and what it was told last."""
    with Session(access) as session:
        kept = session.client.get(path("webhooks", webhook))
        found = decode(kept, Webhook, session.client.caller)
        told = session.client.get(path("webhooks", found.id, "deliveries"), {"limit": _FEW})
        deliveries = decode(told, list[Delivery], session.client.caller)
    if access.output in ("json", "yaml"):
        whole = {"webhook": msgspec.Raw(kept.raw), "deliveries": msgspec.Raw(told.raw)}
        output.dump(msgspec.json.encode(whole), access.output)
    elif access.output == "name":
        output.lines([found.id])
    else:
        output.show(_sheet(found, deliveries))


@app.command
def update(
    webhook: Id,
    /,
    *,
    url: Annotated[str | None, Parameter(help="Where events are sent from here on.")] = None,
    event: Events = None,
    description: Description = None,
    enabled: Annotated[
        bool | None,
        Parameter(name="--enable", negative="--disable", help="Switch it on; what waits for it goes out. Or off."),
    ] = None,
    access: Access = ACCESS,
) -> None:
    """Change what is given of a webhook. From then on it is told what you may read."""
    given = {"url": url, "events": event, "description": description, "enabled": enabled}
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise Fault("there is nothing to change", hints=["see what can be: heroctl webhook update --help"])
    with Session(access) as session:
        answer = session.client.ask("PATCH", path("webhooks", webhook), json=body)
        found = decode(answer, Webhook, session.client.caller)
    tell(access, answer, f"webhook {found.id} is {found.state}, and is told {words(found.events)}", found.id)


@app.command
def rotate(
    webhook: Id,
    /,
    *,
    secret_file: SecretFile = None,
    secret_stdin: SecretStdin = False,
    overlap: Annotated[
        int, Parameter(metavar="SECONDS", help="For so long the secret before signs as well, at most 604800.")
    ] = 86_400,
    access: Access = ACCESS,
) -> None:
    """Give a webhook another secret. For a while both sign, so that its receiver can follow."""
    body = {"overlap_seconds": overlap, **_given(secret_file, from_stdin=secret_stdin)}
    with Session(access) as session:
        answer = session.client.ask("POST", path("webhooks", webhook, "rotate"), json=body)
        made = decode(answer, Made, session.client.caller)
    _tell_secret(
        access, answer, made, f"webhook {made.id} has another secret; for {overlap} s the one before signs, too"
    )


@app.command
def deliveries(
    webhook: Id,
    /,
    *,
    state: Annotated[
        str | None, Parameter(metavar="STATE", help="Those alone: pending, delivered, failed or dropped.")
    ] = None,
    limit: Annotated[int, Parameter(metavar="N", help="At most so many, the newest.")] = 50,
    access: Access = ACCESS,
) -> None:
    """List what a webhook was told, or is to be, the newest event first."""
    page = Page(
        path("webhooks", webhook, "deliveries"),
        list[Delivery],
        lambda found: [_deliveries(found)],
        lambda found: [str(each.number) for each in found],
        query={"state": state, "limit": limit},
    )
    read(access, page)


@app.command
def redeliver(
    webhook: Id,
    first: Annotated[int, Parameter(help="The number of a delivery.")],
    last: Annotated[int | None, Parameter(help="The last number of a range that begins with the other.")] = None,
    /,
    *,
    failed_only: Annotated[
        bool, Parameter(negative="", show_default=False, help="Of a range: only what was given up.")
    ] = False,
    access: Access = ACCESS,
) -> None:
    """Tell a webhook once more what it was told: one delivery, or a range."""
    body = {"first": first, "last": first if last is None else last, "failed_only": failed_only}
    with Session(access) as session:
        answer = session.client.ask("POST", path("webhooks", webhook, "deliveries", "redeliver"), json=body)
        found = decode(answer, Told, session.client.caller)
    number = str(found.first) if found.first == found.last else f"{found.first} to {found.last}"
    tell(access, answer, f"told once more: {number}; how it goes: heroctl webhook deliveries {found.id}", found.id)


@app.command
def ping(webhook: Id, /, *, access: Access = ACCESS) -> int:
    """Send a webhook an event that says nothing else, and wait for what comes of it."""
    with Session(access) as session:
        answer = session.client.ask("POST", path("webhooks", webhook, "ping"), json={})
        found = decode(answer, Told, session.client.caller)
        delivery = _awaited(session.client, path("webhooks", found.id, "deliveries", str(found.first)))
    if delivery is None:
        output.note(f"nothing was tried within {_PATIENCE_S:g} s; is there a coordinator? heroctl status")
        return TIMED_OUT
    if delivery.state == "delivered":
        tell(access, answer, f"webhook {found.id} works: {delivery.status} after {delivery.ms} ms", found.id)
        return HEALTHY
    raise Fault(
        f"webhook {found.id} does not work: {delivery.error}",
        hints=[f"all that was tried: heroctl webhook deliveries {found.id}"],
        code=FAILED,
    )


@app.command
def delete(webhook: Id, /, *, access: Access = ACCESS) -> None:
    """Remove a webhook, and all that waits for it."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("webhooks", webhook))
    tell(access, answer, f"webhook {webhook} is deleted", webhook)


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _given(file: Path | None, *, from_stdin: bool) -> dict[str, str]:
    """Read a secret from where it was said to be; a line break at its end is none of it."""
    if file is not None and from_stdin:
        raise Fault("a secret comes from one place", hints=["give one of --secret-file and --secret-stdin"])
    if file is None and not from_stdin:
        return {}
    try:
        text = sys.stdin.read() if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Fault(
            f"{file} cannot be read: {error}", hints=["check its path, and that it is yours to read"]
        ) from error
    return {"secret": text.rstrip("\r\n")}


def _tell_secret(access: Access, answer: Answer, made: Made, said: str) -> None:
    tell(access, answer, said, made.id)
    if made.secret and access.output not in ("json", "yaml", "name"):
        output.note("its secret, which is shown this once:")
        output.lines([made.secret])


def _awaited(client: Client, where: str) -> Delivery | None:
    """Wait for the first attempt of a delivery; None: there was none in time."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        try:
            found = decode(client.get(where), Delivery, client.caller)
        except Refused as fault:
            if fault.error != "delivery_not_found":
                raise
        else:
            if found.attempts or found.state != "pending":
                return found
        time.sleep(_PAUSE_S)
    return None


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _grid(hooks: list[Webhook]) -> Sheet:
    rows = [(each.id, each.namespace, each.state, words(each.events), each.url) for each in hooks]
    return [Grid(("ID", "NAMESPACE", "STATE", "EVENTS", "URL"), rows)]


def _sheet(hook: Webhook, told: list[Delivery]) -> Sheet:
    facts = Facts(
        [
            ("Id", hook.id),
            ("Namespace", "all" if hook.namespace == "*" else hook.namespace),
            ("State", hook.state),
            ("Why", _REASONS.get(hook.reason, hook.reason)),
            ("URL", hook.url),
            ("Events", words(hook.events)),
            ("Reads for", hook.reads_for or "nobody any more"),
            ("Rotating until", hook.rotating_until),
            ("Created", hook.created_at),
            ("For", hook.description),
        ]
    )
    return [facts, _deliveries(told)]


def _deliveries(told: list[Delivery]) -> Grid:
    rows = [
        (
            each.number,
            each.type,
            each.time,
            each.state,
            each.attempts,
            "" if each.status is None else each.status,
            each.next_at,
            each.error,
        )
        for each in told
    ]
    return Grid(("NUMBER", "EVENT", "TIME", "STATE", "ATTEMPTS", "ANSWER", "NEXT", "ERROR"), rows)
