"""Becomes a program that ends with the process that started it: `tether.py PARENT SIGNAL USER PROGRAM [word ...]`.

When PARENT dies, however that comes, the program gets SIGNAL. USER is who to become first, or `-`. A program of its
own, standard library only: it runs before every child.
"""

from __future__ import annotations

import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback, should we be ended before the program begins
    import ctypes  # noqa: PLC0415 - slow enough to be interrupted

    parent, number, user, *command = sys.argv[1:]
    if user != "-":
        # Before the tie: the kernel forgets it when a process changes its user.
        who = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0):
        sys.exit(f"the kernel refuses to tie {command[0]} to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent has ended already")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
