"""Images on a real engine: pulled as somebody, taken away when the disk is crowded, not pulled when it is low."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import docker
import pytest
from docker.errors import ImageNotFound

from agents.disk import Disk
from agents.docker_engine import Engine
from agents.docker_images import Images
from agents.docker_runtime import DEFAULT_URL
from agents.login import Login
from agents.runtime import DiskLow, ImageAuthFailed, ImageMissing
from tests import image
from tests.api import registries
from tests.api.registries import ROBOT, Registry
from tests.needs import needs

pytestmark = [needs("docker"), needs("registry")]
ROBOTS: Final = Login("robot", "beep-boop")


@dataclass
class Store:
    """A private registry with an image `shop` of some tags, and an engine that has none of them."""

    registry: Registry
    client: docker.DockerClient
    record: Path
    used: int = 50  # percent of the disk
    now: float = 1_000_000.0
    made: list[Images] = field(default_factory=list)

    def name(self, tag: str) -> str:
        return f"{self.registry.host}/shop:{tag}"

    def push(self, *tags: str) -> None:
        for tag in tags:
            container = self.client.containers.create(image.NAME, ["true"])
            try:
                container.commit(f"{self.registry.host}/shop", tag, changes=f'ENV BUILT="{tag}"')
            finally:
                container.remove()
            auth = {"username": ROBOTS.username, "password": ROBOTS.password}
            for line in self.client.images.push(self.name(tag), auth_config=auth, stream=True, decode=True):
                assert "error" not in line, line
            self.client.images.remove(self.name(tag))

    def here(self) -> set[str]:
        """Name the tags that the engine has."""
        found = self.client.images.list(f"{self.registry.host}/shop")
        return {tag.rpartition(":")[2] for each in found for tag in each.tags}

    async def images(self) -> Images:
        """Make one over the same record, as an agent does that was started again."""
        engine = Engine(DEFAULT_URL)
        await engine.open()
        disk = Disk(self.record.parent, crowded=80, low=95, usage=lambda _: (100, self.used, 100 - self.used))
        self.made.append(Images(engine, disk, self.record, keep=600.0, wall=lambda: self.now))
        return self.made[-1]

    async def close(self) -> None:
        for each in self.made:
            await each.close()
            await each._engine.close()
        for tag in self.here():
            with contextlib.suppress(ImageNotFound):
                self.client.images.remove(self.name(tag))


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.from_env()) as made:
        yield made


@pytest.fixture
async def store(tmp_path: Path, client: docker.DockerClient, test_image: str) -> AsyncIterator[Store]:
    assert test_image
    with registries.registry(tmp_path / "registry", users=ROBOT) as there:
        made = Store(there, client, tmp_path / "images.json")
        try:
            yield made
        finally:
            await made.close()


async def test_a_private_image_is_pulled_as_somebody(store: Store) -> None:
    store.push("1")
    await (await store.images()).pull(store.name("1"), ROBOTS)
    assert store.here() == {"1"}


@pytest.mark.parametrize("login", [None, Login("robot", "boop-beep"), Login("nobody", "beep-boop")])
async def test_whom_the_registry_does_not_know_gets_nothing(store: Store, login: Login | None) -> None:
    store.push("1")
    with pytest.raises(ImageAuthFailed) as refused:
        await (await store.images()).pull(store.name("1"), login)
    assert (refused.value.fault.kind, refused.value.fault.reason) == ("final", "image_auth_failed")
    assert "boop-beep" not in refused.value.fault.message
    assert store.here() == set()


async def test_what_is_not_there_is_missing_to_those_who_may_look(store: Store) -> None:
    store.push("1")
    with pytest.raises(ImageMissing):
        await (await store.images()).pull(store.name("2"), ROBOTS)


async def test_the_longest_unused_goes_first_and_only_until_there_is_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.push("1", "2", "3", "4")
    images = await store.images()
    for tag in ("2", "1", "3", "4"):
        await images.pull(store.name(tag), ROBOTS)
        store.now += 10
    store.now += 1000
    await images.tidy([store.name("1")])
    assert store.here() == {"1", "2", "3", "4"}, "there is room"
    store.used = 90
    shares = iter([90, 90, 70])
    monkeypatch.setattr(Disk, "crowded", property(lambda _: next(shares) > 80))
    await images.tidy([store.name("1")])
    assert store.here() == {"1", "4"}


async def test_what_was_used_a_moment_ago_stays_and_the_record_outlives_the_agent(store: Store) -> None:
    store.push("1", "2")
    first = await store.images()
    for tag in ("1", "2"):
        await first.pull(store.name(tag), ROBOTS)
    store.used = 90
    store.now += 1000
    await first.tidy([store.name("1"), store.name("2")])
    second = await store.images()
    store.now += 599
    await second.tidy([])
    assert store.here() == {"1", "2"}
    store.now += 1
    await second.tidy([store.name("2")])
    assert store.here() == {"2"}


async def test_what_somebody_else_brought_or_uses_is_never_touched(store: Store, client: docker.DockerClient) -> None:
    store.push("foreign", "named", "run")
    auth = {"username": ROBOTS.username, "password": ROBOTS.password}
    client.images.pull(f"{store.registry.host}/shop", "foreign", auth_config=auth)
    images = await store.images()
    for tag in ("named", "run"):
        await images.pull(store.name(tag), ROBOTS)
    client.images.get(store.name("named")).tag(f"{store.registry.host}/shop", "mine")
    container = client.containers.create(store.name("run"), ["true"])
    try:
        store.used = 90
        store.now += 1000
        await images.tidy([])
        assert store.here() == {"foreign", "mine", "run"}
        assert client.images.get(store.name("mine")).attrs["Config"]["Env"], "what has another name is there still"
    finally:
        container.remove()
    store.now += 1000
    await images.tidy([])
    assert store.here() == {"foreign", "mine"}, "who was in use goes when nobody uses it any more"


async def test_what_a_tag_stood_for_stays_while_it_is_wanted_by_its_digest(
    store: Store, client: docker.DockerClient
) -> None:
    store.push("1")
    images = await store.images()
    await images.pull(store.name("1"), ROBOTS)
    [pinned] = client.images.get(store.name("1")).attrs["RepoDigests"]
    store.used = 90
    store.now += 1000
    await images.tidy([pinned])
    assert store.here() == {"1"}
    store.now += 1000
    await images.tidy([])
    assert store.here() == set()
    await images.pull(pinned, ROBOTS)
    assert client.images.get(pinned) is not None
    store.now += 1000
    await images.tidy([store.name("2")])
    with pytest.raises(ImageNotFound):
        client.images.get(pinned)


async def test_a_record_that_cannot_be_read_removes_nothing(store: Store) -> None:
    store.push("1")
    await (await store.images()).pull(store.name("1"), ROBOTS)
    store.record.write_bytes(b"\xff{")
    store.used = 90
    store.now += 1000
    await (await store.images()).tidy([])
    assert store.here() == {"1"}


async def test_where_the_disk_is_low_nothing_is_pulled(store: Store) -> None:
    store.push("1")
    images = await store.images()
    store.used = 95
    with pytest.raises(DiskLow, match="95 %") as refused:
        await images.pull(store.name("1"), ROBOTS)
    assert (refused.value.fault.kind, refused.value.fault.reason) == ("attempt", "disk_low")
    assert store.here() == set()
    store.used = 91
    await images.pull(store.name("1"), ROBOTS)
    assert store.here() == {"1"}


async def test_an_engine_that_is_away_removes_nothing_and_raises_nothing(tmp_path: Path) -> None:
    record = tmp_path / "images.json"
    record.write_text('{"shop:1": 1.0}')
    engine = Engine(f"unix://{tmp_path}/nothing.sock")
    await engine.open()
    full = Disk(tmp_path, usage=lambda _: (100, 90, 10))
    images = partial(Images, engine, full, record)
    first = images()
    await first.tidy([])
    assert record.read_text() == '{"shop:1": 1.0}'
    await engine.close()
