"""Made-up histories: whatever may happen in a small cluster, in any order, for tests that must hold for all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.errors import Refusal
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents import (
    access,
    allocs,
    balance,
    deployments,
    drains,
    jobs,
    launches,
    namespaces,
    secrets,
    webhooks,
)
from heroctl.domain.intents.settings import set_settings
from heroctl.domain.pinning import repinned
from heroctl.domain.policy import Rule
from heroctl.domain.records import Alloc
from tests.domain.worlds import World

Step = tuple[int, int, int]  # what happens, and to which of those that there are


def told(steps: Sequence[Step]) -> World:
    """Tell a history: a world where a little runs, and what happens to it. What is refused does not happen."""
    world = World()
    nodes = [world.node("n1"), world.node("n2")]
    for number in range(2):
        job = world.submit(job=f"job-{number}", count=2)
        for slot in range(2):
            world.place(job, nodes[slot], slot)
    for what, which, how in steps:
        with contextlib.suppress(Refusal):
            _STEPS[what % len(_STEPS)](world, which, how)
    return world


def steps(most: int = 40) -> st.SearchStrategy[list[Step]]:
    """Make up what happens."""
    number = st.integers(0, 20)
    return st.lists(st.tuples(st.integers(0, len(_STEPS) - 1), number, number), max_size=most)


def _one(things: Any, which: int) -> Any:  # noqa: ANN401 - one of some records
    things = list(things)
    if not things:
        raise Refusal("not_found", "there is none")
    return things[which % len(things)]


def _submit(world: World, which: int, how: int) -> None:
    strategy = ("rolling", "rolling", "canary", "blue-green", "rainbow")[how % 5]
    command = ["serve", str(how % 4)]
    uses = {"env": {"A": f"${{secret.secret-{how % 3}}}"}, "on_secret_change": "restart" if how % 2 else "none"}
    made = uses if how % 4 == 0 else {}
    world.submit(job=f"job-{which % 3}", count=1 + how % 3, command=command, update={"strategy": strategy}, **made)


def _launch(world: World, which: int, how: int) -> None:
    """Change, dispatch or force a batch job, let the clock launch it or not, and end launches."""
    name = f"batch-{which % 2}"
    clock = {"cron": "* * * * *", "overlap": how > 10} if which % 2 else None
    job = world.state.job("default", name)
    if job is None or how % 9 == 0:
        world.submit(job=name, type="batch", command=["work", str(how % 3)], count=1 + how % 2, periodic=clock)
        return
    known, going = (job.uid, "default", name), running(world.state, job.uid)
    at = job.scheduled + 60_000 * (how % 3)  # now and then one that was
    match how % 8:
        case 1 | 2 if clock is None:
            world.do(launches.dispatch(job, going, b"x" * how, {"key": str(how)}, "tester"))
        case 1 | 2:
            world.do(launches.force(job, going, "tester"))
        case 3 if clock is not None:
            world.add(e.JobLaunched(*known, job.current.version, job.launched + 1, at))
        case 4:
            world.add(e.JobLaunchSkipped(*known, job.launched, at))
        case 5:
            world.add(e.JobLaunchFinished(*known, _one(going, which).number, "complete" if how % 3 else "failed", "so"))
        case 6:
            world.do(jobs.restart_job(world.state, job, "tester"))
        case _:
            world.place(job, _one(world.state.nodes.values(), how), how % 2, launch=_one(going, which).number)


def _redeploy(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    if job.deleted:
        return
    match how % 3:
        case 0:
            world.do(jobs.rollback_job(world.state, job, _one(job.versions, how).version, "tester"))
        case 1:
            world.do(jobs.scale_job(job, job.current.tasks[0].name, how % 4, "tester"))
        case _:
            world.do(jobs.restart_job(world.state, job, "tester"))


def _steer(world: World, which: int, how: int) -> None:
    deployment = _one(world.state.deployments.values(), which)
    match how % 5:
        case 0 | 1:
            world.do(deployments.promote(deployment, step=how % 5 == 1))
        case 2:
            world.do(deployments.pause(deployment))
        case 3:
            world.do(deployments.resume(deployment))
        case _:
            world.do(deployments.fail(deployment, "" if how % 2 else "said so"))


def _stand(world: World, which: int, how: int) -> None:
    record = _one(world.state.deployments.values(), which)
    known = (record.id, record.uid, record.namespace, record.job)
    world.add(e.DeploymentStepped(*known, record.step, awaiting=how % 3 == 0, promoted=how % 3 == 1))


def _revert(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    of = _one(job.versions, how).version
    failed = e.DeploymentFinished(job.deployment, job.uid, job.namespace, job.name, "failed", "tried")
    world.add(failed, e.JobReverted(job.uid, job.namespace, job.name, job.current.version + 1, of, job.deployment))


def _pin(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    tasks = repinned(world.state, job)
    if tasks:
        moved = (job.uid, job.namespace, job.name, job.current.version + 1, tasks)
        world.add(e.JobRepinned(*moved, tuple(name for name, _ in tasks[0].pins)))
        return
    version = _one(job.versions, how)
    image = f"sha256:{how:064x}"
    world.add(e.ImagePinned(job.uid, job.namespace, job.name, version.version, version.tasks[0].name, image))


def _place(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    world.place(job, _one(world.state.nodes.values(), how), how % 2)


def _report(world: World, which: int, how: int) -> None:
    alloc: Alloc = _one(world.state.allocs.values(), which)
    phase = ("starting", "running", "running", "failed", "complete")[how % 5]
    seen = Report(
        alloc.id,
        attempt=max(1, alloc.attempt),
        phase=phase,  # type: ignore[arg-type] # one of them
        health="healthy" if how % 5 == 2 else "unknown",
        exit_code=1 if phase == "failed" else None,
        failed_attempt=1 if phase == "failed" else 0,
        ports={"http": 20_000 + how},
        running_for=float(how),
        message=f"said {how}",
    )
    world.report(_one([world.state.nodes.get(alloc.node)], 0) or _one([], 0), seen)


def _end(world: World, which: int, how: int) -> None:
    alloc: Alloc = _one(world.state.allocs.values(), which)
    known = (alloc.id, alloc.namespace, alloc.job)
    world.add(e.AllocStopping(*known, "update") if how % 2 else e.AllocGivenUp(*known, "node_lost"))


def _ask_to_stop(world: World, which: int, _: int) -> None:
    world.do(jobs.stop_alloc(_one(world.state.allocs.values(), which)))


def _ask_anew(world: World, which: int, how: int) -> None:
    alloc: Alloc = _one(world.state.allocs.values(), which)
    with contextlib.suppress(Refusal):  # of one that is over, or does not run
        world.do(allocs.restart_alloc(alloc) if how % 2 else allocs.signal_alloc(alloc, "SIGHUP"))


def _finish(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    status = ("successful", "failed")[how % 2]
    event = e.DeploymentFinished(job.deployment, job.uid, job.namespace, job.name, status)  # type: ignore[arg-type] # one of them
    world.add(event, e.JobBlocked(job.uid, job.namespace, job.name, ("no_node",)))


def _take_away(world: World, which: int, how: int) -> None:
    name = f"job-{which % 3}"
    world.do((jobs.delete_job if how % 2 else jobs.stop_job)(world.state, "default", name))


def _come(world: World, which: int, _: int) -> None:
    if f"n{which}" not in world.state.node_names:
        world.node(f"n{which}")


def _go(world: World, which: int, how: int) -> None:
    node = _one(world.state.nodes.values(), which)
    gone = [e.NodeDown(node.id, node.name, 13.0), e.NodeUp(node.id, node.name), e.NodeRemoved(node.id, node.name)]
    world.add(gone[how % 3])


def _empty(world: World, which: int, how: int) -> None:
    node = _one(world.state.nodes.values(), which)
    match how % 4:
        case 0 | 1:
            world.do(drains.drain_node(node, None if how % 2 else how, ignore_system=how > 10))
        case 2:
            world.do(drains.cancel_drain(node, eligible=how > 10))
        case _:
            world.add(e.NodeDrainFinished(node.id, node.name, how, 0))


def _better(world: World, which: int, how: int) -> None:
    job = _one(world.state.jobs.values(), which)
    match how % 4:
        case 0:
            world.do(balance.rebalance_job(job))
        case 1:
            world.add(e.JobRebalanced(job.uid, job.namespace, job.name, how))
        case 2:
            alloc = _one(world.state.allocs.values(), how)
            world.add(e.AllocMisplaced(alloc.id, alloc.namespace, alloc.job, "rebalance"))
        case _:
            world.do(balance.set_brake(world.state, on=how % 8 > 3))


def _join(world: World, which: int, how: int) -> None:
    member = f"api-{which}"
    world.add(e.MemberLeft(member) if how % 3 == 0 else e.MemberJoined(member, "api", "127.0.0.1:1", "0.1.0"))


def _let_in(world: World, which: int, how: int) -> None:
    user, role, state = f"user-{which}", f"role-{which % 3}", world.state
    if how % 4 == 0:
        world.do(access.create_user(state, user, ("viewer",), f"vault-{which}", ("default",)))
    elif how % 4 == 1:
        token = e.TokenCreated(f"t{which}", "ci", user, ("deployer",), f"vault-t{which}", None)
        world.do(access.create_token(state, token))
    elif how % 4 == 2:
        world.do(access.update_user(state, user, (role,), ("team-*",)))
    else:
        world.do(access.delete_token(state, f"t{which}"))


def _shut_out(world: World, which: int, how: int) -> None:
    user = f"user-{which}"
    if how % 3:
        world.do(access.change_password(world.state, user, f"vault-{which}-{how}"))
    else:
        world.do(access.delete_user(world.state, user))


def _rule(world: World, which: int, how: int) -> None:
    state, policy, role = world.state, f"policy-{which % 3}", f"role-{how % 3}"
    rules = (Rule("job", ("read",), namespace="team-*"), Rule("node", (), name="gpu-*"))[: how % 3]
    match how % 6:
        case 0 | 1:
            world.do(access.create_policy(state, e.PolicySet(policy, rules)))
        case 2 | 3:
            world.do(access.create_role(state, e.RoleSet(role, (policy, "viewer"))))
        case 4:
            world.do(access.delete_role(state, role))
        case _:
            world.do(access.delete_policy(state, policy))


def _part(world: World, which: int, how: int) -> None:
    name = ("default", "team-a", "team-b")[which % 3]
    if how % 3 == 0:
        world.do(namespaces.create_namespace(world.state, name, f"said {how}"))
    elif how % 3 == 1:
        world.do(namespaces.update_namespace(world.state, name, f"said {how}"))
    else:
        world.do(namespaces.delete_namespace(world.state, name))


def _keep(world: World, which: int, how: int) -> None:
    """Secrets come, change, and go with or without force; some jobs were made with them."""
    state, name = world.state, f"secret-{which % 3}"
    match how % 4:
        case 0 | 1:
            number = secrets.next_version(state, "default", name)
            world.do(secrets.write_secret(state, e.SecretWritten("default", name, number, f"row-{name}-{number}")))
        case 2:
            world.do(secrets.delete_secret(state, "default", name, force=how > 10))
        case _:
            world.add(e.SecretRead("default", name, how), e.SecretsRekeyed(f"key-{how}"))


def _hook(world: World, which: int, how: int) -> None:
    """Webhooks come, change and go, and are switched off."""
    state, name = world.state, f"hook-{which % 3}"
    user, row = ("admin", "zoe")[which % 2], f"row-{name}-{state.index}"
    made = e.WebhookCreated(name, "default", f"https://hooks.example.com/{how}", ("*",), row, user)
    if name not in state.webhooks:
        world.do(webhooks.create_webhook(state, made))
        return
    match how % 7:
        case 0 | 1:
            changed = e.WebhookUpdated(name, "default", made.url, ("node.down",), user, enabled=how % 2 == 0)
            world.do(webhooks.update_webhook(state, changed))
        case 2:
            world.do(webhooks.rotate_webhook(state, e.WebhookRotated(name, "default", row, state.time + how)))
        case 3:
            world.add(e.WebhookDisabled(name, "default", "backlog"))
        case 4:
            world.do(webhooks.delete_webhook(state, name))
        case 5:
            world.do(webhooks.ping_webhook(state, name))
        case _:
            world.do(webhooks.redeliver(state, name, 1, how))


def _hand_over(world: World, which: int, how: int) -> None:
    """Another reconciler coordinates, elected or given it."""
    source, target = f"r{which % 3}", f"r{how % 3}"
    elected = e.CoordinatorElected(target, world.state.epoch + 1)
    world.add(*((e.CoordinatorTransferred(source, target),) if how % 2 else ()), elected)


def _set(world: World, which: int, how: int) -> None:
    given = {"placement": ("binpack", "spread")[which % 2], "preemption": how % 2 == 0, "auto_rebalance": how % 3 == 0}
    world.do(set_settings(world.state, given))


_STEPS: Final[tuple[Callable[[World, int, int], None], ...]] = (
    _submit,
    _place,
    _place,
    _launch,
    _launch,
    _launch,
    _report,
    _report,
    _report,
    _end,
    _ask_to_stop,
    _ask_anew,
    _finish,
    _redeploy,
    _steer,
    _steer,
    _stand,
    _revert,
    _pin,
    _take_away,
    _come,
    _go,
    _empty,
    _better,
    _join,
    _let_in,
    _shut_out,
    _rule,
    _part,
    _keep,
    _hook,
    _set,
    _hand_over,
)
