"""Health: whether this process lives, and whether it should get traffic. They tell nothing but that."""

from __future__ import annotations

from api.answer import Answer, answer
from api.call import Call


async def live(_: Call) -> Answer:
    """Answer: it depends on nothing."""
    return answer({"status": "ok"})


async def ready(call: Call) -> Answer:
    """Answer 200 to who should send traffic here: `ok`, or `degraded` where reads go on without the log."""
    word = call.parts.readiness()
    return answer({"status": word}, 200 if word in ("ok", "degraded") else 503)
