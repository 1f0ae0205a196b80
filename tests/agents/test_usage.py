"""What a real container uses, as an agent measures it, beside what the kernel counts over the same time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import docker
import pytest

from agents.clock import RealClock
from agents.counters import Counters, Machine
from agents.docker_runtime import DockerRuntime
from agents.running import Running
from agents.runtime import Runtime
from agents.samples import Sampler
from heroctl.domain.sampling import Measured, SamplesReply, SamplesRequest
from tests import image
from tests.agents.kits import ProcessKit, description
from tests.needs import needs
from tests.waiting import eventually

MIB: Final = 1 << 20
WINDOW: Final = 6.0  # seconds
# Half a core by its own limit, and 64 MB in memory that only it has.
BURNER: Final = "dd if=/dev/zero of=/dev/shm/held bs=1M count=64 2>/dev/null; while :; do :; done"


class Kernel:
    """The kernel's own files of a container's groups, read without the agent's code."""

    def __init__(self, container: str) -> None:
        pid = docker.from_env().containers.get(container).attrs["State"]["Pid"]
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        named = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
        root = Path("/sys/fs/cgroup")
        self._second = (root / "cgroup.controllers").exists()
        self._cpu = root / named[""].lstrip("/") if self._second else root / "cpuacct" / named["cpuacct"].lstrip("/")
        self._memory = self._cpu if self._second else root / "memory" / named["memory"].lstrip("/")

    @property
    def cpu(self) -> float:
        """Seconds of processors."""
        if not self._second:
            return int((self._cpu / "cpuacct.usage").read_text()) / 1e9
        return int((self._cpu / "cpu.stat").read_text().split()[1]) / 1e6

    @property
    def memory(self) -> float:
        """Bytes."""
        return float((self._memory / ("memory.current" if self._second else "memory.usage_in_bytes")).read_text())


async def measured(runtime: Runtime, container: str, seconds: float) -> dict[str, float]:
    """Take two samples so far apart, and return the second one's values."""
    sent: list[SamplesRequest] = []

    async def send(request: SamplesRequest) -> SamplesReply:
        sent.append(request)
        return SamplesReply(5.0)

    clock = RealClock()
    one = Running("a1", container, runtime, 0.5, 256.0 * MIB, 0)
    sampler = Sampler("n1", Machine(Path("/")), lambda: [one], send, clock=clock, session=lambda: 1)
    await sampler.take()
    sampler._kept.clear()
    await clock.sleep(seconds)
    await sampler.take()
    await sampler.send()
    told: list[Measured] = sent[0].taken[0].samples
    return next(each.values for each in told if each.alloc)


@needs("docker")
async def test_a_container_that_burns_half_a_core_and_holds_64_mb_is_seen_as_the_kernel_counts_it(
    test_image: str,
) -> None:
    assert test_image == image.NAME
    runtime = DockerRuntime("test-usage", "n1")
    await runtime.open()
    burner = description(
        "test-usage", "", 1, 0, image=image.NAME, command=("/bin/sh", "-c", BURNER), cpu=0.5, memory=256 * MIB
    )
    made = await runtime.start(burner)
    try:
        kernel = Kernel(made.id)
        await eventually(lambda: kernel.memory > 64 * MIB, timeout=30, what="64 MB that are held")
        began, before = time.monotonic(), kernel.cpu
        values = await measured(runtime, made.id, WINDOW)
        used = (kernel.cpu - before) / (time.monotonic() - began)
        assert values["cpu"] == pytest.approx(used, rel=0.1)
        assert 0.05 < values["cpu"] < 0.56, "its own limit is half a core"
        assert values["cpu_percent"] == pytest.approx(values["cpu"] * 200)
        assert values["memory"] == pytest.approx(kernel.memory, rel=0.1)
        assert values["memory"] >= 64 * MIB
        assert values["network_in"] >= 0.0
    finally:
        await runtime.signal(made.id, "SIGKILL")

        async def ended() -> bool:
            return (await runtime.list(made.alloc))[0].state == "exited"

        await eventually(ended)
        assert await runtime.usage(made.id) == Counters()
        await runtime.remove(made.id)
        await runtime.close()


async def test_a_process_is_seen_with_all_that_it_started(tmp_path: Path) -> None:
    kit = ProcessKit(tmp_path / "processes")
    await kit.runtime.open()
    burner = description(kit.cluster, "", 1, 0, command=("/bin/sh", "-c", "(while :; do :; done) & wait"), cpu=0.5)
    made = await kit.runtime.start(burner)
    try:
        values = await measured(kit.runtime, made.id, 2.0)
        assert values["cpu"] > 0.05
        assert values["memory"] > 0
        assert "network_in" not in values, "it has no network of its own"
    finally:
        await kit.runtime.signal(made.id, "SIGKILL")

        async def ended() -> bool:
            return (await kit.runtime.list(made.alloc))[0].state == "exited"

        await eventually(ended)
        assert await kit.runtime.usage(made.id) == Counters()
        await kit.runtime.remove(made.id)
        await kit.runtime.close()
