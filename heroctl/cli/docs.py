"""Writes docs/cli.md from the tree of commands: `python -m heroctl.cli.docs [FILE]`, or `make docs`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from heroctl.cli.tree import make

_HEAD: Final = """\
# The command line

Made from the command tree by `make docs`; `heroctl COMMAND --help` says the same.

Data goes to stdout, everything else to stderr. On a terminal tables are aligned and coloured, unless `NO_COLOR` is set;
piped they are tab-separated with times in full, and nothing steers a terminal. `-o json` and `-o yaml` print the API's
answer as it came, alone on stdout; `-o name` one name a line. What goes wrong says what to type next. `--watch` stays
and prints anew at every change; with `-o json` that is one line a change.

| exit code | meaning |
|---|---|
| 0 | done; for `job run` and all that waits as it does: all replicas are healthy, or what is to be promoted stands |
| 1 | wrong usage, or the API refused |
| 2 | the version failed, was superseded or cancelled; with `--detailed-exitcode`: there is something to do |
| 3 | the time was up |
| 4 | replicas cannot be placed, and nothing else is going on |
| 130 | interrupted |

Which cluster: `--address`, then `--context`, then `HEROCTL_ADDR`, then `HEROCTL_CONTEXT`, then the context that was
logged in to or chosen last. Contexts and their tokens are kept in `~/.config/heroctl/config.toml`, or the file that
`HEROCTL_CONTEXTS` names, readable by its owner alone. A context's token goes to that context's address and to no other.

## Global options

"""
_GLOBALS: Final = re.compile(r"\*\*Global options\*\*:\n\n((?:\* .*\n)+)")
_FLAG: Final = re.compile(r"^\* `(?:.*, )?(--[\w-]+)", re.MULTILINE)
_PASSED: Final = re.compile(r"\*\*Arguments\*\*:\n\n\* `SETTINGS`:.*\n\n?")


def document() -> str:
    """Make the whole page."""
    text = _tree()
    blocks = _GLOBALS.findall(text)
    everything = max(blocks, key=lambda block: (block.count("\n"), blocks.count(block)))
    text = _GLOBALS.sub(lambda block: f"Global options: {_flags(block[1])}\n", text)
    text = _PASSED.sub("", text).replace("heroctl dev ARGS", "heroctl dev")
    dev = f"## heroctl dev\n\n```console\n{_usage('heroctl.dev')}```\n"
    text = re.sub(r"### heroctl dev\n(?:.*\n)*?(?=### |\Z)", f"#{dev}\n".replace("\\", r"\\"), text)
    return f"{_HEAD}{everything}\n{text}".rstrip() + "\n"


def _tree() -> str:
    # The library names the program by how this one was started.
    started_as, sys.argv = sys.argv, ["heroctl"]
    try:
        return make(plain=True).generate_docs(heading_level=2)
    finally:
        sys.argv = started_as


def _flags(block: str) -> str:
    return " ".join(f"[`{flag}`](#global-options)" for flag in _FLAG.findall(block))


def _usage(module: str) -> str:
    command = [sys.executable, "-P", "-m", module, "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Write the page."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "cli.md"
    place.write_text(document())


if __name__ == "__main__":
    main()
