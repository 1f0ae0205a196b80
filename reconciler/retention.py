"""Retention: what an operator does not want kept any longer leaves the log from its beginning, partition by partition.

Only the coordinator does it, once a minute, beside its planning and in steps of which each may be the last. What is to
go is decided by `eventstore.retention`; an audit export is made by a process of its own as soon as a partition is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog
from msgspec import Struct

from eventstore.cursors import Cursors
from eventstore.export import Exports
from eventstore.lease import Keeper
from eventstore.log import Log, LogUnavailable, Position
from eventstore.partitions import Held, NotOwner, Partitions
from eventstore.retention import Export, Partition, Standing, Waits, Window, decide, unexported
from eventstore.shelf import Snapshot
from eventstore.snapshot import FORMAT, UPGRADES

ROUND: Final = 60.0  # seconds, jittered
MOST: Final = 16  # partitions that go in one round
AGAIN: Final = 86_400.0  # seconds after which an operator is told once more what holds things up
_LONGEST: Final = 3_600.0  # seconds, to one export, and between attempts where it fails
_LOOK: Final = 1.0  # seconds between looks at the lease while an export is made
_NICE: Final = 10
_PREFIX: Final = "HEROCTL_"

_log: Final = structlog.get_logger(__name__)


class Snapshots(Protocol):
    """The snapshots of the log; see eventstore.snapshots. Every call raises LogUnavailable."""

    async def listed(self) -> list[Snapshot]:
        """Give the verified ones."""
        ...

    async def forget(self, below: int) -> int:
        """Remove those below an index, as far as they are of no more use."""
        ...


class Audit(Struct, frozen=True):
    """What is asked about audit exports: where they go, if that was said, and the database that they are read from."""

    export: Export = "unsaid"
    folder: Path | None = None
    dsn: str = ""

    @classmethod
    def of(cls, folder: str, dsn: str) -> Audit:
        """Read the setting: a folder, `none`, or nothing."""
        if folder in {"", "none"}:
            return cls("unwanted" if folder else "unsaid")
        return cls("wanted", Path(folder), dsn)


class Retention:
    """The worker. `clock` gives monotonic seconds; everything else is asked anew in each round."""

    def __init__(
        self,
        *,
        log: Log,
        keeper: Keeper,
        partitions: Partitions,
        cursors: Cursors,
        snapshots: Snapshots,
        window: Window,
        audit: Audit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._keeper = keeper
        self._partitions = partitions
        self._cursors = cursors
        self._snapshots = snapshots
        self._window = window
        self._audit = audit
        self._clock = clock
        self._told: dict[str, float] = {}
        self._failures = 0
        self._export_at = 0.0

    async def run(self) -> None:
        """Work whenever this process coordinates, for ever."""
        while True:
            await asyncio.sleep(ROUND * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if self._keeper.epoch() is None:
                self._told.clear()
                continue
            try:
                await self.round()
            except LogUnavailable as error:
                _log.warning("retention_interrupted", reason=str(error))

    async def round(self) -> None:
        """Export what is full, finish what was begun, and let go what may. Raises LogUnavailable."""
        try:
            await self._export()
            await self._finish()
            for _ in range(MOST):
                if not await self._step():
                    return
                await self._finish()
        except Held as error:
            _log.info("retention_held", reason=str(error).splitlines()[0])
        except NotOwner as error:
            self._tell("not_owner", f"{str(error).splitlines()[0]}: give --owner-dsn")

    async def _finish(self) -> None:
        """Drop what stands below the floor: nobody reads it any more."""
        for table in await self._partitions.below():
            if self._keeper.epoch() is None:
                return
            await self._partitions.drop(table)
            _log.info("partition_dropped", table=table.table)

    async def _step(self) -> bool:
        """Let the oldest partition go, if it may; tell whether it went."""
        verdict = decide(await self._standing(), self._window)
        if isinstance(verdict, Waits):
            self._tell(verdict.reason, verdict.detail)
        if not isinstance(verdict, Partition) or not await self._proven(verdict):
            return False
        epoch = self._keeper.epoch()
        if epoch is None or not await self._partitions.give_up(verdict, epoch):
            return False
        assert verdict.end is not None  # noqa: S101 - it was decided on
        _log.info("floor_raised", floor=verdict.end.index, first=verdict.first, bytes=verdict.bytes)
        await self._snapshots.forget(verdict.end.index)
        return True

    async def _standing(self) -> Standing:
        partitions = await self._partitions.listed()
        return Standing(
            partitions,
            (await self._log.head()).index,
            self._keeper.now(),
            await self._cursors.listed(),
            frozenset(each.position for each in await self._snapshots.listed() if each.format in {FORMAT, *UPGRADES}),
            await self._exported(partitions),
            self._audit.export,
        )

    def _tell(self, reason: str, detail: str) -> None:
        """Warn that retention waits, once a day for each reason."""
        now = self._clock()
        if now - self._told.get(reason, -AGAIN) >= AGAIN:
            self._told[reason] = now
            _log.warning("retention_waits", reason=reason, detail=detail)

    # ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _exported(self, partitions: list[Partition]) -> frozenset[Position]:
        if self._audit.folder is None:
            return frozenset()
        try:
            return await asyncio.to_thread(Exports(self._audit.folder).places, partitions[0].first - 1)
        except OSError as error:
            self._tell("export_failed", str(error))
            return frozenset()

    async def _proven(self, partition: Partition) -> bool:
        """Tell whether the export that is to outlive a partition is still byte for byte what was written."""
        if self._audit.folder is None or partition.end is None:
            return True
        exports = Exports(self._audit.folder)
        try:
            sound = await asyncio.to_thread(exports.sound, partition.end)
            if not sound:
                _log.error("export_damaged", folder=str(exports.folder), last=partition.end.index)
                await asyncio.to_thread(exports.set_aside, partition.end)
        except OSError as error:
            self._tell("export_failed", str(error))
            return False
        return sound

    async def _export(self) -> None:
        if self._audit.folder is None or self._clock() < self._export_at:
            return
        partitions = await self._partitions.listed()
        if not unexported(partitions, await self._exported(partitions)):
            return
        if failure := await self._run_export(self._audit.folder):
            self._failures += 1
            self._export_at = self._clock() + min(_LONGEST, ROUND * 2**self._failures)
            self._tell("export_failed", failure)
        elif self._failures:
            self._failures = 0
            self._told.pop("export_failed", None)
            _log.info("exports_again")

    async def _run_export(self, folder: Path) -> str:
        """Export in a process of its own, as long as this one coordinates; return what went wrong."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "eventstore", "export"),
                env=environ | {f"{_PREFIX}DSN": self._audit.dsn, f"{_PREFIX}AUDIT_DIR": str(folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return str(error)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        ending, until = asyncio.ensure_future(process.communicate()), self._clock() + _LONGEST
        try:
            while not ending.done() and self._keeper.epoch() is not None and self._clock() < until:
                await asyncio.wait({ending}, timeout=_LOOK)
        finally:
            stopped = not ending.done()
            if stopped:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            _, said = await ending
        if stopped:
            return "" if self._keeper.epoch() is None else f"not done within {_LONGEST:g} s"
        return "" if process.returncode == 0 else _last(said) or f"it ended with {process.returncode}"


def _last(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""
