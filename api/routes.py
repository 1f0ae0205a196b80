"""The table of routes: each row names method, path, access and handler. What is not in it does not exist.

A row cannot be written without its access. `read` rows are GETs of state: they long-poll, share their bodies and may be
answered from the front; `do` rows are everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from api import (
    acl,
    acl_tokens,
    agent,
    agent_logs,
    agent_samples,
    agent_secrets,
    alerts,
    allocations,
    audit,
    auth,
    brake,
    cluster,
    cluster_settings,
    deployments,
    docs,
    drains,
    events,
    execs,
    explain,
    health,
    jobs,
    joining,
    launches,
    log,
    log_reads,
    loglevel,
    metrics,
    namespaces,
    nodes,
    plan,
    rebalance,
    redeploy,
    rekey,
    rotation,
    secret_writes,
    secrets,
    services,
    snapshot,
    transfer,
    users,
    versions,
    webhook_writes,
    webhooks,
    whoami,
)
from api.access import ANYONE, NODE, PUBLIC, Access, may
from api.answer import Answer
from api.call import Call
from api.paging import PAGING
from api.reads import Reader
from api.socket import Socket
from api.write import Done

Action = Callable[[Call], Awaitable[Answer]]
Meeting = Callable[[Call, Socket], Awaitable[None]]
Again = Callable[[Call, Done], Awaitable[Answer]]
WAITING: Final = ("index", "wait")
GUARDED: Final = ("namespace", "check_index")  # of writes to one job
AT: Final = "at"  # an argument of reads that can be answered as of another moment, too


async def _nothing(_: Call) -> Answer:
    raise AssertionError("a row that reads does nothing")


class Row(Struct, frozen=True, eq=False):
    """One route. `args`: the names that its query string may hold. It has a reader, or else an action.

    `again` makes an action's answer once more, for a call that is repeated under its idempotency key.
    """

    method: str
    path: str
    access: Access
    args: tuple[str, ...]
    read: Reader | None = None
    do: Action = _nothing
    again: Again | None = None
    meet: Meeting | None = None  # who speaks over a WebSocket, where that is asked for
    hides: bool = False  # whether its body holds a secret that somebody chose
    order: tuple[str, ...] = ()  # of a list: the fields that it is sorted by, `-`: backwards

    @property
    def keyed(self) -> bool:
        """Whether what it writes is written once for each idempotency key: so it is with POSTs by users."""
        return self.method == "POST" and self.access.kind == "user"

    @property
    def words(self) -> tuple[str, ...]:
        """The path, cut at its slashes; placeholders in braces."""
        return tuple(self.path.split("/"))

    def placeholders(self, path: str) -> dict[str, str]:
        """Read the words of a path that stand where this row has placeholders."""
        pairs = zip(self.words, path.split("/"), strict=False)
        return {word[1:-1]: given for word, given in pairs if word.startswith("{")}

    def takes(self, path: str) -> bool:
        """Tell whether a path has the shape of this row's."""
        words = path.split("/")
        return len(words) == len(self.words) and all(
            word.startswith("{") or word == given for word, given in zip(self.words, words, strict=True)
        )


def read(path: str, access: Access, reader: Reader, *args: str) -> Row:
    """Make a row for a GET of state. Its pages are shared by those whom its right shows the same: it needs one."""
    if access.kind == "user" and not access.right:
        raise ValueError(f"{path} is shared, and nothing tells by whom")
    return Row("GET", path, access, (*args, *WAITING), read=reader)


def lists(path: str, access: Access, reader: Reader, order: str, *args: str) -> Row:
    """Make a row for a GET of a list, sorted by these fields of its things; it comes in pages, too."""
    return Row("GET", path, access, (*args, *PAGING, *WAITING), read=reader, order=tuple(order.split()))


def do(
    method: str,
    path: str,
    access: Access,
    action: Action,
    *args: str,
    again: Again | None = None,
    hides: bool = False,
) -> Row:
    """Make a row for anything else."""
    return Row(method, path, access, args, do=action, again=again, hides=hides)


def meets(path: str, access: Access, plain: Action, meeting: Meeting) -> Row:
    """Make a row that is spoken over a WebSocket; `plain` answers who asks for it without one."""
    return Row("GET", path, access, (), do=plain, meet=meeting)


