"""`heroctl`: reads the command line, runs one command, says what went wrong and ends with its exit code.

0 done and healthy · 1 usage, or the API said no · 2 failed · 3 timed out · 4 blocked · 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from heroctl.cli import processes

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})  # of where the output goes


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    _open_what_is_closed()
    sys.exit(run(sys.argv[1:]))


def _open_what_is_closed() -> None:
    """Let there be all three streams: whoever started us may have closed some, as `<&-` does."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    words = list(argv)
    # These two need no parser: the one must be fast, the other hands its words to a process that reads them itself.
    if words in (["version"], ["--version"]):
        sys.stdout.write(f"heroctl {processes.version()}\n")
        return 0
    if command := processes.command(words):
        processes.replace(command)
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        _write_nothing_more()  # whoever reads has gone, as `head` does
        return 141
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _write_nothing_more()
        sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        return 1


def _write_nothing_more() -> None:
    """Let nothing be written to standard output, also while the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    from cyclopts import CycloptsError

    from heroctl.cli import output
    from heroctl.cli.faults import Fault
    from heroctl.cli.tree import make

    try:
        result = make(plain=not output.colourful(sys.stdout))(
            _leading_last(words), print_error=False, exit_on_error=False, result_action="return_value"
        )
    except Fault as fault:
        sys.stdout.flush()
        output.fault(fault)
        return fault.code
    except CycloptsError as error:
        chain = " ".join(("heroctl", *(error.command_chain or ())))
        output.fault(Fault(str(error), hints=[f"{chain} --help"]))
        return 1
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _leading_last(words: list[str]) -> list[str]:
    """Let global options stand before the command, too: `heroctl -o json job list`."""
    from heroctl.cli.options import TAKES_VALUE

    at = 0
    while at < len(words) and words[at].partition("=")[0] in TAKES_VALUE:
        at += 1 if "=" in words[at] else 2
    leading, rest = words[:at], words[at:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *leading, *rest[end:]]


if __name__ == "__main__":
    main()
