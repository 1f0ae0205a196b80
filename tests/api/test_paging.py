"""Lists in pages: nothing that stood there the whole time is left out or comes twice, whatever is written meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.marks import KEY_BYTES, Marks
from api.paging import Asked, cursor_at, cut, place_of, wanted
from api.reads import Pages, Reading
from api.routes import ROUTES
from api.row import Row
from api.wire import encode
from heroctl.domain.errors import Invalid
from tests.api.rig import Reply, Rig
from tests.api.specs import batch, join, open_session, place, submit

LISTS: Final = [row for row in ROUTES if row.order]
MARKS: Final = Marks(b"k" * KEY_BYTES)
every_list = pytest.mark.parametrize("row", LISTS, ids=lambda row: row.path)


async def world(api: Rig) -> None:
    """Three of everything, or more; and every job uses a secret."""
    for number in range(3):
        for value in ("one", "two", "three"):
            await api.post("/v1/secrets", {"name": f"job-{number}", "value": value})
    for number in range(3):
        node, token = await join(api, f"node-{number}")
        await open_session(api, token)
        for version in range(3):
            await submit(api, f"job-{number}", {"env": {"KEY": "${secret.job-1}"}}, meta={"v": str(version)})
        await place(api, node, f"job-{number}")
        await api.role("viewer")
        await api.post("/v1/namespaces", {"name": f"space-{number}"})
        await api.post("/v1/acl/users", {"name": f"user-{number}", "password": "a long pass phrase", "roles": []})
        await api.post("/v1/acl/roles", {"name": f"role-{number}", "policies": []})
        await api.post("/v1/acl/policies", {"name": f"policy-{number}", "rules": []})
        await api.post("/v1/alerts", {"name": f"alert-{number}", "metric": "cpu_percent", "condition": "> 90"})
        await api.post("/v1/webhooks", {"url": "https://8.8.8.8/", "events": ["*"]})


async def launched(api: Rig) -> None:
    """A batch job, three times."""
    await api.post("/v1/jobs", batch("daily"))
    for _ in range(2):
        await api.post("/v1/jobs/daily/dispatch")


def path_of(row: Row) -> str:
    return row.path.replace("{name}", "daily" if row.path.endswith("/launches") else "job-1")


async def walk(api: Rig, path: str) -> AsyncIterator[Reply]:
    """Follow the links from page to page."""
    for _ in range(100):
        reply = await api.get(path)
        assert reply.status == 200, reply.body
        yield reply
        if "link" not in reply.headers:
            return
        target, _, rest = reply.headers["link"].partition(">")
        assert rest == '; rel="next"'
        path = target[1:]
    raise AssertionError("there is no end")


async def everything(api: Rig, path: str) -> list[Any]:
    return [item async for reply in walk(api, path) for item in reply.body]


@every_list
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_all_pages_together_are_the_list(api: Rig, row: Row, limit: int) -> None:
    await world(api)
    await launched(api)
    path = path_of(row)
    whole = (await api.get(path)).body
    assert whole
    assert await everything(api, f"{path}?limit={limit}") == whole
    first = await api.get(f"{path}?limit={limit}")
    assert ("link" in first.headers) == (len(whole) > limit) == ("x-heroctl-next-cursor" in first.headers)
    assert len(first.body) <= limit


@every_list
async def test_a_list_is_in_its_order(api: Rig, row: Row) -> None:
    """Pages are cut by it: were it another, things would be left out."""
    await world(api)
    await launched(api)
    whole = (await api.get(path_of(row))).body
    names = [name.lstrip("-") for name in row.order]
    first = -1 if row.order[0].startswith("-") else 1
    places = [(item[names[0]] if first > 0 else -item[names[0]], *(item[name] for name in names[1:])) for item in whole]
    assert all(one < other for one, other in itertools.pairwise(places))


async def test_filters_and_paths_stay_in_the_link(api: Rig) -> None:
    await world(api)
    await submit(api, "job-x", namespace="space-1")
    whole = (await api.get("/v1/jobs?namespace=default")).body
    assert await everything(api, "/v1/jobs?namespace=default&limit=1") == whole
    assert len(whole) == 3


@pytest.mark.parametrize("query", ["limit=2", "limit=2&status=pending"])
async def test_writes_meanwhile(api: Rig, query: str) -> None:
    """Things before, within and after come and go between pages."""
    stood = [f"m-{number}" for number in range(0, 20, 2)]
    for name in [*stood, "m-05", "m-95"]:
        await submit(api, name)
    seen: list[str] = []
    changes = iter(["a", "m-3", "z", "m-5", "m-61", "m-7"])
    async for reply in walk(api, f"/v1/jobs?{query}"):
        seen += [job["name"] for job in reply.body]
        await submit(api, next(changes, "m-9"))
        await api.do("DELETE", "/v1/jobs/m-05")
        await submit(api, stood[0], meta={"again": str(len(seen))})
        await api.do("DELETE", "/v1/jobs/m-95")
    assert len(seen) == len(set(seen))
    assert set(stood) <= set(seen)


@given(st.data())
@settings(max_examples=200)
def test_no_thing_that_stays_is_left_out_or_told_twice(data: st.DataObject) -> None:
    names = st.integers(0, 30)
    stays = data.draw(st.sets(names))
    there, seen, cursor = stays | data.draw(st.sets(names)), list[int](), None
    for _ in range(100):
        listed = sorted(there, reverse=True)
        pages = Pages(lambda _: 1, lambda: 0.0)
        reading = Reading("t", lambda listed=listed: encode([{"n": number, "more": "x"} for number in listed]))  # type: ignore[misc] # binds this round's
        args = {"limit": str(data.draw(st.integers(1, 5))), **({} if cursor is None else {"cursor": cursor})}
        part = wanted(MARKS, "/things", args, ("-n",))
        assert part is not None
        page = cut(MARKS, part, pages.page("all", reading))
        headers = dict(page.answer.headers)
        seen += [number for number in listed if b'"n":%d,' % number in page.answer.body]
        if b"x-heroctl-next-cursor" not in headers:
            break
        cursor = headers[b"x-heroctl-next-cursor"].decode()
        there = stays | data.draw(st.sets(names))
    assert seen == sorted(set(seen), reverse=True)
    assert stays <= set(seen)


async def test_a_page_has_a_tag_and_an_index_of_its_own(api: Rig) -> None:
    await world(api)
    first = await api.get("/v1/jobs?limit=2")
    assert first.index == (await api.get("/v1/jobs")).index
    known = {"if-none-match": first.headers["etag"]}
    assert (await api.get("/v1/jobs?limit=2", headers=known)).status == 304
    assert (await api.get("/v1/jobs?limit=1", headers=known)).status == 200
    last = (await api.get("/v1/jobs?limit=3")).headers
    await submit(api, "job-9")
    assert (await api.get("/v1/jobs?limit=3", headers={"if-none-match": last["etag"]})).status == 200


async def test_a_page_can_be_waited_for(api: Rig) -> None:
    await world(api)
    first = await api.get("/v1/jobs?limit=2")
    asking = api.ask("GET", f"/v1/jobs?limit=2&index={first.index}&wait=1m")
    await api.waiting(1)
    await submit(api, "job-0", meta={"v": "new"})
    reply = await asking.reply()
    assert [job["name"] for job in reply.body] == ["job-0", "job-1"]
    assert reply.index > first.index
    assert "index=" not in reply.headers["link"]


async def test_pages_of_the_past_stay_in_it(api: Rig) -> None:
    await world(api)
    index = (await api.get("/v1/jobs")).index
    whole = (await api.get("/v1/jobs")).body
    await submit(api, "job-00")
    seen = []
    async for reply in walk(api, f"/v1/jobs?at={index}&limit=1"):
        seen += reply.body
        assert reply.index == index
        await api.do("DELETE", "/v1/jobs/job-2")
    assert seen == whole


async def test_a_page_shows_only_what_one_may_see(api: Rig) -> None:
    await world(api)
    await submit(api, "aaa", namespace="space-1")
    made = await api.post(
        "/v1/acl/tokens", {"name": "t", "roles": ["viewer"], "kind": "service", "namespaces": ["space-1"]}
    )
    reply = await api.get("/v1/jobs?limit=1", token=made.body["secret"])
    assert [job["name"] for job in reply.body] == ["aaa"]
    assert "link" not in reply.headers


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5"])
async def test_limits_that_are_none(api: Rig, limit: str) -> None:
    reply = await api.get(f"/v1/jobs?limit={quote(limit)}")
    assert (reply.status, reply.error) == (400, "invalid_limit")


async def test_cursors_that_are_none(api: Rig) -> None:
    await world(api)
    cursor = (await api.get("/v1/jobs?limit=1")).headers["x-heroctl-next-cursor"]
    assert (await api.get(f"/v1/jobs?cursor={cursor}")).status == 200
    bad = ["", "x", "é", cursor[:-4], cursor + "AAAA", "AAAA" + cursor[4:], "A" * 5000, "null", "W10="]
    for each in bad:
        reply = await api.get(f"/v1/jobs?cursor={quote(each)}")
        assert (reply.status, reply.error) == (400, "invalid_cursor"), each
    for path in ("/v1/nodes?", "/v1/jobs?status=pending&", "/v1/jobs/job-1/versions?"):
        assert (await api.get(f"{path}cursor={cursor}")).error == "invalid_cursor"
    assert (await api.get(f"/v1/jobs/job-1?cursor={cursor}")).error == "unknown_parameter"


@given(st.binary(max_size=80))
def test_no_other_bytes_are_a_cursor(junk: bytes) -> None:
    asked = Asked("/v1/jobs", ())
    good = cursor_at(MARKS, asked, ["default", "web"]).decode()
    assert place_of(MARKS, asked, {"cursor": good}) == ["default", "web"]
    for other in (Marks(b"o" * KEY_BYTES), None):
        with pytest.raises(Invalid):
            place_of(other or MARKS, asked, {"cursor": good if other else junk.decode("latin-1")})
