"""Job specs without a server: a first one to begin with, and all that is wrong with those that are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from heroctl.cli.starter import starter
from heroctl.domain.validate import parse, warnings
from tests.cli.conftest import Run

GOOD = "job: web\ntasks: [{name: web, image: shop:1, ports: {http: 80}, health: {http: /}}]\n"
BAD = "job: web\ntasks: [{name: web, imag: shop:1, count: many}]\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("driver", ["docker", "process"])
def test_the_starter_is_a_spec_without_a_doubt_and_so_is_all_that_is_commented_out(heroctl: Run, driver: str) -> None:
    text = heroctl("init", "-", "--driver", driver).out
    assert warnings(parse(yaml.safe_load(text))) == []
    commented = re.findall(r"^( *)# (\w+: (?:\{|\[).*)$", text, flags=re.MULTILINE)
    assert len(commented) >= 4
    for indent, line in commented:
        key = line.partition(":")[0]
        without = re.sub(rf"^{indent}{key}:.*\n(?:{indent} +.*\n)*", "", text, flags=re.MULTILINE)
        parse(yaml.safe_load(without.replace(f"{indent}# {line}", f"{indent}{line}")))


def test_the_starter_is_written_once_and_never_over_another(heroctl: Run, here: Path) -> None:
    first = heroctl("init", "jobs/Big Shop.yaml")
    assert (first.code, first.out) == (0, "")
    assert "heroctl job run jobs/Big Shop.yaml" in first.err
    made = here / "jobs" / "Big Shop.yaml"
    assert yaml.safe_load(made.read_text())["job"] == "big-shop"
    made.write_text("mine")
    again = heroctl("init", "jobs/Big Shop.yaml")
    assert (again.code, made.read_text()) == (1, "mine")
    assert "is there already, and is left as it is" in again.err
    assert "next: " in again.err


def test_a_name_is_always_one() -> None:
    for file in ("job.yaml", "-", "Ä.yaml", "x" * 200 + ".yaml", "--.yml"):
        parse(yaml.safe_load(starter(file, "docker")))


def test_a_good_spec_and_a_doubtful_one(heroctl: Run, here: Path) -> None:
    (here / "web.yaml").write_text(GOOD)
    (here / "doubtful.json").write_text(json.dumps({"job": "d", "tasks": [{"name": "a", "image": "b"}]}))
    result = heroctl("validate", "web.yaml", "doubtful.json")
    assert (result.code, result.out) == (0, "")
    assert result.err == (
        "web.yaml is valid\n"
        "warning: doubtful.json: tasks[0].health: task 'a' has no health check: "
        "it counts as healthy as soon as it runs\n"
        "doubtful.json is valid\n"
    )
    assert heroctl("job", "validate", "-", stdin=GOOD) == (0, "", "stdin is valid\n")
    assert heroctl("validate", "-o", "name", ".").out == "d\nweb\n"


def test_all_that_is_wrong_is_said_with_its_file_and_field(heroctl: Run, here: Path) -> None:
    (here / "a").mkdir()
    (here / "a" / "bad.yml").write_text(BAD)
    (here / "a" / "twice.yaml").write_text("job: a\njob: b\n")
    (here / "good.yaml").write_text(GOOD)
    (here / ".hidden.yaml").write_text("no spec")
    (here / "readme.md").write_text("no spec")
    result = heroctl("validate", ".")
    assert (result.code, result.out) == (1, "")
    assert "error: 2 of 3 specs have " in result.err
    assert "  a/bad.yml: tasks[0].imag: there is no field `imag`" in result.err
    assert "  a/twice.yaml: (spec): the key 'job' stands twice in one object (line 2, column 1)\n" in result.err
    assert "next: mend, then look again: heroctl validate a/bad.yml a/twice.yaml" in result.err
    rows = json.loads(heroctl("validate", ".", "-o", "json").out)
    assert [(row["file"], row["job"], row["valid"]) for row in rows] == [
        ("a/bad.yml", None, False),
        ("a/twice.yaml", None, False),
        ("good.yaml", "web", True),
    ]


@pytest.mark.parametrize(
    ("file", "said"), [("none.yaml", "cannot be read"), ("empty.yaml", "is empty"), ("folder", "holds no job specs")]
)
def test_what_cannot_be_read_says_so_and_what_to_type(heroctl: Run, here: Path, file: str, said: str) -> None:
    (here / "empty.yaml").write_text(" \n")
    (here / "folder").mkdir()
    result = heroctl("validate", file)
    assert (result.code, said in result.err, "next: " in result.err) == (1, True, True)


def test_a_folder_is_no_spec(heroctl: Run, here: Path) -> None:
    result = heroctl("job", "run", ".")
    assert (result.code, "heroctl apply -f ." in result.err) == (1, True)
