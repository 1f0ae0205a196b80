"""Documents that are made from the code. `python -m tests.generated` writes them; a test holds them to it."""

from __future__ import annotations

import itertools
import json
import pathlib
import sys
from typing import Final

from msgspec import structs

from agents import settings as agents
from api import settings as api
from api.codes import CODES, FAMILIES
from api.openapi import document
from api.routes import ROUTES
from heroctl.dev import settings as dev
from heroctl.domain.events import EVENTS
from heroctl.domain.lifecycle import RANK, TERMINAL
from heroctl.domain.policy import BUILT_IN, RIGHTS, grants, resource_of
from heroctl.domain.settings import table
from reconciler import settings as reconciler
from tests.growth import losses

DOCS: Final = pathlib.Path(__file__).parent.parent / "docs"
CONTRACT: Final = DOCS / "openapi.json"

_EVENTS_HEAD: Final = """\
# Events

Every change of a cluster is one of these events, at one index of one log. A tag stays for ever; a payload that changes
its shape raises its schema number. From its level on a log takes it ([upgrade.md](upgrade.md)). The writer says who may
append it: an api for a user's *intent* or an agent's *report*, or the coordinator as a *decision*, under its epoch.

| tag | schema | level | writer | what happened | payload |
|---|---|---|---|---|---|
"""
_LIFECYCLE_HEAD: Final = """\
# The life of an allocation

Within one attempt phases only rise; a phase may be skipped. When an attempt ends and another will follow, the attempt
number rises and the phase begins again at `starting`. Nothing follows `complete` and `failed`.

```mermaid
stateDiagram-v2
    [*] --> pending
"""


def events() -> str:
    """Write a table of all events."""
    rows = []
    for tag, kind in sorted(EVENTS.items()):
        fields = ", ".join(f"`{field.encode_name}`" for field in structs.fields(kind))
        said = " ".join((kind.__doc__ or "").split())
        rows.append(f"| `{tag}` | {kind.SCHEMA} | {kind.LEVEL} | {kind.WRITER} | {said} | {fields} |\n")
    return _EVENTS_HEAD + "".join(rows)


def lifecycle() -> str:
    """Draw the table of phases: each step to the next rank, and the new attempt."""
    ladder = sorted((phase for phase in RANK if phase not in TERMINAL), key=RANK.__getitem__)
    lines = [f"    {low} --> {high}\n" for low, high in itertools.pairwise(ladder)]
    lines += [f"    {phase} --> {end}\n" for phase in ladder for end in sorted(TERMINAL)]
    lines.append("    ended --> starting : attempt + 1\n")
    lines += [f"    {end} --> [*]\n" for end in sorted(TERMINAL)]
    return _LIFECYCLE_HEAD + "".join(lines) + "```\n" + _LIFECYCLE_TAIL


_LIFECYCLE_TAIL: Final = """
## How one is stopped
Out of the traffic first: as soon as it is wanted stopped its status is `stopping`, and its agent says so at once and
makes no more checks. `shutdown_delay` later it gets `stop_signal`, and `kill_timeout` after that SIGKILL. An end of
its own in the meantime ends the waiting, and is no failure. An agent that is killed in the delay goes on with what is
left of it when it comes back: that it began is on disk before the waiting begins, and others have known since the stop
was decided. One that lost its files begins the delay anew. The same holds for everything on a node that is removed.
Workloads that end with their agent, as in dev mode, have six seconds for all of it.

## Health
The agent asks: `http` (GET on the port; 200 to 399 is yes, a redirect is not followed), `tcp` (somebody listens) or a
`command` inside (exit code 0; one that takes longer than `timeout` is ended, with all that it started). One yes makes
`healthy`, `retries` times no in a row make `unhealthy`. Within `start_period` after the container's start a no does
not count until the first yes, and it is asked more often, so that a quick start is seen quickly. A check that could
not be made, since the engine is away, says nothing. Each container has its own task for its checks: one that hangs
holds up no other.

`min_healthy_time` counts from when it became healthy and stayed so: an `unhealthy` in between or a new attempt,
however late, begins it anew. Without a check what runs is healthy. A changed check begins with what is known: a
running replica does not turn `unknown` for it.

## Why
`reason` is a code, `message` at most 1 KiB of prose. Its first line says what happened: `exited with code 3`, `GET
/healthz answered 500`, `command: exit code 1`. Below it stand the last lines, up to five, that the workload or the
command said, without control characters; what is not UTF-8 is replaced. A timeline keeps the first lines only. Why one
is not healthy yet is told with the first no that counts, or after ten of them in a long start.
"""
_SETTINGS_HEAD: Final = """\
# Settings

Every setting is a flag, a variable and a line of one TOML file (`--config FILE`, or `HEROCTL_CONFIG`). A process there
reads the table named as itself (`[api]`), then the top level, which all share. The flag wins over the variable, the
variable over the file. `--show-config` prints what is in force, secrets masked.
"""
_SETTINGS_COLUMNS: Final = "| flag | variable | value | default | what it is |\n|---|---|---|---|---|\n"
_PROCESSES: Final = (
    ("heroctl serve api", "api", api.Settings),
    ("heroctl serve reconciler", "reconciler", reconciler.Settings),
    ("heroctl agent", "agent", agents.Settings),
    ("heroctl dev", "dev", dev.Settings),
)


