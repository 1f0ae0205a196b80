"""The life of an api process: start, serve, and end in order within five seconds of SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

import structlog

from api import bootstrap, rotation
from api.app import build
from api.cors import Cors
from api.disk import Disk
from api.front import Front
from api.gate import Gate
from api.images import Images
from api.keys import FileKeys, VaultKeys, keyring
from api.limits import Counters, Limits
from api.log_feed import LogFeed
from api.log_sweep import keep_small
from api.logs import LogStore
from api.parts import Parts
from api.passwords import Passwords
from api.past import Archive, Historians, Teller
from api.prover import ProverProcess
from api.pulse import Pulse
from api.reads import Pages
from api.registry import Listed
from api.requestlog import RequestLog, to_stdout
from api.server import Server, claim
from api.settings import Settings
from api.streams import Streams
from api.throttle import Throttle
from api.trail import Trail
from api.usage import Usage
from api.wait import Waiters
from api.world import World
from api.write import Writer
from eventstore.acts import PostgresActs
from eventstore.beats import PostgresBeats
from eventstore.database import Database
from eventstore.deliveries import PostgresDeliveries
from eventstore.handover import PostgresHandovers
from eventstore.internals import INTERNALS
from eventstore.lease import PostgresLeases
from eventstore.log import LogUnavailable
from eventstore.master import Master, given
from eventstore.members import PostgresMembers, Present
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog, open_log
from eventstore.refusals import PostgresRefusals
from eventstore.samples import PostgresSamples
from eventstore.sessions import PostgresSessions
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.telling import tell
from eventstore.uses import PostgresUses
from eventstore.vault import PostgresVault, Vault
from eventstore.view import View
from heroctl.domain.addresses import networks
from heroctl.domain.events import Meta
from heroctl.domain.records import Member
from heroctl.otlp.target import Target
from heroctl.otlp.tracing import named, traced, wanted
from heroctl.outside import Outside

T = TypeVar("T")

_PATIENCE: Final = 2.0  # seconds for what is being answered, once nothing waits any more
_LAST: Final = 1.5  # seconds for the server to close
_RETRY: Final = 1.0  # seconds
_COLLECT: Final = (50_000, 20, 50)  # containers made and kept, young collections, middle ones: until the next of each
_log: Final = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Run the process until it is told to end. Raises OSError where it cannot listen."""
    claim(settings.address)
    stop, serving = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    life = asyncio.create_task(_live(settings, stop, serving))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.is_set():
        life.cancel()  # what is only starting has nothing to end in order
    with contextlib.suppress(asyncio.CancelledError):
        await life


async def _live(settings: Settings, stop: asyncio.Event, serving: asyncio.Event) -> None:
    to = wanted(settings.traces_otlp, os.environ)
    await _migrated(settings)
    async with _running(settings, to) as (parts, front, requests):
        serving.set()
        await _until(stop, settings, parts, front)
        requests.flush()


async def _migrated(settings: Settings) -> None:
    """Bring the database to this release, or wait until its owner has, as long as it takes."""
    dsn = settings.direct_dsn or settings.dsn
    async with Database(dsn, connections=1) as database:
        await _insist(lambda: database.fetch("SELECT 1"))
    await _insist(lambda: asyncio.to_thread(migrate, dsn))


