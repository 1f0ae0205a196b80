"""Who may what: the whole matrix, and that the matrix would find out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from api import access, app, front, row
from api.access import Principal, may
from api.call import Call
from api.jobs import listing
from api.reads import Query, Reading
from api.routes import ROUTES
from api.row import Row
from api.world import World
from heroctl.domain import policy
from heroctl.domain.policy import BUILT_IN, grants
from tests.api.matrix import Line, cast, deviations, lines
from tests.api.rig import Rig, rig
from tests.api.specs import submit

MATRIX: Final = lines()


def name(row: Row) -> str:
    return f"{row.method} {row.path}"


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    assert [line.name for line in MATRIX if line.name not in {name(row) for row in ROUTES}] == []
    assert [name(row) for row in ROUTES if name(row) not in {line.name for line in MATRIX}] == []
    assert len({line.name for line in MATRIX}) == len(MATRIX) == len(ROUTES)


async def test_everybody_may_what_the_matrix_says_and_nothing_else() -> None:
    async with cast() as asked:
        assert await deviations(asked, MATRIX) == []


# ── bugs that others shipped, and that the matrix finds ──────────────────────────────────────────────────────────────


def some(*names: str) -> list[Line]:
    found = [line for line in MATRIX if line.name in names]
    assert len(found) == len(names)
    return found


def change(patch: pytest.MonkeyPatch, route: str, **fields: Any) -> None:  # noqa: ANN401 - fields of a row
    """Write one row of the table otherwise."""
    changed = tuple(replace(row, **fields) if name(row) == route else row for row in ROUTES)
    assert changed != ROUTES
    patch.setattr(app, "ROUTES", changed)
    patch.setattr(front, "ROUTES", changed)


def a_row_too_wide(patch: pytest.MonkeyPatch) -> None:
    change(patch, "POST /v1/jobs/{name}/stop", access=may("job:read"))


def a_forgotten_check_on_update(patch: pytest.MonkeyPatch) -> None:
    def forgets(self: Call, spec: Any, *, absent: Exception) -> None:  # noqa: ANN401 - a spec
        del absent
        self._places.add((spec.namespace, spec.name))

    patch.setattr(Call, "allow_spec", forgets)


def a_prefix_match(patch: pytest.MonkeyPatch) -> None:
    def prefixed(patterns: tuple[str, ...], given: str | None) -> bool:
        return any(each == "*" or (given or "").startswith(each) for each in patterns)

    patch.setattr(policy, "any_matches", prefixed)


def a_list_without_filter(patch: pytest.MonkeyPatch) -> None:
    def all_of_them(world: World, query: Query) -> Reading:
        query.judged = True
        return listing(world, Query(query.path, query.args, ()))

    change(patch, "GET /v1/jobs", read=all_of_them)


def a_page_for_everybody(patch: pytest.MonkeyPatch) -> None:
    for module in (app, front):
        patch.setattr(module, "page_key", lambda path, filters, _: (path, filters))


@pytest.mark.parametrize(
    ("bug", "told"),
    [
        (a_row_too_wide, "POST /v1/jobs/{name}/stop: viewer gets 200 in default, not 403"),
        (a_forgotten_check_on_update, "POST /v1/jobs: deployer gets 200 in default-too, not 404"),
        (a_prefix_match, "GET /v1/jobs/{name}: viewer gets 200 in default-too, not 404"),
        (a_list_without_filter, "GET /v1/jobs: deployer gets 200 in default-too, not 404"),
        (a_page_for_everybody, "GET /v1/jobs/{name}: custom gets 200 in default-too, not 404"),
    ],
    ids=lambda bug: bug.__name__ if callable(bug) else "",
)
async def test_the_matrix_finds_a_bug(
    bug: Callable[[pytest.MonkeyPatch], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = some("GET /v1/jobs", "POST /v1/jobs", "GET /v1/jobs/{name}", "POST /v1/jobs/{name}/stop")
    bug(monkeypatch)
    async with cast() as asked:
        found = await deviations(asked, watched)
    assert any(each.startswith(told) for each in found), found


# ── nothing can be forgotten ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_route_without_access_cannot_be_written() -> None:
    for make in (row.read, row.do, Row):
        assert inspect.signature(make).parameters["access"].default is inspect.Parameter.empty
    with pytest.raises(ValueError, match="shared"):
        row.read("/v1/self", access.ANYONE, listing)


async def test_a_read_for_which_nobody_asked_who_may_see_it_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "GET /v1/jobs", read=lambda _world, _query: Reading("jobs", lambda: b"[]"))
    async with rig() as api:
        assert (await api.get("/v1/jobs")).error == "internal"


async def test_a_write_for_which_nobody_asked_is_neither_done_nor_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig() as api:
        await submit(api)
        monkeypatch.setattr(Call, "need", lambda *_, **__: None)
        monkeypatch.setattr(Call, "allow", lambda *_, **__: None)
        head = await api.log.head()
        assert (await api.post("/v1/jobs/web/stop")).error == "internal"
        assert (await api.post("/v1/jobs/validate", {})).status == 200
        assert await api.log.head() == head


async def test_a_write_of_another_job_than_was_asked_for_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    allow = Call.allow

    def elsewhere(self: Call, place: str, job: str | None = None, *, absent: Any) -> None:  # noqa: ANN401 - a refusal
        allow(self, place, f"{job}-2", absent=absent)

    async with rig() as api:
        await submit(api)
        monkeypatch.setattr(Call, "allow", elsewhere)
        head = await api.log.head()
        assert (await api.post("/v1/jobs/web/stop")).error == "internal"
        assert await api.log.head() == head


async def test_the_gate_stands_before_the_body(api: Rig) -> None:
    asked = False
    token = await api.role("viewer")
    scope_headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-length", b"100")]
    sent: list[int] = []

    async def receive() -> dict[str, object]:
        nonlocal asked
        asked = True
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if "status" in message:
            sent.append(int(str(message["status"])))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "headers": scope_headers,
        "client": None,
    }
    await api.app(scope, receive, send)
    assert sent == [403]
    assert not asked


async def test_a_token_may_come_in_either_header_but_not_two_of_them(api: Rig) -> None:
    viewer = await api.role("viewer")

    async def with_both(one: str, other: str) -> int:
        headers = {"Authorization": f"Bearer {one}", "X-HeroCtl-Token": other}
        return (await api.get("/v1/jobs", token="", headers=headers)).status

    assert (await api.get("/v1/jobs", token="", headers={"X-HeroCtl-Token": viewer})).status == 200
    assert await with_both(viewer, viewer) == 200
    assert await with_both(viewer, api.token) == await with_both(api.token, viewer) == 401
    assert await with_both(viewer, "nonsense") == await with_both("nonsense", viewer) == 401
    assert (
        await api.get("/v1/jobs", token="", headers={"Authorization": "Basic eDp5", "X-HeroCtl-Token": viewer})
    ).status == 401


def test_who_holds_nothing_may_nothing() -> None:
    nobody = Principal("user:x")
    admin = Principal("user:x", (grants(frozenset(BUILT_IN["admin"])),))
    for right in policy.RIGHTS:
        assert not nobody.allows(right, "default", "web")
        assert not nobody.anywhere(right)
        assert not access.allows(may(right), nobody)
        assert access.allows(may(right), admin)
        assert not any(reach.covers("default", "web") for reach in nobody.scope(right))
        assert not access.allows(may(right), Principal("node:x", admin.grants, node="x"))
