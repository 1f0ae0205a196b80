"""`heroctl job history` and `diff`: what a job was, version by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from cyclopts import Parameter

from heroctl.cli import output, plans
from heroctl.cli.client import decode, path
from heroctl.cli.faults import Fault
from heroctl.cli.options import SCOPE, At, Name, Scope, Watch
from heroctl.cli.output import Grid, Sheet
from heroctl.cli.plan_shapes import Version, VersionsDiff
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

_SHORT: Final = 19  # of a digest: `sha256:` and twelve of its digits


def history(name: Name, /, *, watch: Watch = False, at: At = None, scope: Scope = SCOPE) -> None:
    """List the kept versions of a job, the newest first: who made each, from what, and which proved good."""
    page = Page(
        path("jobs", name, "versions"),
        list[Version],
        _grid,
        lambda versions: [str(each.version) for each in versions],
        in_namespace=True,
    )
    read(scope, page, watch=watch, at=at)


def _grid(versions: list[Version]) -> Sheet:
    rows = [
        (
            each.version,
            each.kind if each.of is None else f"{each.kind} of {each.of}",
            "yes" if each.stable else "",
            each.by,
            each.created_at,
            ", ".join(digest[:_SHORT] for digest in each.images.values()),
            ", ".join(dict.fromkeys(made_with(secrets) for secrets in each.secrets.values())),
            ", ".join(f"{key}={value}" for key, value in sorted(each.meta.items())),
        )
        for each in versions
    ]
    return [Grid(("VERSION", "KIND", "STABLE", "BY", "CREATED", "IMAGES", "SECRETS", "META"), rows)]


def made_with(secrets: Mapping[str, int | None]) -> str:
    """Say which versions of secrets a task is made with: `db 2, key missing`."""
    return ", ".join(f"{name} {number or 'missing'}" for name, number in sorted(secrets.items()))


def diff(
    name: Name,
    old: Annotated[int | None, Parameter(help="A version; unless given, the one before the other.")] = None,
    new: Annotated[int | None, Parameter(help="Another version; unless given, the present one.")] = None,
    /,
    *,
    at: At = None,
    scope: Scope = SCOPE,
) -> None:
    """Show what is different between two versions of a job, every default filled in."""
    with Session(scope) as session:
        query = {**session.scope, "from": old, "to": new, "at": at}
        answer = session.client.get(path("jobs", name, "versions", "diff"), query)
        found = decode(answer, VersionsDiff, session.client.caller)
    if scope.output == "name":
        raise Fault("differences have no names", hints=["leave out -o name, or take -o json"])
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
        return
    since = f"version {found.from_}" if found.from_ is not None else "nothing"
    output.note(f"{name}: {since} -> version {found.to}" + ("" if found.diff else ": they are the same"))
    output.patch([*plans.differences(found.diff)])
