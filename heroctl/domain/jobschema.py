"""JSON Schema of the job spec as people write it: for editors, linters and pipelines, before any cluster is asked.

It says what `validate` says, as far as a schema can: names that must be unique or refer to each other are left to that.
"""

from __future__ import annotations

from typing import Any, Final

from heroctl.domain import checks, checks_placement, constraint, mounts, validate
from heroctl.domain import spec as specs
from heroctl.domain.isolation import CAPABILITIES, MOST
from heroctl.domain.names import NAME
from heroctl.domain.shape import DIALECT, Schema, Shapes

_TEXT: Final = {"type": "string", "pattern": r"^[^\u0000]*$"}
_LABEL: Final = {"type": "string", "pattern": NAME.pattern}
_PORT: Final = {"type": "string", "pattern": checks.PORT_NAME.pattern}
_PATH: Final = {"pattern": r"^(?!.*/\.\.?(/|$))/([^/\x00-\x1f\x7f]+(/[^/\x00-\x1f\x7f]+)*)?$", "maxLength": 4095}
_PLACE: Final = {"pattern": r"^(?!(.*/)?\.\.?(/|$))/?[^/\x00-\x1f\x7f]+(/[^/\x00-\x1f\x7f]+)*$", "maxLength": 4095}
_CAPABILITIES: Final = {"items": {"enum": ["ALL", *sorted(CAPABILITIES)]}, "uniqueItems": True}
_FREE: Final = [
    {"maximum": specs.DYNAMIC_PORTS.start - 1},
    {"minimum": specs.DYNAMIC_PORTS.stop},
]

