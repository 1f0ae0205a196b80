"""Waits for a submit to come to its end, and tells what happens on the way.

One thread a thing watched long-polls it and puts what it got into one queue; the main thread alone decides, prints and
can be interrupted at any time.
"""

from __future__ import annotations

import contextlib
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from heroctl.cli import output, rollout
from heroctl.cli.client import Client, Query, decode, path
from heroctl.cli.faults import BLOCKED, FAILED, HEALTHY, TIMED_OUT, Fault, Refused, Unreachable
from heroctl.cli.rollout import Seen, Verdict, Wanted
from heroctl.cli.shapes import Allocation, Deployment, Job

THREADS: Final = "watching"  # the name of every thread that watches
QUIET_S: Final = 5.0  # how long nothing else may happen before a blocked job is given up
_LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")
Update = Callable[[Seen], Seen]


class Outcome(NamedTuple):
    """How it ended, what was seen last, and how many seconds it took."""

    verdict: Verdict
    seen: Seen
    seconds: float


def follow(client: Client, wanted: Wanted, *, timeout: float, quiet: float = QUIET_S) -> Outcome:
    """Wait until the submit has an end, at most `timeout` seconds."""
    heard: queue.Queue[Update | BaseException] = queue.Queue()
    stop = threading.Event()
    began = time.monotonic()
    # Watchers cannot be interrupted in a long poll. They have connections of their own, and end when it does.
    watching = client.sibling()
    for watch in _watches(watching, wanted):
        threading.Thread(target=watch, args=(heard.put, stop), name=THREADS, daemon=True).start()
    try:
        with _progress() as (line, status):
            seen, verdict = _decide(heard, wanted, began, timeout, quiet=quiet, line=line, status=status)
            if verdict.code in (HEALTHY, FAILED) and not seen.gone:
                seen = _refreshed(client, watching.seen, wanted, seen)
                verdict = rollout.decide(seen, wanted) or verdict
    finally:
        stop.set()
        client.seen = max(client.seen, watching.seen)
    return Outcome(verdict, seen, time.monotonic() - began)


def _decide(
    heard: queue.Queue[Update | BaseException],
    wanted: Wanted,
    began: float,
    timeout: float,
    *,
    quiet: float,
    line: Callable[[str], None],
    status: Callable[[str], None],
) -> tuple[Seen, Verdict]:
    seen = Seen()
    moved = began
    while True:
        status(rollout.summary(seen))
        reasons = rollout.blocked(seen) if seen.complete else ()
        now, until = time.monotonic(), began + timeout
        if reasons and now >= min(moved + quiet, until):
            return seen, _blocked(wanted, reasons)
        if now >= until:
            return seen, _too_late(seen, wanted, timeout)
        try:
            update = heard.get(timeout=max(0.0, (min(moved + quiet, until) if reasons else until) - now))
        except queue.Empty:
            continue
        if isinstance(update, BaseException):
            raise update
        before, seen = seen, update(seen)
        lines = rollout.news(before, seen, wanted)
        for text in lines:
            line(f"{time.monotonic() - began:6.1f}s  {text}")
        moved = time.monotonic() if lines else moved
        if verdict := rollout.decide(seen, wanted):
            return seen, verdict


def _refreshed(client: Client, index: int, wanted: Wanted, seen: Seen) -> Seen:
    """Look at the job and its replicas once more: what was heard last may not have told of all that made the end."""
    client.seen = max(client.seen, index)
    query = {"namespace": wanted.namespace}
    try:
        job = decode(client.get(path("jobs", wanted.name), query), Job, client.caller)
        answer = client.get(path("allocations"), {**query, "job": wanted.name})
    except (Refused, Unreachable):
        return seen
    return seen._replace(job=job, allocations=decode(answer, tuple[Allocation, ...], client.caller))


def _blocked(wanted: Wanted, reasons: tuple[str, ...]) -> Verdict:
    told = f"{wanted.name} version {wanted.version} is blocked: {'; '.join(reasons)}"
    hints = ("it goes on by itself once there is room", "heroctl node list", f"heroctl job status {wanted.name}")
    return Verdict(BLOCKED, told, hints=hints)


def _too_late(seen: Seen, wanted: Wanted, timeout: float) -> Verdict:
    told = f"{wanted.name} version {wanted.version} was not healthy within {timeout:g} s ({rollout.summary(seen)})"
    hints = ("it goes on without us", f"heroctl job status {wanted.name} --watch")
    return Verdict(TIMED_OUT, told, hints=hints)


Watcher = Callable[[Callable[[Update | BaseException], None], threading.Event], None]


def _watches(client: Client, wanted: Wanted) -> Iterator[Watcher]:
    scope: Query = {"namespace": wanted.namespace}
    yield _watcher(client, path("jobs", wanted.name), scope, Job, lambda seen, job: seen._replace(job=job))
    yield _watcher(
        client,
        path("allocations"),
        {**scope, "job": wanted.name},
        tuple[Allocation, ...],
        lambda seen, allocations: seen._replace(allocations=allocations),
    )
    if wanted.deployment:
        yield _watcher(client, path("deployments", wanted.deployment), {}, Deployment, rollout.with_deployment)


def _watcher(client: Client, where: str, query: Query, kind: type[T], take: Callable[[Seen, T], Seen]) -> Watcher:
    def watch(put: Callable[[Update | BaseException], None], stop: threading.Event) -> None:
        index, pause = 0, 0.25
        while not stop.is_set():
            try:
                answer = client.poll(where, query, index=index)
                body = decode(answer, kind, client.caller)
            except (Unreachable, Refused) as fault:
                if not _passing(fault):
                    put(_end(fault))
                    break
                stop.wait(random.uniform(pause / 2, pause))  # noqa: S311 - spreads retries, keeps no secret
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            except Exception as error:  # noqa: BLE001 - a bug here must end the command, not just this thread
                put(error)
                break
            index, pause = answer.index, 0.25
            put(lambda seen, body=body: take(seen, body))  # type: ignore[misc] # the default binds this round's body
        if stop.is_set():
            client.close()

    return watch


def _passing(fault: Fault) -> bool:
    return not isinstance(fault, Refused) or fault.status == 429 or fault.status >= 500


def _end(fault: Fault) -> Update | BaseException:
    if isinstance(fault, Refused) and fault.status == 404 and fault.error == "job_not_found":
        return lambda seen: seen._replace(gone=True)
    return fault


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Yield what prints a line and what shows the present state: the latter only where people look."""
    if not output.fancy(sys.stderr):
        yield output.note, lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, no_color=not output.colourful(sys.stderr))
    with console.status("waiting") as spinner:
        yield (
            lambda text: console.print(Text(output.clean(text))),
            lambda text: spinner.update(Text(output.clean(text))),
        )
