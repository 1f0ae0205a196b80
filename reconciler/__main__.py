"""`python -m reconciler`: one reconciler process."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final

import structlog
import uvloop

from eventstore.snapshots import gone_start
from heroctl.domain.settings import Ended, begin
from reconciler.serve import serve
from reconciler.settings import Settings

PROGRAM: Final = "python -m reconciler"
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def main(argv: list[str]) -> int:
    """Run it; the exit code is 2 for settings that cannot be used, 1 where there is no log to begin with."""
    settings = begin(
        Settings, argv, os.environ, lambda name: Path(name).read_text(), program=PROGRAM, section="reconciler"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    _configure(settings.log_level)
    try:
        uvloop.run(serve(settings))
    except ExceptionGroup as errors:
        if (gone := gone_start(errors)) is None:
            raise
        sys.stderr.write(f"{gone}\n")
        return 1
    return 0


def _configure(level: str) -> None:
    """Log JSON, one line an event, on standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
