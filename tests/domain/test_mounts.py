"""Volumes and files: read, refused where they make no sense, and part of what a container is made from."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain import spec as specs
from heroctl.domain import validate
from heroctl.domain.errors import Invalid
from heroctl.domain.isolation import taken
from heroctl.domain.spec import File, Task, Volume
from tests.domain.test_jobschema import BEYOND, problems

CONTAINER: dict[str, Any] = {"image": "shop:1"}
PROCESS: dict[str, Any] = {"driver": "process", "command": ["serve"]}


def document(fields: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {"job": "shop", "tasks": [{"name": "web", **base, **fields}]}


def task(fields: dict[str, Any], base: dict[str, Any] = CONTAINER) -> Task:
    return validate.parse(document(fields, base)).tasks[0]


def volume(source: str = "data", target: str = "/data", **more: object) -> dict[str, Any]:
    return {"volumes": [{"source": source, "target": target, **more}]}


def file(path: str, **more: object) -> dict[str, Any]:
    return {"files": [{"path": path, "content": "x", **more}]}


BAD: list[tuple[dict[str, Any], str, str]] = [
    (volume("Data"), "volumes[0].source", "invalid_name"),
    (volume(".."), "volumes[0].source", "invalid_name"),
    (volume(".data"), "volumes[0].source", "invalid_name"),
    (volume("data\n"), "volumes[0].source", "invalid_name"),
    (volume(""), "volumes[0].source", "invalid_name"),
    (volume("x" * 64), "volumes[0].source", "invalid_name"),
    (volume("../data"), "volumes[0].source", "invalid_path"),
    (volume("/srv", shared=True), "volumes[0].shared", "invalid_value"),
    (volume(target="data"), "volumes[0].target", "invalid_path"),
    (volume(target="/"), "volumes[0].target", "invalid_value"),
    (volume(shared="yes"), "volumes[0].shared", "invalid_type"),
    (file("app.conf"), "files[0].path", "invalid_path"),
    (file("/etc/../app.conf"), "files[0].path", "invalid_path"),
    (file("/etc/app.conf/"), "files[0].path", "invalid_path"),
    (file("/"), "files[0].path", "invalid_value"),
    (file("/a", mode="440"), "files[0].mode", "invalid_value"),
    (file("/a", mode="0480"), "files[0].mode", "invalid_value"),
    (file("/a", mode=440), "files[0].mode", "invalid_type"),
    (file("/a", mode="04440"), "files[0].mode", "invalid_value"),
    (file("/a", owner="root"), "files[0].owner", "unknown_field"),
    ({"files": [{"path": "/a"}]}, "files[0].content", "required"),
    ({"files": [{"path": f"/{n}", "content": ""} for n in range(101)]}, "files", "out_of_range"),
    ({"files": 2 * file("/a")["files"]}, "files[1].path", "duplicate"),
    ({**volume(), **file("/data")}, "files[0].path", "duplicate"),
    ({**volume(target="/etc/x"), **file("/etc")}, "files[0].path", "invalid_value"),
    ({"files": file("/a")["files"] + file("/a/b")["files"]}, "files[0].path", "invalid_value"),
    ({**volume(read_only=True), **file("/data/a")}, "files[0].path", "invalid_value"),
    ({"image_auth": "me:secret"}, "image_auth", "invalid_value"),
    ({"image_auth": "me:${secret.password}"}, "image_auth", "invalid_value"),
]
BAD_PROCESSES: list[tuple[dict[str, Any], str, str]] = [
    (volume("/srv", "data"), "volumes[0].source", "invalid_value"),
    (volume(target="/data"), "volumes[0].target", "invalid_path"),
    (volume(target="../data"), "volumes[0].target", "invalid_path"),
    (volume(target="data", read_only=True), "volumes[0].read_only", "invalid_value"),
    (file("/etc/app.conf"), "files[0].path", "invalid_path"),
    (file("conf/../../app.conf"), "files[0].path", "invalid_path"),
    (file(""), "files[0].path", "invalid_path"),
    ({**volume(target="data"), **file("data/a")}, "files[0].path", "invalid_value"),
    ({"image_auth": "${secret.registry}"}, "image_auth", "invalid_value"),
]
EVERY = [(*bad, CONTAINER) for bad in BAD] + [(*bad, PROCESS) for bad in BAD_PROCESSES]


@pytest.mark.parametrize(("fields", "path", "code", "base"), EVERY, ids=[f"{bad[1]}-{bad[2]}" for bad in EVERY])
def test_refused_with_its_path(fields: dict[str, Any], path: str, code: str, base: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        task(fields, base)
    assert [(problem.path, problem.code) for problem in refused.value.details] == [(f"tasks[0].{path}", code)]


@pytest.mark.parametrize(("fields", "path", "code", "base"), EVERY, ids=[f"{bad[1]}-{bad[2]}" for bad in EVERY])
def test_an_editor_tells_as_much_as_a_schema_can(
    fields: dict[str, Any], path: str, code: str, base: dict[str, Any]
) -> None:
    of_the_driver = path.endswith((".target", ".path"))
    assert problems(document(fields, base)) or code in BEYOND or of_the_driver


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        (volume(), CONTAINER),
        (volume("pg-data_1.old", shared=True), CONTAINER),
        (volume("/srv/data", read_only=True), CONTAINER),
        ({**volume(), **file("/data/conf/app.conf", mode="0640")}, CONTAINER),
        (file("/etc/app.conf"), CONTAINER),
        ({"image_auth": "${secret.registry}"}, CONTAINER),
        (volume(target="data"), PROCESS),
        (file("conf/app.conf"), PROCESS),
    ],
)
def test_what_makes_sense_is_taken_by_both(fields: dict[str, Any], base: dict[str, Any]) -> None:
    assert problems(document(fields, base)) == []
    task(fields, base)


def test_a_name_takes_no_right_and_a_path_does() -> None:
    assert taken(task(volume())) == ()
    assert [each.right for each in taken(task(volume("/srv")))] == ["host-paths"]


def test_defaults_are_those_of_the_job_model() -> None:
    assert task(file("/a")).files == (File("/a", "x", "0440"),)
    assert task(volume()).volumes == (Volume("data", "/data", read_only=False, shared=False),)


def test_files_are_content_and_who_may_pull_is_not() -> None:
    plain = task({})
    assert specs.content(task(file("/a"))) != specs.content(plain)
    assert specs.content(task(file("/a", mode="0400"))) != specs.content(task(file("/a")))
    private = task({"image_auth": "${secret.registry}"})
    assert specs.content_digest(private) == specs.content_digest(plain)
    assert specs.policy_digest(private) != specs.policy_digest(plain)


def test_a_task_without_any_of_it_is_what_it_was() -> None:
    """Digests are kept: another one would replace everything that runs."""
    assert specs.content(task({})) == [getattr(task({}), name) for name in specs._CONTENT]
    assert specs.policy(task({})) == [task({}).health, task({}).restart]
