"""Starts one process and waits for it: `python -S -E waiter.py FOLDER LOCK`. Exit codes outlive the agent by it.

A program of its own: the standard library only, nothing of ours, quick to start. FOLDER holds `run.json` (what to run);
beside it come `pid.json` when it runs and `exit.json` when it has ended. LOCK is a descriptor of a locked file: as long
as it is locked, a waiter lives. Returns once the process runs; otherwise says why not, with exit code 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

TYPE_CHECKING = False  # typing, and pathlib, would make each start slower by a tenth
if TYPE_CHECKING:
    from typing import Any

QUIET = 5.0  # seconds between two looks at the size of the output
MEASURED = 1.0  # the same, when memory is measured too
_BLOCK = 4096
_PUNCH = 0x01 | 0x02  # the size stays, a hole is made
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


def main() -> int:
    """Fork the waiter, and return what it says of the start."""
    folder, lock = sys.argv[1], int(sys.argv[2])
    os.chdir(folder)
    os.set_inheritable(lock, False)
    hear, say = os.pipe()
    if os.fork():
        os.close(say)
        answer = os.read(hear, 65_536).decode(errors="replace")
        if answer != "started":
            sys.stdout.write(answer or "the waiter ended")
        return answer != "started"
    os.close(hear)
    os.setsid()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    _detach()
    with open("run.json", "rb") as file:
        run = json.load(file)
    try:
        pid = start(run)
    except OSError as error:
        os.write(say, f"{error.filename or run['argv'][0]}: {error.strerror}".encode())
        os._exit(0)
    keep("pid.json", {"pid": pid, "start": started(pid), "waiter": os.getpid(), "boot": run["boot"]})
    os.write(say, b"started")
    os.close(say)
    wait(pid, run)
    os._exit(0)


def start(run: dict[str, Any]) -> int:
    """Start the process in a session and process group of its own; return its pid. OSError where it cannot be."""
    hear, say = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _become(run)
        except OSError as error:
            os.write(say, json.dumps([error.errno, error.strerror, str(error.filename or "")]).encode())
        finally:
            os._exit(127)
    os.close(say)
    answer = b""
    while part := os.read(hear, 65_536):
        answer += part
    os.close(hear)
    if answer:
        os.waitpid(pid, 0)
        raise OSError(*json.loads(answer))
    return pid


def _become(run: dict[str, Any]) -> None:
    os.setsid()
    for group in run["groups"]:
        with open(os.path.join(group, "cgroup.procs"), "w") as file:
            file.write("0")
    for name, target in (("stdout.log", 1), ("stderr.log", 2)):
        log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, target)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.chdir("work")
    os.execvpe(run["argv"][0], run["argv"], run["env"])  # noqa: S606 - a shell would be one more process


def wait(pid: int, run: dict[str, Any]) -> None:
    """Wait for the end, keep the output and, where no group of the kernel's does, the memory within bounds."""
    measured = not run["groups"]
    oom = False
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, MEASURED if measured else QUIET)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        for name in ("stdout.log", "stderr.log"):
            rotate(name, run["log_bytes"], run["log_files"])
        if measured and not oom and memory(pid) > run["memory"]:
            oom = True
            _kill(pid, run["groups"])
    _kill(pid, run["groups"])
    code = os.waitstatus_to_exitcode(status)
    killed = run["oom"] and _killed_for_memory(run["oom"])
    keep("exit.json", {"code": code if code >= 0 else 128 - code, "oom": oom or killed})


def rotate(name: str, size: int, files: int) -> None:
    """Give what is old of an output back to the disk: of `files` times `size` bytes or a little more the end is kept.

    The file goes on, with a hole where it began, so that whoever reads it knows by its offset what was read, and
    nothing is lost that is written meanwhile. Where the file system makes no holes it begins anew.
    """
    with open(name, "r+b") as file:
        status = os.fstat(file.fileno())
        if status.st_blocks * 512 <= size * files:
            return
        hole = (status.st_size - size * (files - 1)) // _BLOCK * _BLOCK
        if hole > 0 and not _punched(file.fileno(), hole):
            os.truncate(name, 0)


def _punched(file: int, length: int) -> bool:
    import ctypes  # noqa: PLC0415 - it is seldom needed, and would make each start slower

    fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(file, _PUNCH, 0, length) == 0)


def memory(pid: int) -> int:
    """Return the bytes that a process and those below it have for themselves."""
    total, left = 0, [pid]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{one}/statm") as file:
                fields = file.read().split()
            total += (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
            with open(f"/proc/{one}/task/{one}/children") as file:
                left += [int(child) for child in file.read().split()]
    return total


def started(pid: int) -> int:
    """Return when a process was started, in ticks since boot: with its pid, it is like no other of this boot."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def keep(name: str, value: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    with open(name + ".new", "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(name + ".new", name)


def _killed_for_memory(name: str) -> bool:
    with contextlib.suppress(OSError), open(name) as file:
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file)
    return False


def _kill(pid: int, groups: list[str]) -> None:
    """End all that is left of a process: nothing of it may hold a port when the next attempt begins."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for group in groups:
        with contextlib.suppress(OSError), open(os.path.join(group, "cgroup.procs")) as file:
            for line in file:
                os.kill(int(line), signal.SIGKILL)


def _detach() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(nothing, target)


if __name__ == "__main__":
    sys.exit(main())
