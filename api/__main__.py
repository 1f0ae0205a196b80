"""`python -m api`: one api process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvloop

from api.requestlog import configure
from api.serve import serve
from api.settings import Settings
from heroctl.domain.settings import SettingsError, asked, load, show, usage

PROGRAM = "python -m api"


def main(argv: list[str]) -> int:
    """Run it; the exit code is 2 for settings that cannot be used."""
    question = asked(argv, os.environ)
    if question.help:
        sys.stdout.write(usage(Settings, PROGRAM))
        return 0
    try:
        text = Path(question.config).read_text() if question.config else ""
        settings = load(Settings, argv, os.environ, text, section="api")
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if question.show:
        sys.stdout.write(show(settings))
        return 0
    configure(settings.log_level)
    uvloop.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
