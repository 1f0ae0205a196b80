"""Every code that an answer can carry in `error`: the refusal it comes with, what it means, and what to do about it.

The codes are the contract, the words are for people: docs/errors.md and the OpenAPI document are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from api.bounds import HeadTooLarge, UriTooLong
from api.code import AGAIN, LIST, OTHER, SHOWN, Code
from api.codes_asked import ASKED
from api.errors import MethodNotAllowed
from heroctl.domain.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refusal,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    UpgradeRequired,
)


class Internal(Refusal):
    """500: a fault of the server. Nobody raises this: it is what everything unforeseen becomes."""

    status = 500


FAMILIES: Final[dict[str, Callable[[str], Code]]] = {
    "_not_found": lambda what: Code(NotFound, f"There is no such {what}.", "List what is there."),
    "_exists": lambda what: Code(Conflict, f"There is a {what} of this name.", "Choose another name, or change that."),
    "_in_use": lambda what: Code(Conflict, f"Something has this {what}.", "Take it from those that `message` names."),
    "_spent": lambda what: Code(Conflict, f"The {what} was used, or ended meanwhile.", "Make a new one."),
}


def known(code: str) -> Code:
    """Give what a code means: one of the table, or one of a family, by its last word."""
    if code in CODES:
        return CODES[code]
    if code.startswith("invalid_"):
        return Code(Invalid, f"`{code.removeprefix('invalid_')}` has a value that it cannot have.", SHOWN)
    for end, make in FAMILIES.items():
        if code.endswith(end):
            return make(code.removesuffix(end).replace("_", " "))
    return Code(Refusal, code.replace("_", " ").capitalize() + ".", "See `message`.")


def explained(code: str) -> bool:
    """Tell whether a code is in the table or of a family."""
    return known(code).kind is not Refusal


CODES: Final[dict[str, Code]] = {
    **ASKED,
    # 401, 403
    "token_invalid": Code(
        Unauthenticated, "There is no token, or one that is malformed, unknown or revoked.", "Log in, or make a token."
    ),
    "token_expired": Code(Unauthenticated, "The token was good once.", "Log in again, or refresh before its end."),
    "invalid_credentials": Code(
        Unauthenticated, "No user has this name and password.", "Check both; which of them is wrong is not told."
    ),
    "join_token_invalid": Code(
        Unauthenticated, "The join token is malformed, unknown, spent or over.", "Make a new one: `heroctl node token`."
    ),
    "forbidden": Code(
        Forbidden, "The token is valid and does not give the right that `message` names.", "Use one with such a role."
    ),
    "exceeds_own_rights": Code(
        Forbidden,
        "Somebody would get rights by this that the token does not have: nobody gives what he has not.",
        "`message` names them. Give fewer, or let an admin do it.",
    ),
    "wrong_password": Code(Forbidden, "`current` is not the password of the user who is logged in.", "Check it."),
    "not_a_password_login": Code(
        Forbidden, "An ACL token changes no password.", "Log in with name and password, and use that token."
    ),
    # 404
    "route_not_found": Code(NotFound, "There is no such route.", "See `/v1/openapi.json` for those that there are."),
    "job_not_found": Code(NotFound, "There is no such job.", LIST),
    "version_not_found": Code(
        NotFound, "The job, or the secret, has no such version, or it is not kept any more.", "List its versions."
    ),
    "task_not_found": Code(NotFound, "The job has no such task.", "Read the job, or leave it out where there is one."),
    "deployment_not_found": Code(NotFound, "There is no such deployment, or it is not kept any more.", LIST),
    "allocation_not_found": Code(NotFound, "There is no such allocation.", "Give its id, or at least 4 letters of it."),
    "node_not_found": Code(
        NotFound, "There is no such node.", "Give its id, its name, or at least 4 letters of the id."
    ),
    "event_not_found": Code(
        NotFound, "The log has not come to this index yet.", "Read `/v1/cluster/status` for its head."
    ),
    "page_not_found": Code(NotFound, "The documentation has no such page.", "Begin at `/v1/docs`."),
    # 405
    "method_not_allowed": Code(
        MethodNotAllowed, "The path is there, not with this method.", "The header `Allow` lists those that it has."
    ),
    # 409
    "job_exists": Code(
        Conflict, "`check_index=0` asks for a new job, and there is one of this name.", "Read it, then decide."
    ),
    "index_conflict": Code(
        Conflict,
        "The job is not at the `spec_index`, or the secret not at the `modify_index`, that `check_index` asks for.",
        "Read it again, then decide.",
    ),
    "allocation_over": Code(
        Conflict, "The allocation is over: nothing of it runs any more.", "List the job's: another may have its place."
    ),
    "allocation_stopping": Code(
        Conflict, "The allocation is stopping, or was given up.", "List the job's: another takes its place."
    ),
    "allocation_not_running": Code(
        Conflict, "Nothing of the allocation runs now: it is being started, or about to be.", "Wait until it runs."
    ),
    "browser_refused": Code(
        Forbidden, "A WebSocket was asked for with an `Origin`, as browsers do.", "Use the command line."
    ),
    "upgrade_required": Code(
        UpgradeRequired, "The route speaks over a WebSocket.", "Open one, in the subprotocol that `message` names."
    ),
    "too_many_signals": Code(
        Conflict, "The allocation's node has not answered for the signals before.", "Look whether the node is up."
    ),
    "job_stopped": Code(Conflict, "The job is stopped: nothing of it runs.", "Submit it again to start it."),
    "settings_changed": Code(
        Conflict, "The settings are not at the index that `check_index` asks for.", "Read them again, then decide."
    ),
    "job_type_fixed": Code(
        Conflict,
        "The job is of another type, and a job stays what it is.",
        "Delete it first, or give this one another name.",
    ),
    "not_scalable": Code(
        Conflict,
        "The job is of type system: it runs once on every node that fits.",
        "Say by constraints on which nodes, and submit it again.",
    ),
    "not_batch": Code(
        Conflict,
        "The job is not of type batch: it is rolled out, not launched.",
        "Submit, scale or restart it instead.",
    ),
    "not_periodic": Code(Conflict, "The job is not launched by the clock.", "Dispatch it, or restart it."),
    "not_dispatchable": Code(
        Conflict, "The job is launched by the clock.", "Force it: `POST /v1/jobs/{name}/periodic/force`."
    ),
    "not_restartable": Code(
        Conflict,
        "The job is launched by the clock, or when it is dispatched.",
        "Force it (`periodic/force`) or dispatch it.",
    ),
    "too_many_launches": Code(
        Conflict, "500 launches of the job have not ended yet.", "Wait for some of them, or give the cluster more room."
    ),
    "no_stable_version": Code(
        Conflict, "No earlier version that is kept was ever deployed.", "List its versions, and name one."
    ),
    "secret_version_gone": Code(
        Conflict,
        "The version was made with a version of a secret that was deleted.",
        "Submit its spec again: that takes the present one.",
    ),
    "not_promotable": Code(
        Conflict, "The deployment waits for no promotion: it rolls by itself.", "Watch it, pause it or end it."
    ),
    "not_ready": Code(
        Conflict,
        "What is to be promoted does not stand yet: not all of its new replicas are healthy.",
        "Wait until `awaiting` is true, then ask again.",
    ),
    "deployment_over": Code(Conflict, "The deployment has ended.", "Read `status`; a new one begins with a submit."),
    "no_successor": Code(Conflict, "No other reconciler, or not this one, can take over.", "See `/v1/cluster/peers`."),
    "ambiguous_id": Code(Conflict, "Several ids begin so.", "Give more of it."),
    "webhook_disabled": Code(
        Conflict,
        "The webhook is switched off, and is told nothing.",
        "Switch it on: `PATCH` it with `enabled: true`. `reason` says why the cluster switched it off.",
    ),
    "too_many_webhooks": Code(
        Conflict, "The namespace has as many webhooks as it may have.", "Delete those that lead nowhere any more."
    ),
    "secret_pinned": Code(
        Conflict,
        "Jobs that are to run use the secret: without it none of their replicas could be started anew.",
        "Change or stop the jobs that `message` names, or delete it with `?force=true`.",
    ),
    "secret_lost": Code(
        Conflict,
        "The value cannot be opened: its master key is lost, or its row in the database was changed.",
        "Write the secret anew.",
    ),
    "built_in": Code(Conflict, "What the product comes with cannot be changed.", "Make one of your own beside it."),
    "last_admin": Code(
        Conflict, "Nobody else is admin, in all namespaces.", "Give another user the role `admin` in all of them first."
    ),
    "default_namespace": Code(Conflict, "The namespace `default` is always there.", "Delete the jobs in it instead."),
    "namespace_not_empty": Code(
        Conflict, "The namespace holds something.", "Delete what `message` names, and wait until it is gone."
    ),
    "node_in_use": Code(
        Conflict,
        "Another machine speaks for this node just now: a clone of its disk.",
        "Join the clone under a name of its own.",
    ),
    "not_movable": Code(Conflict, "Replicas of batch and system jobs stay where they are.", "There is nothing to do."),
    "node_draining": Code(
        Conflict, "The node is being drained: nothing new may come to it.", "Cancel the drain: `heroctl node undrain`."
    ),
    "session_replaced": Code(Conflict, "A newer agent speaks for this node.", "This one ends; its containers stay."),
    "session_unknown": Code(Conflict, "The log does not know this session: it was restored.", "Open a session again."),
    "session_lapsed": Code(
        Conflict, "The node was silent until it was declared down.", "Open a session again, and go on."
    ),
    "verify_running": Code(Conflict, "This process is checking the log already.", "Wait for that, or ask another api."),
    "idempotency_key_reused": Code(Conflict, "The key was used for another request.", "A new request needs a new key."),
    "keys_in_file": Code(
        Conflict,
        "The signing keys are lines of a file that the operator keeps.",
        "Add a line at the end of `--signing-key-file`, on every server.",
    ),
    "already_done": Code(
        Conflict,
        "This was done before under the same key, and its answer cannot be given again.",
        "Read what is there now; `message` names the index.",
    ),
    "upgrade_incomplete": Code(
        Conflict, "An older process that may still live would not understand this.", "Finish the upgrade first."
    ),
    # 410
    "index_compacted": Code(
        Gone, "What was before this index is not kept any more.", "Read the state, and go on from its index."
    ),
    "node_removed": Code(Gone, "The node was removed from the cluster.", "Let the server join again to use it."),
    # 413
    "body_too_large": Code(TooLarge, "The body has more than 1 MiB.", "Split the job, or put less into its texts."),
    # 414, 431
    "uri_too_long": Code(UriTooLong, "Path and query are too long.", "Ask for less at once."),
    "headers_too_large": Code(HeadTooLarge, "The headers are too large.", "Send fewer of them."),
    # 429
    "rate_limited": Code(TooMany, "The limit of this token, or of this address, is reached.", AGAIN),
    "too_many_logins": Code(TooMany, "Too many attempts to log in under this name, or from this address.", AGAIN),
    "too_many_connections": Code(TooMany, "Your address has too many requests open.", "Close some, or wait for them."),
    "too_many_waiters": Code(TooMany, "Your token has too many long polls open.", "Close some, or wait for them."),
    "too_many_streams": Code(TooMany, "Your token has too many streams open.", "Close some."),
    # 500
    "internal": Code(
        Internal,
        "A fault of the server, which is in its log under the `request_id`.",
        "Report it with the `request_id`.",
    ),
    # 503
    "log_unavailable": Code(
        Unavailable,
        "Postgres is away, or the connection broke while the answer was on its way: a write may be done.",
        "Ask again after `Retry-After` seconds, with the same `Idempotency-Key`.",
    ),
    "busy": Code(Unavailable, "Too many ask for the same at once; nothing was done.", AGAIN),
    "behind": Code(Unavailable, "This process has not read the log so far yet.", OTHER),
    "starting": Code(Unavailable, "This process has not read the log yet.", OTHER),
    "draining": Code(Unavailable, "This process is about to end.", OTHER),
    "outdated": Code(
        Unavailable, "This process is of an older release than the log.", "Ask another, and upgrade this."
    ),
    "no_coordinator": Code(
        Unavailable,
        "No reconciler coordinates just now, and this makes sense only while one does; nothing was done.",
        "Ask again after `Retry-After` seconds; `/v1/cluster/status` tells who coordinates.",
    ),
    "secrets_not_configured": Code(
        Unavailable,
        "This api was given no master key, without which it neither seals nor opens a secret.",
        "Start it with `--secrets-key-file`: a line of `openssl rand -base64 32` is a good key.",
    ),
    "secrets_key_missing": Code(
        Unavailable,
        "This api lacks a master key that secrets are sealed with: a rekey was made before every server had it.",
        "Add the key that `message` names to this api's own; or ask another api.",
    ),
    "disk_low": Code(
        Unavailable,
        "The database's disk is nearly full. What stops or deletes is still taken.",
        "Free some of it, then ask again.",
    ),
    "past_timeout": Code(Unavailable, "The state at this moment is still being folded.", AGAIN),
    "past_failed": Code(
        Unavailable, "The process that folds the past ended: it may lack memory.", "Ask again; look at the api's log."
    ),
    "log_broken": Code(
        Unavailable, "The log is not whole, or was replaced just now.", "Run `heroctl log verify`; then ask again."
    ),
}
