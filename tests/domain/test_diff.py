"""The diff of two documents says all that is different, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from heroctl.domain.diff import Difference, diff, document
from heroctl.domain.spec import Job, Task

Json = Any

WORD: Final = re.compile(
    r'\.?(?P<field>[A-Za-z_][A-Za-z0-9_-]*)|\[(?P<item>[A-Za-z0-9_-]*)\]|\[(?P<quoted>"(?:\\.|[^"\\])*")\]'
)

_keys = st.sampled_from(["a", "b", "name", "x.y", "0", '"', "tasks[a]", "", "é", "a-b"]) | st.text(max_size=3)
_scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.text(max_size=2)


def _named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    things = st.dictionaries(_keys, inner, max_size=3)
    return st.dictionaries(_keys, things, max_size=4).map(lambda by: [thing | {"name": n} for n, thing in by.items()])


documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4) | _named(inner),
    max_leaves=20,
)


def _words(path: str) -> list[tuple[str, str]]:
    """Read a path: fields, and items by name."""
    words, at = [], 0
    while at < len(path):
        found = WORD.match(path, at)
        assert found is not None, path
        at = found.end()
        if found["quoted"] is not None:
            words.append(("either", json.loads(found["quoted"])))
        else:
            words.append(("field", found["field"]) if found["field"] is not None else ("item", found["item"]))
    return words


def _index(within: Json, word: tuple[str, str]) -> Json:
    """Find where a thing stands: under its name, or in a list at the number of its namesake; None: in no place yet."""
    if isinstance(within, dict):
        return word[1]
    return next((at for at, each in enumerate(within) if each["name"] == word[1]), None)


def _apply(old: Json, rows: list[Difference]) -> Json:
    """Do to a document what the rows say, checking that each found what it says it found."""
    root = {"root": copy.deepcopy(old)}
    for row in rows:
        words = _words(row.path)
        order = words[-2:] == [("item", ""), ("field", "name")]
        within: Json = root
        place: Json = "root"
        for word in words[:-2] if order else words:
            within = within[place]
            place = _index(within, word)
        if order:
            assert row.from_ == [each["name"] for each in within[place]]
            within[place] = [next(each for each in within[place] if each["name"] == name) for name in row.to]
        elif row.kind == "added" and isinstance(within, list):
            assert place is None
            within.append(row.to)
        elif row.kind == "added":
            assert place not in within
            within[place] = row.to
        else:
            assert _same(within[place], row.from_)
            if row.kind == "removed":
                del within[place]
            else:
                within[place] = row.to
    return root["root"]


def _same(one: Json, other: Json) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(documents, documents)
@example(None, [{"name": []}])
@example([{"name": "a"}, {"name": 1}], [{"name": "a"}, {"name": "a"}])
def test_applying_the_diff_gives_the_new_document(old: Json, new: Json) -> None:
    rows = diff(old, new)
    assert _same(_apply(old, rows), new)
    assert bool(rows) != _same(old, new)
    assert len({row.path for row in rows}) == len(rows)


@given(documents)
def test_equal_documents_differ_in_nothing(one: Json) -> None:
    assert diff(one, copy.deepcopy(one)) == []


@given(documents, documents)
def test_the_way_back_names_the_same_places(old: Json, new: Json) -> None:
    other = {"added": "removed", "removed": "added", "changed": "changed"}
    there = {(row.path, row.kind) for row in diff(old, new) if not row.path.endswith("[].name")}
    back = {(row.path, other[row.kind]) for row in diff(new, old) if not row.path.endswith("[].name")}
    assert there == back


# ── of specs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

WEB: Final = Task("web", image="web:1", env={"A": "1"}, count=2)
DB: Final = Task("db", image="db:1")
OLD: Final = Job("shop", (WEB, DB), meta={"team/owner": "x"})


def _rows(new: Job) -> list[tuple[str, str, Any, Any]]:
    return [(row.path, row.kind, row.from_, row.to) for row in diff(document(OLD), document(new))]


def test_a_changed_task_is_found_by_its_name_wherever_it_stands() -> None:
    new = replace(OLD, tasks=(DB, replace(WEB, image="web:2", env={"B": "2"})), meta={"team/owner": "y"})
    assert _rows(new) == [
        ("tasks[web].image", "changed", "web:1", "web:2"),
        ("tasks[web].env.A", "removed", "1", None),
        ("tasks[web].env.B", "added", None, "2"),
        ("tasks[].name", "changed", ["web", "db"], ["db", "web"]),
        ('meta["team/owner"]', "changed", "x", "y"),
    ]


def test_a_task_comes_and_goes_whole_and_no_order_is_told_for_it() -> None:
    [gone, come] = _rows(replace(OLD, tasks=(DB, Task("1"))))
    assert gone[:2] == ("tasks[web]", "removed")
    assert gone[2]["image"] == "web:1"
    assert come[:3] == ('tasks["1"]', "added", None)


def test_a_command_is_one_value() -> None:
    [row] = _rows(replace(OLD, tasks=(replace(WEB, command=("a", "b")), DB)))
    assert row == ("tasks[web].command", "changed", [], ["a", "b"])
