"""Keeps one server alive for as long as its owner lives, and not a moment longer.

A test run that is killed or times out cannot clean up after itself; its keeper can. One process a server:
`python -m tests.keeper postgres|redis OWNER_PID FOLDER`. `shared` starts it when nobody has yet.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tests import servers

_STARTERS: Final[dict[str, Callable[[Path], AbstractContextManager[servers.Postgres | servers.Redis]]]] = {
    "postgres": servers.postgres,
    "redis": servers.redis,
}


def shared(kind: str, owner: int) -> str:
    """Return the URL of the owner's server of this kind, started by the first caller, of any process.

    It ends, and its folder goes, when the process `owner` ends, however that happens.
    """
    folder = Path(tempfile.gettempdir()) / f"heroctl-test-{owner}-{_born(owner)}-{kind}"
    folder.mkdir(exist_ok=True)
    address = folder / "url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            command = [sys.executable, "-m", "tests.keeper", kind, str(owner), str(folder)]
            with tempfile.TemporaryFile("w+") as log:
                started = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
                log.seek(0)
                assert started.returncode == 0, f"no {kind}:\n{log.read()}"
    return address.read_text()


def main(kind: str, owner: int, folder: Path) -> None:
    """Start the server; return when it answers, and leave a process behind that runs it until the owner has ended."""
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        sys.exit(0 if os.read(ready, 1) else 1)
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _keep(kind, owner, folder, tell)


def _keep(kind: str, owner: int, folder: Path, tell: int) -> None:
    watched = os.pidfd_open(owner)
    try:
        with _STARTERS[kind](folder / kind) as server:
            (folder / "url").write_text(server.dsn() if isinstance(server, servers.Postgres) else server.url)
            os.write(tell, b".")
            select.select([watched], [], [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _born(pid: int) -> str:
    # A pid comes back, a pid with its start time does not.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
