"""The demo finds its job spec wherever HeroCtl is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.house import ROOT


def test_the_wheel_brings_the_example_along(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("heroctl/dev/hello.yaml") == (ROOT / "examples" / "hello.yaml").read_bytes()
