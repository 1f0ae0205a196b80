"""Users, tokens, roles, policies and namespaces: what is refused, and what two who decide at once cannot both do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heroctl.domain import events as e
from heroctl.domain.errors import Conflict, Invalid, NotFound
from heroctl.domain.holders import rules_of
from heroctl.domain.intents import access, namespaces
from heroctl.domain.intents.change import NOTHING, Change
from heroctl.domain.intents.jobs import submit_job
from heroctl.domain.policy import BUILT_IN, EVERYWHERE, Rule, usual_namespaces
from tests.domain.worlds import World, spec

RULES = (Rule("job", ("read",), namespace="shop"),)


def people(*admins: str) -> World:
    """A world with these admins, and zoe."""
    world = World()
    for name in admins:
        world.do(access.create_user(world.state, name, ("admin",), f"vault-{name}"))
    world.do(access.create_user(world.state, "zoe", ("viewer",), "vault-zoe", ("default",)))
    return world


def clash(one: Change, other: Change) -> bool:
    """Tell whether of two changes, decided on the same state, only the first gets in."""
    return not set(one.moves).isdisjoint(other.expects)


# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_last_admin_stays_one() -> None:
    world = people("kim")
    ends: list[Callable[[], Change]] = [
        lambda: access.delete_user(world.state, "kim"),
        lambda: access.update_user(world.state, "kim", ("operator",), None),
        lambda: access.update_user(world.state, "kim", None, ("default",)),  # who has less cannot give it back
    ]
    for change in ends:
        with pytest.raises(Conflict) as refused:
            change()
        assert refused.value.code == "last_admin"
    assert access.update_user(world.state, "kim", ("admin", "viewer"), None).events


def test_two_admins_cannot_remove_each_other_at_once() -> None:
    world = people("kim", "lee")
    ends = [
        access.delete_user(world.state, "kim"),
        access.delete_user(world.state, "lee"),
        access.update_user(world.state, "lee", ("viewer",), None),
    ]
    assert all(clash(one, other) for one in ends for other in ends)
    assert not clash(access.delete_user(world.state, "zoe"), ends[0])
    world.do(ends[0])
    with pytest.raises(Conflict):
        access.delete_user(world.state, "lee")


def test_a_user_goes_with_its_tokens_also_one_that_came_at_the_same_time() -> None:
    world = people("kim")
    token = e.TokenCreated("t1", "ci", "zoe", ("viewer",), "vault-t1", kind="service")
    gone = access.delete_user(world.state, "zoe")
    world.do(access.create_token(world.state, token))
    world.do(gone)
    assert not world.state.tokens
    assert "zoe" not in world.state.users
    with pytest.raises(NotFound):
        access.create_token(world.state, token)


def test_a_password_is_another_row_of_the_vault() -> None:
    world = people("kim")
    created = world.state.users["zoe"]
    world.do(access.change_password(world.state, "zoe", "vault-2"), seconds=60)
    changed = world.state.users["zoe"]
    assert (changed.credential, changed.created_at) == ("vault-2", created.created_at)
    assert created.credential == "vault-zoe"


def test_what_is_so_already_is_no_event() -> None:
    world = people("kim")
    assert access.update_user(world.state, "zoe", ("viewer",), None) == NOTHING
    world.do(access.create_policy(world.state, e.PolicySet("shop", RULES)))
    world.do(access.create_role(world.state, e.RoleSet("ci", ("shop",))))
    assert access.update_policy(world.state, e.PolicySet("shop", RULES)) == NOTHING
    assert access.update_role(world.state, e.RoleSet("ci", ("shop",))) == NOTHING
    assert namespaces.update_namespace(world.state, "default", "") == NOTHING


def test_roles_that_are_not_there_are_refused_with_their_path() -> None:
    world = people("kim")
    with pytest.raises(Invalid) as refused:
        access.update_user(world.state, "zoe", ("viewer", "emperor"), None)
    assert [(each.path, each.code) for each in refused.value.details] == [("roles[1]", "unknown_role")]
    with pytest.raises(Invalid) as refused:
        access.create_role(world.state, e.RoleSet("ci", ("nothing",)))
    assert [(each.path, each.code) for each in refused.value.details] == [("policies[0]", "unknown_policy")]


# ── roles and policies ───────────────────────────────────────────────────────────────────────────────────────────────


def with_role() -> World:
    """A world with the policy shop, in the role ci, which zoe and a token have."""
    world = people("kim")
    world.do(access.create_policy(world.state, e.PolicySet("shop", RULES)))
    world.do(access.create_role(world.state, e.RoleSet("ci", ("shop", "viewer"))))
    world.do(access.update_user(world.state, "zoe", ("ci",), None))
    world.do(access.create_token(world.state, e.TokenCreated("t1", "ci", "kim", ("ci",), "vault-t1")))
    return world


def test_what_is_in_use_stays_and_says_by_whom() -> None:
    world = with_role()
    with pytest.raises(Conflict, match="token t1, user zoe") as refused:
        access.delete_role(world.state, "ci")
    assert refused.value.code == "role_in_use"
    with pytest.raises(Conflict, match="role ci") as refused:
        access.delete_policy(world.state, "shop")
    assert refused.value.code == "policy_in_use"


def test_nobody_is_given_what_is_being_removed() -> None:
    world = with_role()
    world.do(access.create_role(world.state, e.RoleSet("spare", ("viewer",))))
    world.do(access.create_policy(world.state, e.PolicySet("loose", RULES)))
    no_role, no_policy = access.delete_role(world.state, "spare"), access.delete_policy(world.state, "loose")
    given = [
        access.create_user(world.state, "new", ("spare",), "vault-new"),
        access.update_user(world.state, "zoe", ("spare",), None),
        access.create_token(world.state, e.TokenCreated("t2", "x", "zoe", ("spare",), "vault-t2")),
    ]
    assert all(clash(each, no_role) and clash(no_role, each) for each in given)
    assert clash(access.update_role(world.state, e.RoleSet("ci", ("loose",))), no_policy)


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_stays_as_it_is(name: str) -> None:
    world = people("kim")
    tried: list[tuple[Callable[[], Change], str]] = [
        (lambda: access.create_role(world.state, e.RoleSet(name, ())), "role_exists"),
        (lambda: access.update_role(world.state, e.RoleSet(name, ())), "built_in"),
        (lambda: access.delete_role(world.state, name), "built_in"),
        (lambda: access.create_policy(world.state, e.PolicySet(name, ())), "policy_exists"),
        (lambda: access.update_policy(world.state, e.PolicySet(name, ())), "built_in"),
        (lambda: access.delete_policy(world.state, name), "built_in"),
    ]
    for change, code in tried:
        with pytest.raises(Conflict) as refused:
            change()
        assert refused.value.code == code


def test_roles_are_the_rules_of_their_policies() -> None:
    state = with_role().state
    assert rules_of(("ci",), state.roles, state.policies) == {*RULES, *BUILT_IN["viewer"]}
    assert rules_of(("viewer",), state.roles, state.policies) == {*BUILT_IN["viewer"]}
    assert rules_of(("emperor",), state.roles, state.policies) == frozenset()


def test_who_runs_the_cluster_has_all_namespaces_unless_told_otherwise() -> None:
    assert usual_namespaces(("viewer",)) == usual_namespaces(("deployer", "ci")) == ("default",)
    assert usual_namespaces(("operator",)) == usual_namespaces(("viewer", "admin")) == EVERYWHERE


# ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_namespace_with_jobs_stays() -> None:
    world = World()
    world.submit()
    for name, code in (("default", "default_namespace"), ("nothing", "namespace_not_found")):
        with pytest.raises((Conflict, NotFound)) as refused:
            namespaces.delete_namespace(world.state, name)
        assert refused.value.code == code
    world.do(namespaces.create_namespace(world.state, "shop"))
    world.do(jobs_in(world, "shop"))
    with pytest.raises(Conflict, match="web") as found:
        namespaces.delete_namespace(world.state, "shop")
    assert found.value.code == "namespace_not_empty"


def test_a_job_that_comes_first_keeps_its_namespace_and_one_that_comes_later_is_refused() -> None:
    world = World()
    world.do(namespaces.create_namespace(world.state, "shop"))
    gone, job = namespaces.delete_namespace(world.state, "shop"), jobs_in(world, "shop")
    assert clash(gone, job)  # the job decides again
    world.do(job)
    world.do(gone)
    assert "shop" in world.state.namespaces
    with pytest.raises(Conflict):
        namespaces.refuse_occupied(world.state, "shop")


def jobs_in(world: World, namespace: str) -> Change:
    """Submit a job to a namespace."""
    return submit_job(world.state, spec(namespace=namespace), "tester")
