"""The JSON Schema of job specs takes what the reader takes, and refuses what it refuses, as far as a schema can."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import jobschema, spec, validate
from heroctl.domain.errors import Invalid
from tests.domain.test_validate import BAD, TASK, job
from tests.house import ROOT

DOCUMENT: Final = jobschema.document()
SCHEMA: Final = jsonschema_rs.Draft202012Validator(DOCUMENT)
EXAMPLES: Final = sorted((ROOT / "examples").glob("*.yaml"))

# One field against another, or an item against the others: these the reader alone can tell.
BEYOND: Final = {"duplicate", "invalid_value"}
SUMS: Final = {("tasks", "out_of_range")}  # of all replicas


def problems(document: object) -> list[str]:
    return [f"{list(error.instance_path)}: {error.message}" for error in SCHEMA.iter_errors(document)]


def test_it_is_a_schema() -> None:
    assert DOCUMENT["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(DOCUMENT)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_valid(file: Path) -> None:
    assert problems(yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize(("document", "path", "code"), BAD, ids=[f"{path}-{code}" for _, path, code in BAD])
def test_what_the_reader_refuses_is_refused_here_or_beyond_a_schema(document: object, path: str, code: str) -> None:
    if not problems(document):
        assert code in BEYOND or (path, code) in SUMS, path
        with pytest.raises(Invalid):
            validate.parse(document)


@pytest.mark.parametrize(
    "document",
    [
        job(),
        {"name": "shop", "tasks": [TASK]},
        {"job": "shop", "name": "shop", "tasks": [TASK]},
        job(ports={"http": 8080, "admin": {"container": 90, "host": 9090}}),
        job(kill_timeout=5, resources={"memory": 1024, "cpu": 2}),
        job(kill_timeout="1h30m", resources={"memory": "1.5GiB"}),
        job(health={"command": ["true"], "interval": "1s"}),
        job(ports={"http": 80}, health={"http": "/", "port": "http"}),
        job(update={"strategy": "canary", "canary": {"count": 2, "weight": 5, "steps": [10, 50], "pause": "1m"}}),
        job(update={"strategy": "blue-green", "blue_green": {"auto_promote": True, "keep_old": "1h"}}),
        job(update={"strategy": "rainbow", "rainbow": {"keep": 2, "header": "X-Api-Version"}}),
        job(update={"auto_revert": False}, shutdown_delay="3s"),
    ],
)
def test_what_people_write_is_taken_by_both(document: dict[str, Any]) -> None:
    assert problems(document) == []
    validate.parse(document)


def _structs() -> dict[str, Any]:
    return {"Job": DOCUMENT, **{name: each for name, each in DOCUMENT["$defs"].items() if "properties" in each}}


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{owner}.{field}"
        for owner, schema in _structs().items()
        for field, told in schema["properties"].items()
        if not told.get("description")
    ]
    assert silent == []


def test_defaults_are_what_is_filled_in() -> None:
    read = json.loads(spec.encode(validate.parse(job())))
    task = DOCUMENT["$defs"]["Task"]["properties"]
    given = {"name", "driver", "command"}
    assert {name: task[name]["default"] for name in read["tasks"][0] if name not in given} == {
        name: value for name, value in read["tasks"][0].items() if name not in given
    }


FIELDS: Final = sorted(DOCUMENT["$defs"]["Task"]["properties"])
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70_000)
    | st.text(max_size=5)
    | st.sampled_from(["5s", "1MB", "rolling"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["http", "container", "cpu", "A"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(FIELDS), VALUES)
def test_what_the_reader_takes_the_schema_takes(field: str, value: object) -> None:
    document = job(**{field: value})
    try:
        validate.parse(document)
    except Invalid:
        return
    assert problems(document) == []


def test_the_command_line_prints_it_offline() -> None:
    command = [sys.executable, "-P", "-m", "heroctl.cli", "schema", "job"]
    printed = subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"}).stdout
    assert json.loads(printed) == DOCUMENT