# What a field means; and what may stand in it beyond its type.
_SAID: Final[dict[str, dict[str, str]]] = {
    "Job": {
        "job": "The job's name, unique in its namespace. `name` is another word for it.",
        "tasks": "The parts of the job; each has replicas of its own.",
        "namespace": "Where the job lives.",
        "type": "`service`: replicas that run until they are stopped. `batch`: replicas that run to their end. "
        "`system`: one replica on every node that fits.",
        "priority": "1 to 100: who waits for whom where there is not room for all.",
        "meta": "Anything that you want to find again; nothing is done with it.",
        "periodic": "When a batch job is launched.",
        "metrics": "Where its replicas tell metrics of their own; the cluster reads and shows them.",
        "dispatch": "What a batch job is given that runs when it is dispatched, and only then.",
    },
    "Task": {
        "name": "Unique in the job.",
        "driver": "`docker`: a container. `process`: a plain process, on nodes that allow it.",
        "image": "The container's image; for driver docker.",
        "command": "What to run, as a list: no shell is involved. Needed for driver process.",
        "args": "More words for the command, or for the image's own.",
        "count": "How many replicas.",
        "env": "Variables. Values are texts, in which `${node.name}`, `${port.http}` and the like are filled in.",
        "ports": "Named ports: the container's port, or an object that also fixes the one on the host.",
        "resources": "What is reserved for each replica.",
        "health": "The check that a replica must pass to count; without one it counts as soon as it runs.",
        "restart": "What happens on the same node when a replica ends unasked.",
        "reschedule": "When the slot of a failed replica is placed again.",
        "update": "How a new version replaces the old.",
        "kill_timeout": "Time to finish after the stop signal; then SIGKILL.",
        "stop_signal": "The signal that asks a replica to finish.",
        "shutdown_delay": "From when a replica is out of the traffic to its stop signal.",
        "privileged": "Root in the container is root of the host. Needs a right, and a node that allows it.",
        "network": "`host`: the host's own network; ports are the host's. Needs a right, and a node that allows it.",
        "pid": "`host`: see the host's processes. Needs a right, and a node that allows it.",
        "ipc": "`host`: share memory with the host. Needs a right, and a node that allows it.",
        "devices": "Devices of the host. They need a right, and a node that allows them.",
        "capabilities": "What root may in the container, more or less than usual.",
        "volumes": "Named volumes, which the node keeps, and paths of the host. The latter need a right, and a node "
        "that allows them.",
        "files": "Files in the container. `${…}` is filled in.",
        "depends_on": "What must have got so far before a replica is first placed.",
        "image_auth": "`${secret.NAME}`: the secret is `user:password` for the image's registry.",
        "on_secret_change": "Whether a new version of a secret that the task uses replaces its replicas.",
        "migrate": "How replicas leave a node that is drained.",
        "on_disconnect": "What becomes of replicas on a node that falls silent.",
        "constraints": "What a node must be like.",
        "affinities": "What a node should be like.",
        "spread": "How replicas are shared out over the values of an attribute.",
    },
    "Constraint": {
        "attribute": "Such as `${node.labels.disk}` or `${node.name}`.",
        "operator": "How it is compared. `distinct_hosts` stands alone: no two replicas of the task on one node.",
        "value": "With what; a list for `in` and `not_in`.",
    },
    "Affinity": {
        "attribute": "Such as `${node.labels.disk}` or `${node.name}`.",
        "operator": "How it is compared.",
        "value": "With what; a list for `in` and `not_in`.",
        "weight": "How much it counts: 100 as much as a whole empty node. Below 0 such nodes are shunned.",
    },
    "Spread": {
        "attribute": "Such as `${node.labels.zone}`.",
        "targets": "Percent of the replicas for each value; `*`, the others, share what is left. Evenly if left out.",
    },
    "Device": {
        "source": "A device of the host, or a folder of them.",
        "target": "Where it is in the container; where it is on the host if left out.",
        "permissions": "Any of `r`, `w` and `m` (make).",
    },
    "Capabilities": {
        "add": "Names such as `NET_ADMIN`, or `ALL`. More than the usual ones need a right, and a node that allows it.",
        "drop": "Names such as `CHOWN`, or `ALL`.",
    },
    "Volume": {
        "source": "A name, or a path of the host.",
        "target": "Where it is in the container; for driver process, in the folder in which it starts.",
        "read_only": "Whether the container can only read it.",
        "shared": "Whether several replicas on one node may write to a named volume.",
    },
    "File": {
        "path": "Where it is in the container; for driver process, in the folder in which it starts.",
        "content": "What is in it.",
        "mode": "Who may read it, in octal.",
    },
    "Migrate": {
        "max_parallel": "At most so many replicas of the task move at a time, off all nodes together.",
        "order": "Whether the new replica must be healthy before the old one is stopped.",
    },
    "OnDisconnect": {
        "lost_after": "How long a node that is down may take to come back.",
        "mode": "`replace`: placed again after that. `keep`: never. `stop`: the node stops them itself before that.",
    },
    "Periodic": {
        "cron": "Minute, hour, day of month, month, day of week; or a name such as `@daily`.",
        "time_zone": "Whose wall clock; a name such as `Europe/Berlin`.",
        "overlap": "Whether a launch begins though the one before has not ended.",
    },
    "Metrics": {
        "port": "A port of a task: its name, or its number inside the container.",
        "enabled": "Whether they are read.",
        "path": "The path of the page in Prometheus' text format.",
        "interval": "How often it is read.",
    },
    "Dispatch": {
        "payload": "Whether each dispatch brings something to work on.",
        "meta_required": "Keys that each dispatch brings.",
        "meta_optional": "Keys that it may bring.",
    },
    "Dependency": {
        "job": "A job of the same namespace.",
        "task": "A task of this job.",
        "condition": "How far all its replicas must have got.",
    },
    "Port": {
        "container": "What the workload listens on.",
        "host": "The port of the host; 0: the node picks one of 20000 to 32000.",
    },
    "Resources": {
        "cpu": "Cores; a share of one is fine.",
        "memory": "Enforced: a replica that needs more is ended.",
        "disk": "Reserved.",
    },
    "Health": {
        "http": "A path; passes with 2xx and 3xx.",
        "tcp": "The name of a port; passes when it accepts a connection.",
        "command": "Run inside; passes with exit code 0.",
        "port": "The name of the port that `http` asks; the only one when there is just one.",
        "interval": "From the start of one check to that of the next.",
        "timeout": "No answer within this is a failure.",
        "retries": "Failures in a row that make a healthy replica unhealthy.",
        "start_period": "Failures in the first moments do not count.",
    },
    "Restart": {
        "attempts": "So many restarts …",
        "interval": "… within this time,",
        "delay": "this long apart, give or take a little.",
        "mode": "Then `fail`: the allocation fails; or `delay`: wait for the interval's end and go on.",
    },
    "Reschedule": {
        "delay": "Before the first new allocation.",
        "max_delay": "The pause doubles up to this.",
        "unlimited": "`false`: placed again once, and no more.",
    },
    "Update": {
        "strategy": "`rolling`: a few replicas at a time. `canary`: a few new ones beside all old ones, with a part of "
        "the traffic. `blue-green`: a full new set beside the old. `rainbow`: versions side by side.",
        "max_parallel": "At most so many replicas are replaced at a time.",
        "order": "Whether the new replica must be healthy before the old one is stopped.",
        "min_healthy_time": "Healthy without a break for so long before the next is touched.",
        "healthy_deadline": "A replica that is not healthy by then fails the deployment.",
        "progress_deadline": "A deployment that makes no progress for so long fails.",
        "auto_revert": "Whether a deployment that failed is followed by one that restores the last stable version.",
        "canary": "How `canary` goes.",
        "blue_green": "How `blue-green` goes.",
        "rainbow": "How `rainbow` goes.",
    },
    "Canary": {
        "count": "So many new replicas beside the old ones.",
        "weight": "Percent of the traffic in the first step; left out: the first of `steps`.",
        "steps": "Percent of the traffic, one after the other.",
        "pause": "How long a step lasts with `auto_promote`.",
        "auto_promote": "Go from step to step, and to the end, unasked.",
    },
    "BlueGreen": {
        "auto_promote": "Give the new set the traffic as soon as all of it is healthy.",
        "keep_old": "How long the old set stays after that, for an instant way back.",
    },
    "Rainbow": {
        "keep": "So many older versions stay beside the new one.",
        "header": "The header whose value chooses a version by its number.",
    },
}
_BOUNDS: Final[dict[str, dict[str, Schema]]] = {
    "Job": {
        "job": _LABEL,
        "namespace": _LABEL,
        "tasks": {"minItems": 1, "maxItems": specs.MAX_TASKS},
    },
    "Task": {
        "name": _LABEL,
        "command": {"items": _TEXT},
        "args": {"items": _TEXT},
        "env": {
            "additionalProperties": _TEXT,
            "propertyNames": {"pattern": checks.ENV_NAME.pattern, "not": {"pattern": "^HEROCTL_"}},
            "maxProperties": specs.MAX_ENV,
        },
        "ports": {"propertyNames": {"pattern": checks.PORT_NAME.pattern}},
        "stop_signal": {"enum": sorted(checks.SIGNALS)},
        "constraints": {"maxItems": checks_placement.MOST},
        "affinities": {"maxItems": checks_placement.MOST},
        "spread": {"maxItems": checks_placement.MOST_SPREADS},
        "devices": {"maxItems": MOST},
        "volumes": {"maxItems": MOST},
        "files": {"maxItems": MOST},
        "image_auth": {"pattern": mounts.SECRET.pattern},
    },
    "Device": {"source": {**_PATH, "allOf": [{"pattern": "^/dev/"}]}, "target": _PATH},
    "Capabilities": {"add": _CAPABILITIES, "drop": _CAPABILITIES},
    "Volume": {"source": {"anyOf": [_PATH, {"pattern": mounts.VOLUME_NAME.pattern}]}, "target": _PLACE},
    "File": {"path": _PLACE, "mode": {"pattern": mounts.MODE.pattern}},
    "Affinity": {"operator": {"not": {"const": constraint.ALONE}}},
    "Spread": {"targets": {"maxProperties": checks_placement.MOST_TARGETS}},
    "Port": {"host": {"anyOf": _FREE}},
    "Rainbow": {"header": {"pattern": checks.HEADER.pattern}},
    "Health": {
        "http": {"pattern": r"^/[\x21-\x7e]*$"},
        "command": {"items": {"type": "string"}, "minItems": 1},
        "port": {"pattern": _PORT["pattern"]},
        "tcp": {"pattern": _PORT["pattern"]},
    },
}
_KINDS: Final = ("http", "tcp", "command")
_EXAMPLE: Final[Schema] = {
    "job": "shop",
    "tasks": [
        {
            "name": "web",
            "image": "nginx:1.29-alpine",
            "count": 2,
            "ports": {"http": 80},
            "health": {"http": "/"},
            "resources": {"cpu": 0.25, "memory": "64MB"},
        }
    ],
}


