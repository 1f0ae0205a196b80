"""The floor under starting containers: the engine's own API, told to make and start the same ones eight at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import aiodocker
from aiodocker.containers import DockerContainer

_AT_ONCE: Final = 8
_PORTS: Final = 18_000  # below those that agents pick from


def template(inspected: dict[str, Any]) -> dict[str, Any]:
    """Make, of what the engine says of a container, what asks for another like it that belongs to no cluster."""
    config = {name: value for name, value in inspected["Config"].items() if name not in ("Hostname", "Domainname")}
    labels = {label.replace("heroctl.", "floor00."): value for label, value in config["Labels"].items()}
    return {**config, "Labels": labels, "HostConfig": inspected["HostConfig"]}


def start(like: dict[str, Any], count: int, name: str) -> float:
    """Give the seconds until `count` containers like this one run; they are removed before it returns."""
    return asyncio.run(_start(like, count, name))


async def _start(like: dict[str, Any], count: int, name: str) -> float:
    gate = asyncio.Semaphore(_AT_ONCE)
    made: list[DockerContainer] = []

    async with aiodocker.Docker() as engine:

        async def one(number: int) -> None:
            async with gate:
                container = await engine.containers.create(_on_port(like, _PORTS + number), name=f"{name}-{number}")
                made.append(container)
                await container.start()

        try:
            began = time.monotonic()
            await asyncio.gather(*(one(number) for number in range(count)))
            return time.monotonic() - began
        finally:
            await asyncio.gather(*(container.delete(force=True) for container in made))


def _on_port(like: dict[str, Any], port: int) -> dict[str, Any]:
    bindings = like["HostConfig"]["PortBindings"]
    moved = {inner: [{**each, "HostPort": str(port)} for each in outer] for inner, outer in bindings.items()}
    return {**like, "HostConfig": {**like["HostConfig"], "PortBindings": moved}}
