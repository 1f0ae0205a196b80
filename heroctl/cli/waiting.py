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
from heroctl.cli.explaining import explained
from heroctl.cli.faults import BLOCKED, FAILED, HEALTHY, TIMED_OUT, Fault, Refused, Unreachable
from heroctl.cli.rollout import SHOWN, Seen, Verdict, Wanted
from heroctl.cli.shapes import Allocation, Deployment, Job, Launch

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
    """Wait until what was begun has an end, and, where it failed, the way back; at most `timeout` seconds.

    A version that a changed secret puts in the place of what is waited for is the same spec, and is waited for instead.
    """
    began = time.monotonic()

    def follow_next(one: Wanted) -> Outcome:
        left = max(1.0, timeout - (time.monotonic() - began))
        return _follow(client, one, timeout=left, quiet=quiet)

    verdict, seen, _ = _follow(client, wanted, timeout=timeout, quiet=quiet)
    while verdict.code == FAILED and not seen.gone and (renewed := _with_new_secrets(client, wanted)) is not None:
        output.note(f"a secret of {wanted.name} changed: version {renewed.version} takes its place")
        wanted = wanted._replace(version=renewed.version, deployment=renewed.id)
        verdict, seen, _ = follow_next(wanted)
    if verdict.code != HEALTHY and not seen.gone:
        back = _way_back(client, wanted) if verdict.code == FAILED else None
        if back is not None:
            output.note(f"{verdict.message}; going back, as version {back.version}")
            after, seen, _ = follow_next(wanted._replace(version=back.version, deployment=back.id))
            verdict = rollout.returned(verdict, after, back)
        elif seen.deployment is not None and seen.deployment.status == "reverted":
            verdict = verdict._replace(message=f"{verdict.message}; the version before it is back")
        verdict = _with_reason(client, wanted, verdict)
    return Outcome(verdict, seen, time.monotonic() - began)


def _follow(client: Client, wanted: Wanted, *, timeout: float, quiet: float) -> Outcome:
    """Wait for one deployment."""
    heard: queue.Queue[Update | BaseException] = queue.Queue()
    stop = threading.Event()
    began = time.monotonic()
    # Watchers cannot be interrupted in a long poll. Each has a client of its own, which nobody else may close: a thread
    # that reads from a connection is not woken by another one that closes it.
    watching = []
    for watch in _watches(wanted):
        watching.append(client.sibling())
        threading.Thread(target=watch, args=(watching[-1], heard.put, stop), name=THREADS, daemon=True).start()
    try:
        with _progress() as (line, status):
            why = _Why(client, wanted, quiet)
            seen, verdict = _decide(heard, wanted, began, timeout, quiet=quiet, line=line, status=status, why=why)
            if verdict.code in (HEALTHY, FAILED) and not seen.gone:
                seen = _refreshed(client, max(each.seen for each in watching), wanted, seen)
                verdict = rollout.decide(seen, wanted) or verdict
    finally:
        stop.set()
        client.seen = max([client.seen, *(each.seen for each in watching)])
    return Outcome(verdict, seen, time.monotonic() - began)


class _Why:
    """What the cluster has to say while nothing happens: asked for each time it has been quiet, told when it is new."""

    def __init__(self, client: Client, wanted: Wanted, quiet: float) -> None:
        self._client = client
        self._wanted = wanted
        self._quiet = quiet
        self._told = ""
        self.due = time.monotonic() + quiet

    def put_off(self) -> None:
        """Something happened, and speaks for itself."""
        self.due = time.monotonic() + self._quiet

    def news(self) -> list[str]:
        """Ask, if it has been quiet for long enough."""
        if time.monotonic() < self.due:
            return []
        found = explained(self._client, self._wanted.namespace, self._wanted.name)
        self.put_off()
        if found is None or not found.summary or found.summary == self._told:
            return []
        self._told = found.summary
        return [f"why: {found.summary}"]