def definitions(at: str = "#/$defs/", name: str = "Job") -> dict[str, Schema]:
    """Define a spec and its parts, to stand at a place; the others are called `<name>Task` and so on."""
    shapes = Shapes(at)
    shapes.of(specs.Job)
    made = shapes.definitions
    for owner, schema in made.items():
        _tell(owner, schema)
    _job(made["Job"])
    made["Task"]["properties"]["ports"]["additionalProperties"] = {
        "anyOf": [made["Port"]["properties"]["container"], {"$ref": f"{at}Port"}]
    }
    made["Task"]["anyOf"] = _drivers()
    made["Health"]["oneOf"] = [_only(kind) for kind in _KINDS]
    return {_renamed(each, name): _moved(schema, at, name) for each, schema in made.items()}


def _tell(owner: str, schema: Schema) -> None:
    if "properties" not in schema:
        return
    schema["additionalProperties"] = False
    said, bounds = _SAID.get(owner, {}), _BOUNDS.get(owner, {})
    for field, known in schema["properties"].items():
        told = {"description": said[field]} if field in said else {}
        schema["properties"][field] = {**known, **bounds.get(field, {}), **told}


def _job(schema: Schema) -> None:
    for field in validate.LATER_JOB & schema["properties"].keys():
        schema["properties"][field] = {
            "const": validate.default(specs.Job, field),
            "description": "What every job has: this release knows no other.",
        }
    schema["properties"]["name"] = {**_LABEL, "description": "Another word for `job`."}
    schema["required"] = ["tasks"]
    schema["anyOf"] = [{"required": ["job"]}, {"required": ["name"]}]
    schema["examples"] = [_EXAMPLE]


