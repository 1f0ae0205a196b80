"""The services that a node's allocations refer to, each at a stable local address: `${service.JOB.TASK.PORT}`.

A port is taken when the first allocation refers to a service, and is the service's for as long as the agent has a
folder. Programs on the host's network find it on loopback, containers on the address of the host in their network.
Where the service is found is heard by a long poll, which runs only while anybody refers to anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import ClassVar, Final

import structlog

from agents.bridge import Bridge
from agents.client import Away, Refused
from agents.clock import Clock
from agents.forward import Forward, listen, within
from agents.ports import NoPortLeft, Ports
from agents.runtime import Unavailable
from agents.secrets import Waiting
from heroctl.domain.assignment import Assigned
from heroctl.domain.endpoints import ServicesReply, ServicesRequest, referred

LOOPBACK: Final = "127.0.0.1"
WAIT: Final = 60.0  # seconds of one long poll
AGAIN: Final = 1.0  # seconds between two attempts where something is missing
BROKEN: Final = 5.0  # the same, after a bug
TRIES: Final = 5  # ports that are found taken by others in a row
KEPT: Final = 500  # ports of services that nobody refers to any more
_HOLDER: Final = "service:"
_log: Final = structlog.get_logger("services")

Ask = Callable[[ServicesRequest], Awaitable[ServicesReply]]


class NoAddress(Waiting):
    """The services that a task refers to have no local address yet: look again."""

    reason: ClassVar[str] = "waiting_for_services"


class Services:
    """Of one agent. `bridge` says where containers stand, if there are any: OSError or Unavailable: not known now."""

    def __init__(
        self,
        node: str,
        ports: Ports,
        ask: Ask,
        *,
        clock: Clock,
        keep: Callable[[dict[str, int]], Awaitable[None]],
        bridge: Callable[[], Awaitable[Bridge | None]] | None = None,
    ) -> None:
        self._node = node
        self._ports = ports
        self._ask = ask
        self._clock = clock
        self._keep = keep
        self._find_bridge = bridge
        self._bridge: Bridge | None = None
        self._looked = bridge is None
        self._held: dict[str, int] = {}  # every service's port, by its key
        self._forwards: dict[str, Forward] = {}
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._again = False

    def remember(self, held: Mapping[str, int]) -> None:
        """Take up the ports that services had."""
        self._held = dict(held)
        for key, port in held.items():
            self._ports.hold(_HOLDER + key, {"": port})

    @property
    def busy(self) -> bool:
        """Whether anybody refers to anything."""
        return bool(self._wanted)

    def want(self, assigned: Iterable[Assigned]) -> None:
        """Serve what these allocations refer to, and nothing else."""
        wanted = frozenset(_key(one, name) for one in assigned for name in referred(one.spec))
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def addresses(self, assigned: Assigned) -> dict[str, str]:
        """Give the local address of each service that a task refers to. NoAddress where one has none yet."""
        host = LOOPBACK
        if assigned.spec.driver == "docker" and assigned.spec.network == "bridge" and self._bridge is not None:
            host = self._bridge.address
        names = referred(assigned.spec)
        for name in names:
            if _key(assigned, name) not in self._forwards:
                raise NoAddress(f"the service {name} has no local address yet")
        return {name: f"{host}:{self._held[_key(assigned, name)]}" for name in names}

    async def run(self) -> None:
        """Serve what is wanted, and follow where it is found, for ever."""
        try:
            while True:
                await self._go_on()
        finally:
            for forward in self._forwards.values():
                await forward.close()
            self._forwards.clear()

    async def _go_on(self) -> None:
        try:
            self._changed.clear()
            await self._arrange()
            await self._follow()
        except Exception:  # noqa: BLE001 - a bug here ends no workload, and is tried again
            _log.exception("services_failed")
            await self._clock.sleep(BROKEN)

    # ── local addresses ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _arrange(self) -> None:
        """Let everything that is wanted have its port; let go of what is not."""
        for key in self._forwards.keys() - self._wanted:
            await self._forwards.pop(key).close()
        missing = sorted(self._wanted - self._forwards.keys())
        self._again = bool(missing) and not await self._look()
        for key in () if self._again else missing:
            try:
                await self._begin(key)
            except (OSError, NoPortLeft) as error:
                _log.error("no_local_address", service=key, error=str(error))
                self._again = True

    async def _look(self) -> bool:
        """Find out where containers stand; tells whether that is known."""
        if not self._looked and self._find_bridge is not None:
            with contextlib.suppress(Unavailable, OSError):
                self._bridge = await self._find_bridge()
                self._looked = True
        return self._looked

    async def _begin(self, key: str) -> None:
        """Take a service's port on all addresses, and keep it, before anybody is told of it."""
        hosts = [LOOPBACK] if self._bridge is None else [LOOPBACK, self._bridge.address]
        avoid: list[int] = []
        while True:
            known = key in self._held
            port = self._held[key] if known else self._ports.reserve(_HOLDER + key, [""], avoid)[""]
            taken = []
            try:
                taken = [listen(host, port) for host in hosts]
                break
            except OSError:
                if known or len(avoid) >= TRIES:  # who knows a port goes on using it
                    raise
                self._ports.release(_HOLDER + key)
                avoid.append(port)
        if not known:
            self._held[key] = port
            self._forget_some()
            await self._keep(dict(self._held))
        networks = [] if self._bridge is None else [self._bridge.network]
        forward = Forward(key, self._node, within(networks))
        for each in taken:
            await forward.serve(each)
        self._forwards[key] = forward

    def _forget_some(self) -> None:
        """Give back the ports that nobody refers to, where there are very many; the oldest first."""
        unused = [key for key in self._held if key not in self._wanted]
        for key in unused[: max(0, len(unused) - KEPT)]:
            del self._held[key]
            self._ports.release(_HOLDER + key)

    # ── where services are found ─────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        """Hear where they are found, again and again, until something else is wanted."""
        known = ""
        while not self._changed.is_set():
            if not self._wanted:
                await self._changed.wait()
                return
            heard = await self._heard(known)
            known = heard.digest if heard is not None else known
            missing = heard is None or not self._wanted <= self._take(heard)
            if missing or self._again:
                await self._clock.wait(self._changed, AGAIN)
            if self._again:
                return

    async def _heard(self, known: str) -> ServicesReply | None:
        """Ask, and wait for news; None: nobody answered, or something else is wanted."""
        wait = 0.0 if not known or self._again else WAIT
        asking = asyncio.ensure_future(self._ask(ServicesRequest(known, wait)))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([asking, changing], return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        except (Away, Refused) as error:
            _log.info("services_not_heard", error=str(error))
            return None
        finally:
            for task in (asking, changing):
                task.cancel()
            await asyncio.gather(asking, changing, return_exceptions=True)

    def _take(self, heard: ServicesReply) -> set[str]:
        """Take over where services are found, and return which ones were told of."""
        told = {f"{each.namespace}/{each.name}": each.endpoints for each in heard.services}
        for key, forward in self._forwards.items():
            if key in told and forward.endpoints != told[key]:
                _log.info("service", service=key, endpoints=len(told[key]))
                forward.endpoints = told[key]
        return set(told)


def _key(assigned: Assigned, name: str) -> str:
    return f"{assigned.namespace}/{name}"
