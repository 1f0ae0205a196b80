"""What applications say of themselves: whatever it is, others can read what is shown, and it is about nobody else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from heroctl.domain.exposition import Family, Sample, labelled, marked, render
from heroctl.domain.scraped import LONGEST_HELP, MOST_LABELS, MOST_SERIES, OURS, bounded, renamed

OWN = {"namespace": "default", "job": 'we"b\\', "task": "a", "alloc": "x1", "node": "n"}
HOSTILE = st.text(st.sampled_from('ab_:{}="\\,# \n\r\x00\x85\u2028né1'), max_size=12)
NAMES = st.one_of(st.sampled_from(["a", "a_b", "a_total", "heroctl_node_up", "job", "__name__"]), HOSTILE)
LABELS = st.one_of(
    st.dictionaries(st.sampled_from(["a", "b", "job", "exported_job", "le"]), HOSTILE, max_size=3).map(labelled),
    HOSTILE,
)
VALUES = st.one_of(st.sampled_from(["1", "NaN", "+Inf", "2.5e-07", "1\nforged 1", ""]), HOSTILE)


@st.composite
def families(draw: st.DrawFn) -> Family:
    name = draw(NAMES)
    suffix = st.sampled_from(["", "", "_sum", "_count", "_bucket", "_other"])
    samples = st.builds(Sample, st.one_of(suffix.map(lambda word: name + word), NAMES), LABELS, VALUES)
    kinds = st.sampled_from(["counter", "gauge", "untyped", "histogram", "summary", "gauge\nx"])
    return Family(name, draw(kinds), draw(HOSTILE), draw(st.lists(samples, max_size=4)))


@given(st.lists(families(), max_size=5))
@example([Family("a", "gauge", "", [Sample("a", 'x="1",x="2"', "1")])])
@example([Family("a", "gauge", "", [Sample("a", "", "1\nheroctl_node_up 1")])])
def test_others_read_what_is_shown_of_anything(said: list[Family]) -> None:
    shown, dropped = bounded(said)
    text = render([marked(family, labelled(OWN)) for family in shown]).decode()
    read = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert len(read) + dropped == sum(len(family.samples) for family in said), "what is not shown is counted"
    for each in read:
        assert not each.name.startswith("heroctl_")
        assert {name: each.labels[name] for name in OURS} == OWN, "it says nothing of others"
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(read)
    assert bounded(shown) == (shown, 0)


@given(st.dictionaries(st.sampled_from(["job", "exported_job", "exported_exported_job", "a", "node"]), HOSTILE))
def test_labels_of_our_names_are_kept_under_free_ones(labels: dict[str, str]) -> None:
    made = renamed(labels)
    assert sorted(made.values()) == sorted(labels.values())
    assert not OURS & made.keys()


def _gauge(name: str, count: int, help_: str = "") -> Family:
    return Family(name, "gauge", help_, [Sample(name, f'n="{n}"', "1") for n in range(count)])


def test_everything_is_bounded_and_what_is_too_much_is_counted() -> None:
    assert bounded([Family(f"f{n}", "gauge", "said", []) for n in range(9_999)]) == ([], 0), "they say nothing"
    shown, dropped = bounded([_gauge(f"f{n}", 1) for n in range(MOST_SERIES + 5)])
    assert (len(shown), dropped) == (MOST_SERIES, 5)
    shown, dropped = bounded([_gauge("much", MOST_SERIES + 1), _gauge("few", 2)])
    assert ([family.name for family in shown], dropped) == (["few"], MOST_SERIES + 1)
    [shown_], dropped = bounded([_gauge("a", 1, "h" * 5_000)])
    assert (len(shown_.help), dropped) == (LONGEST_HELP, 0)


@pytest.mark.parametrize(
    "labels",
    [
        ",".join(f'l{n}="1"' for n in range(MOST_LABELS + 1)),
        'l="' + "x" * 1_000 + '"',
        "l" * 201 + '="1"',
        'job="another"',
        '__name__="another"',
        'l="1",',
    ],
    ids=["labels", "length", "name", "ours", "reserved", "comma"],
)
def test_a_series_that_breaks_a_bound_is_dropped(labels: str) -> None:
    assert bounded([Family("a", "gauge", "", [Sample("a", labels, "1")])]) == ([], 1)
    assert bounded([_gauge("a" * 201, 1)]) == ([], 1)
