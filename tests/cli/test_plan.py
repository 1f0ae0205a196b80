"""`job plan`: in words, as Markdown, as exit codes; `history` and `diff` beside it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.cli import plans
from heroctl.cli.plan_shapes import Planned
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

SPEC = "job: web\ntasks: [{name: web, image: shop:2}]\n"
ZERO = {"place": 0, "stop": 0, "replace": 0, "in_place": 0}
ROWS = [
    {"path": "tasks[web].image", "kind": "changed", "from": "shop:1", "to": "shop:2"},
    {"path": "tasks[web].env.MODE", "kind": "added", "from": None, "to": "a`b"},
    {"path": "tasks[web].args", "kind": "removed", "from": ["x"], "to": None},
]


def planned(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """A plan that replaces two replicas."""
    counts = {**ZERO, "replace": 2}
    task = {**counts, "strategy": "rolling", "nodes": [{"node": "node-1", "replicas": 2}]}
    rest: samples.Json = {
        "waits_for": "",
        "once_promoted": None,
        "truncated": False,
        "check_index": 17,
        "blocked": [],
        "warnings": [],
    }
    head = {"name": "web", "namespace": "default", "version": 2, "changed": True, "diff": ROWS, "tasks": {"web": task}}
    return {**counts, **head, **rest, **more}


SAME = {
    **ZERO,
    "changed": False,
    "version": 1,
    "diff": [],
    "tasks": {"web": {**ZERO, "strategy": "rolling", "nodes": []}},
}


def ask(heroctl: Run, api: FakeApi, body: dict[str, Any], *words: str) -> Any:  # noqa: ANN401 - a Result
    api.act("POST", "/v1/jobs/plan", Reply(200, body, 20))
    return heroctl("job", "plan", "-", *words, stdin=SPEC)


def test_a_plan_tells_what_is_different_and_what_becomes_of_replicas(heroctl_here: Run, api: FakeApi) -> None:
    result = ask(heroctl_here, api, planned())
    assert result.out == (
        "web: version 2, 2 to replace\n"
        "\n"
        '  ~ tasks[web].image: "shop:1" -> "shop:2"\n'
        '  + tasks[web].env.MODE: "a`b"\n'
        '  - tasks[web].args: ["x"]\n'
        "\n"
        "  task web: 2 to replace, rolling\n"
        "    on node-1 (2)\n"
    )
    assert result.err == "\nnext: heroctl job run - --check-index 17   # refused if the job has changed since\n"
    [request] = api.requests
    assert (request.body.decode(), request.headers["Content-Type"]) == (SPEC, "application/yaml")


def test_a_plan_tells_of_promotion_what_blocks_and_what_is_doubtful(heroctl_here: Run, api: FakeApi) -> None:
    doubt = {"path": "tasks[0].health", "code": "no_health_check", "message": "there is none"}
    once = {**ZERO, "replace": 4}
    body = planned(waits_for="promotion", once_promoted=once, blocked=["no node has 64 cores"], warnings=[doubt])
    result = ask(heroctl_here, api, body)
    assert "then it waits for somebody to promote it: 4 to replace in all" in result.out
    assert "blocked: no node has 64 cores" in result.out
    assert result.err.startswith("warning: tasks[0].health: there is none\n")


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        (planned(), (), 0),
        (planned(), ("--detailed-exitcode",), 2),
        (planned(**SAME), ("--detailed-exitcode",), 0),
        (planned(**{**SAME, "place": 1}), ("--detailed-exitcode",), 2),
        (planned(), ("--detailed-exitcode", "-o", "json"), 2),
    ],
)
def test_exit_codes(heroctl_here: Run, api: FakeApi, body: dict[str, Any], words: tuple[str, ...], code: int) -> None:
    assert ask(heroctl_here, api, body, *words).code == code


def test_a_refused_plan_is_1_and_says_what_to_type(heroctl_here: Run, api: FakeApi) -> None:
    details = [{"path": "tasks[0].count", "code": "out_of_range", "message": "expected at most 50000"}]
    api.act("POST", "/v1/jobs/plan", refusal(400, "invalid_spec", "no", details=details))
    result = heroctl_here("job", "plan", "-", "--detailed-exitcode", stdin=SPEC)
    assert (result.code, result.out, "next: " in result.err) == (1, "", True)


def test_nothing_to_do_says_so_and_names_no_next_step(heroctl_here: Run, api: FakeApi) -> None:
    result = ask(heroctl_here, api, planned(**SAME))
    assert (result.out, result.err) == ("web: nothing to do, version 1 is this already\n", "")


def test_json_is_the_answer_alone(heroctl_here: Run, api: FakeApi) -> None:
    result = ask(heroctl_here, api, planned(), "-o", "json")
    assert (json.loads(result.out), result.err) == (planned(), "")


def test_markdown_is_for_a_review(heroctl_here: Run, api: FakeApi) -> None:
    doubt = {"path": "tasks[0].health", "code": "no_health_check", "message": "there is none"}
    out = ask(heroctl_here, api, planned(warnings=[doubt], blocked=["a|b"]), "-o", "markdown").out
    assert out.startswith("### web: version 2, 2 to replace\n\n```diff\n- tasks[web].image: ")
    assert "| web | rolling | 0 | 2 | 0 | 0 | node-1 (2) |\n" in out
    assert "- **blocked:** a\\|b\n" in out
    assert "- warning: tasks\\[0\\].health: there is none\n" in out


@given(text=st.text(), node=st.text())
def test_no_value_of_a_spec_escapes_from_its_place_in_markdown(text: str, node: str) -> None:
    rows = [{"path": "tasks[web].env.A", "kind": "changed", "from": text, "to": f"```\n# {text}"}]
    body = planned(diff=rows)
    body["tasks"]["web"]["nodes"] = [{"node": node, "replicas": 1}]
    lines = list(plans.markdown(msgspec.convert(msgspec.json.decode(msgspec.json.encode(body)), Planned)))
    fenced = lines[lines.index("```diff") + 1 : lines.index("```")]
    assert [line[0] for line in fenced] == ["-", "+"]
    assert all("\n" not in line for line in fenced)


def test_history(heroctl_here: Run, api: FakeApi) -> None:
    common = {"spec": {}, "created_at": samples.T0, "index": 5}
    pinned = {"web": "sha256:" + "a" * 64}
    first = {"version": 1, "kind": "submit", "of": None, "images": pinned, "meta": {"git": "abc"}, "by": "user:ann"}
    first["secrets"] = {"web": {"db": 2, "key": None}, "report": {"db": 1}}
    second = {"version": 2, "kind": "rollback", "of": 1, "images": {}, "meta": {}, "by": "user:bob"}
    api.page("/v1/jobs/web/versions", [{**second, **common, "stable": False}, {**first, **common, "stable": True}])
    assert heroctl_here("job", "history", "web").out == (
        "VERSION\tKIND\tSTABLE\tBY\tCREATED\tIMAGES\tSECRETS\tMETA\n"
        "2\trollback of 1\t\tuser:bob\t2026-03-01T12:00:00Z\t\t\t\n"
        "1\tsubmit\tyes\tuser:ann\t2026-03-01T12:00:00Z\tsha256:aaaaaaaaaaaa\tdb 2, key missing, db 1\tgit=abc\n"
    )
    assert heroctl_here("job", "history", "web", "-o", "name").out == "2\n1\n"


def test_diff(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/jobs/web/versions/diff", {"from": 1, "to": 3, "diff": ROWS})
    result = heroctl_here("job", "diff", "web", "1")
    assert result.err == "web: version 1 -> version 3\n"
    assert result.out.splitlines()[0] == '~ tasks[web].image: "shop:1" -> "shop:2"'
    assert api.requests[-1].query == {"from": "1"}
    api.page("/v1/jobs/web/versions/diff", {"from": 3, "to": 3, "diff": []}, 2)
    assert heroctl_here("job", "diff", "web", "3", "3").err == "web: version 3 -> version 3: they are the same\n"
    assert api.requests[-1].query == {"from": "3", "to": "3"}