async def _insist(attempt: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await attempt()
        except (LogUnavailable, OSError) as error:
            _log.warning("database_away", error=str(error))
        await asyncio.sleep(_RETRY)


@contextlib.asynccontextmanager
async def _running(settings: Settings, to: Target | None) -> AsyncIterator[tuple[Parts, Front, RequestLog]]:
    """Open everything, follow the log, and close it all again."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(traced(to, named("api", settings.advertise or settings.listen)))
        database = await stack.enter_async_context(
            Database(settings.dsn, direct=settings.direct_dsn or None, connections=settings.connections)
        )
        master = await _master(settings, PostgresVault(database))
        log = await stack.enter_async_context(open_log(database))
        streams = Streams(settings.redis_url, settings.redis_advertise) if settings.redis_url else None
        if streams is not None:
            await stack.enter_async_context(streams)
        counters = Counters(settings.redis_url) if settings.redis_url else None
        if counters is not None:
            await stack.enter_async_context(counters)
        view = View(log, Snapshots(PostgresShelf(database), log))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        following = tasks.create_task(view.run())
        stack.callback(following.cancel)
        await _insist(view.catch_up)
        historians = Historians(settings.dsn, settings.direct_dsn, most=settings.historians)
        await stack.enter_async_context(historians)
        parts = await _insist(lambda: _parts(settings, database, log, view, streams, teller=historians, master=master))
        stack.push_async_callback(parts.images.close)
        _bound(settings, parts, counters)
        if settings.redis_url:
            store = await stack.enter_async_context(LogStore(settings.redis_url))
            parts.logs = LogFeed(view, store, time.monotonic)
            stack.callback(tasks.create_task(keep_small(store, settings.log_budget.bytes)).cancel)
        await _insist(lambda: _admin(settings, log, parts))
        uses = parts.gate.uses.run(PostgresUses(database), view)
        INTERNALS.gauge("heroctl_waiters", "Long polls and streams that wait", lambda: len(parts.waiters))
        told = tell(parts.usage.samples, parts.pulse.me, parts.usage.now)
        for work in (told, parts.pulse.run(), parts.usage.run(), parts.trail.run(), uses):
            stack.callback(tasks.create_task(work).cancel)
        requests = RequestLog(to_stdout)
        stack.push_async_callback(parts.pulse.leave)
        front = build(parts, requests)
        said = "Requests that are being answered: long polls, streams and commands among them"
        INTERNALS.gauge("heroctl_api_open_requests", said, lambda: front.open)
        yield parts, front, requests


async def _master(settings: Settings, vault: Vault) -> Master:
    """Prove that this process opens the cluster's secrets. Raises WrongKeys."""
    master = Master(vault, given(settings.secrets_key_file, settings.secrets_keys), settings.secrets_lost_keys)
    await _insist(master.begin)
    if not master.keys:
        _log.warning("secrets_not_configured", mend="give --secrets-key-file")
    return master


async def _parts(
    settings: Settings,
    database: Database,
    log: PostgresLog,
    view: View,
    streams: Streams | None,
    *,
    teller: Teller,
    master: Master,
) -> Parts:
    vault, sessions = PostgresVault(database), PostgresSessions(database)
    source = FileKeys(Path(settings.signing_key_file)) if settings.signing_key_file else VaultKeys(vault)
    member = Member(f"api-{secrets.token_hex(4)}", "api", settings.advertise or settings.listen, version("heroctl"))
    disk = Disk(Path(settings.database_folder) if settings.database_folder else None, settings.disk_reserve.bytes)
    writer = Writer(log, view, disk)
    tell = partial(rotation.tell, writer, Meta("system", address=member.address))
    gate = Gate(view, vault, await keyring(source, time.time, tell), time.time)
    waiters = Waiters(view, waiters=settings.token_waiters, streams=settings.token_streams)

    def revoked(sessions: frozenset[str]) -> None:
        if gate.revoke(sessions):
            waiters.end(gate.still)

    pulse = Pulse(
        view=view,
        beats=PostgresBeats(database),
        members=PostgresMembers(database),
        leases=PostgresLeases(database),
        sessions=sessions,
        keyring=gate.keyring,
        streams=streams,
        me=Present(member, view.level),
        clock=time.monotonic,
        revoked=revoked,
        usage=Usage(PostgresSamples(database), time.time),
    )
    await pulse.begin()
    return Parts(
        view=view,
        writer=writer,
        vault=vault,
        sessions=sessions,
        gate=gate,
        marks=await bootstrap.marks(vault),
        passwords=Passwords(),
        pulse=pulse,
        world=World(view, pulse, member.version, gate.uses, disk, need_keys=master.need),
        pages=Pages(view.topic_index, asyncio.get_running_loop().time),
        waiters=waiters,
        streams=streams,
        clock=time.time,
        log=log,
        handovers=PostgresHandovers(database),
        archive=Archive(log, teller, time.time, patience=settings.past_timeout),
        prover=ProverProcess(settings.direct_dsn or settings.dsn),
        trail=Trail(PostgresActs(database), PostgresRefusals(database)),
        master=master,
        deliveries=PostgresDeliveries(database),
        images=Images(tuple(map(Listed.parse, settings.registries)), Outside(networks(settings.registry_networks))),
    )


def _bound(settings: Settings, parts: Parts, counters: Counters | None) -> None:
    """Set the limits of an api that shares them with all others that live, and whom it trusts."""

    def apis() -> int:
        return sum(present.member.role == "api" for present in parts.pulse.members)

    parts.limits = Limits(settings.sizes, counters, apis=apis)
    parts.throttle = Throttle(counters)
    parts.bounds = settings.bounds
    parts.cors = Cors(settings.cors_origins)
    parts.secure = settings.tls or settings.behind_proxy
    parts.url = f"{'https' if settings.tls else 'http'}://{settings.advertise or settings.listen}"
    parts.trusted = networks(settings.trusted_proxies)
    parts.receivers = Outside(networks(settings.webhook_networks))


async def _admin(settings: Settings, log: PostgresLog, parts: Parts) -> None:
    """Make the first user, and hand its password over once: into a file of its owner's, or on standard error."""
    place = Path(settings.admin_password_file) if settings.admin_password_file else None
    given = place.read_text().strip() if place is not None and place.exists() else ""
    made = await bootstrap.first_admin(log, parts.view, parts.vault, parts.passwords, given)
    if made is None:
        return
    if place is None:
        print(f"user admin was made; its password, shown this once: {made}", file=sys.stderr, flush=True)  # noqa: T201 - to people
    elif not given:
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(made + "\n")


async def _until(stop: asyncio.Event, settings: Settings, parts: Parts, front: Front) -> None:
    """Serve until it is time to end; then answer what waits, and close."""
    server = Server(settings, front)
    serving = asyncio.create_task(server.run())
    stopping = asyncio.create_task(stop.wait())
    _tame_the_collector()
    _log.info("serving", listen=settings.listen, tls=settings.tls, index=parts.view.index)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        raise RuntimeError("the server ended by itself")
    _log.info("draining", waiters=len(parts.waiters), open=front.open)
    parts.waiters.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await front.quiet()
    server.stop()
    await asyncio.wait({serving}, timeout=_LAST)


def _tame_the_collector() -> None:
    """Take what was made until here out of collections, and have few of them.

    Waiters by the thousand are containers by the hundred thousand, all freed by their counts: with the usual thresholds
    half of the time it takes to let ten thousand wait goes to looking for cycles among them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
