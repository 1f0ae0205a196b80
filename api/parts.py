"""The parts of an api process, made once at its start and handed to whoever serves a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from api.access import Access, Principal, check, expired
from api.aside import Aside
from api.bounds import Bounds
from api.cors import Cors
from api.exec_desk import Desk
from api.feed import Feed
from api.gate import Gate
from api.images import Images
from api.limits import Limits, Sizes
from api.log_feed import LogFeed
from api.marks import Marks
from api.passwords import Passwords
from api.past import Archive
from api.prover import Prover
from api.pulse import Pulse
from api.reads import Pages
from api.streams import Streams
from api.throttle import Throttle
from api.trail import Trail
from api.usage import Usage
from api.wait import ClientLeft, Waiters
from api.wait import Outcome as Ended
from api.world import World
from api.write import CATCH_UP, Writer
from eventstore.deliveries import Deliveries
from eventstore.handover import Handovers
from eventstore.log import Log
from eventstore.master import Master
from eventstore.sessions import Sessions
from eventstore.vault import Vault
from eventstore.view import STALE_AFTER, View
from heroctl.domain.addresses import Network
from heroctl.domain.assignment import Outcome
from heroctl.domain.errors import Problem, Refusal, Unavailable
from heroctl.outside import Outside

NO_COORDINATOR: Final = Problem(
    "", "no_coordinator", "no reconciler coordinates just now: this is kept, and will be acted upon when one does"
)
BEHIND: Final = 5.0  # seconds after which a view that cannot keep up gets no more traffic


@dataclass(slots=True)
class Parts:
    """Everything that handlers use. `clock` gives seconds since the epoch."""

    view: View
    writer: Writer
    vault: Vault
    sessions: Sessions
    gate: Gate
    marks: Marks
    passwords: Passwords
    pulse: Pulse
    world: World
    pages: Pages
    waiters: Waiters
    streams: Streams | None
    clock: Callable[[], float]
    log: Log
    handovers: Handovers
    archive: Archive
    prover: Prover
    trail: Trail
    master: Master
    deliveries: Deliveries
    logs: LogFeed | None = None
    desk: Desk = field(default_factory=Desk)
    url: str = ""  # at which agents reach this very process
    limits: Limits = field(default_factory=lambda: Limits(Sizes()))
    throttle: Throttle = field(default_factory=Throttle)
    bounds: Bounds = field(default_factory=Bounds)
    aside: Aside = field(default_factory=Aside)
    cors: Cors = field(default_factory=Cors)
    images: Images = field(default_factory=Images)
    receivers: Outside = field(default_factory=Outside)  # of webhooks
    feed: Feed = field(init=False)
    secure: bool = False  # clients come by TLS
    trusted: tuple[Network, ...] = ()  # proxies whose X-Forwarded-For counts
    synced: dict[str, tuple[int, int, list[Outcome]]] = field(
        default_factory=dict
    )  # by node: its last answered reports

    @property
    def usage(self) -> Usage:
        """What nodes and allocations use."""
        return self.pulse.usage

    def __post_init__(self) -> None:
        """Let the events of the log be read."""
        self.feed = Feed(self.view, self.log)

    def heed(self, outcome: Ended, who: Principal, access: Access) -> Principal:
        """Say who the caller of a wait that has ended is now.

        Raises what the end means to it: the client has gone, the token is no good any more, or may no more.
        """
        if outcome == "gone":
            raise ClientLeft
        if who.until <= self.clock():
            raise expired()
        now = self.gate.now(who) if outcome == "ended" else who
        check(access, now)
        return now or who

    async def abreast(self, index: int) -> None:
        """Let the view reach an index that a client has seen elsewhere. Raises `behind` when that takes over 2 s.

        An index above the log's head is of another history, and passed over.
        """
        if index > self.view.index and not await self._reaches(index):
            raise not_ready("behind", "this process has not read the log so far yet")

    async def _reaches(self, index: int) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP):
                return index > (await self.view.head()).index or await self.view.reached(index, CATCH_UP)
        return False

    def readiness(self) -> Literal["ok", "degraded"]:
        """Say `ok`, or `degraded` where reads go on without the log. Raises Unavailable: ask another process."""
        if self.waiters.draining:
            raise not_ready("draining", "this process is about to end")
        if not self.view.started:
            raise not_ready("starting", "this process has not read the log yet")
        if not self.view.sound:
            raise not_ready("outdated", "the log holds events of a newer release")
        if self.view.stale_seconds > STALE_AFTER:
            return "degraded"
        if self.view.behind_seconds > BEHIND:
            raise not_ready("behind", "this process does not keep up with the log")
        return "ok"

    def doubts(self) -> list[Problem]:
        """Say what a writer should know beside that it was written."""
        return [] if self.pulse.coordinated() else [NO_COORDINATOR]

    def need_coordinator(self) -> None:
        """Go on if somebody acts upon what is asked at once: later it could mean another thing."""
        if not self.pulse.coordinated():
            raise not_ready("no_coordinator", "no reconciler coordinates just now, and nothing was done")


def not_ready(code: str, message: str) -> Refusal:
    """Refuse for a moment: this process cannot, another one may."""
    return Unavailable(code, f"{message}: try again", retry_after=1)
