"""Jobs are found by their meta: what else a pipeline keeps of what it applied."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.rig import Rig
from tests.api.specs import spec


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ("source=shop", ["a", "b"]),
        ("source=sho", []),
        ("source", ["a", "b", "c"]),
        ("source=", []),
        ("note=x=y", ["b"]),
        ("none", []),
    ],
)
async def test_a_list_is_filtered_by_meta(api: Rig, meta: str, found: list[str]) -> None:
    metas: dict[str, Any] = {
        "a": {"source": "shop"},
        "b": {"source": "shop", "note": "x=y"},
        "c": {"source": "db"},
        "d": {},
    }
    for name, each in metas.items():
        assert (await api.post("/v1/jobs", spec(name, meta=each))).status == 201
    assert [job["name"] for job in (await api.get(f"/v1/jobs?meta={meta.replace('=', '%3D')}")).body] == found


async def test_the_present_version_counts(api: Rig) -> None:
    for meta in ({"source": "shop"}, {}):
        await api.post("/v1/jobs", spec("a", meta=meta))
    assert (await api.get("/v1/jobs?meta=source")).body == []