ROUTES: Final[tuple[Row, ...]] = (
    # health
    do("GET", "/v1/health/ready", PUBLIC, health.ready),
    do("GET", "/v1/health/live", PUBLIC, health.live),
    # the documentation
    do("GET", "/v1/openapi.json", PUBLIC, docs.openapi),
    do("GET", "/v1/docs", PUBLIC, docs.page),
    do("GET", "/v1/docs/{file}", PUBLIC, docs.file),
    do("GET", "/v1/schema/job.json", PUBLIC, docs.job_schema),
    # who may
    do("POST", "/v1/auth/login", PUBLIC, auth.login),
    do("POST", "/v1/auth/refresh", PUBLIC, auth.refresh),
    do("POST", "/v1/auth/logout", ANYONE, auth.logout),
    do("GET", "/v1/acl/keys", may("acl:read"), rotation.listing),
    do("POST", "/v1/acl/keys/rotate", may("acl:write"), rotation.rotate),
    do("GET", "/v1/acl/self", ANYONE, whoami.show),
    do(
        "POST", "/v1/acl/self/password", ANYONE, users.change_own_password, again=users.own_password_changed, hides=True
    ),
    lists("/v1/acl/users", may("acl:read"), users.listing, "name"),
    do("POST", "/v1/acl/users", may("acl:write"), users.create, again=users.created, hides=True),
    read("/v1/acl/users/{name}", may("acl:read"), users.detail),
    do("PUT", "/v1/acl/users/{name}", may("acl:write"), users.update),
    do("DELETE", "/v1/acl/users/{name}", may("acl:write"), users.delete),
    do("PUT", "/v1/acl/users/{name}/password", may("acl:write"), users.set_password),
    lists("/v1/acl/tokens", may("acl:read"), acl_tokens.listing, "created_at id"),
    do("POST", "/v1/acl/tokens", may("acl:write"), acl_tokens.create),
    read("/v1/acl/tokens/{id}", may("acl:read"), acl_tokens.detail),
    do("DELETE", "/v1/acl/tokens/{id}", may("acl:write"), acl_tokens.delete),
    lists("/v1/acl/roles", may("acl:read"), acl.list_roles, "-built_in name"),
    do("POST", "/v1/acl/roles", may("acl:write"), acl.create_role, again=acl.role_created),
    read("/v1/acl/roles/{name}", may("acl:read"), acl.show_role),
    do("PUT", "/v1/acl/roles/{name}", may("acl:write"), acl.update_role),
    do("DELETE", "/v1/acl/roles/{name}", may("acl:write"), acl.delete_role),
    lists("/v1/acl/policies", may("acl:read"), acl.list_policies, "-built_in name"),
    do("POST", "/v1/acl/policies", may("acl:write"), acl.create_policy, again=acl.policy_created),
    read("/v1/acl/policies/{name}", may("acl:read"), acl.show_policy),
    do("PUT", "/v1/acl/policies/{name}", may("acl:write"), acl.update_policy),
    do("DELETE", "/v1/acl/policies/{name}", may("acl:write"), acl.delete_policy),
    # namespaces
    lists("/v1/namespaces", may("namespace:read"), namespaces.listing, "name"),
    do("POST", "/v1/namespaces", may("namespace:write"), namespaces.create, again=namespaces.created),
    read("/v1/namespaces/{name}", may("namespace:read"), namespaces.detail),
    do("PUT", "/v1/namespaces/{name}", may("namespace:write"), namespaces.update),
    do("DELETE", "/v1/namespaces/{name}", may("namespace:write"), namespaces.delete),
    # jobs
    lists("/v1/jobs", may("job:read"), jobs.listing, "namespace name", "namespace", "status", "meta", AT),
    do("POST", "/v1/jobs", may("job:submit"), jobs.submit, *GUARDED, "dry_run", again=jobs.submitted),
    do("POST", "/v1/jobs/plan", may("job:submit"), plan.plan, *GUARDED),
    do("POST", "/v1/jobs/validate", may("job:read"), jobs.validate),
    read("/v1/jobs/{name}", may("job:read"), jobs.detail, "namespace", AT),
    read("/v1/jobs/{name}/explain", may("job:read"), explain.show, "namespace"),
    do("DELETE", "/v1/jobs/{name}", may("job:purge"), jobs.delete, *GUARDED),
    do("POST", "/v1/jobs/{name}/rollback", may("job:rollback"), redeploy.rollback, *GUARDED, again=redeploy.written),
    do("POST", "/v1/jobs/{name}/scale", may("job:scale"), redeploy.scale, *GUARDED, again=redeploy.written),
    do("POST", "/v1/jobs/{name}/restart", may("job:restart"), redeploy.restart, *GUARDED, again=redeploy.written),
    do("POST", "/v1/jobs/{name}/rebalance", may("job:rebalance"), rebalance.rebalance, "namespace", again=jobs.written),
    do("POST", "/v1/jobs/{name}/stop", may("job:stop"), jobs.stop, *GUARDED, again=jobs.written),
    do("POST", "/v1/jobs/{name}/dispatch", may("job:dispatch"), launches.dispatch, "namespace", again=launches.written),
    do(
        "POST",
        "/v1/jobs/{name}/periodic/force",
        may("job:dispatch"),
        launches.force,
        "namespace",
        again=launches.written,
    ),
    lists("/v1/jobs/{name}/launches", may("job:read"), launches.listing, "-number", "namespace", AT),
    lists("/v1/jobs/{name}/versions", may("job:read"), versions.listing, "-version", "namespace", AT),
    read("/v1/jobs/{name}/versions/diff", may("job:read"), versions.compare, "from", "to", "namespace", AT),
    # deployments
    lists(
        "/v1/deployments",
        may("deployment:read"),
        deployments.listing,
        "-create_index id",
        "job",
        "namespace",
        "status",
        AT,
    ),
    read("/v1/deployments/{id}", may("deployment:read"), deployments.detail, AT),
    do("POST", "/v1/deployments/{id}/promote", may("deployment:write"), deployments.promote, again=deployments.written),
    do("POST", "/v1/deployments/{id}/pause", may("deployment:write"), deployments.pause, again=deployments.written),
    do("POST", "/v1/deployments/{id}/resume", may("deployment:write"), deployments.resume, again=deployments.written),
    do("POST", "/v1/deployments/{id}/fail", may("deployment:write"), deployments.fail, again=deployments.written),
    # allocations
    lists(
        "/v1/allocations",
        may("alloc:read"),
        allocations.listing,
        "create_index id",
        "job",
        "namespace",
        "node",
        "status",
        AT,
    ),
    read("/v1/allocations/{id}", may("alloc:read"), allocations.detail, AT),
    do("POST", "/v1/allocations/{id}/stop", may("alloc:stop"), allocations.stop, again=allocations.written),
    do("POST", "/v1/allocations/{id}/restart", may("alloc:restart"), allocations.restart, again=allocations.written),
    do("POST", "/v1/allocations/{id}/signal", may("alloc:signal"), allocations.signal, again=allocations.written),
    meets("/v1/allocations/{id}/exec", may("alloc:exec"), execs.plain, execs.attend),
    do("GET", "/v1/allocations/{id}/stats", may("metric:read"), metrics.stats),
    # metrics
    do("GET", "/v1/metrics", may("metric:read"), snapshot.show, "format"),
    do("GET", "/v1/metrics/query", may("metric:read"), metrics.query, *metrics.FILTERS),
    # alerts
    lists("/v1/alerts", may("alert:read"), alerts.listing, "namespace name", "namespace"),
    do("POST", "/v1/alerts", may("alert:write"), alerts.create, "namespace", again=alerts.created),
    read("/v1/alerts/{name}", may("alert:read"), alerts.detail, "namespace"),
    do("PUT", "/v1/alerts/{name}", may("alert:write"), alerts.update, "namespace"),
    do("DELETE", "/v1/alerts/{name}", may("alert:write"), alerts.delete, "namespace"),
    # logs
    do("GET", "/v1/logs", may("log:read"), log_reads.listing, *log_reads.FILTERS),
    do("GET", "/v1/logs/{id}", may("log:read"), log_reads.of_alloc, *log_reads.LINES),
    # services
    lists("/v1/services", may("service:read"), services.listing, "namespace job task port", "job", "namespace"),
    read("/v1/services/{job}", may("service:read"), services.of_job, "namespace"),
    # nodes
    lists("/v1/nodes", may("node:read"), nodes.listing, "name", "status", AT),
    read("/v1/nodes/{id}", may("node:read"), nodes.detail, AT),
    do("DELETE", "/v1/nodes/{id}", may("node:remove"), nodes.remove),
    do("POST", "/v1/nodes/{id}/drain", may("node:drain"), drains.drain, again=drains.drained),
    do("DELETE", "/v1/nodes/{id}/drain", may("node:drain"), drains.cancel, "eligible"),
    do("POST", "/v1/nodes/{id}/unknown/release", may("node:release"), nodes.release, again=nodes.written),
    do("POST", "/v1/nodes/{id}/eligibility", may("node:eligibility"), nodes.eligibility, again=nodes.written),
    do("POST", "/v1/nodes/join", PUBLIC, joining.join),  # by its join token, in the body
    do("POST", "/v1/cluster/join-tokens", may("node:join"), joining.create_token),
    # the cluster
    read("/v1/cluster/status", may("cluster:read"), cluster.status),
    read("/v1/cluster/settings", may("cluster:read"), cluster_settings.show),
    do("PUT", "/v1/cluster/settings", may("cluster:settings"), cluster_settings.update, "check_index"),
    read("/v1/cluster/loglevel", may("cluster:read"), loglevel.show),
    do("PUT", "/v1/cluster/loglevel", may("cluster:settings"), loglevel.update),
    do("POST", "/v1/cluster/brake", may("cluster:brake"), brake.brake, again=brake.asked),
    do("POST", "/v1/raft/transfer-leadership", may("cluster:transfer"), transfer.transfer, again=transfer.transferred),
    lists("/v1/cluster/peers", may("cluster:read"), cluster.peers, "role id"),
    # the log
    do("GET", "/v1/log", may("cluster:log"), log.listing, "after", "limit", "wait"),
    do("GET", "/v1/log/{index}", may("cluster:log"), log.detail),
    do("GET", "/v1/log/verify", may("cluster:log"), log.verify),
    # who did what
    do("GET", "/v1/events", may("event:read"), events.listing, *events.FILTERS, "limit", "stream", *WAITING),
    do("GET", "/v1/audit", may("audit:read"), audit.listing, *audit.FILTERS, *PAGING, *WAITING),
    # secrets
    lists("/v1/secrets", may("secret:list"), secrets.listing, "namespace name", "namespace"),
    do(
        "POST", "/v1/secrets", may("secret:write"), secret_writes.put, *GUARDED, again=secret_writes.written, hides=True
    ),
    do("POST", "/v1/secrets/rekey", may("cluster:rekey"), rekey.rekey),
    do("GET", "/v1/secrets/{name}", may("secret:read"), secrets.show, "namespace", "version"),
    do("DELETE", "/v1/secrets/{name}", may("secret:write"), secret_writes.delete, *GUARDED, "force"),
    lists("/v1/secrets/{name}/versions", may("secret:list"), secrets.versions, "-version", "namespace"),
    lists("/v1/secrets/{name}/jobs", may("job:read"), secrets.uses, "job", "namespace"),
    do(
        "POST",
        "/v1/secrets/{name}/rollback",
        may("secret:write"),
        secret_writes.rollback,
        *GUARDED,
        again=secret_writes.written,
    ),
    # webhooks
    lists("/v1/webhooks", may("webhook:read"), webhooks.listing, "create_index id", "namespace"),
    do("POST", "/v1/webhooks", may("webhook:write"), webhook_writes.create, "namespace", hides=True),
    read("/v1/webhooks/{id}", may("webhook:read"), webhooks.detail),
    do("PATCH", "/v1/webhooks/{id}", may("webhook:write"), webhook_writes.update),
    do("DELETE", "/v1/webhooks/{id}", may("webhook:write"), webhook_writes.delete),
    do("POST", "/v1/webhooks/{id}/rotate", may("webhook:write"), webhook_writes.rotate, hides=True),
    do("POST", "/v1/webhooks/{id}/ping", may("webhook:write"), webhook_writes.ping, again=webhook_writes.told),
    do("GET", "/v1/webhooks/{id}/deliveries", may("webhook:read"), webhooks.deliveries, "state", *PAGING),
    do("GET", "/v1/webhooks/{id}/deliveries/{n}", may("webhook:read"), webhooks.delivery),
    do(
        "POST",
        "/v1/webhooks/{id}/deliveries/redeliver",
        may("webhook:write"),
        webhook_writes.redeliver,
        again=webhook_writes.told,
    ),
    do(
        "POST",
        "/v1/webhooks/{id}/deliveries/{n}/redeliver",
        may("webhook:write"),
        webhook_writes.redeliver_one,
        again=webhook_writes.told,
    ),
    # agents
    do("POST", "/v1/agent/session", NODE, agent.session),
    do("POST", "/v1/agent/sync", NODE, agent.sync),
    do("POST", "/v1/agent/secrets", NODE, agent_secrets.give),
    meets("/v1/agent/exec/{id}", NODE, execs.plain_agent, execs.deliver),
    do("POST", "/v1/agent/services", NODE, services.of_node),
    do("POST", "/v1/agent/samples", NODE, agent_samples.take),
    do("POST", "/v1/agent/logs", NODE, agent_logs.take),
)