def _decide(
    heard: queue.Queue[Update | BaseException],
    wanted: Wanted,
    began: float,
    timeout: float,
    *,
    quiet: float,
    line: Callable[[str], None],
    status: Callable[[str], None],
    why: _Why,
) -> tuple[Seen, Verdict]:
    seen = Seen()
    moved, until = began, began + timeout
    while True:
        status(rollout.summary(seen))
        reasons = rollout.blocked(seen) if seen.complete else ()
        now = time.monotonic()
        if reasons and now >= min(moved + quiet, until):
            return seen, _blocked(wanted, reasons)
        if now >= until:
            return seen, _too_late(seen, wanted, timeout)
        try:
            update = heard.get(timeout=max(0.0, min(until, why.due, moved + quiet if reasons else until) - now))
        except queue.Empty:
            for text in why.news():
                line(f"{time.monotonic() - began:6.1f}s  {text}")
            continue
        if isinstance(update, BaseException):
            raise update
        before, seen = seen, update(seen)
        lines = rollout.news(before, seen, wanted)
        for text in lines:
            line(f"{time.monotonic() - began:6.1f}s  {text}")
        if lines:
            moved = time.monotonic()
            why.put_off()
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
    allocations = decode(answer, tuple[Allocation, ...], client.caller)
    told = {
        each.id: _in_full(client, each) for each in rollout.ill(seen._replace(allocations=allocations), wanted)[:SHOWN]
    }
    return seen._replace(job=job, allocations=tuple(told.get(each.id, each) for each in allocations))


def _in_full(client: Client, alloc: Allocation) -> Allocation:
    """Read what a replica said last: lists leave it out."""
    try:
        return decode(client.get(path("allocations", alloc.id)), Allocation, client.caller)
    except (Refused, Unreachable):
        return alloc


def _way_back(client: Client, wanted: Wanted) -> Deployment | None:
    """Find the deployment that goes back from one that failed: it began in the moment of the failure, or never."""
    known = _deployments(client, wanted)
    return next((each for each in known if wanted.deployment and each.revert_of == wanted.deployment), None)


def _with_new_secrets(client: Client, wanted: Wanted) -> Deployment | None:
    """Find the deployment that took the place of one that it superseded, for the same spec with other secrets."""
    known = {each.version: each for each in _deployments(client, wanted)}
    before, after = known.get(wanted.version), known.get(wanted.version + 1)
    superseded = before is not None and before.id == wanted.deployment and before.status == "superseded"
    return after if superseded and after is not None and after.kind == "secret" else None


def _deployments(client: Client, wanted: Wanted) -> tuple[Deployment, ...]:
    try:
        answer = client.get(path("deployments"), {"job": wanted.name, "namespace": wanted.namespace})
        return decode(answer, tuple[Deployment, ...], client.caller)
    except (Refused, Unreachable):
        return ()


def _with_reason(client: Client, wanted: Wanted, verdict: Verdict) -> Verdict:
    """Add what the cluster itself has to say."""
    why = explained(client, wanted.namespace, wanted.name)
    return verdict._replace(facts=(("why", why.summary),)) if why is not None and why.summary else verdict


def _blocked(wanted: Wanted, reasons: tuple[str, ...]) -> Verdict:
    told = f"{wanted.name} version {wanted.version} is blocked: {'; '.join(reasons)}"
    hints = [
        "it goes on by itself once that has changed",
        f"heroctl job explain {wanted.name}",
        "heroctl node list",
    ]
    if any(reason.startswith("quarantined") for reason in reasons):
        hints = ["the reconciler's log has the rest; the next submit is tried again", "heroctl doctor"]
    return Verdict(BLOCKED, told, hints=tuple(hints))


def _too_late(seen: Seen, wanted: Wanted, timeout: float) -> Verdict:
    what = f"launch {wanted.launch} of {wanted.name} had not ended"
    if not wanted.launch:
        what = f"{wanted.name} version {wanted.version} was not healthy"
    told = f"{what} within {timeout:g} s ({rollout.summary(seen)})"
    hints = ("it goes on without us", f"heroctl job explain {wanted.name}", f"heroctl job status {wanted.name} --watch")
    return Verdict(TIMED_OUT, told, hints=hints)


Watcher = Callable[[Client, Callable[[Update | BaseException], None], threading.Event], None]


def _watches(wanted: Wanted) -> Iterator[Watcher]:
    scope: Query = {"namespace": wanted.namespace}
    yield _watcher(path("jobs", wanted.name), scope, Job, lambda seen, job: seen._replace(job=job))
    yield _watcher(
        path("allocations"),
        {**scope, "job": wanted.name},
        tuple[Allocation, ...],
        lambda seen, allocations: seen._replace(allocations=allocations),
    )
    if wanted.launch:
        where = path("jobs", wanted.name, "launches")
        yield _watcher(where, scope, tuple[Launch, ...], lambda seen, found: seen._replace(launches=found))
    if wanted.deployment:
        yield _watcher(path("deployments", wanted.deployment), {}, Deployment, rollout.with_deployment)


def _watcher(where: str, query: Query, kind: type[T], take: Callable[[Seen, T], Seen]) -> Watcher:
    def watch(client: Client, put: Callable[[Update | BaseException], None], stop: threading.Event) -> None:
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
