"""Pages whose commands are run: `console` blocks with what is typed after `$ `, and below it what is to be seen.

Of what is to be seen each line must come, in this order, among whatever else is printed; `…` stands for anything. A
command must end with 0, unless the next one is `echo $?`, which tells with what. A `yaml` block that begins with
`# NAME.yaml` is that file.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.waiting import until

_BLOCK: Final = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"# (\S+\.yaml)\n")


class Ran(NamedTuple):
    """What a command did."""

    code: int
    said: str


class Command(NamedTuple):
    """What is typed, and the lines that are to be seen."""

    typed: str
    seen: list[str]


Shell = Callable[[str], Ran]


def shell(folder: Path, environ: Mapping[str, str]) -> Shell:
    """Give what types commands in a folder, with `heroctl` at hand: none may end in a traceback."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def typed(command: str) -> Ran:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env={**environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        assert "Traceback" not in ran.stdout.replace("| Traceback", ""), ran.stdout  # a workload's may be shown
        return Ran(ran.returncode, ran.stdout)

    return typed


def steps(page: Path) -> Iterator[tuple[str, str] | Command]:
    """Give what a page says to do, in its order: files, as (name, text), and commands."""
    for kind, text in _BLOCK.findall(page.read_text()):
        if kind == "yaml":
            if found := _FILE.match(text):
                yield found[1], text
            continue
        for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed, *seen = each.splitlines()
            yield Command(typed, [line for line in seen if line.strip("… ")])


_SOON: Final = "heroctl audit"  # refusals are written beside the answer: a moment later they are there


def follow(page: Path, folder: Path, shell: Shell, skip: tuple[str, ...] = ()) -> int:
    """Do all that a page says, but for what is typed before it begins; return how many commands that were."""
    done: list[tuple[Command, Ran]] = []
    for step in steps(page):
        if not isinstance(step, Command):
            (folder / step[0]).write_text(step[1])
        elif step.typed == "echo $?":
            _expect(step, Ran(0, str(done[-1][1].code)))
            done[-1] = (done[-1][0], Ran(0, ""))
        elif step.typed not in skip:
            _ended_well(done)
            done.append((step, shell(step.typed)))
            if step.typed.startswith(_SOON):
                done[-1] = (step, until(partial(_seen, step, shell), what=step.typed) or done[-1][1])
            _expect(step, done[-1][1])
    _ended_well(done)
    return len(done)


def _ended_well(done: list[tuple[Command, Ran]]) -> None:
    if done:
        command, ran = done[-1]
        assert ran.code == 0, f"$ {command.typed}\nended with {ran.code}:\n{ran.said}"


def _seen(command: Command, shell: Shell) -> Ran | None:
    ran = shell(command.typed)
    with contextlib.suppress(AssertionError):
        _expect(command, ran)
        return ran
    return None


def _expect(command: Command, ran: Ran) -> None:
    lines = iter(ran.said.splitlines())
    for wanted in command.seen:
        pattern = ".*".join(re.escape(part) for part in wanted.strip().split("…"))
        found = any(re.fullmatch(pattern, line.strip()) for line in lines)
        assert found, f"$ {command.typed}\nshowed no (further) line like\n{wanted}\nbut\n{ran.said}"
