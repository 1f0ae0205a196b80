"""Job specs: what is read, what is refused, and with which path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from heroctl.domain import spec, validate
from heroctl.domain.duration import Duration, Size
from heroctl.domain.errors import Invalid

TASK = {"name": "web", "driver": "process", "command": ["serve"]}


def job(**task: Any) -> dict[str, Any]:  # noqa: ANN401 - a spec's fields
    """Make a document of one task."""
    return {"job": "shop", "tasks": [{**TASK, **task}]}


BAD = [
    (job(count=-1), "tasks[0].count", "out_of_range"),
    (job(count=10**9), "tasks[0].count", "out_of_range"),
    ({"job": "shop", "tasks": [{**TASK, "name": f"t{n}", "count": 25_001} for n in range(2)]}, "tasks", "out_of_range"),
    (job(count="2"), "tasks[0].count", "invalid_type"),
    (job(colour="red"), "tasks[0].colour", "unknown_field"),
    (job(logs={}), "tasks[0].logs", "not_supported"),
    (job(update={"strategy": "recreate"}), "tasks[0].update.strategy", "invalid_value"),
    (job(update={"canary": {"weigth": 5}}), "tasks[0].update.canary.weigth", "unknown_field"),
    (job(update={"canary": {"steps": [10, 10]}}), "tasks[0].update.canary.steps", "invalid_value"),
    (job(update={"canary": {"steps": [50, 10]}}), "tasks[0].update.canary.steps", "invalid_value"),
    (job(update={"canary": {"steps": [10, 101]}}), "tasks[0].update.canary.steps[1]", "out_of_range"),
    (job(update={"canary": {"weight": -1}}), "tasks[0].update.canary.weight", "out_of_range"),
    (job(update={"canary": {"count": 0}}), "tasks[0].update.canary.count", "out_of_range"),
    (job(update={"canary": {"pause": "a while"}}), "tasks[0].update.canary.pause", "invalid_value"),
    (job(update={"blue_green": {"keep": "1m"}}), "tasks[0].update.blue_green.keep", "unknown_field"),
    (job(update={"blue_green": {"auto_promote": 1}}), "tasks[0].update.blue_green.auto_promote", "invalid_type"),
    (job(update={"rainbow": {"keep": 0}}), "tasks[0].update.rainbow.keep", "out_of_range"),
    (job(update={"rainbow": {"header": "X Version"}}), "tasks[0].update.rainbow.header", "invalid_name"),
    (job(update={"rainbow": {"header": ""}}), "tasks[0].update.rainbow.header", "invalid_name"),
    (job(update={"auto_revert": "yes"}), "tasks[0].update.auto_revert", "invalid_type"),
    (job(migrate={"max_paralel": 2}), "tasks[0].migrate.max_paralel", "unknown_field"),
    (job(migrate={"max_parallel": 0}), "tasks[0].migrate.max_parallel", "out_of_range"),
    (job(migrate={"order": "at-once"}), "tasks[0].migrate.order", "invalid_value"),
    (job(shutdown_delay="soon"), "tasks[0].shutdown_delay", "invalid_value"),
    (job(driver="exec"), "tasks[0].driver", "unknown_driver"),
    (job(command=[]), "tasks[0].command", "required"),
    (job(driver="docker"), "tasks[0].image", "required"),
    (job(name="No Name"), "tasks[0].name", "invalid_name"),
    (job(env={"A": 1}), "tasks[0].env.A", "invalid_type"),
    (job(env={"1A": "x"}), "tasks[0].env.1A", "invalid_name"),
    (job(env={"A": "x\0"}), "tasks[0].env", "invalid_value"),
    (job(env={"HEROCTL_SLOT": "x"}), "tasks[0].env.HEROCTL_SLOT", "invalid_name"),
    (job(ports={"a": 80, "b": 80}), "tasks[0].ports.b", "duplicate"),
    (job(ports={"a": 0}), "tasks[0].ports.a.container", "out_of_range"),
    (job(ports={"a": {"container": 80, "host": 20_000}}), "tasks[0].ports.a.host", "out_of_range"),
    (job(ports={"a": {"container": 80, "hots": 1}}), "tasks[0].ports.a.hots", "unknown_field"),
    (job(health={"http": "/", "port": "http"}), "tasks[0].health.port", "invalid_value"),
    (job(health={"http": "/", "tcp": "http"}), "tasks[0].health", "invalid_value"),
    (job(health={}), "tasks[0].health", "invalid_value"),
    (job(kill_timeout="5 sheep"), "tasks[0].kill_timeout", "invalid_value"),
    (job(resources={"memory": "1 sheep"}), "tasks[0].resources.memory", "invalid_value"),
    (job(resources={"cpu": 0}), "tasks[0].resources.cpu", "out_of_range"),
    (job(stop_signal="SIGFUN"), "tasks[0].stop_signal", "invalid_value"),
    ({**job(), "type": "cron"}, "type", "invalid_value"),
    ({**job(), "priority": 101}, "priority", "out_of_range"),
    ({**job(), "name": "other"}, "name", "invalid_value"),
    ({**job(), "job": "UP"}, "job", "invalid_name"),
    ({"tasks": [TASK]}, "job", "required"),
    ({"job": "shop"}, "tasks", "required"),
    ({"job": "shop", "tasks": []}, "tasks", "invalid_value"),
    ({"job": "shop", "tasks": [TASK, TASK]}, "tasks[1].name", "duplicate"),
    ({"job": "shop", "tasks": ["web"]}, "tasks[0]", "invalid_type"),
    ([], "", "invalid_type"),
]


@pytest.mark.parametrize(("document", "path", "code"), BAD, ids=[f"{path}-{code}" for _, path, code in BAD])
def test_refused_with_its_path(document: object, path: str, code: str) -> None:
    """One thing is wrong, and it is named."""
    with pytest.raises(Invalid) as refused:
        validate.parse(document)
    assert refused.value.code == "invalid_spec"
    assert [(problem.path, problem.code) for problem in refused.value.details] == [(path, code)]


def test_all_problems_at_once() -> None:
    """A user mends a file once, not five times."""
    document = {"job": "shop", "tasks": [{**TASK, "count": -1}, {**TASK, "name": "b", "colour": 1}]}
    with pytest.raises(Invalid) as refused:
        validate.parse(document)
    assert [problem.path for problem in refused.value.details] == ["tasks[0].count", "tasks[1].colour"]


def test_smallest_spec_and_its_defaults() -> None:
    """What is not given is as the job model says."""
    task = validate.parse(job()).tasks[0]
    assert (task.count, task.kill_timeout, task.stop_signal) == (1, Duration.of(5), "SIGTERM")
    assert (task.resources.memory, task.restart.attempts) == (Size(256_000_000), 2)
    assert validate.parse({"name": "shop", "tasks": [TASK]}).name == "shop"


def test_a_strategy_has_its_defaults_where_its_block_is_left_out() -> None:
    """What is not said is not written into the spec."""
    update = validate.parse(job(update={"strategy": "canary"})).tasks[0].update
    assert (update.canary, update.blue_green, update.rainbow, update.auto_revert) == (None, None, None, True)
    assert spec.Canary().weights == (10, 50, 100)


@pytest.mark.parametrize(
    ("canary", "weights"),
    [
        ({}, (10, 50, 100)),
        ({"weight": 5}, (5, 10, 50, 100)),
        ({"weight": 25}, (25, 50, 100)),
        ({"weight": 100}, (100,)),
        ({"steps": [1, 99]}, (1, 99)),
        ({"steps": []}, (10,)),
        ({"steps": [], "weight": 3}, (3,)),
        ({"weight": 0}, (0, 10, 50, 100)),
    ],
)
def test_the_shares_of_a_canary_only_rise(canary: dict[str, Any], weights: tuple[int, ...]) -> None:
    """`weight` is the first, where it is not the first of `steps`."""
    read = validate.parse(job(update={"strategy": "canary", "canary": canary})).tasks[0].update.canary
    assert read is not None
    assert read.weights == weights


@pytest.mark.parametrize("block", ["canary", "blue_green", "rainbow"])
def test_a_block_of_another_strategy_is_a_warning(block: str) -> None:
    """It is allowed, and probably not meant."""
    said = {warning.path: warning.code for warning in validate.warnings(validate.parse(job(update={block: {}})))}
    assert said[f"tasks[0].update.{block}"] == "no_effect"
    chosen = job(update={block: {}, "strategy": block.replace("_", "-")})
    assert "no_effect" not in {warning.code for warning in validate.warnings(validate.parse(chosen))}


def test_a_job_follows_the_first_strategy_that_does_not_just_roll() -> None:
    """That is what its deployments are of."""
    tasks = [{**TASK, "name": name, "update": {"strategy": name}} for name in ("rolling", "canary", "rainbow")]
    assert validate.parse({"job": "shop", "tasks": tasks}).strategy == "canary"
    assert validate.parse(job()).strategy == "rolling"


def test_canonical_json_reads_back() -> None:
    """What is stored is what was read, and reading what was stored gives the same."""
    read = validate.parse(job(ports={"http": 80, "admin": {"container": 90, "host": 9090}}, health={"tcp": "http"}))
    raw = spec.encode(read)
    assert spec.decode(raw) == read
    assert spec.encode(spec.decode(raw)) == raw


def test_what_is_shown_may_be_sent_again() -> None:
    """Also what users may not choose yet: it says what is so anyway."""
    read = validate.parse(job(ports={"http": 80}, health={"http": "/", "port": "http"}))
    assert validate.parse(msgspec.json.decode(spec.encode(read))) == read


def test_content_is_what_a_container_is_made_from() -> None:
    """Policies may change without a new container; content may not."""
    base = validate.parse(job()).tasks[0]
    in_place = validate.parse(job(count=5, restart={"attempts": 9}, update={"max_parallel": 2})).tasks[0]
    replaced = validate.parse(job(env={"A": "b"})).tasks[0]
    assert spec.content_digest(base) == spec.content_digest(in_place)
    assert spec.policy_digest(base) != spec.policy_digest(in_place)
    assert spec.content_digest(base) != spec.content_digest(replaced)
    steered = validate.parse(job(update={"strategy": "canary", "auto_revert": False})).tasks[0]
    assert spec.content_digest(base) == spec.content_digest(steered)
    later = validate.parse(job(shutdown_delay="5s")).tasks[0]
    assert spec.content_digest(base) != spec.content_digest(later), "an agent does it with the container that it made"
    said = validate.parse(job(shutdown_delay="0s")).tasks[0]
    assert spec.content_digest(base) == spec.content_digest(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(item.name for item in structs.fields(spec.Task))


@given(st.sampled_from(FIELDS), JSON)
def test_any_value_anywhere_is_read_or_refused(field: str, value: object) -> None:
    """Never another error than a refusal; and what is read survives storing."""
    try:
        read = validate.parse(job(**{field: value}))
    except Invalid:
        return
    assert spec.decode(spec.encode(read)) == read


@given(st.integers(0, 366 * 86_400_000))
def test_durations_read_back(ms: int) -> None:
    """The canonical spelling means the same."""
    assert Duration.parse(str(Duration(ms))) == Duration(ms)


@given(st.integers(0, 1 << 60))
def test_sizes_read_back(count: int) -> None:
    """The canonical spelling means the same."""
    assert Size.parse(str(Size(count))) == Size(count)


@pytest.mark.parametrize(
    ("text", "ms"), [("30s", 30_000), ("1h30m", 5_400_000), ("250ms", 250), (2, 2000), ("1.5h", 5_400_000), ("0", 0)]
)
def test_durations(text: object, ms: int) -> None:
    """As people write them."""
    assert Duration.parse(text).ms == ms


@pytest.mark.parametrize("text", ["", "5", "m", "-1s", "1y", True, None, "367d", "1s 2s"])
def test_no_durations(text: object) -> None:
    """As people mistype them."""
    with pytest.raises(ValueError, match=r"duration|between"):
        Duration.parse(text)
