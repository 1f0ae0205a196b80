"""What an agent tells of use: samples of its node and allocations, and what applications say of themselves.

The wire format of `POST /v1/agent/samples`. Fields and metrics that one side does not know are passed over.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from heroctl.domain.exposition import Family

Value = Annotated[float, Meta(ge=0, le=1e18)]
Age = Annotated[float, Meta(ge=0, le=1e6)]


class Measured(Struct, frozen=True, omit_defaults=True):
    """Values by metric, of an allocation; "": of the node itself."""

    values: dict[str, Value]
    alloc: str = ""


class Taken(Struct, frozen=True):
    """Samples that were taken together, `age` seconds before they are sent: an agent's clock is not trusted."""

    age: Age
    samples: list[Measured]


class Scraped(Struct, frozen=True, omit_defaults=True):
    """What an allocation's application said of itself. `up`: it answered; `dropped`: so many series are left out."""

    alloc: str
    up: bool
    families: list[Family] = field(default_factory=list)
    dropped: Annotated[int, Meta(ge=0, le=10**9)] = 0


class SamplesRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/samples`."""

    session: int
    taken: list[Taken] = field(default_factory=list)
    scraped: list[Scraped] = field(default_factory=list)


class Scrape(Struct, frozen=True):
    """An allocation whose application tells metrics: on which of its ports, at which path, how often (s)."""

    alloc: str
    port: str
    path: str
    every: float


class SamplesReply(Struct, frozen=True):
    """The answer: when the next sample is to be taken, in seconds; and whose metrics are to be read."""

    again: float
    scrape: list[Scrape] = field(default_factory=list)
