"""The life of a reconciler process: start, coordinate when it is its turn, and hand over when asked to end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from importlib.metadata import version
from typing import Final

import structlog
from msgspec import Struct

from eventstore.beats import PostgresBeats
from eventstore.cursors import PostgresCursors
from eventstore.database import Database
from eventstore.deliveries import PostgresDeliveries
from eventstore.lease import Keeper, PostgresLeases
from eventstore.level import PostgresLevels
from eventstore.log import LogUnavailable
from eventstore.master import Master, given
from eventstore.members import PostgresMembers
from eventstore.migrate import migrate
from eventstore.partitions import Partitions
from eventstore.postgres import PostgresLog, open_log
from eventstore.retention import Window
from eventstore.samples import PostgresSamples
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.telling import tell
from eventstore.vault import PostgresVault, Vault
from eventstore.view import View
from heroctl import logs
from heroctl.domain.addresses import networks
from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.delivery import TIMEOUT
from heroctl.domain.records import Member
from heroctl.otlp.target import Target
from heroctl.otlp.tracing import named, traced, wanted
from heroctl.outside import Names, Outside
from reconciler.alerts import Alerts
from reconciler.decisions import Decisions
from reconciler.doorbell import Doorbell
from reconciler.loop import Coordinator
from reconciler.presence import ROLE, Presence
from reconciler.retention import Audit, Retention
from reconciler.rollup import Rollup
from reconciler.settings import Settings
from reconciler.snapshotter import Snapshotter, child
from reconciler.sweep import Sweep
from reconciler.traced import Commands
from reconciler.watchdog import watched
from reconciler.webhook_post import CONNECT, LINGER, Post
from reconciler.webhooks import Webhooks

_RETRY: Final = 1.0  # seconds
_LOOKUPS: Final = 256  # names looked up at a time: one that hangs is to hold no other's up
_DAY: Final = 86_400_000  # ms
_GOODBYE: Final = 1.5  # seconds for each of the last words

_log: Final = structlog.get_logger(__name__)


class Process(Struct, frozen=True):
    """What has to be told when the process ends."""

    keeper: Keeper
    presence: Presence
    coordinator: Coordinator


async def serve(settings: Settings) -> None:
    """Run the process until it is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_run(settings, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    done, _ = await asyncio.wait({running}, timeout=3 * _GOODBYE)
    if not done:
        running.cancel()
        await asyncio.wait({running}, timeout=0.2)
    stopping.cancel()
    if running.done() and not running.cancelled():
        running.result()


async def _run(settings: Settings, stop: asyncio.Event) -> None:
    to = wanted(settings.traces_otlp, os.environ)
    await _migrated(settings, stop)
    if stop.is_set():
        return
    async with _running(settings, to) as process:
        gc.collect()
        gc.freeze()  # what was made until here stays; collections need not look at it again
        _log.info("running", id=process.presence.me.id)
        await stop.wait()
        coordinated = process.coordinator.coordinates
    # By now nothing is decided any more, so the next one may.
    _log.info("ended", coordinated=coordinated)


async def _migrated(settings: Settings, stop: asyncio.Event) -> None:
    """Bring the database to this release; wait for it as long as it takes."""
    while not stop.is_set():
        try:
            await asyncio.to_thread(migrate, settings.direct_dsn or settings.dsn)
        except (LogUnavailable, OSError) as error:
            _log.warning("database_away", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY):
                    await stop.wait()
        else:
            return


@contextlib.asynccontextmanager
async def _running(settings: Settings, to: Target | None) -> AsyncIterator[Process]:
    """Open everything and let it run; in the end hand the lease over while the database can still be reached."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(watched(asyncio.get_running_loop()))
        await stack.enter_async_context(traced(to, named(ROLE, settings.advertise)))
        database = await stack.enter_async_context(
            Database(settings.dsn, direct=settings.direct_dsn or None, connections=settings.connections)
        )
        log = await stack.enter_async_context(open_log(database))
        snapshots = Snapshots(PostgresShelf(database), log)
        view = View(log, snapshots)
        commands = Commands(lambda: coordinator.coordinates, rings=bool(settings.redis_url))
        view.subscribe(lambda change: commands.heard(view.state, change))
        bell = Doorbell(settings.redis_url, view, commands.rung) if settings.redis_url else None
        doorbell = await stack.enter_async_context(bell) if bell is not None else None
        me = _member(settings)
        decisions = Decisions(view)
        view.subscribe(decisions.heard)
        view.subscribe(lambda _: logs.follow(cluster_settings(view.state).level_of(ROLE)))
        keeper = Keeper(PostgresLeases(database), me.id, fit=lambda: view.sound)
        presence = Presence(PostgresMembers(database), me, view)
        coordinator = Coordinator(
            log=log,
            view=view,
            keeper=keeper,
            beats=PostgresBeats(database),
            presence=presence,
            doorbell=doorbell,
            levels=PostgresLevels(database),
            rise_after=settings.raise_level_after,
            release=version("heroctl"),
            clock=time.monotonic,
            tell=decisions.tell,
        )
        process = Process(keeper, presence, coordinator)
        stack.push_async_callback(_say_goodbye, process)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        making = functools.partial(child, settings.direct_dsn or settings.dsn)
        snapshotter = Snapshotter(snapshots, lambda: coordinator.coordinates, making)
        retention = _retention(settings, log, keeper, snapshots)
        sweep = Sweep(view, PostgresVault(database), lambda: coordinator.coordinates)
        apart = await stack.enter_async_context(
            Database(settings.dsn, direct=settings.direct_dsn or None, connections=settings.webhook_connections)
        )
        post = _post(settings, PostgresVault(apart))
        stack.push_async_callback(post.close)
        webhooks = _webhooks(log, view, apart, post=post, keeper=keeper, coordinator=coordinator)
        works = [view.run, keeper.run, presence.run, coordinator.run, snapshotter.run, retention.run, sweep.run]
        works += [webhooks.run, *_measuring(log, view, keeper, coordinator)]
        for work in works if doorbell is None else [*works, doorbell.run]:
            stack.callback(tasks.create_task(work()).cancel)
        yield process


def _member(settings: Settings) -> Member:
    where = settings.advertise or socket.gethostname()
    return Member(f"{ROLE}-{secrets.token_hex(4)}", ROLE, where, version("heroctl"))


def _measuring(
    log: PostgresLog, view: View, keeper: Keeper, coordinator: Coordinator
) -> list[Callable[[], Coroutine[object, object, None]]]:
    """Say what is done with samples."""
    samples = PostgresSamples(log.database)

    def now() -> float:
        return keeper.now() / 1000

    def epoch() -> int | None:
        return keeper.epoch() if coordinator.coordinates else None

    told = functools.partial(tell, samples, keeper.holder, lambda: now() if keeper.knows_time else None)
    rollup = Rollup(samples, lambda: coordinator.coordinates, now)
    return [told, rollup.run, Alerts(log, view, samples, epoch, now).run]


def _webhooks(
    log: PostgresLog, view: View, apart: Database, *, post: Post, keeper: Keeper, coordinator: Coordinator
) -> Webhooks:
    return Webhooks(
        log=log,
        view=view,
        cursors=PostgresCursors(apart),
        deliveries=PostgresDeliveries(apart),
        post=post,
        mandate=lambda: keeper.epoch() if coordinator.coordinates else None,
        now=keeper.now,
        clock=time.monotonic,
    )


def _post(settings: Settings, vault: Vault) -> Post:
    outside = Outside(
        networks(settings.webhook_networks),
        Names(_LOOKUPS).find,
        patience=TIMEOUT,
        connect=CONNECT,
        linger=LINGER,
    )
    return Post(outside, Master(vault, given(settings.secrets_key_file, settings.secrets_keys)), version("heroctl"))


def _retention(settings: Settings, log: PostgresLog, keeper: Keeper, snapshots: Snapshots) -> Retention:
    direct = settings.direct_dsn or settings.dsn
    size = 0 if settings.keep_size is None else settings.keep_size.bytes
    return Retention(
        log=log,
        keeper=keeper,
        partitions=Partitions(log.database, Database(settings.owner_dsn or direct)),
        cursors=PostgresCursors(log.database),
        snapshots=snapshots,
        window=Window(ms=settings.keep_days * _DAY, bytes=size),
        audit=Audit.of(settings.audit_dir, direct),
    )


async def _say_goodbye(process: Process) -> None:
    """Hand the lease to whoever lives, else end it; and leave. What fails here ends by itself within seconds."""
    if process.keeper.epoch() is not None:
        await _shortly(_hand_over(process))
    await _shortly(process.presence.leave())


async def _hand_over(process: Process) -> None:
    successor = await process.presence.successor()
    if successor is not None and await process.keeper.transfer(successor):
        _log.info("handed_over", to=successor)
    else:
        await process.keeper.release()


async def _shortly(last: Awaitable[None]) -> None:
    with contextlib.suppress(LogUnavailable, TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            await last
