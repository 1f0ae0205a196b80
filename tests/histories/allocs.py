"""The part of the made history that is about what users ask of an allocation that runs."""

from __future__ import annotations

from typing import Final

from heroctl.domain.assignment import Report, Signalled
from heroctl.domain.events import AllocExecEnded, AllocExecRequested
from heroctl.domain.intents.allocs import exec_alloc, restart_alloc, signal_alloc
from tests.domain.worlds import World

API: Final = "http://127.0.0.1:8080"


def tell(world: World) -> None:
    """Tell it, of a node and a job of its own."""
    node, job = world.node("handled-1"), world.submit(job="handled")
    alloc = world.place(job, node).id
    about = alloc, "default", "handled"
    world.report(node, Report(alloc, 1, "running", running_for=1.0))
    world.do(signal_alloc(world.state.allocs[alloc], "SIGHUP"))
    world.do(signal_alloc(world.state.allocs[alloc], "SIGUSR1"))
    world.report(node, Report(alloc, 1, "running", running_for=3.0, signalled=[Signalled(1), Signalled(2, "too late")]))
    world.do(restart_alloc(world.state.allocs[alloc]))
    world.do(exec_alloc(world.state.allocs[alloc], AllocExecRequested(*about, "e1", API, ("sh",), tty=True)))
    world.do(exec_alloc(world.state.allocs[alloc], AllocExecRequested(*about, "e2", API, ("cat", "/etc/hosts"))))
    world.add(AllocExecEnded(*about, "e1", 1.5, received=3, sent=40, exit_code=0))
    world.report(node, Report(alloc, 1, "stopping"))
    world.report(node, Report(alloc, 2, "running", running_for=0.5, signalled=[Signalled(2, "too late")]))
    world.do(signal_alloc(world.state.allocs[alloc], "SIGHUP"))
