"""PgBouncer in transaction mode before a Postgres of the tests; it can be killed, and started again on its port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.servers import free_port
from tests.waiting import until

# As docs/production.md says; a login that failed is tried again after a second instead of fifteen.
_SETTINGS: Final = {
    "pool_mode": "transaction",
    "auth_type": "trust",
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "max_client_conn": "500",
    "default_pool_size": "20",
    "server_login_retry": "1",
    "query_wait_timeout": "5",
}


@dataclass(slots=True)
class Pooler:
    """One PgBouncer. `settings` override its own."""

    folder: Path
    users: tuple[str, ...] = ("postgres",)
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    direct: str = ""  # the way to the server past it
    _process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The way to the server through it."""
        return self.through(self.direct)

    def through(self, dsn: str) -> str:
        """Lead a DSN of the server's through here."""
        return dsn.replace(f":{conninfo_to_dict(self.direct)['port']}/", f":{self.port}/")

    def lead(self, dsn: str) -> None:
        """Stand before a server, and run."""
        self.direct = dsn
        self.start()

    def start(self) -> None:
        """Start, and return when it listens."""
        config, users = self.folder / "pgbouncer.ini", self.folder / "users"
        users.write_text("".join(f'"{user}" ""\n' for user in self.users))
        server = f"* = host=127.0.0.1 port={conninfo_to_dict(self.direct)['port']}"
        settings = {**_SETTINGS, **self.settings, "listen_port": str(self.port), "auth_file": str(users)}
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        config.write_text(f"[databases]\n{server}\n[pgbouncer]\n{lines}\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["pgbouncer", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user="nobody" if os.geteuid() == 0 else None,  # it does not run as root
                start_new_session=True,
            )
        until(self._answers, what="a listening PgBouncer")

    def kill(self) -> None:
        """End it at once: every connection through it breaks."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.dsn, connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def pooler(dsn: str = "", users: tuple[str, ...] = ("postgres",), **settings: str) -> Iterator[Pooler]:
    """Make a PgBouncer; it runs at once if it is told before which server."""
    with tempfile.TemporaryDirectory(prefix="heroctl-pooler-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        made = Pooler(folder, users, settings)
        try:
            if dsn:
                made.lead(dsn)
            yield made
        finally:
            made.kill()
