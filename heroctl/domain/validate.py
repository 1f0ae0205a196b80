"""Reading a job spec: a document in, a `spec.Job` out, or every problem with the path of its field."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar, get_args

import msgspec

from heroctl.domain import spec as specs
from heroctl.domain.checks import check_job
from heroctl.domain.checks_launches import launch_warnings
from heroctl.domain.errors import Problem, invalid_spec
from heroctl.domain.references import content_secrets
from heroctl.domain.scraping import Metrics
from heroctl.domain.spec import MAX_TASKS, Health, Job, Task

_T = TypeVar("_T", bound=msgspec.Struct)

_CODES: Final = ((re.compile(r"[<>]=? ?\d"), "out_of_range"), (re.compile("^Expected"), "invalid_type"))
_CONVERT_ERROR: Final = re.compile(r"^(?P<message>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_DRIVERS: Final = get_args(specs.Driver)

# Fields of the job model that this release cannot honour yet. They are refused by name: ignoring one would be a lie.
LATER_JOB: Final = frozenset({"ingress"})
LATER_TASK: Final = frozenset(
    {
        "logs",
    }
)
_BATCH_RESTART: Final = msgspec.to_builtins(specs.BATCH_RESTART, enc_hook=specs.encode_hook)
_BATCH_RESCHEDULE: Final = msgspec.to_builtins(specs.BATCH_RESCHEDULE, enc_hook=specs.encode_hook)
_BLOCKS: Final = {"canary": "canary", "blue_green": "blue-green", "rainbow": "rainbow"}


def parse(raw: object) -> Job:
    """Read a decoded JSON or YAML document as a job spec. Raises Invalid `invalid_spec` with all problems."""
    problems: list[Problem] = []
    job = _read_job(raw, problems)
    if job is not None:
        check_job(job, problems)
    if problems or job is None:
        raise invalid_spec(problems)
    return job


def warnings(job: Job) -> list[Problem]:
    """List what is allowed and probably not meant."""
    found = []
    for number, task in enumerate(job.tasks):
        path = f"tasks[{number}]"
        if task.on_secret_change != default(Task, "on_secret_change") and not content_secrets(task):
            said = "the task uses no secret in env or files: it changes nothing"
            found.append(Problem(f"{path}.on_secret_change", "no_effect", said))
        if job.type == "batch":
            found += launch_warnings(task, path)
            continue
        if task.health is None:
            said = f"task '{task.name}' has no health check: it counts as healthy as soon as it runs"
            found.append(Problem(f"{path}.health", "no_health_check", said))
        for block, strategy in _BLOCKS.items():
            if getattr(task.update, block) is not None and task.update.strategy != strategy:
                said = f"the strategy is '{task.update.strategy}': `{block}` changes nothing"
                found.append(Problem(f"{path}.update.{block}", "no_effect", said))
    return found


# ── reading: shapes and types ────────────────────────────────────────────────────────────────────────────────────────


def _read_job(raw: object, problems: list[Problem]) -> Job | None:
    if not isinstance(raw, dict):
        problems.append(Problem("", "invalid_type", "a job spec is an object: {job, tasks: [...]}"))
        return None
    fields = _one_name(dict(raw), problems)
    _known(fields, Job, LATER_JOB, "", problems)
    _known(fields.get("periodic"), specs.Periodic, frozenset(), "periodic.", problems)
    _known(fields.get("dispatch"), specs.Dispatch, frozenset(), "dispatch.", problems)
    _known(fields.get("metrics"), Metrics, frozenset(), "metrics.", problems)
    tasks = _read_tasks(fields.get("tasks"), problems, batch=fields.get("type") == "batch")
    _text_map(fields, "meta", "", problems)
    if problems:
        return None
    return _convert({**fields, "tasks": ()}, Job, "", problems, tasks=tasks)


def _one_name(fields: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """`name` is another word for `job`."""
    name = fields.pop("name", None)
    if name is None:
        return fields
    if "job" in fields and fields["job"] != name:
        problems.append(Problem("name", "invalid_value", "`job` and `name` mean the same and differ here"))
    return {"job": name, **fields}


def _read_tasks(raw: object, problems: list[Problem], *, batch: bool) -> tuple[Task, ...]:
    if raw is None:
        problems.append(Problem("tasks", "required", "a job needs at least one task"))
        return ()
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_TASKS:
        problems.append(Problem("tasks", "invalid_value", f"expected a list of 1 to {MAX_TASKS} tasks"))
        return ()
    read = [_of_batch(item) for item in raw] if batch else raw
    tasks = [_read_task(item, f"tasks[{number}]", problems) for number, item in enumerate(read)]
    return tuple(task for task in tasks if task is not None)


def _of_batch(task: object) -> object:
    """Fill in what a task of a batch job does when it fails, where its spec does not say."""
    if not isinstance(task, dict):
        return task
    restart, reschedule = task.get("restart", {}), task.get("reschedule", {})
    filled = dict(task)
    if isinstance(restart, dict):
        filled["restart"] = {**_BATCH_RESTART, **restart}
    if isinstance(reschedule, dict):
        filled["reschedule"] = {**_BATCH_RESCHEDULE, **reschedule}
    return filled


def _read_task(raw: object, path: str, problems: list[Problem]) -> Task | None:
    if not isinstance(raw, dict):
        problems.append(Problem(path, "invalid_type", "a task is an object: {name, driver, ...}"))
        return None
    before = len(problems)
    fields = dict(raw)
    if fields.get("driver", "docker") not in _DRIVERS:
        known = " or ".join(_DRIVERS)
        problems.append(Problem(f"{path}.driver", "unknown_driver", f"expected {known}, got {fields['driver']!r}"))
    _known(fields, Task, LATER_TASK, f"{path}.", problems)
    _read_update(fields.get("update"), f"{path}.update.", problems)
    for name, kind in (
        ("health", Health),
        ("restart", specs.Restart),
        ("reschedule", specs.Reschedule),
        ("resources", specs.Resources),
        ("migrate", specs.Migrate),
        ("on_disconnect", specs.OnDisconnect),
        ("capabilities", specs.Capabilities),
    ):
        _known(fields.get(name), kind, frozenset(), f"{path}.{name}.", problems)
    _known_each(fields.get("devices"), specs.Device, frozenset(), f"{path}.devices", problems)
    _known_each(fields.get("volumes"), specs.Volume, frozenset(), f"{path}.volumes", problems)
    _known_each(fields.get("files"), specs.File, frozenset(), f"{path}.files", problems)
    for name, condition in (
        ("constraints", specs.Constraint),
        ("affinities", specs.Affinity),
        ("spread", specs.Spread),
        ("depends_on", specs.Dependency),
    ):
        _known_each(fields.get(name), condition, frozenset(), f"{path}.{name}", problems)
    _text_map(fields, "env", f"{path}.", problems)
    _ports(fields, f"{path}.", problems)
    return None if len(problems) > before else _convert(fields, Task, path, problems)


def _read_update(update: object, prefix: str, problems: list[Problem]) -> None:
    _known(update, specs.Update, frozenset(), prefix, problems)
    if isinstance(update, dict):
        for block, kind in (("canary", specs.Canary), ("blue_green", specs.BlueGreen), ("rainbow", specs.Rainbow)):
            _known(update.get(block), kind, frozenset(), f"{prefix}{block}.", problems)


def _known(
    fields: object, kind: type[msgspec.Struct], later: frozenset[str], prefix: str, problems: list[Problem]
) -> None:
    """Report fields that the job model does not have, and those that this release does not have yet.

    One that says what is so anyway is no request: specs that were read here can be sent here.
    """
    if not isinstance(fields, dict):
        return
    known = kind.__struct_encode_fields__  # (msgspec.structs.fields reads the annotations anew each time: 0.2 ms)
    for name, value in fields.items():
        if name in later:
            if name in known and value == default(kind, name):
                continue
            problems.append(_later(f"{prefix}{name}", f"`{name}`"))
        elif name not in known:
            close = f"; known are {', '.join(sorted(known))}"
            problems.append(Problem(f"{prefix}{name}", "unknown_field", f"there is no field `{name}`{close}"))


def default(kind: type[msgspec.Struct], name: str) -> object:
    """Return what a field has that is not given. It must have something."""
    return kind.__struct_defaults__[kind.__struct_fields__.index(name) - len(kind.__struct_fields__)]


def _known_each(
    items: object, kind: type[msgspec.Struct], later: frozenset[str], path: str, problems: list[Problem]
) -> None:
    for number, item in enumerate(items if isinstance(items, list) else ()):
        _known(item, kind, later, f"{path}[{number}].", problems)


def _later(path: str, what: str) -> Problem:
    return Problem(path, "not_supported", f"{what} is not supported by this release")


def _text_map(fields: dict[str, Any], name: str, prefix: str, problems: list[Problem]) -> None:
    """Check a map of texts entry by entry, so that a problem names its key. Numbers and booleans are not guessed at."""
    entries = fields.get(name)
    if entries is None:
        return
    if not isinstance(entries, dict):
        problems.append(Problem(f"{prefix}{name}", "invalid_type", "expected an object of texts"))
        return
    for key, value in entries.items():
        if not isinstance(key, str) or not isinstance(value, str):
            problems.append(Problem(f"{prefix}{name}.{key}", "invalid_type", "expected a text: put it in quotes"))


def _ports(fields: dict[str, Any], prefix: str, problems: list[Problem]) -> None:
    """Write `http: 8080` as `http: {container: 8080}`, and check each entry under its own name."""
    entries = fields.get("ports")
    if entries is None:
        return
    if not isinstance(entries, dict):
        problems.append(Problem(f"{prefix}ports", "invalid_type", "expected an object: name -> port"))
        return
    read = {}
    for name, value in entries.items():
        path = f"{prefix}ports.{name}"
        whole = {"container": value} if isinstance(value, int) and not isinstance(value, bool) else value
        _known(whole, specs.Port, frozenset(), f"{path}.", problems)
        port = _convert(whole, specs.Port, path, problems)
        if port is not None:
            read[name] = msgspec.to_builtins(_of_host(port) if fields.get("network") == "host" else port)
    fields["ports"] = read


def _of_host(port: specs.Port) -> specs.Port:
    """In the host's network a port is that of the host, so it is reserved there."""
    return port if port.host else specs.Port(port.container, port.container)


def _convert(fields: object, kind: type[_T], path: str, problems: list[Problem], **given: object) -> _T | None:
    try:
        value = msgspec.convert(fields, kind, dec_hook=specs.decode_hook)
    except msgspec.ValidationError as error:
        problems.append(_problem(str(error), path))
        return None
    return msgspec.structs.replace(value, **given) if given else value


def _problem(text: str, prefix: str) -> Problem:
    match = _CONVERT_ERROR.match(text)
    message, path = (match["message"], match["path"] or "") if match else (text, "")
    missing = re.match(r"^Object missing required field `(.+)`$", message)
    if missing:
        path, message = f"{path}.{missing[1]}", "this field is required"
    where = f"{prefix}{path}" if prefix else path.removeprefix(".")
    code = (
        "required" if missing else next((code for pattern, code in _CODES if pattern.search(message)), "invalid_value")
    )
    return Problem(where, code, message.replace("`", ""))
