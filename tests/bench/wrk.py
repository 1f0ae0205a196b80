"""The load generator `wrk`, from the distribution's packages: installed when it is missing and we may."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

from msgspec import Struct

_UNITS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(Struct, frozen=True):
    """What a run gave: requests a second, latencies in milliseconds, bytes of one answer with its head."""

    rps: float
    p50: float
    p99: float
    bytes: float


def ensure() -> str:
    """Return where wrk is. FileNotFoundError where there is none and it cannot be installed."""
    if (found := shutil.which("wrk")) is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise FileNotFoundError("no wrk in PATH: apt-get install wrk")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "wrk"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(install, check=True, capture_output=True, env=environment, timeout=300)
        found = shutil.which("wrk")
    if found is None:
        raise FileNotFoundError("wrk was installed and is not in PATH")
    return found


def load(url: str, token: str, *, connections: int = 64, seconds: int = 10) -> Load:
    """Ask for one URL again and again. RuntimeError where any answer is not a 2xx or 3xx, or a socket fails."""
    command = [ensure(), "-t2", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Authorization: Bearer {token}", url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if run.returncode or "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise RuntimeError(f"wrk: {run.stdout}{run.stderr}")
    return read(run.stdout)


def read(text: str) -> Load:
    """Read what wrk prints."""
    whole = re.search(r"(\d+) requests in [\d.]+\w+, ([\d.]+)(\w+) read", text)
    rps = re.search(r"Requests/sec:\s*([\d.]+)", text)
    if whole is None or rps is None:
        raise RuntimeError(f"wrk said something new: {text}")
    size = float(whole[2]) * {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}[whole[3]]
    return Load(float(rps[1]), _percentile(text, 50), _percentile(text, 99), size / max(1, int(whole[1])))


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk gave no {percent} %: {text}")
    return float(found[1]) * _UNITS[found[2]]
