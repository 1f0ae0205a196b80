"""`heroctl dev`: a whole cluster on this machine until Ctrl-C, for trying things out and for tests.

Ends with 0 after Ctrl-C or SIGTERM, 1 when it cannot start.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from heroctl.dev import demo
from heroctl.dev.cluster import Cluster
from heroctl.dev.folder import Folder, Report, Trouble
from heroctl.dev.screen import Screen
from heroctl.dev.settings import Settings
from heroctl.domain.settings import Ended, begin

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> NoReturn:
    """Run dev mode with this process's command line and environment."""
    sys.exit(_main(sys.argv[1:]))


def _main(argv: list[str]) -> int:
    screen = Screen()
    settings = begin(
        Settings, argv, os.environ, lambda name: Path(name).read_text(), program="heroctl dev", section="dev"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return 1 if settings.code else 0
    try:
        return asyncio.run(_run(settings, Folder(settings.folder), screen))
    except Trouble as problem:
        sys.stderr.write(f"heroctl dev: {problem}\n")
        return 1


async def _run(settings: Settings, folder: Folder, screen: Screen) -> int:
    began = time.monotonic()
    cluster = Cluster(settings, folder, screen)
    stopping = _hear(screen)
    screen.say(f"starting a cluster in {folder.place}")
    try:
        report = await _unless(stopping, _started(cluster, screen))
        if report is not None:
            nodes = f"{settings.agents} node{'s' * (settings.agents > 1)}"
            screen.result(f"ready {report.url} ({nodes}, {time.monotonic() - began:.1f} s)")
            if settings.demo:
                await _unless(stopping, _demo(report, folder, screen))
            await stopping.wait()
    finally:
        began = time.monotonic()
        await cluster.stop()
        screen.say(f"stopped in {time.monotonic() - began:.1f} s; the state stays in {folder.place}")
    return 0


async def _started(cluster: Cluster, screen: Screen) -> Report:
    report = await cluster.start()
    await demo.save_context(report, screen)
    return report


async def _demo(report: Report, folder: Folder, screen: Screen) -> None:
    try:
        await demo.run(report, folder, screen)
    except Trouble as trouble:
        screen.say(str(trouble))


def _hear(screen: Screen) -> asyncio.Event:
    """Return what is set by the first signal. More of them change nothing: workloads would be left behind."""
    stopping = asyncio.Event()

    def heard() -> None:
        screen.say("still stopping" if stopping.is_set() else "stopping: workloads first; this takes 10 s at most")
        stopping.set()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, heard)
    return stopping


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do some work, but give it up when we shall stop; None then."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait((working,))
    return None


if __name__ == "__main__":
    main()
