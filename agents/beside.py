"""Begins a command beside a process: `beside.py TERMINAL GROUPS COMMAND…`, in a process of its own, without the agent.

It joins the control groups (folders, between colons), takes standard input for its terminal where `TERMINAL` is 1, and
becomes the command. 126: that may not be run; 127: there is none.
"""

import fcntl
import os
import sys
import termios
from pathlib import Path


def main(terminal: str, groups: str, *command: str) -> int:
    """Return only where the command cannot be begun."""
    for folder in filter(None, groups.split(":")):
        Path(folder, "cgroup.procs").write_text(str(os.getpid()))
    if terminal == "1":
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell: that is what was asked for
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    except ValueError:  # nothing is called so
        sys.stderr.write("a command without a name cannot be run\n")
        return 127


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
