"""What the API says of alerts, as far as this command line reads it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field


class Alert(Struct, frozen=True):
    """A threshold that somebody wants to be told of."""

    name: str
    namespace: str = ""
    metric: str = ""
    condition: str = ""
    hold: str = field(name="for", default="0s")
    job: str = ""
    task: str = ""
    node: str = ""
    description: str = ""
    state: str = ""
    of: str = ""
    value: float = 0.0
    fired_at: datetime | None = None
    created_at: datetime | None = None
