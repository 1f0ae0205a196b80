"""What a container is made from, word for word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.container import Content, Description, Publish, describe, identified
from heroctl.domain.duration import Size
from heroctl.domain.references import UnknownReference
from heroctl.domain.spec import File, Port, Resources, Task
from tests.agents.world import NODE, assigned

SPEC = Task(
    name="web",
    image="shop:1",
    command=("/bin/shop",),
    args=("--port", "${port.http}", "--zone=${node.labels.zone}", "$HOME ${HOME} ${X:-y}"),
    env={"SELF": "${alloc.id}/${alloc.attempt}", "WHERE": "${node.name} ${node.address} ${node.os}", "PLAIN": "a$b"},
    ports={"http": Port(8080), "admin-ui": Port(9090, 9090)},
    resources=Resources(cpu=0.25, memory=Size(64 * 10**6)),
    stop_signal="SIGINT",
)
PORTS = {"http": 20_001, "admin-ui": 9090}


def test_the_whole_description() -> None:
    assert describe(assigned(SPEC), NODE, 3, PORTS, "inc1") == Description(
        name="shop.web.0.alloc1.3",
        alloc="alloc1",
        image="shop:1",
        command=("/bin/shop",),
        args=("--port", "8080", "--zone=a", "$HOME ${HOME} ${X:-y}"),
        env={
            "SELF": "alloc1/3",
            "WHERE": "alpha 10.0.0.1 linux",
            "PLAIN": "a$b",
            "HEROCTL_CLUSTER": "test",
            "HEROCTL_NODE": "alpha",
            "HEROCTL_NAMESPACE": "default",
            "HEROCTL_JOB": "shop",
            "HEROCTL_TASK": "web",
            "HEROCTL_SLOT": "0",
            "HEROCTL_ALLOC": "alloc1",
            "HEROCTL_VERSION": "1",
            "HEROCTL_ATTEMPT": "3",
            "HEROCTL_PORT_HTTP": "8080",
            "HEROCTL_ADDR_HTTP": "10.0.0.1:20001",
            "HEROCTL_PORT_ADMIN_UI": "9090",
            "HEROCTL_ADDR_ADMIN_UI": "10.0.0.1:9090",
        },
        labels={
            "heroctl.cluster": "test",
            "heroctl.node": "n1",
            "heroctl.alloc": "alloc1",
            "heroctl.digest": "d1",
            "heroctl.attempt": "3",
            "heroctl.incarnation": "inc1",
            "heroctl.ports": "admin-ui=9090,http=20001",
            "heroctl.namespace": "default",
            "heroctl.job": "shop",
            "heroctl.task": "web",
        },
        cpu=0.25,
        memory=64 * 10**6,
        ports=(Publish("admin-ui", 9090, 9090), Publish("http", 8080, 20_001)),
        stop_signal="SIGINT",
    )


def test_a_process_listens_on_the_host_port() -> None:
    made = describe(assigned(replace(SPEC, driver="process")), NODE, 1, PORTS, "inc1")
    assert (made.env["HEROCTL_PORT_HTTP"], made.env["HEROCTL_ADDR_HTTP"]) == ("20001", "10.0.0.1:20001")
    assert made.args[1] == "20001"


def test_an_address_of_version_6_is_bracketed() -> None:
    made = describe(assigned(SPEC), replace(NODE, address="fd00::1"), 1, PORTS, "inc1")
    assert made.env["HEROCTL_ADDR_HTTP"] == "[fd00::1]:20001"


def test_our_variables_win_over_the_spec() -> None:
    made = describe(assigned(replace(SPEC, env={"HEROCTL_NODE": "mine"})), NODE, 1, PORTS, "inc1")
    assert made.env["HEROCTL_NODE"] == "alpha"


@pytest.mark.parametrize(
    "text", ["${node.labels.rack}", "${port.grpc}", "${nod.name}", "${secret.key}", "${service.a.b}"]
)
def test_what_means_nothing_is_refused_by_name(text: str) -> None:
    for spec in (replace(SPEC, env={"A": f"x{text}"}), replace(SPEC, args=(text,)), replace(SPEC, command=(text,))):
        with pytest.raises(UnknownReference, match=text.replace("$", r"\$").replace("{", r"\{")):
            describe(assigned(spec), NODE, 1, PORTS, "inc1")


SECRETS = {"key": b"open ${node.id}", "raw": b"\xff\0"}
FILES = (
    File("/etc/app.conf", "zone=${node.labels.zone} port=${port.http} $${x}"),
    File("/run/key", "<${secret.key}>", "0400"),
    File("/run/raw", "${secret.raw}"),
)


def test_files_are_filled_in_and_those_with_a_secret_are_marked() -> None:
    made = describe(assigned(replace(SPEC, files=FILES)), NODE, 1, PORTS, "inc1", secrets=SECRETS)
    assert made.files == (
        Content("/etc/app.conf", b"zone=a port=8080 ${x}", 0o440),
        Content("/run/key", b"<open ${node.id}>", 0o400, secret=True),
        Content("/run/raw", b"\xff\0", 0o440, secret=True),
    )
    assert not made.secret


def test_a_variable_holds_a_secret_that_is_text() -> None:
    made = describe(assigned(replace(SPEC, env={"A": "<${secret.key}>"})), NODE, 1, PORTS, "inc1", secrets=SECRETS)
    assert made.env["A"] == "<open ${node.id}>"
    assert made.secret
    with pytest.raises(UnknownReference, match="no text") as refused:
        describe(assigned(replace(SPEC, env={"A": "${secret.raw}"})), NODE, 1, PORTS, "inc1", secrets=SECRETS)
    assert refused.value.__cause__ is None


def test_an_argument_holds_no_secret_whatever_the_control_plane_says() -> None:
    for spec in (replace(SPEC, args=("${secret.key}",)), replace(SPEC, command=("${secret.key}",))):
        with pytest.raises(UnknownReference, match=r"secret\.key"):
            describe(assigned(spec), NODE, 1, PORTS, "inc1", secrets=SECRETS)


def test_a_value_that_looks_like_a_reference_is_not_filled_again() -> None:
    node = replace(NODE, labels={"zone": "${node.id}"})
    made = describe(assigned(replace(SPEC, args=("${node.labels.zone}",))), node, 1, PORTS, "inc1")
    assert made.args == ("${node.id}",)


def test_labels_read_back() -> None:
    made = describe(assigned(SPEC), NODE, 3, PORTS, "inc1")
    seen = identified(made.labels, id="c1", state="running", started_at=5.0)
    assert seen is not None
    assert (seen.alloc, seen.digest, seen.attempt, seen.incarnation) == ("alloc1", "d1", 3, "inc1")
    assert (seen.ports, seen.started_at) == (PORTS, 5.0)


@given(
    st.dictionaries(st.sampled_from(["heroctl.alloc", "heroctl.attempt", "heroctl.ports", "x"]), st.text(max_size=9))
)
def test_foreign_labels_never_raise(labels: dict[str, str]) -> None:
    seen = identified(labels, id="c1", state="exited")
    assert seen is None or (seen.alloc and seen.attempt >= 0)
