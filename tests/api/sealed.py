"""Secrets for the api's tests."""

from __future__ import annotations

from typing import Any, Final

from heroctl.domain.events import JobSubmitted
from tests.api.rig import Reply, Rig
from tests.api.specs import submit

VALUE: Final = "s3nh@-forte"


async def put(api: Rig, value: str = VALUE, name: str = "db_password", query: str = "", **more: Any) -> Reply:  # noqa: ANN401 - see Rig.post
    return await api.post(f"/v1/secrets{query}", {"name": name, "value": value}, **more)


async def value(api: Rig, name: str = "db_password", query: str = "") -> Any:  # noqa: ANN401 - JSON
    reply = await api.get(f"/v1/secrets/{name}{query}")
    assert reply.status == 200, reply.body
    assert reply.headers["cache-control"] == "no-store"
    return reply.body["value"]


async def pinned(api: Rig, *pins: tuple[str, int], name: str = "web") -> None:
    """Submit a job whose task was made with these versions of secrets."""
    await submit(api, name)
    job = api.parts.view.state.job("default", name)
    assert job is not None
    [task] = job.current.tasks
    await api.append(
        JobSubmitted(
            job.uid,
            "default",
            name,
            job.current.version + 1,
            job.current.spec,  # type: ignore[arg-type] # the same bytes
            (type(task)(task.name, task.count, task.content, pins=pins),),
        ),
        moves=(f"job:default/{name}",),
    )
