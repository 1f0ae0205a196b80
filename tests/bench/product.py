"""The cluster that a bench measures: a durable Postgres, a Valkey, and as many processes of ours as are asked for."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from eventstore.migrate import migrate
from tests import servers
from tests.bench import fill
from tests.bench.client import Api
from tests.e2e import leftovers
from tests.e2e.parts import Part
from tests.waiting import until

_ADMIN: Final = "admin"
_IDLE: Final = 0.3  # seconds without work after which a process has done what it was given


class Usage(NamedTuple):
    """What a process has used: CPU ticks, and bytes of its resident set."""

    ticks: int
    resident: int


class Server(Part):
    """One api process, ready, with a token of the admin."""
