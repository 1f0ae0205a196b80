"""Checking what launches a job: the clock, or a dispatch; and what a dispatch brings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from heroctl.domain.cron import cron_problem, zone_problem
from heroctl.domain.errors import Problem
from heroctl.domain.references import references
from heroctl.domain.spec import Job, Task, Update

META_KEY: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$")
MOST_KEYS: Final = 64
_LONGEST_VALUES: Final = 16 * 1024  # bytes, of all values together
_NOT_A_WORD: Final = re.compile(r"\W", re.ASCII)


def check_launches(job: Job, problems: list[Problem]) -> None:
    """Check a job's `periodic` and `dispatch`."""
    given = [field for field in ("periodic", "dispatch") if getattr(job, field) is not None]
    if job.type != "batch":
        said = f"goes with type batch, and this is a {job.type}"
        problems += [Problem(field, "invalid_value", said) for field in given]
    if job.periodic is not None and job.dispatch is not None:
        problems.append(
            Problem("dispatch", "invalid_value", "a job is launched by the clock or by a dispatch: not both")
        )
    if job.periodic is not None:
        _add(problems, "periodic.cron", cron_problem(job.periodic.cron))
        _add(problems, "periodic.time_zone", zone_problem(job.periodic.time_zone))
    if job.type != "batch":
        problems += [
            Problem(f"tasks[{number}].{path}", "invalid_reference", f"{each}: only a batch job is launched")
            for number, task in enumerate(job.tasks)
            for path, each in references(task)
            if each.kind == "launch"
        ]
    if job.dispatch is not None:
        required, optional = job.dispatch.meta_required, job.dispatch.meta_optional
        problems += _keys(required, "dispatch.meta_required") or _keys((*required, *optional), "dispatch.meta_optional")


def launch_warnings(task: Task, path: str) -> list[Problem]:
    """List what says nothing in a batch job: its versions do not follow one another, replica by replica."""
    if task.update == Update():
        return []
    return [Problem(f"{path}.update", "no_effect", "a batch job is launched, not rolled out: `update` changes nothing")]


def variable(key: str) -> str:
    """Name the variable in which a task finds what a dispatch brought under a key."""
    return f"HEROCTL_META_{_NOT_A_WORD.sub('_', key).upper()}"


def meta_problems(meta: Mapping[str, str]) -> list[Problem]:
    """List what is wrong with what a dispatch brings, whatever the job asks for."""
    found = _keys(meta, "meta")
    for key, value in meta.items():
        if "\0" in value:
            found.append(Problem(f"meta.{key}", "invalid_value", "a NUL cannot be handed to a program"))
    if sum(len(value.encode()) for value in meta.values()) > _LONGEST_VALUES:
        found.append(Problem("meta", "out_of_range", f"at most {_LONGEST_VALUES} bytes of values"))
    return found


def _keys(keys: Iterable[str], path: str) -> list[Problem]:
    """Check keys, and tell of the first that will not do. No two may be one variable."""
    known: dict[str, str] = {}
    for number, key in enumerate(keys):
        if number == MOST_KEYS:
            return [Problem(path, "out_of_range", f"at most {MOST_KEYS} keys")]
        if not META_KEY.fullmatch(key):
            said = f"{key!r}: use letters, digits, _, - and ., beginning with a letter or _"
            return [Problem(path, "invalid_name", said)]
        if (name := variable(key)) in known:
            return [Problem(path, "duplicate", f"'{known[name]}' and '{key}' are both {name}")]
        known[name] = key
    return []


def _add(problems: list[Problem], path: str, said: str | None) -> None:
    if said is not None:
        problems.append(Problem(path, "invalid_value", said))
