"""The first minute: a small service is submitted, and what it says, how to log in and what to type next is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from heroctl.dev.client import Client
from heroctl.dev.folder import Folder, Report, Trouble
from heroctl.dev.screen import Screen

CONTEXT: Final = "dev"
_SPEC: Final = Path(__file__).with_name("hello.yaml")  # the one of examples/


async def save_context(report: Report, screen: Screen) -> None:
    """Make the command line of this user know the cluster. Without that the cluster is no worse; it is said."""
    words = ("login", report.url, "--token-stdin", "--context", CONTEXT)
    said: list[str] = []
    if await _heroctl(words, os.environ, said.append, stdin=report.token + "\n"):
        screen.say(f"the context {CONTEXT} could not be saved: {' '.join(said)}")


async def run(report: Report, folder: Folder, screen: Screen) -> None:
    """Submit the example, wait until it is healthy, and print what to do next. Trouble where it does not work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEROCTL_")}
    environ = {**kept, "HEROCTL_ADDR": report.url, "HEROCTL_TOKEN": report.token}
    words = ("job", "run", str(_SPEC), "--timeout", "2m")
    if code := await _heroctl(words, environ, lambda line: screen.child("demo", line)):
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
             {heroctl} job run examples/rolling.yaml
  Stop       Ctrl-C; the state stays in {str(folder.place).replace(str(Path.home()), "~", 1)}
"""


def _spelled() -> str:
    """Spell the command line so that it works where the user stands."""
    if shutil.which("heroctl"):
        return "heroctl"
    beside = Path(sys.executable).parent / "heroctl"
    if not beside.exists():
        return f"{sys.executable} -m heroctl.cli"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


async def _heroctl(
    words: tuple[str, ...], environ: Mapping[str, str], hear: Callable[[str], None], *, stdin: str = ""
) -> int:
    """Run a command of the command line, hear each line that it says, and return its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "heroctl.cli", *words),
        env={**environ, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - as above
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
        async for line in process.stdout:
            hear(line.decode(errors="replace").rstrip("\n"))
        return await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
