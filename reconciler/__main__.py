"""`python -m reconciler`: one reconciler process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import uvloop

from eventstore.snapshots import gone_start
from heroctl import logs
from heroctl.domain.settings import Ended, begin
from heroctl.otlp.target import Unusable
from reconciler.serve import serve
from reconciler.settings import Settings

PROGRAM: Final = "python -m reconciler"


def main(argv: list[str]) -> int:
    """Run it; the exit code is 2 for settings that cannot be used, 1 where there is no log to begin with."""
    settings = begin(
        Settings, argv, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="reconciler"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    logs.configure(settings.log_level, settings.log_format)
    try:
        uvloop.run(serve(settings))
    except Unusable as error:
        sys.stderr.write(f"--traces-otlp: {error}\n")
        return 2
    except ExceptionGroup as errors:
        if (gone := gone_start(errors)) is None:
            raise
        sys.stderr.write(f"{gone}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
