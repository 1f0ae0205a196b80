"""Every example is a job that this release accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from heroctl.domain.endpoints import referred
from heroctl.domain.references import secrets
from heroctl.domain.spec import Task
from heroctl.domain.validate import parse
from tests.house import ROOT

EXAMPLES = sorted((ROOT / "examples").iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_valid_job_and_explains_itself(example: Path) -> None:
    text = example.read_text()
    assert parse(yaml.safe_load(text)).tasks
    assert text.startswith("# ")


def test_the_first_app_is_short_and_has_what_an_app_needs() -> None:
    text = (ROOT / "examples" / "first-app.yaml").read_text()
    app = parse(yaml.safe_load(text))
    db, web = app.tasks
    assert len(text.splitlines()) <= 50
    assert db.volumes
    assert db.health is not None
    assert web.health is not None
    assert (secrets(db), referred(web)) == (("db_password",), ("first-app.db.sql",))
    assert web.depends_on


def test_every_field_of_a_task_is_shown_somewhere() -> None:
    shown = {field for path in EXAMPLES for task in yaml.safe_load(path.read_text())["tasks"] for field in task}
    assert shown == set(Task.__struct_fields__)
