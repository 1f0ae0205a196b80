"""Metrics of applications: what a job says of where its replicas tell them."""

from __future__ import annotations

from msgspec import Struct

from heroctl.domain.duration import Duration


class Metrics(Struct, frozen=True):
    """Where an application tells its metrics, in Prometheus' text: on a port of its own (name, or number inside)."""

    port: str | int
    enabled: bool = True
    path: str = "/metrics"
    interval: Duration = Duration.of(15)
