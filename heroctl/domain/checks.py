"""Checking a job spec that was read: names, ranges, and what belongs together. Each adds its problems to a list."""

from __future__ import annotations

import itertools
import re
from typing import Final

from heroctl.domain import image, references
from heroctl.domain import spec as specs
from heroctl.domain.checks_depends import check_dependencies, check_system
from heroctl.domain.checks_launches import check_launches
from heroctl.domain.checks_placement import placement
from heroctl.domain.disconnect import disconnect
from heroctl.domain.errors import Problem
from heroctl.domain.isolation import isolation
from heroctl.domain.mounts import mounts
from heroctl.domain.names import misnamed
from heroctl.domain.scraping import Metrics
from heroctl.domain.spec import DYNAMIC_PORTS, MAX_COUNT, MAX_ENV, Health, Job, Task

ENV_NAME: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")
PORT_NAME: Final = re.compile(r"^[a-z][a-z0-9_-]{0,30}$")
HEADER: Final = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")
SIGNALS: Final = frozenset(
    {"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGABRT"}
)


def check_job(job: Job, problems: list[Problem]) -> None:
    """Check a whole spec."""
    problems += misnamed(job.name, "job")
    problems += misnamed(job.namespace, "namespace")
    check_launches(job, problems)
    seen: set[str] = set()
    hosts: dict[int, str] = {}
    if sum(task.count for task in job.tasks) > MAX_COUNT:  # whoever plans it, or explains it, looks at each
        problems.append(Problem("tasks", "out_of_range", f"at most {MAX_COUNT} replicas of all tasks together"))
    for number, task in enumerate(job.tasks):
        path = f"tasks[{number}]"
        if task.name in seen:
            problems.append(Problem(f"{path}.name", "duplicate", f"two tasks are named '{task.name}'"))
        seen.add(task.name)
        _check_task(task, path, problems)
        _check_ports(task, path, hosts, problems)
    check_dependencies(job, problems)
    _check_metrics(job, problems)
    check_system(job, problems)


def _check_metrics(job: Job, problems: list[Problem]) -> None:
    """A job's metrics are told on a port that one of its tasks has."""
    metrics = job.metrics
    if metrics is None:
        return
    if not any(port_of(task, metrics) for task in job.tasks):
        message = f"no task has a port {metrics.port!r}: name one, or give its number inside the container"
        problems.append(Problem("metrics.port", "invalid_value", message))
    if not metrics.path.startswith("/") or len(metrics.path) > 256 or not metrics.path.isprintable():
        problems.append(Problem("metrics.path", "invalid_value", "expected a path, such as /metrics"))
    if not 1 <= metrics.interval.seconds <= 3_600:
        problems.append(Problem("metrics.interval", "out_of_range", "expected 1s to 1h"))


def port_of(task: Task, metrics: Metrics) -> str:
    """Name the port of a task on which it tells its metrics; "": it has none of that."""
    wanted = metrics.port
    return next((name for name, port in sorted(task.ports.items()) if wanted in (name, port.container)), "")


def _check_task(task: Task, path: str, problems: list[Problem]) -> None:
    problems += misnamed(task.name, f"{path}.name")
    if task.driver == "docker" and not task.image:
        problems.append(Problem(f"{path}.image", "required", "driver docker needs an image"))
    _check_image(task, f"{path}.image", problems)
    if task.driver == "process" and not task.command:
        problems.append(Problem(f"{path}.command", "required", "driver process needs a command"))
    if task.driver == "process" and task.image:
        problems.append(Problem(f"{path}.image", "invalid_value", "driver process has no image"))
    if task.stop_signal not in SIGNALS:
        known = ", ".join(sorted(SIGNALS))
        problems.append(Problem(f"{path}.stop_signal", "invalid_value", f"expected one of {known}"))
    for field, texts in (("command", task.command), ("args", task.args), ("env", tuple(task.env.values()))):
        if any("\0" in text for text in texts):
            problems.append(Problem(f"{path}.{field}", "invalid_value", "a NUL cannot be handed to a program"))
    _check_env(task, path, problems)
    problems += isolation(task, path)
    problems += placement(task, path)
    problems += mounts(task, path)
    problems += disconnect(task, path)
    problems += references.problems(task, path)
    if task.health is not None:
        _check_health(task, task.health, f"{path}.health", problems)
    _check_update(task.update, f"{path}.update", problems)


