"""Traces of a process, where they are asked for: kept for a moment, sent by one task, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from typing import Final

from heroctl import logs, traces
from heroctl.otlp import pump
from heroctl.otlp.post import Post
from heroctl.otlp.target import MISSING, Target, Unusable, asked, target
from heroctl.traces import Span

WAITING: Final = 8192  # spans
BATCH: Final = 512
LAST: Final = 1.0  # seconds for what waits at the process's end
BOUNDS: Final = pump.Bounds(WAITING, BATCH)


def wanted(setting: str, env: Mapping[str, str]) -> Target | None:
    """Read where traces are to go; None: nowhere. Raises Unusable, also where the extra is not installed."""
    url = asked(setting, env, "traces")
    if not url:
        return None
    try:
        import heroctl.otlp.spans  # noqa: F401, PLC0415 - an extra, which may not be there
    except ImportError as error:
        raise Unusable(MISSING) from error
    return target(url, env, "traces")


@contextlib.asynccontextmanager
async def traced(to: Target | None, resource: Mapping[str, str], bounds: pump.Bounds = BOUNDS) -> AsyncIterator[None]:
    """Send the spans of this process as long as this lasts, in the name of `resource`."""
    if to is None:
        yield
        return
    from heroctl.otlp.spans import SpanPost  # noqa: PLC0415 - an extra, and here it is asked for

    post = SpanPost(Post(to), resource)
    sending = pump.Pump[Span]("traces", post.send, bounds)
    loop, home = asyncio.get_running_loop(), threading.get_ident()

    def take(span: Span) -> None:
        if threading.get_ident() == home:
            sending.put(_clean(span))
        else:
            loop.call_soon_threadsafe(sending.put, _clean(span))

    sending.open()
    traces.begin(take)
    try:
        yield
    finally:
        traces.begin(None)
        await sending.close(LAST)
        await post.close()


def named(role: str, where: str = "") -> dict[str, str]:
    """Name a process of the control plane by the semantic conventions."""
    return {
        "service.name": f"heroctl-{role}",
        "service.namespace": "heroctl",
        "service.version": version("heroctl"),
        "service.instance.id": f"{where or socket.gethostname()}#{os.getpid()}",
        "host.name": socket.gethostname(),
    }


def _clean(span: Span) -> Span:
    """Take out of what failed what looks like a secret, as it is done in lines."""
    if not span.error:
        return span
    return Span(
        *(span.name, span.trace, span.id, span.parent, span.start, span.end, span.kind, span.attributes),
        *(logs.clean(span.error), span.link),
    )
