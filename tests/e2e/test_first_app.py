"""The first app that people start, as it is printed: web and database, with a secret, a volume, health and an address.

The images that it names are public ones. What runs here in their place is made of the tests' own image and does what
the example needs of them: the database asks for its password, keeps what it has under PGDATA and answers on its port;
`pg_isready` says whether it does; the web page at port 8080 shows what it hears from the database it was told of.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
import pytest

from heroctl.domain.events import AllocPlaced, AllocReported
from tests import image
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.history import records
from tests.e2e.runtimes import Containers, Workload
from tests.house import ROOT
from tests.needs import needs
from tests.waiting import until

pytestmark = [needs("docker"), pytest.mark.timeout(240)]
EXAMPLE: Final = ROOT / "examples" / "first-app.yaml"
PASSWORD: Final = "correct-horse-7f21"
STAND_INS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "postgres:17-alpine": (
        "heroctl-test/first-app-db:1",
        {
            "start": """
                [ -n "$POSTGRES_PASSWORD" ] || { echo "no password" >&2; exit 1; }
                mkdir -p "$PGDATA"
                [ -e "$PGDATA/password" ] || echo "$POSTGRES_PASSWORD" > "$PGDATA/password"
                echo start >> "$PGDATA/index.html"
                exec httpd -f -p 5432 -h "$PGDATA"
            """,
            "pg_isready": "[ $# = 2 ] && nc -w 2 127.0.0.1 5432 < /dev/null",
        },
    ),
    "adminer:5": (
        "heroctl-test/first-app-web:1",
        {
            "start": """
                mkdir -p /tmp/www/cgi-bin
                ln -s /bin/page /tmp/www/cgi-bin/index.cgi
                exec httpd -f -p 8080 -h /tmp/www
            """,
            "page": """
                host=${ADMINER_DEFAULT_SERVER%:*} port=${ADMINER_DEFAULT_SERVER#*:}
                heard=$(printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 $host $port)
                case $heard in
                    *"200 OK"*) printf 'Content-Type: text/plain\\r\\n\\r\\n%s' "$heard" ;;
                    *) printf 'Status: 503 Service Unavailable\\r\\n\\r\\n' ;;
                esac
            """,
        },
    ),
}


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[dict[str, str]]:
    """Make what runs in the place of each image that the example names."""
    image.ensure()
    with contextlib.closing(docker.from_env()) as engine:
        for name, scripts in STAND_INS.values():
            _make(engine, name, scripts)
        yield {public: name for public, (name, _) in STAND_INS.items()}
        for name, _ in STAND_INS.values():
            engine.images.remove(name)


def _make(engine: docker.DockerClient, name: str, scripts: dict[str, str]) -> None:
    made = engine.containers.create(image.NAME, ["true"])
    try:
        made.put_archive("/bin", _archive(scripts))
        repository, _, tag = name.partition(":")
        made.commit(repository, tag, changes='CMD ["/bin/start"]')
    finally:
        made.remove()


def _archive(scripts: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, script in scripts.items():
            content = f"#!/bin/sh\n{script}\n".encode()
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def there() -> Iterator[Cluster]:
    with cluster(Containers()) as made:
        yield made
        made.delete_all()


def heroctl(there: Cluster, *words: str, stdin: str = "") -> str:
    """Run a command as somebody at a shell would; return what it said."""
    environ = {**os.environ, "HEROCTL_ADDR": there.url(), "HEROCTL_TOKEN": there.client.token}
    command = [sys.executable, "-m", "heroctl.cli", *words]
    done = subprocess.run(
        command, input=stdin, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def page(alloc: dict[str, Any]) -> str:
    """Read what a replica's page shows of the database; "" while it shows nothing."""
    with contextlib.suppress(OSError):
        place = f"http://127.0.0.1:{alloc['ports']['http']['host']}/"
        with urllib.request.urlopen(place, timeout=5) as answer:
            return str(answer.read().decode()).replace("\r\n", "\n").partition("\n\n")[2]
    return ""


def parts(there: Cluster) -> tuple[Workload, list[Workload]]:
    """Return the database that runs, and the web replicas."""
    tasks = {alloc["id"]: alloc["task"] for alloc in there.allocations("first-app")}
    running = there.wait_running("first-app", 3)
    [database] = [found for found in running if tasks[found.alloc] == "db"]
    return database, [found for found in running if found is not database]


def kept(there: Cluster) -> Path:
    """Return the database's folder on its node."""
    [password] = (there.folder / "agent-1" / "volumes").rglob("password")
    return password.parent


def test_the_first_app_runs_as_it_is_printed(there: Cluster, stand_ins: dict[str, str], tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    for public, stand_in in stand_ins.items():
        assert text.count(f"image: {public}\n") == 1
        text = text.replace(f"image: {public}\n", f"image: {stand_in}\n")
    spec = tmp_path / "first-app.yaml"
    spec.write_text(text)
    heroctl(there, "secret", "create", "db_password", "--from-stdin", stdin=PASSWORD)
    heroctl(there, "job", "run", str(spec))

    there.wait_deployed("first-app", 1)
    database, webs = parts(there)
    shown = [alloc for alloc in there.wait_healthy("first-app", 3) if alloc["task"] == "web"]
    assert [page(alloc).split() for alloc in shown] == [["start"]] * 2, "each finds the database"
    assert (kept(there) / "password").read_text().strip() == PASSWORD
    assert healthy_first(there, database)

    there.runtime.crash(database)
    until(lambda: all(page(alloc).split() == ["start"] * 2 for alloc in shown), timeout=60, what="the database again")
    after, same = parts(there)
    assert same == webs, "who uses it never restarts"
    assert after.id != database.id, "another container, and what was kept is there"

    heroctl(there, "job", "delete", "first-app")
    there.wait_running("first-app", 0)
    assert (kept(there) / "index.html").exists(), "a volume stays when its job goes"


def healthy_first(there: Cluster, database: Workload) -> bool:
    """Tell whether the web was placed only after the database was healthy."""
    written = [record.event for record in records(there.postgres.dsn())]
    healthy = next(
        number
        for number, event in enumerate(written)
        if isinstance(event, AllocReported) and (event.report.alloc, event.report.health) == (database.alloc, "healthy")
    )
    placed = [n for n, event in enumerate(written) if isinstance(event, AllocPlaced) and event.task == "web"]
    return len(placed) == 2 and min(placed) > healthy
