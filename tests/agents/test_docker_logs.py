"""The output of a real container: as it was written, in parts where it is long, counted where it is too much."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agents.docker_engine import Engine
from agents.docker_follow import follow
from agents.docker_runtime import DEFAULT_URL
from agents.log_lines import BEGINNING, Allowance, Position, Written
from tests.needs import needs

PRINTS = (
    "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; echo bad >&2; "
    "head -c 1048576 /dev/zero | tr '\\0' x; echo; yes | head -n 60000"
)


@pytest.mark.parametrize("rate", [256 << 10, 1 << 30])
@needs("docker")
async def test_every_line_is_read_or_counted_and_read_on_from_where_it_was(test_image: str, rate: int) -> None:
    engine = Engine(DEFAULT_URL)
    await engine.open()
    rotation = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    described: Any = {"Image": test_image, "Cmd": ["sh", "-c", PRINTS], "HostConfig": {"LogConfig": rotation}}
    container = await engine.docker.containers.create(described)
    try:
        await container.start()
        allowance, written, dropped = Allowance(rate, 8 * rate), list[Written](), 0
        position: Position = BEGINNING

        def spare() -> bool:
            return allowance.spare(time.monotonic())

        async for said in follow(engine, container.id, position, spare):
            allowance.take(sum(len(line.raw) + 64 for line in said.written))
            written += said.written
            dropped += said.dropped
            position = said.position
        whole = [line for line in written if not line.partial]
        assert len(whole) + dropped == 1000 + 1 + 1 + 60_000
        assert [line.raw for line in whole if line.raw.startswith(b"line")] == [b"line %d" % n for n in range(1000)]
        assert [line.raw for line in whole if line.output == "stderr"] == [b"bad"]
        assert sum(len(line.raw) for line in written if line.raw[:1] == b"x") == 1 << 20
        assert (dropped > 0) is (rate < 1 << 20)
        again = [line async for said in follow(engine, container.id, position, lambda: True) for line in said.written]
        assert again == []
    finally:
        await container.delete(force=True)
        await engine.close()
