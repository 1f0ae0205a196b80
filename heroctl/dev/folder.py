"""The folder of a dev cluster: what is in it, who may use it, and the files that others read.

lock            held by the dev process that runs on this folder
dev.json        there while the cluster is ready: url, token, admin_password, pids
secrets.json    what was drawn at the first start and stays
children.json   who was started, so that the next start can end who was left behind
postgres/ valkey/ node-1/ … logs/

Beside it, and in no copy of it, lies what opens the secrets in it: NAME.secrets-key
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from heroctl.dev.machine import FIRST_PORT, LAST_PORT
from heroctl.dev.processes import Identity

_LONGEST_SOCKET: Final = 100  # bytes of a socket's path; the kernel takes 107


class Trouble(Exception):  # noqa: N818 - told to people, with what to do
    """Dev mode cannot do what it was asked; the message says why and what helps."""


class Kept(Struct, frozen=True, kw_only=True):
    """What is drawn at the first start, or found out then, and stays.

    `first_port`: where workloads' ports begin; drawn, so that two dev clusters on one machine seldom meet.
    """

    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(15))
    valkey_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    first_port: int = field(default_factory=lambda: FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT))
    token: str = ""
    port: int = 0


class Report(Struct, frozen=True):
    """What dev.json tells."""

    url: str
    token: str
    admin_password: str
    pids: dict[str, int]


class Folder:
    """One folder, held by this process until it ends."""

    def __init__(self, place: Path) -> None:
        """Make the folder if need be and take its lock; Trouble where another dev process has it."""
        self.place = place
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Trouble(f"{place} cannot be used: {error.strerror}; name another folder with --data") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(self._taken()) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        self.report.unlink(missing_ok=True)

    @property
    def report(self) -> Path:
        """The file that tells of a ready cluster."""
        return self.place / "dev.json"

    @property
    def logs(self) -> Path:
        """Where every child's output is kept."""
        return self.place / "logs"

    def room(self, name: str) -> Path:
        """Return a folder of ours, made if missing."""
        made = self.place / name
        made.mkdir(mode=0o700, exist_ok=True)
        return made

    def sockets(self, owner: int) -> Path:
        """Return a folder for this user's sockets: in here, or a short one elsewhere where the path is too long."""
        here = self.place / "run"
        if len(os.fsencode(here / ".s.PGSQL.5432")) <= _LONGEST_SOCKET:
            return self.room("run")
        digest = hashlib.blake2b(os.fsencode(self.place), digest_size=8).hexdigest()
        short = Path(tempfile.gettempdir()) / f"heroctl-dev-{os.getuid()}-{digest}"
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in (os.getuid(), owner):
            raise Trouble(f"{short} is not ours alone; remove it, or name a shorter folder with --data")
        return short

    def kept(self) -> Kept:
        """Return what was kept in this folder; the first time, draw."""
        try:
            return msgspec.json.decode((self.place / "kept.json").read_bytes(), type=Kept)
        except FileNotFoundError:
            return self.keep(Kept())

    def keep(self, what: Kept) -> Kept:
        """Write it down."""
        self.write("kept.json", what)
        return what

    def secrets_key(self) -> Path:
        """Return the file of the master key of secrets, beside the folder; drawn the first time, and never again."""
        place = self.place.with_name(f"{self.place.name}.secrets-key")
        if not place.exists():
            try:
                _whole(place, base64.b64encode(secrets.token_bytes(32)) + b"\n")
            except OSError as error:
                raise Trouble(
                    f"{place} cannot be written: {error.strerror}; name another folder with --data"
                ) from error
        return place

    def children(self) -> dict[str, Identity]:
        """Return who was started here and may still live."""
        try:
            return msgspec.json.decode((self.place / "children.json").read_bytes(), type=dict[str, Identity])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def write(self, name: str, value: Any) -> None:  # noqa: ANN401 - any shape
        """Write a file for our eyes only, whole or not at all."""
        _whole(self.place / name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")

    def _taken(self) -> str:
        holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
        url = ""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            url = f", its API at {msgspec.json.decode(self.report.read_bytes(), type=Report).url}"
        who = f"process {holder}{url}" if holder else "another process"
        return f"a dev cluster runs on {self.place} already ({who}); use that, or name another folder with --data"


def _whole(place: Path, data: bytes) -> None:
    descriptor, made = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(made).replace(place)