def _drivers() -> list[Schema]:
    """A container needs an image, a process a command."""
    image = {"driver": {"const": "docker"}, "image": {"type": "string", "minLength": 1}}
    command = {"driver": {"const": "process"}, "command": {"minItems": 1}, "image": {"enum": ["", None]}}
    return [
        {"required": ["image"], "properties": image},
        {"required": ["driver", "command"], "properties": command},
    ]


def _only(kind: str) -> Schema:
    """A check is of one kind; null and nothing say that it is not of another."""
    none: dict[str, Any] = {other: {"enum": ["", None, []]} for other in _KINDS if other != kind}
    port = {} if kind == "http" else {"port": {"type": "null"}}
    return {"required": [kind], "properties": {kind: {"not": {"type": "null"}}, **none, **port}}


def _renamed(owner: str, name: str) -> str:
    return name if owner == "Job" else owner if name == "Job" else f"{name}{owner}"


def _moved(value: Any, at: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """Let references follow the names."""
    if isinstance(value, list):
        return [_moved(each, at, name) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        return {**value, "$ref": at + _renamed(value["$ref"].removeprefix(at), name)}
    return {key: _moved(each, at, name) for key, each in value.items()}


def document() -> Schema:
    """Make the whole schema."""
    made = definitions()
    job = made.pop("Job")
    return {
        "$schema": DIALECT,
        "$id": "urn:heroctl:schema:v1:job",
        "title": "HeroCtl job",
        **job,
        "$defs": made,
    }
