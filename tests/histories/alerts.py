"""The part of the made history that is about alerts."""

from __future__ import annotations

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.intents import alerts
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it: one fires and is over, is set anew, and goes."""
    hot = e.AlertSet("default", "hot", "cpu_percent", ">", 90.0, 300, job="web", description="for the night")
    world.do(alerts.create_alert(world.state, hot))
    world.add(e.AlertFired("default", "hot", "cpu_percent", "> 90", "a1", 97.5, "web", "for the night"))
    world.add(e.AlertResolved("default", "hot", "cpu_percent", "> 90", "web"))
    world.do(alerts.update_alert(world.state, replace(hot, threshold=95.0)))
    full = e.AlertSet("default", "full", "disk_percent", ">=", 85.0, 0, node="n1")
    world.do(alerts.create_alert(world.state, full))
    world.add(e.AlertFired("default", "full", "disk_percent", ">= 85", "n1", 91.0))
    world.do(alerts.delete_alert(world.state, "default", "hot"))
