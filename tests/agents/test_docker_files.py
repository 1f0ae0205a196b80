"""Files and volumes on a real engine belong to whoever the image says; what is of the host stays as it was."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import docker
import pytest
from msgspec.structs import replace

from agents.container import Container, Content, Description
from agents.docker_runtime import DockerRuntime
from agents.runtime import NotAllowed, StartFailed
from heroctl.domain.spec import Volume
from tests.agents.kits import DockerKit, opened
from tests.needs import needs

pytestmark = [needs("docker"), needs("netns")]  # root: it gives files to others
USERS = "printf 'shop:x:1234:1235::/:/bin/sh\\n' > /etc/passwd; printf 'staff:x:50:\\n' > /etc/group"
Build = Callable[[str], str]


@pytest.fixture
async def kit(build: Build) -> AsyncIterator[DockerKit]:
    del build  # its images go after what runs of them
    async with opened("docker") as made:
        assert isinstance(made, DockerKit)
        yield made


@pytest.fixture
def build(test_image: str) -> Iterator[Build]:
    """Make an image whose containers run as a user."""
    made: list[str] = []
    with contextlib.closing(docker.from_env()) as client:

        def build(user: str) -> str:
            name = f"heroctl-test/user-{secrets.token_hex(4)}"
            container = client.containers.create(test_image, ["/bin/sh", "-c", f"mkdir -p /etc; {USERS}"])
            try:
                container.start()
                container.wait(timeout=20)
                container.commit(name, "1", changes=f"USER {user}" if user else None)
            finally:
                container.remove(force=True)
            made.append(f"{name}:1")
            return made[-1]

        yield build
        for name in made:
            client.images.remove(name)


def described(kit: DockerKit, image: str = "") -> Description:
    files = (Content("/etc/app.conf", b"plain", 0o440), Content("/run/word", b"open sesame", 0o400, secret=True))
    made = replace(kit.describe("stays"), files=files, volumes=(Volume("data", "/data"),))
    return replace(made, image=image) if image else made


async def ran(kit: DockerKit, container: Container, script: str) -> str:
    return (await kit.runtime.exec(container.id, ("/bin/sh", "-c", script), 10)).output.strip()


@pytest.mark.parametrize(
    ("user", "owner"), [("", "0:0"), ("1234", "1234:1235"), ("77", "77:0"), ("shop:staff", "1234:50"), ("5:6", "5:6")]
)
async def test_they_belong_to_the_images_user(kit: DockerKit, build: Build, user: str, owner: str) -> None:
    made = await kit.runtime.start(described(kit, build(user)))
    assert await ran(kit, made, "stat -c '%u:%g %a' /etc/app.conf /run/word /data") == "\n".join(
        [f"{owner} 440", f"{owner} 400", f"{owner} 755"]
    )
    assert await ran(kit, made, "cat /etc/app.conf /run/word; touch /data/x && echo written") == (
        "plainopen sesamewritten"
    )


async def test_files_cannot_be_written_to_and_a_volume_is_nobody_elses_afterwards(kit: DockerKit, build: Build) -> None:
    first = await kit.runtime.start(described(kit, build("shop")))
    assert "plain" in await ran(kit, first, "echo x > /etc/app.conf; cat /etc/app.conf")
    second = await kit.runtime.start(described(kit, build("77")))
    assert await ran(kit, second, "stat -c '%u:%g' /data /etc/app.conf") == "1234:1235\n77:0"


async def test_a_user_who_is_not_in_the_image_starts_nothing_and_leaves_nothing(kit: DockerKit, build: Build) -> None:
    with pytest.raises(StartFailed, match="nobody is not in"):
        await kit.runtime.start(described(kit, build("nobody")))
    assert await kit.runtime.list() == []
    assert [path for path in kit.memory.rglob("*") if path.is_file()] == []


async def test_a_secret_is_not_in_what_the_engine_keeps(kit: DockerKit) -> None:
    made = await kit.runtime.start(described(kit))
    shown = str((await kit.runtime._docker.containers.get(made.id))._container)
    assert "open sesame" not in shown
    mounts = {
        mount["Destination"]: (mount["RW"], mount["Source"])
        for mount in (await kit.runtime._docker.containers.get(made.id))["Mounts"]
    }
    assert {at: writable for at, (writable, _) in mounts.items()} == {
        "/etc/app.conf": False,
        "/run/word": False,
        "/data": True,
    }
    assert mounts["/run/word"][1].startswith("/dev/shm/")
    assert mounts["/etc/app.conf"][1].startswith(str(kit.folder))


async def test_a_volume_can_be_read_only(kit: DockerKit) -> None:
    volumes = (Volume("data", "/data", read_only=True),)
    made = await kit.runtime.start(replace(kit.describe("stays"), volumes=volumes))
    assert await ran(kit, made, "touch /data/x 2>/dev/null || echo read-only") == "read-only"


async def test_an_engine_elsewhere_has_neither(kit: DockerKit) -> None:
    away = DockerRuntime(kit.cluster, "n1", url="tcp://127.0.0.1:9")
    await away.open()
    try:
        for fields in ({"files": described(kit).files, "volumes": ()}, {"files": ()}):
            with pytest.raises(NotAllowed, match="another machine"):
                await away.start(replace(described(kit), **fields))
    finally:
        await away.close()
