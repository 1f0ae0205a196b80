"""References in what a task is given: what they are, what they come to, and what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import references
from heroctl.domain.errors import Invalid
from heroctl.domain.references import Part, Reference, UnknownReference, escape, parse, render, render_bytes
from heroctl.domain.spec import File, Port, Task
from heroctl.domain.validate import parse as parse_job
from heroctl.domain.validate import warnings

# Texts in which the signs that matter are frequent, and references of any name that can be written.
LITERALS = st.text(st.sampled_from("a.$${}} \n-é"), min_size=1, max_size=12)
REFERENCES = st.builds(
    Reference,
    st.sampled_from([*references.KINDS, "other", "_x1"]),
    st.text(st.sampled_from("ab.-_9"), min_size=1, max_size=6),
)


@st.composite
def parted(draw: st.DrawFn) -> tuple[Part, ...]:
    """Parts as `parse` gives them. A `$` right before a reference would be its escape: that cannot be written."""
    parts: list[Part] = []
    for part in draw(st.lists(LITERALS | REFERENCES, max_size=6)):
        last = parts[-1] if parts else None
        if isinstance(part, str) and isinstance(last, str):
            parts[-1] = last + part
        else:
            if isinstance(part, Reference) and isinstance(last, str):
                parts[-1] = last.rstrip("$") + "."
            parts.append(part)
    return tuple(parts)


def spelled(parts: tuple[Part, ...]) -> str:
    return "".join(str(part) if isinstance(part, Reference) else escape(part) for part in parts)


@given(parted())
def test_what_was_written_is_read(parts: tuple[Part, ...]) -> None:
    assert parse(spelled(parts)) == parts


@given(LITERALS)
def test_an_escaped_text_stands_for_itself(literal: str) -> None:
    assert render(escape(literal), {}) == literal
    assert render_bytes(escape(literal), {}) == literal.encode()


@given(parted())
def test_each_reference_comes_to_its_value_and_nothing_else_changes(parts: tuple[Part, ...]) -> None:
    known = {part.key: f"<${{alloc.id}}{number}>" for number, part in enumerate(parts) if isinstance(part, Reference)}
    assert render(spelled(parts), known) == "".join(
        known[part.key] if isinstance(part, Reference) else part for part in parts
    )


def test_what_has_no_dot_is_left_to_the_program() -> None:
    text = "$HOME ${HOME} ${PORT:-8.5} ${} $ ${x ${1.a} {alloc.id}"
    assert parse(text) == (text,)
    assert parse("") == ()


def test_what_is_within_something_else_is_found() -> None:
    assert parse("${X:-${alloc.id}}") == ("${X:-", Reference("alloc", "id"), "}")
    assert parse("$$${alloc.id}") == ("$${alloc.id}",)


def test_what_is_lacking_is_named_and_what_is_there_is_not() -> None:
    with pytest.raises(UnknownReference, match=r"^\$\{secret\.b\} means nothing on this node$"):
        render("${secret.a} ${secret.b}", {"secret.a": "hunter2"})


def test_a_file_takes_secrets_that_are_no_texts() -> None:
    assert render_bytes("é=${secret.key};", {"secret.key": b"\xff\0"}) == "é=".encode() + b"\xff\0;"


USES = Task(
    name="web",
    command=("run", "${alloc.slot}"),
    args=("${port.http}",),
    env={"A": "${secret.db}:${secret.a}", "B": "plain"},
    files=(File("/x", "x"), File("/y", "${secret.db}${node.name}")),
    image_auth="${secret.registry}",
    ports={"http": Port(80)},
)


def test_references_of_a_task_have_paths() -> None:
    assert [(path, str(each)) for path, each in references.references(USES)] == [
        ("command[1]", "${alloc.slot}"),
        ("args[0]", "${port.http}"),
        ("env.A", "${secret.db}"),
        ("env.A", "${secret.a}"),
        ("files[1].content", "${secret.db}"),
        ("files[1].content", "${node.name}"),
        ("image_auth", "${secret.registry}"),
    ]
    assert references.secrets(USES) == ("a", "db", "registry")
    assert references.content_secrets(USES) == ("a", "db")
    assert references.pull_secret(USES) == "registry"
    assert references.pull_secret(Task("web", env={"X": "${secret.a}"}, image_auth="${secret.a}")) == ""


@pytest.mark.parametrize(
    "text",
    [
        "${secret.db_password} ${secret._x} ${secret.a.b-c}",
        "${node.name} ${node.id} ${node.address} ${node.os} ${node.labels.zone} ${node.attributes.arch}",
        "${alloc.id} ${alloc.slot} ${alloc.attempt} ${port.http}",
        "${service.shop.web.http}",
        "$${secret.} $${java.home} ${HOME} ${port} ${node:-x}",
    ],
)
def test_what_makes_sense_is_no_problem(text: str) -> None:
    assert not list(references.problems(Task(name="web", env={"DB": text}, ports={"http": Port(80)}), "tasks[0]"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${secret.}", "a secret's name"),
        ("${secret.a/b}", "a secret's name"),
        ("${secret.a", "not a whole reference"),
        ("${secret.a b}", "not a whole reference"),
        ("${ node.name }", "not a whole reference"),
        ("${node.}", "of a node there are"),
        ("${node.labels.}", "of a node there are"),
        ("${alloc.uid}", "of an allocation there are id,"),
        ("${port.grpc}", "the task has no port 'grpc'"),
        ("${service.a.b}", "write ${service.JOB.TASK.PORT}"),
        ("${nod.name}", "refers to nothing: known are secret,"),
        ("${java.home}", "write $${ for a literal ${"),
    ],
)
def test_what_comes_to_nothing_is_a_problem_of_its_field(text: str, said: str) -> None:
    (problem,) = references.problems(Task(name="web", env={"OK": "x", "DB": text}), "tasks[0]")
    assert (problem.path, problem.code) == ("tasks[0].env.DB", "invalid_reference")
    assert said in problem.message


@pytest.mark.parametrize("where", ["command", "args"])
def test_no_secret_stands_among_the_arguments(where: str) -> None:
    task = Task("web", **{where: ("--port=${alloc.slot}", "--password=${secret.db}")})  # type: ignore[arg-type] # either field
    (problem,) = references.problems(task, "tasks[2]")
    assert problem.path == f"tasks[2].{where}[1]"
    assert "everybody on the host can read a program's arguments" in problem.message


def test_a_submit_is_told_of_all_of_them_at_once() -> None:
    task = {"name": "web", "driver": "process", "command": ["run"], "env": {"DB": "${secret.}", "X": "${port.x}"}}
    with pytest.raises(Invalid) as refused:
        parse_job({"job": "web", "tasks": [{**task, "files": [{"path": "a", "content": "${alloc.x}"}]}]})
    paths = [problem.path for problem in refused.value.details]
    assert paths == ["tasks[0].env.DB", "tasks[0].env.X", "tasks[0].files[0].content"]


@pytest.mark.parametrize(
    ("env", "policy", "warned"),
    [
        ({}, "none", True),
        ({}, "restart", False),
        ({"A": "${secret.a}"}, "none", False),
        ({"A": "$${secret.a}"}, "none", True),
    ],
)
def test_a_policy_for_secrets_that_are_not_used_is_a_warning(env: object, policy: str, warned: bool) -> None:  # noqa: FBT001 - of the table
    task = {"name": "web", "driver": "process", "command": ["run"], "env": env, "on_secret_change": policy}
    told = {problem.path for problem in warnings(parse_job({"job": "web", "tasks": [task]}))}
    assert ("tasks[0].on_secret_change" in told) == warned


@pytest.mark.parametrize("part", ["${a.", "${secret.", "${a.b}", "$${a.", "${ ", "${secret.${", "$$$", "${a.b"])
def test_a_long_text_is_read_in_one_go_and_told_of_in_short(part: str) -> None:
    task = Task("web", files=(File("/x", part * (1_000_000 // len(part))),))
    began = time.process_time()
    assert len(list(references.problems(task, "tasks[0]"))) <= 10
    parse(task.files[0].content)
    assert time.process_time() - began < 10


def test_a_task_names_no_more_secrets_than_can_be_told_of() -> None:
    def naming(count: int) -> list[str]:
        env = {"A": "".join(f"${{secret.s{number}}}" for number in range(count))}
        return [problem.code for problem in references.problems(Task("web", env=env), "tasks[0]")]

    assert (naming(100), naming(101)) == ([], ["out_of_range"])
