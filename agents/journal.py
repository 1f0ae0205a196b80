"""What an agent remembers over its own end: who it is, what was wanted, and the record of each allocation.

A file is there whole or not at all (written beside, synced, renamed). One that cannot be read is put aside and said so;
labels and the next complete assignment make up for it, and nothing is stopped for want of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec import Struct, field

from agents.desired import Desired, Dropped, Told
from agents.health import Pulse
from agents.log_tail import Memory
from agents.record import Record, restored
from heroctl.domain.assignment import Assigned, Mark
from heroctl.domain.spec import decode_hook, encode_hook

T = TypeVar("T")

_WRITERS: Final = 4  # threads; a slow disk holds up no loop
_log = structlog.get_logger("journal")


class Unreadable(Exception):  # noqa: N818 - it says what it is about
    """A file without which the agent cannot say who it is is broken, or another agent uses the folder."""


class Identity(Struct, frozen=True):
    """Who this node is; given by the api when it joined. `token` is its secret."""

    id: str
    name: str
    token: str
    cluster: str


class Held(Struct, frozen=True):
    """Which assignment is held."""

    incarnation: str = ""
    index: int = 0
    boot: str = ""
    heard_at: float | None = None  # in that boot: when a beat was sent that was answered; seldom the last one
    mark: Mark | None = None


class Entry(Struct, frozen=True, omit_defaults=True):
    """One allocation on disk. `boot`, `at`: the boot and the monotonic time it was written in."""

    boot: str
    at: float
    record: Record
    incarnation: str = ""  # of the assignment that named it last
    assigned: Assigned | None = None
    dropped: bool = False
    pulse: Pulse | None = None


class Remembered(Struct, frozen=True):
    """All that was on disk, in terms of this boot."""

    desired: Desired
    records: dict[str, Record] = field(default_factory=dict)
    pulses: dict[str, Pulse] = field(default_factory=dict)
    heard_at: float | None = None


class _Kind(NamedTuple):
    encoder: msgspec.json.Encoder
    identity: msgspec.json.Decoder[Identity]
    held: msgspec.json.Decoder[Held]
    entry: msgspec.json.Decoder[Entry]
    services: msgspec.json.Decoder[dict[str, int]]
    logs: msgspec.json.Decoder[Memory]


_JSON: Final = _Kind(
    msgspec.json.Encoder(enc_hook=encode_hook),
    msgspec.json.Decoder(Identity),
    msgspec.json.Decoder(Held),
    msgspec.json.Decoder(Entry, dec_hook=decode_hook),
    msgspec.json.Decoder(dict[str, int]),
    msgspec.json.Decoder(Memory),
)


class Journal:
    """The files of one agent in `folder`; used by one process at a time. `now`: the monotonic clock."""

    def __init__(self, folder: Path, boot: str, now: Callable[[], float]) -> None:
        self._folder = folder
        self._allocs = folder / "allocs"
        self._boot = boot
        self._now = now
        self._threads = ThreadPoolExecutor(_WRITERS, "journal")
        self._turns: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._lock: int | None = None

    def open(self) -> None:
        """Take the folder for this process. Unreadable where another agent has it."""
        self._allocs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unreadable(f"{self._folder} is in use by another agent") from None

    def close(self) -> None:
        """Finish what is being written, and give the folder back."""
        self._threads.shutdown()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def identity(self) -> Identity | None:
        """Return who this node is; None: it has not joined. Unreadable where the file is broken."""
        path = self._folder / "identity.json"
        try:
            return _JSON.identity.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"{path} cannot be read ({error}); containers are left as they are") from error

    def join(self, identity: Identity) -> None:
        """Remember who this node is."""
        written(self._folder / "identity.json", _JSON.encoder.encode(identity))

    def load(self) -> Remembered:
        """Read everything back. Broken files are put aside."""
        held = self._read(self._folder / "assignment.json", _JSON.held) or Held()
        desired = Desired(held.incarnation, held.index, mark=held.mark)
        remembered = Remembered(desired, heard_at=held.heard_at if held.boot == self._boot else None)
        for path in sorted(self._allocs.glob("*.json")):
            entry = self._read(path, _JSON.entry)
            if entry is not None:
                self._take(remembered, entry)
        return remembered

    def _take(self, remembered: Remembered, entry: Entry) -> None:
        alloc, desired = entry.record.alloc, remembered.desired
        same_boot = entry.boot == self._boot
        remembered.records[alloc] = restored(entry.record, 0.0 if same_boot else self._now() - entry.at)
        if entry.pulse is not None and same_boot:
            remembered.pulses[alloc] = entry.pulse
        if entry.assigned is None:
            return
        if not entry.incarnation or entry.incarnation != desired.incarnation:
            desired.kept[alloc] = entry.assigned
        elif entry.dropped:
            desired.dropped[alloc] = Dropped(entry.assigned, self._now())
        else:
            desired.allocs[alloc] = entry.assigned

    def _read(self, path: Path, decoder: msgspec.json.Decoder[T]) -> T | None:
        try:
            return decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            _log.error("journal_file_put_aside", path=str(path), error=str(error))
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".corrupt"))
            return None

    def entry(self, record: Record, desired: Desired, pulse: Pulse | None) -> Entry:
        """Put together what to keep of an allocation."""
        alloc = record.alloc
        named = desired.known(alloc)
        incarnation = "" if alloc in desired.kept or named is None else desired.incarnation
        return Entry(self._boot, self._now(), record, incarnation, named, alloc in desired.dropped, pulse)

    async def save(self, entry: Entry) -> None:
        """Keep an allocation; it is on disk when this returns."""
        await self._write(self._allocs / f"{entry.record.alloc}.json", _JSON.encoder.encode(entry))

    async def forget(self, alloc: str) -> None:
        """Keep nothing of an allocation any more."""
        path = self._allocs / f"{alloc}.json"
        async with self._turn(path):
            await self._do(lambda: path.unlink(missing_ok=True))

    async def hold(self, told: Told, heard_at: float | None = None) -> None:
        """Keep which assignment is held, and when a beat was sent that was answered."""
        held = Held(told.incarnation, told.index, self._boot, heard_at, told.mark)
        await self._write(self._folder / "assignment.json", _JSON.encoder.encode(held))

    def services(self) -> dict[str, int]:
        """Return the local ports that services have."""
        return self._read(self._folder / "services.json", _JSON.services) or {}

    async def keep_services(self, ports: dict[str, int]) -> None:
        """Keep the local ports that services have."""
        await self._write(self._folder / "services.json", _JSON.encoder.encode(ports))

    def logs(self) -> Memory:
        """Return how far the outputs of containers have been shipped."""
        return self._read(self._folder / "logs.json", _JSON.logs) or Memory()

    async def keep_logs(self, memory: Memory) -> None:
        """Keep that. Should the machine break down, its containers have ended as well: nothing waits for the disk."""
        await self._write(self._folder / "logs.json", _JSON.encoder.encode(memory), False)

    def wipe(self) -> None:
        """Forget everything, after the node was removed: it may join again as a new one."""
        for path in [*self._allocs.glob("*"), *self._folder.glob("*.json")]:
            path.unlink(missing_ok=True)

    async def _write(self, path: Path, content: bytes, sync: bool = True) -> None:  # noqa: FBT001, FBT002 - as `written`
        async with self._turn(path):
            await self._do(written, path, content, sync)

    def _turn(self, path: Path) -> asyncio.Lock:
        """Give what lets writers of one file go one after the other: the last that came is the one that stands."""
        return self._turns.setdefault(path, asyncio.Lock())

    async def _do(self, function: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - the function's own
        await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def written(path: Path, content: bytes, sync: bool = True) -> None:  # noqa: FBT001, FBT002 - handed on by position
    """Write a file that is there whole or not at all, and on disk when this returns (unless not `sync`)."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    if not sync:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
