"""Scenario scripts: commands in, decisions out, side by side in one text file.

A script is paragraphs. Each has its commands, a line `----`, and what they gave. `python -m tests.reconciler.script`
writes the outputs anew; commit only a difference that you understand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from heroctl.domain import events as e
from heroctl.domain.duration import Duration
from heroctl.domain.intents import balance, deployments, jobs
from heroctl.domain.intents.settings import set_settings
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import job_status
from heroctl.domain.traffic import traffic
from tests.reconciler.cluster import Cluster

SCENARIOS: Final = Path(__file__).parent / "scenarios"
_RULE: Final = "----"


def rewrite(text: str) -> str:
    """Run a script and return it with its outputs made anew."""
    script = Script()
    paragraphs = [_paragraph(script, paragraph) for paragraph in text.strip().split("\n\n")]
    return "\n\n".join(paragraphs) + "\n"


def _paragraph(script: Script, paragraph: str) -> str:
    given = paragraph.partition(f"\n{_RULE}")[0].split("\n")
    commands = [line for line in given if line and not line.startswith("#")]
    if not commands:
        return "\n".join(given)
    said = [line for command in commands for line in script.run(command)]
    return "\n".join([*given, _RULE, *said])


class Script:
    """Runs commands against a cluster of fakes."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self._specs: dict[str, tuple[str, dict[str, Any]]] = {}
        self._commands: dict[str, Callable[..., list[str] | None]] = {
            "node": self._node,
            "run": self._run,
            "scale": self._scale,
            "secret": self.cluster.write_secret,
            "forget": self.cluster.delete_secret,
            "stop": self.cluster.stop,
            "delete": self.cluster.delete,
            "rescale": self._rescale,
            "restart": self._restart,
            "rollback": self._rollback,
            "rebalance": lambda name: self.cluster.do(balance.rebalance_job(self._job(name))),
            "promote": self._promote,
            "pause": lambda name: self.cluster.do(deployments.pause(self._deployment(name))),
            "resume": lambda name: self.cluster.do(deployments.resume(self._deployment(name))),
            "reject": lambda name: self.cluster.do(deployments.fail(self._deployment(name), "no good")),
            "request": self._request,
            "behave": self._behave,
            "fail": self._fail,
            "sick": self._sick,
            "label": self._label,
            "set": self._set,
            "hush": self.cluster.hush,
            "back": self.cluster.come_back,
            "remove": self.cluster.remove,
            "cordon": self._cordon,
            "drain": self._drain,
            "undrain": self.cluster.cancel_drain,
            "misplace": lambda name, slot: self.cluster.misplace(self._live(name, slot)),
            "wait": self._wait,
            "agents": self._agents,
            "plan": self._plan,
            "settle": self._settle,
            "show": self._show,
            "traffic": self._traffic,
        }

    def run(self, line: str) -> list[str]:
        """Run one command and return what it says."""
        name, *words = line.split()
        named = dict(word.split("=", 1) for word in words if "=" in word)
        return self._commands[name](*(word for word in words if "=" not in word), **named) or []

    # ── causes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _node(
        self, name: str, cpu: str = "4", memory: str = "8GiB", drivers: str = "process", labels: str = ""
    ) -> None:
        offered = [one for one in drivers.split(",") if one != "none"]
        self.cluster.join(name, float(cpu), memory, drivers=offered, labels=_labels(labels))

    def _label(self, name: str, labels: str) -> None:
        """Let a node come back with other labels."""
        self.cluster.open(self.cluster.state.node_names[name], labels=_labels(labels))

    def _set(self, key: str, value: str) -> None:
        given = {"on": True, "off": False}.get(value, value)
        self.cluster.do(set_settings(self.cluster.state, {key: given}))

    def _run(self, name: str, args: str, **fields: str) -> None:
        """`run web v2 count=3 cpu=1 memory=1GiB host=80 after=db type=system max_parallel=1 order=stop-first …`"""
        made: dict[str, Any] = {"count": int(fields.pop("count", "1"))}
        need = {key: fields.pop(key) for key in ("cpu", "memory", "disk") if key in fields}
        if need:
            made["resources"] = {key: float(value) if key == "cpu" else value for key, value in need.items()}
        if "host" in fields:
            made["ports"] = {"http": {"container": 80, "host": int(fields.pop("host"))}}
        if "after" in fields:
            made["depends_on"] = [{"job": job} for job in fields.pop("after").split(",")]
        if "secrets" in fields:
            made["env"] = {each.upper(): f"${{secret.{each}}}" for each in fields.pop("secrets").split(",")}
        if "changed" in fields:
            made["on_secret_change"] = fields.pop("changed")
        if "type" in fields:
            made["type"] = fields.pop("type")
            made.pop("count")
        if "delay" in fields:
            made["reschedule"] = {"delay": fields.pop("delay")}
        if "moves" in fields or "moving" in fields:
            order = fields.pop("moving", "start-first")
            made["migrate"] = {"max_parallel": int(fields.pop("moves", "1")), "order": order}
        if "silent" in fields:
            made["on_disconnect"] = {"mode": fields.pop("silent"), "lost_after": fields.pop("lost_after", "0s")}
        made |= _wishes(fields)
        if "volume" in fields:
            made["volumes"] = [{"source": fields.pop("volume"), "target": "data"}]
        if fields:
            made["update"] = _update(fields)
        self._specs[name] = args, made
        self.cluster.run(name, args, **made)

    def _scale(self, name: str, count: str) -> None:
        args, made = self._specs[name]
        made["count"] = int(count)
        self.cluster.run(name, args, **made)

    def _rescale(self, name: str, count: str) -> None:
        self.cluster.do(jobs.scale_job(self._job(name), "main", int(count), "tester"))

    def _restart(self, name: str) -> None:
        self.cluster.do(jobs.restart_job(self.cluster.state, self._job(name), "tester"))

    def _rollback(self, name: str) -> None:
        self.cluster.do(jobs.rollback_job(self.cluster.state, self._job(name), None, "tester"))

    def _promote(self, name: str, how: str = "") -> None:
        self.cluster.do(deployments.promote(self._deployment(name), step=how == "step"))

    def _job(self, name: str) -> Job:
        job = self.cluster.state.job("default", name)
        assert job is not None
        return job

    def _deployment(self, name: str) -> Deployment:
        return self.cluster.state.deployments[self._job(name).deployment]

    def _request(self, name: str, slot: str) -> None:
        self.cluster.do(jobs.stop_alloc(self._live(name, slot)))

    def _behave(self, args: str, how: str) -> None:
        self.cluster.behaviour[args] = how

    def _fail(self, name: str, slot: str, reason: str = "exited") -> None:
        self.cluster.fail(self._live(name, slot), reason)

    def _sick(self, name: str, slot: str) -> None:
        self.cluster.sicken(self._live(name, slot))

    def _live(self, name: str, slot: str) -> Alloc:
        return max((alloc for alloc in self.cluster.live(name) if alloc.slot == int(slot)), key=lambda alloc: alloc.n)

    def _cordon(self, name: str, eligible: str = "no") -> None:
        self.cluster.set_eligible(name, eligible=eligible == "yes")

    def _drain(self, name: str, deadline: str = "") -> None:
        self.cluster.drain(name, Duration.parse(deadline).ms // 1000 if deadline else None)

    def _wait(self, length: str) -> None:
        self.cluster.wait(Duration.parse(length).ms)

    def _agents(self) -> None:
        self.cluster.step()

    # ── effects ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self) -> list[str]:
        said = [self._tell(event) for piece in self.cluster.decide() for event in piece.events]
        wakes = [look.wake for look in self.cluster.memo.looks.values() if look.wake is not None]
        if wakes:
            said.append(f"look again in {Duration(min(wakes) - self.cluster.clock)}")
        return said or ["nothing to do"]

    def _settle(self) -> list[str]:
        """Go on until nothing happens any more, and tell what was decided when."""
        said: list[str] = []
        began, quiet = self.cluster.clock, 0
        while quiet < 60:
            at = Duration(self.cluster.clock - began)
            told = [self._tell(event) for piece in self.cluster.decide() for event in piece.events]
            said += [f"{at}: {line}" for line in told]
            quiet = 0 if self.cluster.step() or told else quiet + 1
            self.cluster.wait(1_000)
        return said or ["nothing to do"]

    def _show(self, name: str) -> list[str]:
        state = self.cluster.state
        job = state.job("default", name)
        head = "gone" if job is None else f"{job_status(state, job)}, v{job.current.version}"
        said = [f"{name}: {head}"]
        for alloc in sorted(self.cluster.allocs(name), key=lambda alloc: (alloc.task, alloc.slot, alloc.n)):
            why = f" ({alloc.why})" if alloc.why else ""
            node = self._name(alloc.node)
            said.append(f"  {_slot(alloc)} #{alloc.n} v{alloc.version} on {node}: {alloc.status} {alloc.health}{why}")
        return said

    def _traffic(self, name: str) -> list[str]:
        """Tell who gets which share of the traffic."""
        shares = traffic(self.cluster.state, self._job(name), "main")
        return [
            f"v{one.version}: {one.weight} %{f' ({one.header_value})' if one.header_value else ''}" for one in shares
        ]

    def _name(self, node: str) -> str:
        found = self.cluster.state.nodes.get(node)
        return found.name if found is not None else "a removed node"

    def _tell(self, event: e.Event) -> str:
        match event:
            case e.AllocPlaced():
                old = self.cluster.state.allocs.get(event.replaces)
                instead = f" for #{old.n}" if old is not None else ""
                where = f"v{event.version} on {self._name(event.node)}{instead}"
                return f"{event.job}: place #{event.n} {_slot(event)} {where}"
            case e.AllocStopping() | e.AllocGivenUp():
                alloc = self.cluster.state.allocs[event.alloc]
                verb = "stop" if isinstance(event, e.AllocStopping) else "give up"
                return f"{event.job}: {verb} #{alloc.n} {_slot(alloc)} ({event.reason})"
            case e.AllocMisplaced():
                alloc = self.cluster.state.allocs[event.alloc]
                return f"{event.job}: #{alloc.n} {_slot(alloc)} is better elsewhere"
            case e.NodeDrainFinished():
                return f"node {event.name} drained: {event.moved} moved, {event.stopped} stopped"
            case e.NodeUp():
                return f"node {event.name} up"
            case e.NodeDown():
                return f"node {event.name} down, holding {len(event.allocations)}"
            case e.BrakeOn():
                return f"brake on: {event.down} of {event.of} down"
            case e.BrakeOff():
                return f"brake off: {event.reason}"
            case _:
                return _tell_job(event)


def _labels(text: str) -> dict[str, str]:
    """`zone:a,disk:ssd`"""
    return dict(pair.split(":", 1) for pair in text.split(",") if pair)


def _wishes(fields: dict[str, str]) -> dict[str, Any]:
    """`priority=70 must=disk:ssd alone=yes like=size:large like_weight=20 over=zone shares=a:50,b:30`"""
    made: dict[str, Any] = {"priority": int(fields.pop("priority"))} if "priority" in fields else {}
    must = _labels(fields.pop("must", ""))
    wanted: list[dict[str, Any]] = [
        {"attribute": f"${{node.labels.{key}}}", "value": value} for key, value in must.items()
    ]
    wanted += [{"operator": "distinct_hosts"}] if fields.pop("alone", "") else []
    weight = int(fields.pop("like_weight", "50"))
    liked = [
        {"attribute": f"${{node.labels.{key}}}", "value": value, "weight": weight}
        for key, value in _labels(fields.pop("like", "")).items()
    ]
    made |= {key: value for key, value in (("constraints", wanted), ("affinities", liked)) if value}
    if "over" in fields:
        shares = {value: int(share) for value, share in _labels(fields.pop("shares", "")).items()}
        made["spread"] = [{"attribute": f"${{node.labels.{fields.pop('over')}}}", "targets": shares}]
    return made


def _update(fields: dict[str, str]) -> dict[str, Any]:
    """`strategy=canary canaries=2 steps=10,50 pause=1m auto=yes keep_old=5m keep=1 auto_revert=no …`"""
    auto = {"auto_promote": fields.pop("auto") == "yes"} if "auto" in fields else {}
    canary: dict[str, Any] = {"count": int(fields.pop("canaries"))} if "canaries" in fields else {}
    if "steps" in fields:
        canary["steps"] = [int(step) for step in fields.pop("steps").split(",")]
    canary.update({key: fields.pop(key) for key in ("pause",) if key in fields})
    blue_green = {key: fields.pop(key) for key in ("keep_old",) if key in fields}
    rainbow = {"keep": int(fields.pop("keep"))} if "keep" in fields else {}
    strategy = fields.get("strategy", "rolling")
    blocks = {"canary": {**canary, **auto}, "blue-green": {**blue_green, **auto}, "rainbow": rainbow}
    made: dict[str, Any] = {key: int(value) if value.isdigit() else value for key, value in fields.items()}
    if "auto_revert" in made:
        made["auto_revert"] = made["auto_revert"] == "yes"
    if blocks.get(strategy):
        made[strategy.replace("-", "_")] = blocks[strategy]
    return made


def _tell_job(event: e.Event) -> str:
    match event:
        case e.DeploymentFinished():
            return f"{event.name}: deployment {event.status}" + (f": {event.reason}" if event.reason else "")
        case e.JobDeployed():
            return f"{event.name}: v{event.version} deployed"
        case e.JobFailed():
            back = f", reverted to v{event.reverted_to}" if event.reverted_to is not None else ""
            return f"{event.name}: v{event.version} failed{back}"
        case e.JobRepinned():
            pins = (f"{name} {number}" for task in event.tasks for name, number in task.pins)
            return f"{event.name}: v{event.version} is made with {', '.join(dict.fromkeys(pins))}"
        case e.JobReverted():
            return f"{event.name}: v{event.version} repeats v{event.of}"
        case e.JobRebalanceBegun():
            return f"{event.name}: to be balanced"
        case e.JobRebalanced():
            return f"{event.name}: balanced, {event.moved} moved"
        case e.DeploymentStepped():
            how = " and waits" if event.awaiting else ": promoted" if event.promoted else ""
            return f"{event.name}: step {event.step}{how}"
        case e.JobBlocked():
            return f"{event.name}: blocked: {'; '.join(event.reasons)}" if event.reasons else f"{event.name}: unblocked"
        case _:
            raise AssertionError(f"no words for {event}")


def _slot(alloc: Alloc | e.AllocPlaced) -> str:
    return f"{alloc.task}[{alloc.slot}]"


def main() -> None:
    """Write the outputs of all scripts anew."""
    for path in sorted(SCENARIOS.glob("*.txt")):
        path.write_text(rewrite(path.read_text()))


if __name__ == "__main__":
    main()
