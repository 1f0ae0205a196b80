"""What reaches out of a container: read, refused where it makes no sense, and named for those who allow it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import codec
from heroctl.domain import spec as specs
from heroctl.domain import validate
from heroctl.domain.allowance import NOTHING, SENSITIVE, Allowance, opens, refusal
from heroctl.domain.errors import Invalid
from heroctl.domain.events import JobSubmitted
from heroctl.domain.isolation import CAPABILITIES, USUAL, is_clean, is_within, taken
from heroctl.domain.needs import Need, needs
from heroctl.domain.spec import Job, Task
from tests.domain.test_jobschema import BEYOND, problems
from tests.histories import history

EVERYTHING = Allowance(
    privileged=True,
    host_network=True,
    host_namespaces=True,
    devices=("/dev",),
    capabilities=("ALL",),
    host_paths=("/srv",),
)
# One spec for each thing that is taken: the task's fields, the right, the path of the field, how people call it.
TAKEN: list[tuple[dict[str, Any], str, str, str]] = [
    ({"privileged": True}, "privileged", "privileged", "privileged containers"),
    ({"network": "host"}, "host-network", "network", "the host's network"),
    ({"pid": "host"}, "host-namespaces", "pid", "the host's pid namespace"),
    ({"ipc": "host"}, "host-namespaces", "ipc", "the host's ipc namespace"),
    ({"devices": [{"source": "/dev/fuse"}]}, "devices", "devices[0].source", "device /dev/fuse"),
    (
        {"capabilities": {"add": ["CHOWN", "NET_ADMIN"]}},
        "capabilities",
        "capabilities.add[1]",
        "capability NET_ADMIN",
    ),
    ({"capabilities": {"add": ["ALL"]}}, "capabilities", "capabilities.add[0]", "capability ALL"),
    (
        {"volumes": [{"source": "/srv/data", "target": "/data"}]},
        "host-paths",
        "volumes[0].source",
        "host path /srv/data",
    ),
]


def job(**task: Any) -> Job:  # noqa: ANN401 - a spec's fields
    return validate.parse({"job": "shop", "tasks": [{"name": "web", "image": "shop:1", **task}]})


def task(**fields: Any) -> Task:  # noqa: ANN401 - a spec's fields
    return job(**fields).tasks[0]


def volume(source: str, target: str = "/data") -> dict[str, Any]:
    return {"volumes": [{"source": source, "target": target}]}


# ── what makes sense ─────────────────────────────────────────────────────────────────────────────────────────────────

BAD: list[tuple[dict[str, Any], str, str]] = [
    (volume("srv/data"), "volumes[0].source", "invalid_path"),
    (volume("/srv/../etc"), "volumes[0].source", "invalid_path"),
    (volume("/srv//data"), "volumes[0].source", "invalid_path"),
    (volume("/srv/."), "volumes[0].source", "invalid_path"),
    (volume("/srv/"), "volumes[0].source", "invalid_path"),
    (volume("/srv/\0"), "volumes[0].source", "invalid_path"),
    (volume("/srv/" + "x" * 4096), "volumes[0].source", "invalid_path"),
    (volume("/srv", "data"), "volumes[0].target", "invalid_path"),
    (volume("/srv", "/"), "volumes[0].target", "invalid_value"),
    ({"volumes": [{"source": "/srv", "target": "/d", "driver": "nfs"}]}, "volumes[0].driver", "unknown_field"),
    ({"volumes": [{"source": "/srv"}]}, "volumes[0].target", "required"),
    ({"volumes": volume("/a")["volumes"] + volume("/b")["volumes"]}, "volumes[1].target", "duplicate"),
    ({"volumes": [{"source": f"/{n}", "target": f"/{n}"} for n in range(101)]}, "volumes", "out_of_range"),
    ({"devices": [{"source": "/etc/shadow"}]}, "devices[0].source", "invalid_value"),
    ({"devices": [{"source": "/dev"}]}, "devices[0].source", "invalid_value"),
    ({"devices": [{"source": "/dev/../etc/shadow"}]}, "devices[0].source", "invalid_path"),
    ({"devices": [{"source": "/dev/fuse", "permissions": "x"}]}, "devices[0].permissions", "invalid_value"),
    ({"devices": [{"source": "/dev/fuse", "cgroup": "r"}]}, "devices[0].cgroup", "unknown_field"),
    ({**volume("/srv", "/dev/fuse"), "devices": [{"source": "/dev/fuse"}]}, "devices[0].target", "duplicate"),
    ({"capabilities": {"add": ["FLY"]}}, "capabilities.add[0]", "unknown_capability"),
    ({"capabilities": {"add": ["CAP_NET_ADMIN"]}}, "capabilities.add[0]", "unknown_capability"),
    ({"capabilities": {"drop": ["chown"]}}, "capabilities.drop[0]", "unknown_capability"),
    ({"capabilities": {"drop": ["CHOWN", "CHOWN"]}}, "capabilities.drop[1]", "duplicate"),
    ({"capabilities": {"add": ["CHOWN"], "drop": ["CHOWN"]}}, "capabilities.add[0]", "duplicate"),
    ({"capabilities": {"keep": []}}, "capabilities.keep", "unknown_field"),
    ({"privileged": True, "capabilities": {"drop": ["CHOWN"]}}, "capabilities", "invalid_value"),
    ({"network": "none"}, "network", "invalid_value"),
    ({"pid": "private"}, "pid", "invalid_value"),
    ({"network": "host", "ports": {"http": {"container": 80, "host": 81}}}, "ports.http.host", "invalid_value"),
    ({"network": "host", "ports": {"http": 20_000}}, "ports.http.host", "out_of_range"),
    *(({name: "x"}, name, "unknown_field") for name in ("security_opt", "sysctls", "runtime", "userns")),
]


@pytest.mark.parametrize(("fields", "path", "code"), BAD, ids=[f"{path}-{code}" for _, path, code in BAD])
def test_refused_with_its_path(fields: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        job(**fields)
    assert [(problem.path, problem.code) for problem in refused.value.details] == [(f"tasks[0].{path}", code)]


@pytest.mark.parametrize(("fields", "path", "code"), BAD, ids=[f"{path}-{code}" for _, path, code in BAD])
def test_an_editor_tells_as_much_as_a_schema_can(fields: dict[str, Any], path: str, code: str) -> None:
    document = {"job": "shop", "tasks": [{"name": "web", "image": "shop:1", **fields}]}
    of_two_fields = code in BEYOND or path in ("ports.http.host", "volumes[0].target")
    assert problems(document) or of_two_fields


@pytest.mark.parametrize("fields", [fields for fields, *_ in TAKEN], ids=str)
def test_an_editor_takes_what_makes_sense(fields: dict[str, Any]) -> None:
    assert problems({"job": "shop", "tasks": [{"name": "web", "image": "shop:1", **fields}]}) == []


@pytest.mark.parametrize("fields", [fields for fields, *_ in TAKEN if "volumes" not in fields], ids=str)
def test_a_process_has_no_container(fields: dict[str, Any]) -> None:
    (field,) = fields
    with pytest.raises(Invalid) as refused:
        job(**fields, driver="process", image=None, command=["serve"])
    assert [problem.path for problem in refused.value.details] == [f"tasks[0].{field}"]


def test_a_misspelled_capability_is_spelled_out() -> None:
    with pytest.raises(Invalid, match="write NET_ADMIN") as refused:
        job(capabilities={"add": ["cap_net_admin"]})
    assert "write NET_ADMIN" in refused.value.details[0].message


def test_in_the_hosts_network_a_port_is_reserved_on_the_host() -> None:
    assert task(network="host", ports={"http": 8080}).ports["http"] == specs.Port(8080, 8080)
    assert task(network="host", ports={"http": {"container": 80, "host": 80}}).ports["http"] == specs.Port(80, 80)
    assert task(ports={"http": 8080}).ports["http"] == specs.Port(8080, 0)


# ── what it takes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fields", "right", "path", "said"), TAKEN, ids=[said for *_, said in TAKEN])
def test_each_has_its_right_its_path_and_its_nodes(fields: dict[str, Any], right: str, path: str, said: str) -> None:
    made = job(**fields)
    assert list(needs(made)) == [Need(f"container:{right}", f"tasks[0].{path}")]
    assert refusal(taken(made.tasks[0]), NOTHING) == said
    assert refusal(taken(made.tasks[0]), EVERYTHING) is None


def test_a_process_takes_a_right_and_a_node_with_that_driver() -> None:
    fields = {"name": "raw", "driver": "process", "command": ["id"]}
    made = validate.parse({"job": "shop", "tasks": [{"name": "web", "image": "shop:1"}, fields]})
    assert list(needs(made)) == [Need("container:process", "tasks[1].driver")]
    assert taken(made.tasks[1]) == (), "which nodes run processes, their drivers tell"


@pytest.mark.parametrize(
    "fields", [{}, {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, {"ports": {"http": 80}}], ids=str
)
def test_less_than_usual_takes_nothing(fields: dict[str, Any]) -> None:
    made = job(**fields)
    assert list(needs(made)) == []
    assert refusal(taken(made.tasks[0]), NOTHING) is None


def test_net_raw_is_not_usual() -> None:
    """The engine would give it to everybody."""
    assert "NET_RAW" in CAPABILITIES - USUAL
    assert refusal(taken(task(capabilities={"add": ["NET_RAW"]})), NOTHING) == "capability NET_RAW"


def test_what_every_task_takes_is_named() -> None:
    tasks = [{"name": name, "image": "shop:1", "privileged": name != "b"} for name in ("a", "b", "c")]
    made = validate.parse({"job": "shop", "tasks": tasks})
    assert [need.path for need in needs(made)] == ["tasks[0].privileged", "tasks[2].privileged"]


# ── what a node allows ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("allowance", [NOTHING, EVERYTHING, Allowance(devices=("/dev/fuse", "/dev/dri"))])
def test_a_node_says_in_its_attributes_what_it_allows(allowance: Allowance) -> None:
    assert Allowance.of({"os": "linux", **allowance.attributes()}) == allowance
    assert all(allowance.attributes().values())


def test_a_node_that_allows_nothing_says_nothing() -> None:
    assert NOTHING.attributes() == {}
    assert Allowance.of({"docker.privileged": "maybe"}) == NOTHING


OPENED = [
    (["/srv"], "/srv"),
    (["/srv"], "/srv/a/b"),
    (["/"], "/"),
    (["/"], "/srv"),
    (["/etc"], "/etc/ssl"),
    (["/etc/ssl"], "/etc/ssl/certs"),
    (["/run/docker.sock"], "/run/docker.sock"),
    (["/var"], "/var/lib/shop"),
]
CLOSED = [
    ([], "/srv"),
    (["/srv"], "/srv-evil"),
    (["/srv"], "/srv/../etc"),
    (["/srv"], "/srv/a/../../etc"),
    (["/srv"], "srv"),
    (["/srv/a"], "/srv"),
    (["/"], "/etc"),
    (["/"], "/etc/shadow"),
    (["/"], "/proc/1/root"),
    (["/"], "/sys"),
    (["/"], "/run"),
    (["/"], "/run/docker.sock"),
    (["/run"], "/run/docker.sock"),
    (["/var"], "/var/run"),
    (["/var"], "/var/lib"),
]


@pytest.mark.parametrize(("allowed", "path"), OPENED)
def test_a_path_is_open(allowed: list[str], path: str) -> None:
    assert opens(allowed, path, SENSITIVE)


@pytest.mark.parametrize(("allowed", "path"), CLOSED)
def test_a_path_is_closed(allowed: list[str], path: str) -> None:
    assert not opens(allowed, path, SENSITIVE)


def test_a_node_keeps_its_own_folder_closed() -> None:
    made = taken(task(**volume("/srv/agent/identity.json")))
    assert refusal(made, Allowance(host_paths=("/srv",))) is None
    assert refusal(made, Allowance(host_paths=("/srv",), kept=("/srv/agent",))) is not None


PARTS = st.lists(st.sampled_from(["srv", "srv-evil", "etc", "a", ".", "..", "", "run", "docker.sock"]), max_size=4)
PATHS = PARTS.map(lambda parts: "/" + "/".join(parts))


@given(PATHS, st.lists(PATHS.filter(is_clean), max_size=3))
def test_nothing_is_open_but_what_is_named_or_below_it(path: str, allowed: list[str]) -> None:
    if not opens(allowed, path, SENSITIVE):
        return
    assert is_clean(path)
    assert any(is_within(path, each) for each in allowed)
    for closed in SENSITIVE:
        if (is_within(path, closed) or is_within(closed, path)) and path not in allowed:
            assert any(is_within(each, closed) and is_within(path, each) for each in allowed)


@given(PATHS, PATHS)
def test_below_is_by_whole_names(path: str, folder: str) -> None:
    if is_clean(path) and is_clean(folder):
        ours, theirs = ([part for part in each.split("/") if part] for each in (path, folder))
        assert is_within(path, folder) == (ours[: len(theirs)] == theirs)


# ── what containers are made from ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fields", [fields for fields, *_ in TAKEN], ids=str)
def test_another_reach_is_another_container(fields: dict[str, Any]) -> None:
    assert specs.content_digest(task(**fields)) != specs.content_digest(task())
    assert specs.policy_digest(task(**fields)) == specs.policy_digest(task())
    made = job(**fields)
    assert specs.decode(specs.encode(made)) == made


def test_digests_of_before_stay() -> None:
    """Jobs that say nothing of it have the digests that were recorded before these fields were there."""
    found = 0
    for record in codec.records(history.read("run-1")):
        if isinstance(record.event, JobSubmitted):
            spec = specs.decode(bytes(record.event.spec))
            for summary in record.event.tasks:
                said = spec.task(summary.name)
                assert said is not None
                assert specs.content_digest(said) == summary.content
                found += 1
    assert found
