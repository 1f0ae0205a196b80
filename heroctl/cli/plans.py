"""What a plan says, in words: for people, and as Markdown for a review. Pure: `planning` asks and prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from heroctl.cli.faults import counted
from heroctl.cli.plan_shapes import Counts, Difference, Planned, PlannedTask

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_WIDEST: Final = 100  # characters of a value in a line; all of it is in the JSON
_HEAD: Final = ("| task | strategy | place | replace | stop | told anew | nodes |", "|---|---|--:|--:|--:|--:|---|")
_PARTS: Final = (("place", "to place"), ("replace", "to replace"), ("stop", "to stop"), ("in_place", "kept, told anew"))


def lines(plan: Planned) -> Iterator[str]:
    """Tell a plan: what is different, what becomes of replicas, what stands in the way."""
    yield headline(plan)
    if plan.diff and plan.check_index:
        yield ""
        yield from (f"  {line}" for line in differences(plan.diff))
    if plan.tasks and plan.moves:
        yield ""
        yield from (f"  {line}" for name, task in plan.tasks.items() for line in _task(name, task))
    if plan.waits_for:
        yield from ("", f"  {_promotion(plan)}")
    if plan.preempted:
        yield from ("", f"  makes way for it: {plan.preempted} of other jobs, of a lower priority")
    if plan.truncated:
        yield from ("", "  it is more than a plan looks at: at least so much")
    for reason in plan.blocked:
        yield from ("", f"  blocked: {reason}")


def headline(plan: Planned) -> str:
    """Say in one line what would be done."""
    job = f"{plan.name} in {plan.namespace}" if plan.namespace != "default" else plan.name
    if not plan.moves:
        return f"{job}: nothing to do, version {plan.version} is this already"
    if not plan.check_index:
        return f"{job}: a new job, {counts(plan)}"
    return f"{job}: version {plan.version}, {counts(plan)}"


def counts(of: Counts) -> str:
    """Say how many replicas come, go and change."""
    told = [f"{number} {words}" for field, words in _PARTS if (number := getattr(of, field))]
    return ", ".join(told) or "no replica is touched"


def differences(rows: Sequence[Difference]) -> Iterator[str]:
    """Tell what is different, a line a place."""
    for row in rows:
        yield f"{_SIGNS.get(row.kind, '~')} {row.path}: {change(row)}"


def change(row: Difference) -> str:
    """Say what stood somewhere and what stands there now."""
    if row.kind == "added":
        return value(row.to)
    return value(row.from_) if row.kind == "removed" else f"{value(row.from_)} -> {value(row.to)}"


def value(given: Any) -> str:  # noqa: ANN401 - any JSON
    """Write a value in one line; the middle of a long one is left out."""
    text = msgspec.json.encode(given).decode()
    half = (_WIDEST - 5) // 2
    return text if len(text) <= _WIDEST else f"{text[:half]} ... {text[-half:]}"


def _task(name: str, task: PlannedTask) -> Iterator[str]:
    replaced = f", {task.strategy}" if task.replace or task.strategy != "rolling" else ""
    yield f"task {name}: {counts(task)}{replaced}"
    if task.nodes:
        yield "  on " + ", ".join(f"{share.node} ({share.replicas})" for share in task.nodes)


def _promotion(plan: Planned) -> str:
    if plan.waits_for == "launch":
        then = f": {counts(plan.once_launched)}" if plan.once_launched is not None else ""
        return f"then it waits to be launched{then}"
    then = f": {counts(plan.once_promoted)} in all" if plan.once_promoted is not None else ""
    return f"then it waits for somebody to promote it{then}"


def markdown(plan: Planned) -> Iterator[str]:
    """Tell a plan as Markdown."""
    yield f"### {_escaped(headline(plan))}"
    if plan.diff and plan.check_index:
        yield from ("", "```diff", *map(_fenced, _patch(plan.diff)), "```")
    if plan.tasks and plan.moves:
        yield from (
            "",
            "| task | strategy | place | replace | stop | told anew | nodes |",
            "|---|---|--:|--:|--:|--:|---|",
        )
        for name, task in plan.tasks.items():
            nodes = _escaped(", ".join(f"{share.node} ({share.replicas})" for share in task.nodes))
            numbers = f"{task.place} | {task.replace} | {task.stop} | {task.in_place}"
            yield f"| {name} | {task.strategy} | {numbers} | {nodes} |"
    said = [_promotion(plan)] if plan.waits_for else []
    said += ["it is more than a plan looks at: at least so much"] if plan.truncated else []
    said += [f"**blocked:** {_escaped(reason)}" for reason in plan.blocked]
    said += [f"warning: {_escaped(': '.join(filter(None, (each.path, each.message))))}" for each in plan.warnings]
    for text in said:
        yield from ("", f"- {text}")
    yield from ("", f"`--check-index {plan.check_index}` makes a run rest on this plan.")


def _patch(rows: Sequence[Difference]) -> Iterator[str]:
    """Write differences as a patch is written, so that they get a patch's colours."""
    for row in rows:
        if row.kind != "added":
            yield f"- {row.path}: {value(row.from_)}"
        if row.kind != "removed":
            yield f"+ {row.path}: {value(row.to)}"


def _fenced(text: str) -> str:
    return text.replace("```", "'''")


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in "\\`*_|<>[]" else each for each in text)


def summary(plans: Sequence[Planned]) -> str:
    """Say of many plans in one line how many do what."""
    new = sum(not plan.check_index and plan.moves for plan in plans)
    same = sum(not plan.moves for plan in plans)
    return f"{counted(new, 'job')} to make, {len(plans) - new - same} to change, {same} as they are"
