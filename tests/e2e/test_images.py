"""The same tag, another image: a real registry, a real engine, and what its containers were really made from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
import pytest
from docker.errors import ImageNotFound

from tests import image
from tests.api.registries import Registry, registry
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.runtimes import Containers
from tests.e2e.specs import PATIENT, job
from tests.needs import needs

pytestmark = [pytest.mark.timeout(240), needs("docker"), needs("registry")]
SETTINGS: Final = {"HEROCTL_REGISTRIES": "localhost:*", "HEROCTL_REGISTRY_NETWORKS": "127.0.0.0/8,::1"}


class Shop:
    """A repository of a registry, and the engine that pushes to it and runs what is in it."""

    def __init__(self, there: Registry, engine: docker.DockerClient) -> None:
        self.registry = there
        self.name = f"{there.host}/shop"
        self._engine = engine

    def push(self, release: str) -> str:
        """Put an image of this release behind tag 1; return its digest. The engine keeps nothing of it."""
        made = self._engine.containers.create(image.NAME, ["true"])
        try:
            config = f'ENV BUILT="{release}"'
            made.commit(self.name, "1", changes=config)
        finally:
            made.remove()
        for line in self._engine.images.push(self.name, "1", stream=True, decode=True):
            assert "error" not in line, line
        [pushed] = [one for one in self._engine.images.get(f"{self.name}:1").attrs["RepoDigests"] if self.name in one]
        self.forget()
        return str(pushed).partition("@")[2]

    def forget(self) -> None:
        """Take its images from the engine, as far as nothing runs them."""
        for found in self._engine.images.list(self.name):
            for name in (*found.attrs["RepoTags"], *found.attrs["RepoDigests"]):
                with contextlib.suppress(ImageNotFound, docker.errors.APIError):
                    self._engine.images.remove(name)

    def spec(self, **task: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
        """Give a job that runs it."""
        return job(Containers(), "shop", image=f"{self.name}:1", script=PATIENT, **task)

    def built(self, container: str) -> str:
        """Tell which release a container was really made from."""
        entries = self._engine.containers.get(container).attrs["Config"]["Env"]
        return str(dict(entry.partition("=")[::2] for entry in entries)["BUILT"])


@pytest.fixture
def shop(tmp_path: Path, test_image: str) -> Iterator[Shop]:
    """Run a registry; whatever was pulled from it goes with it."""
    with registry(tmp_path / "registry") as there, contextlib.closing(docker.from_env()) as engine:
        made = Shop(there, engine)
        yield made
        made.forget()


@pytest.fixture
def there(shop: Shop) -> Iterator[Cluster]:
    """Run a cluster whose api may ask registries of this machine."""
    with cluster(Containers(), images=SETTINGS) as made:
        yield made
        made.delete_all()


def runs(there: Cluster, shop: Shop, version: int, count: int = 1) -> set[str]:
    """Wait until a version is deployed; tell which releases really run."""
    there.wait_deployed("shop", version, timeout=90)
    there.wait_healthy("shop", count)
    return {shop.built(found.id) for found in there.wait_running("shop", count)}


def digests(there: Cluster) -> dict[int, str | None]:
    """Tell what each version is pinned to."""
    return {each["version"]: each["images"].get("web") for each in there.client.get("/v1/jobs/shop/versions").body}


def test_what_was_pushed_under_the_same_tag_is_rolled_out_and_rolled_back(there: Cluster, shop: Shop) -> None:
    one = shop.push("one")
    assert there.submit(shop.spec())["version"] == 1
    assert runs(there, shop, 1) == {"one"}
    assert there.submit(shop.spec())["version"] == 1
    two = shop.push("two")
    assert there.submit(shop.spec())["version"] == 2
    assert runs(there, shop, 2) == {"two"}
    there.client.post("/v1/jobs/shop/rollback", {})
    assert runs(there, shop, 3) == {"one"}
    assert digests(there) == {1: one, 2: two, 3: one}
    [task] = there.client.get("/v1/jobs/shop").body["tasks"]
    assert (task["image"], task["digest"]) == (f"{shop.name}:1", one)


def test_a_registry_that_is_away_at_submit_is_asked_by_the_first_node(there: Cluster, shop: Shop) -> None:
    one = shop.push("one")
    shop.registry.stop()
    waiting = shop.spec(count=2, restart={"attempts": 20, "delay": "1s"})
    made = there.submit(waiting)
    assert "image_unresolved" in {warning["code"] for warning in made["warnings"]}
    assert digests(there) == {1: None}
    shop.registry.start()
    assert runs(there, shop, 1, 2) == {"one"}
    there.client.wait_until("/v1/jobs/shop", lambda body: body["tasks"][0]["digest"] == one, what="the pin")
    before = {found.id for found in there.running("shop")}
    shop.push("two")
    shop.registry.stop()
    assert there.submit(shop.spec(count=3, restart={"attempts": 20, "delay": "1s"}))["version"] == 2
    shop.registry.start()
    assert runs(there, shop, 2, 3) == {"one"}
    assert before <= {found.id for found in there.running("shop")}, "a pin restarts nothing"
    assert digests(there) == {1: one, 2: one}
