"""`heroctl validate`: all that is wrong with job specs, without a server."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from heroctl.cli import output
from heroctl.cli.faults import Fault, Problem, counted
from heroctl.cli.options import GLOBAL, Output
from heroctl.cli.specfiles import Judged, judge, spec_files

Files = Annotated[
    list[str],
    Parameter(
        metavar="FILE", allow_leading_hyphen=True, negative="", help="Job specs, or folders of them; - reads stdin."
    ),
]


def validate(
    files: Files,
    /,
    *,
    how: Annotated[Output, Parameter(name=("--output", "-o"), metavar="FORMAT", group=GLOBAL, help="How to print.")] = (
        "table"
    ),
) -> int:
    """Check job specs, all that is wrong at once. No cluster is asked: what this release accepts is known here.

    Ends with 1 if one of them has a problem; warnings are only told.
    """
    judged = [judge(file) for file in spec_files(files)]
    failed = [each for each in judged if each.problems]
    if how in ("json", "yaml"):
        output.dump(msgspec.json.encode([_row(each) for each in judged]), how)
        return 1 if failed else 0
    for each in judged:
        for warning in each.warnings:
            output.note(f"warning: {told(each, warning)}")
        if not each.problems:
            output.note(f"{each.file.name} is valid")
    if how == "name":
        output.lines([each.job.name for each in judged if each.job is not None])
    refuse(judged)
    return 0


def refuse(judged: list[Judged]) -> None:
    """Refuse if a spec has a problem, naming all of them all."""
    failed = [each for each in judged if each.problems]
    if not failed:
        return
    count = counted(sum(len(each.problems) for each in failed), "problem")
    if len(judged) == 1:
        said, problems = f"{failed[0].file.name} has {count}", failed[0].problems
    else:
        said = f"{len(failed)} of {len(judged)} specs {'have' if len(failed) > 1 else 'has'} {count}"
        problems = tuple(
            Problem(f"{each.file.name}: {one.path or '(spec)'}", one.code, one.message)
            for each in failed
            for one in each.problems
        )
    again = " ".join("-" if each.file.name == "stdin" else each.file.name for each in failed)
    hints = [f"mend, then look again: heroctl validate {again}", "every field with what it means: heroctl schema job"]
    raise Fault(said, problems=problems, hints=hints)


def told(each: Judged, problem: Problem) -> str:
    """Say one thing about a spec, and where."""
    return ": ".join(part for part in (each.file.name, problem.path, problem.message) if part)


def _row(each: Judged) -> dict[str, object]:
    return {
        "file": each.file.name,
        "job": each.job.name if each.job is not None else None,
        "valid": not each.problems,
        "problems": each.problems,
        "warnings": each.warnings,
    }
