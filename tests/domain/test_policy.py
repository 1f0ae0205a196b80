"""Who may what, held against a model that takes every rule by itself, name by name."""

from __future__ import annotations

import itertools
import re
import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import pattern, policy
from heroctl.domain.pattern import contains, matches, overlap
from heroctl.domain.policy import BUILT_IN, NO_GRANTS, RESOURCES, RIGHTS, Grants, Rule, grants, problems

NAMES: Final = ["".join(letters) for size in range(1, 4) for letters in itertools.product("ab", repeat=size)]
patterns = st.text("ab*", min_size=1, max_size=4)
lists = st.lists(patterns, max_size=3).map(tuple)


def rules_of(names: tuple[str, ...]) -> st.SearchStrategy[Rule]:
    """Make up rules that could be saved."""

    def of(name: str) -> st.SearchStrategy[Rule]:
        resource = RESOURCES[name]
        words = [*resource.capabilities, *([] if resource.spelled else ["*"])]
        capabilities = st.lists(st.sampled_from(words), max_size=2).map(tuple)
        place = patterns if resource.named_by == "namespace" else st.none() | patterns
        match resource.named_by:
            case "namespace":
                return st.builds(Rule, st.just(name), capabilities, namespace=place)
            case "name":
                return st.builds(Rule, st.just(name), capabilities, name=place)
            case _:
                return st.builds(Rule, st.just(name), capabilities)

    return st.sampled_from(names).flatmap(of)


# Few resources, of every kind, so that rules meet.
FEW: Final = ("job", "container", "secret", "namespace", "node", "acl")
few = st.lists(rules_of(FEW), max_size=5)
FEW_RIGHTS: Final = tuple(right for right in RIGHTS if right.partition(":")[0] in FEW)
PLACES: Final = ["a", "b", "ab", "ba", "aab"]


def said(glob: str, name: str) -> bool:
    """What a pattern means, by the standard library's own matching."""
    return re.fullmatch("".join(".*" if mark == "*" else re.escape(mark) for mark in glob), name) is not None


def model(
    rules: list[Rule], namespaces: tuple[str, ...], jobs: tuple[str, ...], right: str, where: tuple[str, str]
) -> bool:
    """Decide as the contract reads."""
    name, _, capability = right.partition(":")
    resource, (place, job) = RESOURCES[name], where

    def about(rule: Rule) -> bool:
        glob = {"namespace": rule.namespace, "name": rule.name, "": None}[resource.named_by]
        return rule.resource == name and (glob is None or said(glob, place))

    if any(about(rule) and rule.capabilities == () for rule in rules):
        return False
    if resource.bounded and not any(said(glob, place) for glob in namespaces):
        return False
    if resource.of_jobs and not any(said(glob, job) for glob in jobs):
        return False
    return any(
        about(rule) and (capability in rule.capabilities or ("*" in rule.capabilities and name != "container"))
        for rule in rules
    )


def spot(right: str, place: str) -> str | None:
    """Things without names are not asked for by name."""
    return place if policy.placed(right) else None


def all_of(found: Grants) -> set[tuple[str, str, str]]:
    """Ask for everything, everywhere."""
    return {
        (right, place, job)
        for right in FEW_RIGHTS
        for place in PLACES
        for job in ("a", "bb")
        if found.allows(right, spot(right, place), job)
    }


@given(few, lists, lists)
def test_a_decision_is_the_models(rules: list[Rule], namespaces: tuple[str, ...], jobs: tuple[str, ...]) -> None:
    found = grants(frozenset(rules), namespaces, jobs)
    for right, place, job in itertools.product(FEW_RIGHTS, PLACES, ("a", "bb")):
        expected = model(rules, namespaces, jobs, right, (place, job))
        assert found.allows(right, spot(right, place), job) == expected, (right, place, job)
        if expected:
            assert found.anywhere(right)
        elif found.everywhere(right):
            pytest.fail(f"{right} is not held for {job} at {place}, but is said to be held everywhere")


@given(few, st.data())
def test_taking_a_rule_away_that_gives_adds_nothing(rules: list[Rule], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(rules))) if rules else set()
    left = [rule for rule in rules if rule not in gone or not rule.capabilities]
    assert all_of(grants(frozenset(left))) <= all_of(grants(frozenset(rules)))


@given(few, rules_of(FEW))
def test_adding_a_deny_adds_nothing(rules: list[Rule], rule: Rule) -> None:
    deny = Rule(rule.resource, (), rule.namespace, rule.name)
    less = grants(frozenset([*rules, deny]))
    assert all_of(less) <= all_of(grants(frozenset(rules)))
    assert not any(right.startswith(f"{rule.resource}:") for right, place, _ in all_of(less) if said(deny.place, place))


Holder = tuple[list[Rule], tuple[str, ...], tuple[str, ...]]
holders = st.tuples(few, lists, lists)


@given(holders, holders)
def test_who_holds_all_that_another_has_is_never_denied_what_it_may(mine: Holder, theirs: Holder) -> None:
    giver, taker = grants(frozenset(mine[0]), *mine[1:]), grants(frozenset(theirs[0]), *theirs[1:])
    if giver.hold(taker):
        assert all_of(taker) <= all_of(giver)


@given(few, lists, lists)
def test_everybody_holds_what_is_ones_own(
    rules: list[Rule], namespaces: tuple[str, ...], jobs: tuple[str, ...]
) -> None:
    own = grants(frozenset(rules), namespaces, jobs)
    assert own.hold(NO_GRANTS)
    assert grants(BUILT_IN_ADMIN).hold(own)
    if not any(rule.capabilities == () for rule in rules):
        assert own.hold(grants(frozenset(rules), namespaces, jobs))


