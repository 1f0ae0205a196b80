"""Health: whether this process lives, and whether it should get traffic. They tell nothing but that."""

from __future__ import annotations

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.wire import Healthy


@tells(Healthy)
async def live(_: Call) -> Answer:
    """Answer: it depends on nothing."""
    return answer(Healthy("ok"))


@tells(Healthy, "starting", "draining", "outdated", "behind")
async def ready(call: Call) -> Answer:
    """Answer 200 to who should send traffic here: `ok`, or `degraded` where reads go on without the log."""
    return answer(Healthy(call.parts.readiness()))
