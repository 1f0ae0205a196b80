"""Settings of dev mode: flags, `HEROCTL_*` variables, lines of the settings file, as for every process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from heroctl.domain.settings import describe

USUAL_PORT: Final = 8080
_HIGHEST_PORT: Final = 65_535


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that dev mode can be told."""

    data: Annotated[str, describe("folder of all state; made if missing (default: ~/.local/share/heroctl/dev)")] = ""
    port: Annotated[
        int | None, describe("port of the API; another one if it is taken (default: the one before, at first 8080)")
    ] = None
    runtime: Annotated[
        Literal["auto", "docker", "process"],
        describe("what runs jobs: docker, process, or auto: processes, and docker where an engine answers"),
    ] = "auto"
    agents: Annotated[int, Meta(ge=1, le=16), describe("how many nodes; they share the machine")] = 1
    registries: Annotated[
        tuple[str, ...],
        describe(
            "registries that are asked what an image's tag stands for, as the api's; those of this machine, too",
            flag="registry",
        ),
    ] = ("*",)
    demo: Annotated[bool, describe("run examples/hello.yaml and say what to do next")] = False

    def __post_init__(self) -> None:
        """Check what single settings cannot show."""
        if self.port is not None and not 1 <= self.port <= _HIGHEST_PORT:
            raise ValueError(f"--port: {self.port} is no port")

    @property
    def folder(self) -> Path:
        """Where the state is kept."""
        if self.data:
            return Path(self.data).expanduser().absolute()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser() / "heroctl" / "dev"
