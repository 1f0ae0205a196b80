"""How every command that reads shows what it read: once, or at every change."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from heroctl.cli import output
from heroctl.cli.client import Answer, Query, decode
from heroctl.cli.faults import Fault, Refused, Unreachable
from heroctl.cli.options import Access, Output
from heroctl.cli.session import Session

T = TypeVar("T")

_LONGEST_PAUSE_S: Final = 15.0


class Page(NamedTuple, Generic[T]):
    """Something to read: its shape, and what of it makes the table and the names."""

    where: str
    kind: type[T]
    sheet: Callable[[T], output.Sheet]
    names: Callable[[T], Sequence[str]]
    query: Query | None = None
    in_namespace: bool = False  # whether its query may name one


def read(access: Access, page: Page[T], *, watch: bool = False, at: str | None = None) -> None:
    """Print a page, as it was `at` a moment if one is given; with `watch` again at every change, until interrupted."""
    with Session(access) as session:
        read_with(session, page, access.output, watch=watch, at=at)


def read_with(session: Session, page: Page[T], how: Output, *, watch: bool = False, at: str | None = None) -> None:
    """Print a page, as `read` does, over a session that is open already."""
    if watch and at is not None:
        raise Fault("what was does not change: give --at or --watch", hints=["leave out --watch"])
    if page.in_namespace:
        page = page._replace(query={**session.scope, **(page.query or {})})
    if at is not None:
        page = page._replace(query={**(page.query or {}), "at": at})
    answer = session.client.get(page.where, page.query)
    if at is not None:
        output.note(f"as of index {answer.index}" + (f", {answer.at}" if answer.at else ""))
    _print(session, page, how, answer, watch=watch)
    last = answer
    while watch:
        answer = wait(session, page.where, page.query, last.index)
        if answer.raw != last.raw:
            _print(session, page, how, answer, watch=True)
        last = answer


def wait(session: Session, where: str, query: Query | None, index: int) -> Answer:
    """Return the page as it is after `index`; sits out an API that is away, and says so once."""
    return patiently(lambda: session.client.poll(where, query, index=index))


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask until there is an answer or a refusal; sit out an API that is away, and say so once."""
    pause = 0.5
    while True:
        try:
            return ask()
        except (Unreachable, Refused) as fault:
            if isinstance(fault, Refused) and fault.status < 500:
                raise
            if pause == 0.5:
                output.note(f"lost contact: {fault.message}; trying again")
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads retries, keeps no secret
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def _print(session: Session, page: Page[T], how: Output, answer: Answer, *, watch: bool) -> None:
    if how in ("json", "yaml"):
        output.dump(answer.raw, how, compact=watch)
        return
    body = decode(answer, page.kind, session.client.caller)
    if how == "name":
        output.lines(page.names(body))
        return
    if watch and output.fancy(sys.stdout):
        sys.stdout.write("\x1b[2J\x1b[H")
    output.show(page.sheet(body))
    if watch and not output.fancy(sys.stdout):
        sys.stdout.write("\n")
        sys.stdout.flush()
