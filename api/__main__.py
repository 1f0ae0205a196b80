"""`python -m api`: one api process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvloop

from api.serve import serve
from api.settings import Settings
from eventstore.master import WrongKeys
from eventstore.snapshots import gone_start
from heroctl import logs
from heroctl.domain.settings import Ended, begin
from heroctl.otlp.target import Unusable

PROGRAM = "python -m api"


def main(argv: list[str]) -> int:
    """Run it; the exit code is 2 for settings that cannot be used, 1 where it cannot listen, or begin."""
    settings = begin(Settings, argv, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="api")
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
    except WrongKeys as error:
        sys.stderr.write(f"secrets: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"--listen {settings.listen}: {error.strerror or error}\n")
        return 1
    except ExceptionGroup as errors:
        if (gone := gone_start(errors)) is None:
            raise
        sys.stderr.write(f"{gone}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
