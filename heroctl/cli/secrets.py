"""`heroctl secret`: values that jobs use and hardly anybody reads. None is an argument unless that is asked for."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.acl import tell
from heroctl.cli.client import decode, path
from heroctl.cli.faults import Fault, Refused
from heroctl.cli.options import ACCESS, SCOPE, Access, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.secret_shapes import Made, Rekeyed, Secret, Use, Value, Version
from heroctl.cli.session import Session

app = App(name="secret")

LARGEST: Final = 64 << 10  # bytes of a value
_GONE: Final = "already_done"  # an answer was lost on the way, and what it told with it

Name = Annotated[str, Parameter(help="The secret's name.")]


@app.command
def create(
    name: Name,
    /,
    *,
    from_file: Annotated[Path | None, Parameter(metavar="FILE", help="Take a file's bytes, just as they are.")] = None,
    from_stdin: Annotated[
        bool, Parameter(negative="", show_default=False, help="Take what comes on stdin, just as it is.")
    ] = False,
    from_literal: Annotated[
        str | None,
        Parameter(
            metavar="VALUE",
            allow_leading_hyphen=True,
            help="Take this word: for trials, as others on this machine can read it, and your shell keeps it.",
        ),
    ] = None,
    check_index: Annotated[
        int | None,
        Parameter(metavar="N", help="Only if its modify_index is this one; 0: only if there is none of this name."),
    ] = None,
    scope: Scope = SCOPE,
) -> None:
    """Make a secret, or give it another value. Its value is asked for unless it is said where it comes from.

    Jobs that use it get the new value by a deployment of their own, unless they say `on_secret_change: none`.
    """
    value = _given(from_file, from_literal, from_stdin=from_stdin)
    body = {"name": name, "value": base64.b64encode(value).decode(), "encoding": "base64"}
    with Session(scope) as session:
        query = {**session.scope, "check_index": check_index}
        answer = session.client.ask("POST", path("secrets"), query=query, json=body)
        made = decode(answer, Made, session.client.caller)
    said = "is made" if answer.status == 201 else f"is at version {made.version}"
    tell(scope, answer, f"secret {name} {said}", name)


@app.command(name="list")
def list_secrets(*, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """List the secrets: their names, never a value."""
    page = Page(path("secrets"), list[Secret], _grid, lambda all_: [each.name for each in all_], in_namespace=True)
    read(scope, page, watch=watch)


@app.command
def describe(name: Name, /, *, scope: Scope = SCOPE) -> None:
    """Show a secret's versions, and which jobs use it; never a value."""
    with Session(scope) as session:
        caller = session.client.caller
        kept = session.client.get(path("secrets", name, "versions"), session.scope)
        versions = decode(kept, list[Version], caller)
        try:
            users = session.client.get(path("secrets", name, "jobs"), session.scope).raw
        except Refused as fault:
            if fault.status != 403:
                raise
            users = b"[]"  # it is not for everybody to know who uses it
        namespace = session.namespace or "default"
    if scope.output in ("json", "yaml"):
        whole = {"name": name, "namespace": namespace, "versions": msgspec.Raw(kept.raw), "jobs": msgspec.Raw(users)}
        output.dump(msgspec.json.encode(whole), scope.output)
    elif scope.output == "name":
        output.lines([name])
    else:
        output.show(_sheet(name, namespace, versions, msgspec.json.decode(users, type=list[Use])))


@app.command
def history(name: Name, /, *, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """List the kept versions of a secret, the newest first: who made each, and from what; never a value."""
    page = Page(
        path("secrets", name, "versions"),
        list[Version],
        lambda versions: [_versions(versions)],
        lambda versions: [str(each.version) for each in versions],
        in_namespace=True,
    )
    read(scope, page, watch=watch)


@app.command
def get(
    name: Name,
    /,
    *,
    version: Annotated[int | None, Parameter(metavar="N", help="A version; the present one unless given.")] = None,
    scope: Scope = SCOPE,
) -> None:
    """Print what a secret holds, and nothing else: into a file or a program byte for byte. The audit tells of it."""
    with Session(scope) as session:
        answer = session.client.get(path("secrets", name), {**session.scope, "version": version})
        found = decode(answer, Value, session.client.caller)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    elif scope.output == "name":
        output.lines([name])
    else:
        _print(base64.b64decode(found.value) if found.encoding == "base64" else found.value.encode(), name)


@app.command
def rollback(
    name: Name,
    version: Annotated[int | None, Parameter(help="The version to repeat; unless given, the one before.")] = None,
    /,
    *,
    scope: Scope = SCOPE,
) -> None:
    """Give a secret an earlier value again, as a new version."""
    with Session(scope) as session:
        body = {} if version is None else {"version": version}
        answer = session.client.ask("POST", path("secrets", name, "rollback"), query=session.scope, json=body)
        made = decode(answer, Made, session.client.caller)
    repeats = "the version before" if version is None else f"version {version}"
    tell(scope, answer, f"secret {name} is at version {made.version}, which repeats {repeats}", name)


@app.command
def delete(
    name: Name,
    /,
    *,
    force: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Though jobs use it: their replicas cannot be started anew."),
    ] = False,
    scope: Scope = SCOPE,
) -> None:
    """Remove a secret with all its versions, for good."""
    with Session(scope) as session:
        query = {**session.scope, "force": "true" if force else None}
        answer = session.client.ask("DELETE", path("secrets", name), query=query)
    tell(scope, answer, f"secret {name} is deleted, with all its versions", name)