def _check_image(task: Task, path: str, problems: list[Problem]) -> None:
    if not task.image:
        return
    try:
        image.parse(task.image)
    except ValueError as error:
        problems.append(Problem(path, "invalid_value", f"{task.image!r} names no image: {error}"))


def _check_update(update: specs.Update, path: str, problems: list[Problem]) -> None:
    steps = update.canary.steps if update.canary is not None else ()
    if any(after <= before for before, after in itertools.pairwise(steps)):
        problems.append(
            Problem(f"{path}.canary.steps", "invalid_value", "each step must be greater than the one before")
        )
    if update.rainbow is not None and not HEADER.fullmatch(update.rainbow.header):
        problems.append(Problem(f"{path}.rainbow.header", "invalid_name", "expected the name of an HTTP header"))


def _check_env(task: Task, path: str, problems: list[Problem]) -> None:
    if len(task.env) > MAX_ENV:
        problems.append(Problem(f"{path}.env", "out_of_range", f"at most {MAX_ENV} entries"))
    for name in task.env:
        if not ENV_NAME.fullmatch(name):
            problems.append(Problem(f"{path}.env.{name}", "invalid_name", "use letters, digits and _"))
        elif name.startswith("HEROCTL_"):
            problems.append(Problem(f"{path}.env.{name}", "invalid_name", "HEROCTL_ names are set by the agent"))


def _check_ports(task: Task, path: str, hosts: dict[int, str], problems: list[Problem]) -> None:
    containers: dict[int, str] = {}
    for name, port in task.ports.items():
        where = f"{path}.ports.{name}"
        if not PORT_NAME.fullmatch(name):
            problems.append(Problem(where, "invalid_name", "use a-z, 0-9, - and _, beginning with a letter"))
        if port.container in containers:
            other = containers[port.container]
            problems.append(Problem(where, "duplicate", f"port {port.container} is '{other}' already"))
        containers.setdefault(port.container, name)
        if not port.host:
            continue
        if port.host in DYNAMIC_PORTS:
            span = f"{DYNAMIC_PORTS.start} to {DYNAMIC_PORTS.stop - 1}"
            problems.append(Problem(f"{where}.host", "out_of_range", f"{span} are for dynamic ports"))
        if port.host in hosts:
            problems.append(Problem(f"{where}.host", "duplicate", f"host port {port.host} is {hosts[port.host]}'s"))
        hosts.setdefault(port.host, where)


def _check_health(task: Task, health: Health, path: str, problems: list[Problem]) -> None:
    kinds = [kind for kind in ("http", "tcp", "command") if getattr(health, kind)]
    if len(kinds) != 1:
        problems.append(Problem(path, "invalid_value", "give exactly one of http, tcp, command"))
        return
    if health.http is not None and not re.fullmatch(r"/[\x21-\x7e]*", health.http):
        problems.append(Problem(f"{path}.http", "invalid_value", "expected a path such as /healthz"))
    if health.http is None and health.port is not None:
        problems.append(Problem(f"{path}.port", "invalid_value", "port goes with http"))
    if health.interval.ms < 1 or health.timeout.ms < 1:
        problems.append(Problem(path, "out_of_range", "interval and timeout must be longer than 0s"))
    port = health.tcp or health.port
    field = "tcp" if health.tcp else "port"
    if kinds != ["command"] and port is None and len(task.ports) != 1:
        problems.append(Problem(f"{path}.port", "required", "say which of the task's ports to ask"))
    elif port is not None and port not in task.ports:
        problems.append(Problem(f"{path}.{field}", "invalid_value", f"the task has no port '{port}'"))
