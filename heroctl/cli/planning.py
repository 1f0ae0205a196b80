"""`heroctl job plan`: what a submit would do, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from heroctl.cli import output, plans
from heroctl.cli.client import decode, path
from heroctl.cli.options import GLOBAL, Scope
from heroctl.cli.plan_shapes import Planned
from heroctl.cli.session import Session
from heroctl.cli.specfiles import read_spec
from heroctl.cli.submitting import CheckIndex, File, warn

CHANGES: Final = 2  # with --detailed-exitcode


How = Annotated[
    Literal["table", "markdown", "json", "yaml", "name"],
    Parameter(name=("--output", "-o"), metavar="FORMAT", help="How to print."),
]


@Parameter(name="*", group=GLOBAL)
@dataclass(frozen=True, kw_only=True)
class PlanScope(Scope):
    """The same for what can be printed for a review."""

    output: How = "table"  # type: ignore[assignment] # one way to print more, and its only reader knows


PLAN_SCOPE: Final = PlanScope()
DetailedExit = Annotated[
    bool,
    Parameter(
        name="--detailed-exitcode", negative="", show_default=False, help="End with 2 where there is something to do."
    ),
]


def plan(
    file: File,
    /,
    *,
    detailed_exitcode: DetailedExit = False,
    check_index: CheckIndex = None,
    scope: PlanScope = PLAN_SCOPE,
) -> int:
    """Show what `job run` would do: what is different, what becomes of replicas, where, and what stands in the way.

    Nothing is written. `-o markdown` is for a review. Ends with 0; with `--detailed-exitcode` 0 means nothing to do,
    2 changes, 1 an error.
    """
    spec = read_spec(file)
    with Session(scope) as session:
        query = {**session.scope, "check_index": check_index}
        answer = session.client.ask(
            "POST", path("jobs", "plan"), query=query, content=spec.content, content_type=spec.kind
        )
        planned = decode(answer, Planned, session.client.caller)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    elif scope.output == "name":
        output.lines([planned.name] if planned.moves else [])
    elif scope.output == "markdown":
        output.lines(list(plans.markdown(planned)))
    else:
        show(planned)
        if planned.moves:
            again = f"heroctl job run {file} --check-index {planned.check_index}"
            output.note(f"\nnext: {again}   # refused if the job has changed since")
    return CHANGES if detailed_exitcode and planned.moves else 0


def show(planned: Planned) -> None:
    """Print a plan for people: warnings beside it, colours where they look."""
    warn(planned.warnings)
    output.patch(list(plans.lines(planned)))