@app.command
def rekey(*, access: Access = ACCESS) -> None:
    """Seal all secrets with the newest master key that the API has, while everything goes on.

    Put the new key on every server first: at the end of `--secrets-key-file`. It may be interrupted, and run again.
    """
    total = 0
    with Session(access) as session:
        while True:
            try:
                answer = session.client.ask("POST", path("secrets", "rekey"), json={}, timeout=120)
            except Refused as fault:
                if fault.error != _GONE:
                    raise
                continue
            found = decode(answer, Rekeyed, session.client.caller)
            total += found.rewrapped
            if found.done:
                break
            output.note(f"{total} values are sealed anew, {found.left} are left")
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
        return
    output.note(f"all values are sealed with key {found.key}; {total} were sealed anew")
    if found.lost:
        output.note(f"{found.lost} values do not open any more: their keys are lost. Write those secrets anew")
    for each in found.unneeded:
        place = f"key {each.position} of this API's" if each.position else "a key that this API has not"
        output.note(f"needed no more, but for backups of before: {each.id}, {place}")


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _given(file: Path | None, literal: str | None, *, from_stdin: bool) -> bytes:
    """Get a value from the one place that was named; asked for where none was."""
    if sum((file is not None, literal is not None, from_stdin)) > 1:
        raise Fault("a value comes from one place", hints=["give one of --from-file, --from-stdin and --from-literal"])
    if literal is not None:
        value = literal.encode()
    elif file is not None:
        value = _read(file)
    elif from_stdin:
        value = sys.stdin.buffer.read(LARGEST + 1)
    else:
        value = _typed()
    if len(value) > LARGEST:
        raise Fault(f"a value has at most {LARGEST} bytes", hints=["keep large files in a volume or an image"])
    if value.endswith(b"\n") and value.count(b"\n") == 1:
        output.note("the value ends with a line break, which belongs to it: `printf %s` and `head -c -1` leave it out")
    return value


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise Fault(
            f"{file} cannot be read: {error.strerror}", hints=["check its path, and that it is yours to read"]
        ) from error


def _typed() -> bytes:
    if not sys.stdin.isatty():
        raise Fault("there is no terminal to ask for the value on", hints=["use --from-stdin or --from-file FILE"])
    import getpass

    first = getpass.getpass("Value: ")
    if getpass.getpass("The same again: ") != first:
        raise Fault("these are two different values", hints=["type the command again"])
    return first.encode()


def _print(value: bytes, name: str) -> None:
    """Print a value: as it is, and to people as one line more that steers no terminal."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    text = value.decode(errors="replace")
    if output.clean(text, keep="\n") != text or "\N{REPLACEMENT CHARACTER}" in text:
        raise Fault("the value is no text for a terminal", hints=[f"heroctl secret get {name} > FILE"])
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _grid(secrets: list[Secret]) -> Sheet:
    rows = [(each.name, each.namespace, each.version, each.versions, each.updated_at) for each in secrets]
    return [Grid(("NAME", "NAMESPACE", "VERSION", "KEPT", "UPDATED"), rows)]


def _sheet(name: str, namespace: str, versions: list[Version], users: list[Use]) -> Sheet:
    newest = versions[0]
    facts = Facts(
        [
            ("Name", name),
            ("Namespace", namespace),
            ("Version", newest.version),
            ("Updated", newest.created_at),
            ("By", newest.by),
            ("Used by", "" if users else "no job that is to run"),
        ]
    )
    jobs = [
        (each.job, each.version, each.secret_version, "" if each.secret_version == newest.version else "an earlier one")
        for each in users
    ]
    return [facts, _versions(versions), *([Grid(("JOB", "JOB VERSION", "SECRET VERSION", ""), jobs)] if jobs else [])]


def _versions(versions: list[Version]) -> Grid:
    rows = [
        (each.version, each.action if each.of is None else f"{each.action} of {each.of}", each.by, each.created_at)
        for each in versions
    ]
    return Grid(("VERSION", "ACTION", "BY", "CREATED"), rows)
