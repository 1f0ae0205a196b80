"""The first minute: a small service is submitted, and what it says, how to log in and what to type next is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from heroctl.dev.client import Client
from heroctl.dev.folder import Folder, Report, Trouble
from heroctl.dev.screen import Screen

CONTEXT: Final = "dev"
_SPEC: Final = "hello.yaml"


async def save_context(report: Report, screen: Screen) -> None:
    """Make the command line of this user know the cluster."""
    words = ("login", report.url, "--token-stdin", "--context", CONTEXT)
    code, said = await _heroctl(words, os.environ, report.token + "\n")
    if code:
        screen.say(f"the context {CONTEXT} could not be saved: {said.strip()}")


async def run(report: Report, folder: Folder, screen: Screen) -> None:
    """Submit the example, wait until it is healthy, and print what to do next. Trouble where it does not work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEROCTL_")}
    environ = {**kept, "HEROCTL_ADDR": report.url, "HEROCTL_TOKEN": report.token}
    code, said = await _heroctl(("job", "run", str(_example()), "--timeout", "2m"), environ)
    for line in said.splitlines():
        screen.child("demo", line)
    if code:
        raise Trouble(f"the demo did not become healthy (exit code {code}); the cluster runs on")
    async with Client(report.url) as client:
        await client.become(report.token, report.admin_password)
        addresses = await client.addresses("hello")
    screen.result(_told(report, folder, addresses))


def _told(report: Report, folder: Folder, addresses: list[str]) -> str:
    heroctl = _spelled()
    place = str(folder.report).replace(str(Path.home()), "~", 1)
    urls = [f"http://{address}" for address in addresses]
    return f"""
  hello runs and is healthy: {", ".join(urls)}

  API        {report.url}
  Log in     user admin; the password is in {place}
             this command line is logged in already (context {CONTEXT})
  Try        curl {urls[0] if urls else report.url}
             {heroctl} job list
             {heroctl} alloc list --job hello
             {heroctl} job run examples/update.yaml
  Stop       Ctrl-C; the state stays in {str(folder.place).replace(str(Path.home()), "~", 1)}
"""


def _spelled() -> str:
    """Spell the command line so that it works where the user stands."""
    if shutil.which("heroctl"):
        return "heroctl"
    beside = Path(sys.executable).parent / "heroctl"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


def _example() -> Path:
    """Find the example: beside this file where it was installed, else in the tree."""
    here = Path(__file__).parent
    for place in (here / _SPEC, here.parents[1] / "examples" / _SPEC):
        if place.exists():
            return place
    raise Trouble(f"{_SPEC} is not installed: start without --demo")


async def _heroctl(words: tuple[str, ...], environ: Mapping[str, str], text: str = "") -> tuple[int, str]:
    """Run a command of the command line; return its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "heroctl.cli", *words),
        env=dict(environ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate(text.encode())
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return process.returncode or 0, said.decode(errors="replace")