@given(patterns, st.text("ab", max_size=5))
def test_a_pattern_matches_whole_names(glob: str, name: str) -> None:
    assert matches(glob, name) == said(glob, name)


@given(patterns, patterns)
def test_patterns_overlap_where_a_name_matches_both(one: str, other: str) -> None:
    names = ["".join(letters) for size in range(7) for letters in itertools.product("ab", repeat=size)]
    assert overlap(one, other) == any(said(one, name) and said(other, name) for name in names)


@given(patterns, patterns)
def test_a_pattern_contains_what_matches_nothing_else(wide: str, narrow: str) -> None:
    """Names have more letters than patterns do, so that a star is no list of letters."""
    names = ["".join(letters) for size in range(6) for letters in itertools.product("abc", repeat=size)]
    if contains(wide, narrow):
        assert all(said(wide, name) for name in names if said(narrow, name))
    elif all(said(wide, name) for name in names if said(narrow, name)):
        pytest.fail(f"{wide} matches all that {narrow} does")


def test_a_pattern_is_matched_in_no_time() -> None:
    began = time.process_time()
    assert not matches("a*" * 40 + "b", "a" * 128)
    assert time.process_time() - began < 0.1


def test_only_the_star_is_special_and_nothing_is_a_prefix() -> None:
    web = grants(frozenset([Rule("job", ("read",), namespace="app")]))
    assert web.allows("job:read", "app", "x")
    for other in ("app-evil", "ap", "App", "app.", "xapp", ""):
        assert not web.allows("job:read", other, "x"), other
    for glob in ("a?p", "[a]pp", "ap{p}", "app/", "APP", "", "a" * 129, "a\n"):
        assert pattern.problem(glob), glob


# ── what is there from the start ─────────────────────────────────────────────────────────────────────────────────────

BUILT_IN_ADMIN: Final = frozenset(BUILT_IN["admin"])


def test_no_rules_no_rights() -> None:
    assert grants(frozenset()) == NO_GRANTS
    assert not any(NO_GRANTS.anywhere(right) for right in RIGHTS)
    assert not any(grants(BUILT_IN_ADMIN, ()).anywhere(right) for right in RIGHTS if policy.resource_of(right).bounded)


def test_the_built_in_roles_grow_and_could_be_saved() -> None:
    held = {name: set(grants(frozenset(rules)).rights()) for name, rules in BUILT_IN.items()}
    assert held["viewer"] < held["deployer"] < held["operator"] < held["admin"] == set(RIGHTS)
    assert all(problems(rules) == [] for rules in BUILT_IN.values())


def test_viewers_know_no_secrets_and_only_admins_leave_a_container() -> None:
    assert not any(right.startswith("secret:") for right in grants(frozenset(BUILT_IN["viewer"])).rights())
    for name, rules in BUILT_IN.items():
        held = grants(frozenset(rules)).rights()
        reaches = {right for right in held if right.startswith("container:")} - {"container:process"}
        assert bool(reaches) == (name == "admin")
        assert ("container:process" in held) == (name != "viewer")
        assert ("secret:read" in held) == (name == "admin")


def test_a_star_gives_no_right_of_containers() -> None:
    assert problems([Rule("container", ("*",), namespace="*")])[0].code == "unknown_capability"
    assert grants(frozenset([Rule("container", ("*",), namespace="*")])) == NO_GRANTS
    spelled = grants(frozenset([Rule("container", ("privileged",), namespace="ops")]))
    assert set(spelled.rights()) == {"container:privileged"}


@pytest.mark.parametrize(
    ("rule", "path", "code"),
    [
        (Rule("jobs", ("read",), namespace="*"), "rules[0].resource", "unknown_resource"),
        (Rule("job", ("read", "rule"), namespace="*"), "rules[0].capabilities[1]", "unknown_capability"),
        (Rule("job", ("read",)), "rules[0].namespace", "required"),
        (Rule("job", ("read",), namespace="*", name="x"), "rules[0].name", "unknown_field"),
        (Rule("node", ("read",), namespace="*"), "rules[0].namespace", "unknown_field"),
        (Rule("cluster", ("read",), name="x"), "rules[0].name", "unknown_field"),
        (Rule("job", ("read",), namespace="a?"), "rules[0].namespace", "invalid_value"),
        (Rule("node", ("read",), name=""), "rules[0].name", "invalid_value"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_its_path(rule: Rule, path: str, code: str) -> None:
    assert [(found.path, found.code) for found in problems([rule])] == [(path, code)]


def test_a_rule_that_names_no_namespace_gives_nothing_and_denies_everywhere() -> None:
    """It cannot be saved; should one be there all the same, it errs on the safe side."""
    assert grants(frozenset([Rule("job", ("read",))])) == NO_GRANTS
    given_and_denied = frozenset([Rule("job", ("read",), namespace="*"), Rule("job", ())])
    assert grants(given_and_denied) == NO_GRANTS


def test_words_of_a_newer_release_give_nothing() -> None:
    rules = frozenset([Rule("vm", ("read",), namespace="*"), Rule("job", ("teleport",), namespace="*"), Rule("vm", ())])
    assert grants(rules) == NO_GRANTS


def test_what_means_the_same_is_the_same() -> None:
    one = grants(frozenset([Rule("job", ("read", "stop"), namespace="a*")]), ("a", "*"))
    other = grants(
        frozenset([Rule("job", ("read",), namespace="a*"), Rule("job", ("stop",), namespace="a**"),
                   Rule("job", ("read",), namespace="ab")])
    )  # fmt: skip
    assert one == other
    assert hash(one) == hash(other)