def settings() -> str:
    """Write a table of settings for each process."""
    text = _SETTINGS_HEAD
    for command, section, kind in _PROCESSES:
        text += f"\n## `{command}` (`[{section}]`)\n\n{_SETTINGS_COLUMNS}"
        for row in table(kind):
            value = row.kind.replace("|", " or ")
            default = f"`{row.default}`" if row.default else ""
            text += f"| {f'`{row.flag}`' if row.flag else ''} | `{row.variable}` | {value} | {default} | {row.help} |\n"
    return text


_ERRORS_HEAD: Final = """\
# Errors

Every refusal, whoever makes it, is `{"error": code, "message": prose, "request_id": "req_…"}`, maybe with `details`:
what is wrong with which field, as `[{path, code, message}]`. The code is the contract, the prose may change. The
`request_id` is in the header `X-Request-Id`, too, in the api's log, and on every event that the request caused.

Which route answers which code is told at `/v1/docs`, and in `/v1/openapi.json`.
"""


def errors() -> str:
    """Write a table of codes for each status."""
    text = _ERRORS_HEAD
    for status in sorted({code.kind.status for code in CODES.values()}):
        text += f"\n## {status}\n\n| code | meaning | what to do |\n|---|---|---|\n"
        for name, code in sorted(CODES.items()):
            if code.kind.status == status:
                text += f"| `{name}` | {code.meaning} | {code.remedy} |\n"
        for end, make in FAMILIES.items():
            if make("…").kind.status == status:
                text += f"| `…{end}` | {make('…').meaning} | {make('…').remedy} |\n"
    return text


_RIGHTS_HEAD: Final = """\
# Rights

Every right there is, and which of the built-in roles give it; [access.md](access.md) tells how they are used. Made from
`heroctl/domain/policy.py`. Rights of a *namespace* hold in the holder's namespaces only; a rule names them by
`namespace`. Rules on nodes and namespaces themselves may name them by `name`; without one they are about all. Where a
right is *of jobs*, a token's `jobs` bound it, too.

| right | named by | of jobs | viewer | deployer | operator | admin |
|---|---|---|---|---|---|---|
"""


def rights() -> str:
    """Write a table of all rights."""
    held = {role: grants(frozenset(rules)) for role, rules in BUILT_IN.items()}
    rows = []
    for right in RIGHTS:
        resource = resource_of(right)
        marks = " | ".join("yes" if each.everywhere(right) else "" for each in held.values())
        rows.append(f"| `{right}` | {resource.named_by} | {'yes' if resource.of_jobs else ''} | {marks} |\n")
    return _RIGHTS_HEAD + "".join(rows)


DOCUMENTS: Final = {
    "rights.md": rights,
    "errors.md": errors,
    "settings.md": settings,
    "events.md": events,
    "lifecycle.md": lifecycle,
}


def main() -> None:
    """Write every document anew."""
    for name, make in DOCUMENTS.items():
        (DOCS / name).write_text(make())
    record()


def record() -> None:
    """Record the contract of the api as it is; refuse where a client of the recorded one would miss something."""
    made = document(ROUTES, "1")
    lost = losses(json.loads(CONTRACT.read_text()), made) if CONTRACT.exists() else []
    if lost:
        sys.exit("v1 only grows, and docs/openapi.json is what clients count on:\n" + "\n".join(lost))
    CONTRACT.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
