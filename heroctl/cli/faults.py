"""What goes wrong on the command line: one exception, and the words for everything a server or a network can answer.

Each fault says what happened, under which code and request id, and what to do next. Pure: `__main__` prints it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

HEALTHY: Final = 0
REFUSED: Final = 1  # bad usage, or the API said no
FAILED: Final = 2
TIMED_OUT: Final = 3
BLOCKED: Final = 4
INTERRUPTED: Final = 130

_TEMPORARY: Final = (429, 502, 503, 504)


class Problem(Struct, frozen=True):
    """One thing that is wrong with a document, and where."""

    path: str = ""
    code: str = ""
    message: str = ""


class Body(Struct, frozen=True):
    """The body of every refusal."""

    error: str
    message: str = ""
    request_id: str = ""
    details: tuple[Problem, ...] = ()


class Fault(Exception):  # noqa: N818 - said to people, not an error of this program
    """A command cannot do what it was asked. `facts` are (word, value) rows, `hints` what to do next."""

    def __init__(
        self,
        message: str,
        *,
        hints: Sequence[str] = (),
        facts: Sequence[tuple[str, str]] = (),
        problems: Sequence[Problem] = (),
        code: int = REFUSED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
        self.facts = tuple(facts)
        self.problems = tuple(problems)
        self.code = code


class Refused(Fault):
    """The API answered with an error."""

    def __init__(self, status: int, body: Body, *, hints: Sequence[str], retry_after: float = 0.0) -> None:
        facts = [("code", f"{body.error} (HTTP {status})")]
        if body.request_id:
            facts.append(("request", body.request_id))
        message = body.message or body.error
        if body.error == "invalid_spec" and body.details:
            message = f"the spec has {counted(len(body.details), 'problem')}"
        problems = [each for each in body.details if message != f"{each.path}: {each.message}"]  # said once is enough
        super().__init__(message, hints=hints, facts=facts, problems=problems)
        self.status = status
        self.error = body.error
        self.retry_after = retry_after


def counted(count: int, thing: str) -> str:
    """Say how many: `1 problem`, `2 problems`."""
    return f"{count} {thing}" + "s" * (count != 1)


class Unreachable(Fault):
    """Nobody answered, or nobody whom we understand."""


class Caller(NamedTuple):
    """Who asked: where, with a token from where (`--token`, `HEROCTL_TOKEN`, a context's name, or nowhere)."""

    address: str
    origin: str = ""
    context: str = ""


def refused(status: int, raw: bytes, caller: Caller, *, retry_after: float = 0.0) -> Refused | Unreachable:
    """Say what a refusal means; an answer that no API of ours gives is `Unreachable`."""
    try:
        body = msgspec.json.decode(raw, type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return stranger(status, "", caller)
    return Refused(status, body, hints=list(_hints(status, body.error, caller, retry_after)), retry_after=retry_after)


def stranger(status: int, content_type: str, caller: Caller, *, location: str = "") -> Unreachable:
    """Say that something answered which is not a HeroCtl API; `location` is where it sends us instead."""
    what = f"HTTP {status}" + (f", {content_type.partition(';')[0]}" if content_type else "")
    hints = ["check the address: it is the API's own, such as https://manage.example.com, without /v1"]
    if status in _TEMPORARY:
        hints = ["a proxy in front of the API cannot reach it just now: try again shortly", *hints]
    if location:
        hints = [f"it sends us to {location}: if you trust that, use it as the address"]
    return Unreachable(f"{caller.address} answered, but not as a HeroCtl API ({what})", hints=hints)


def unreachable(error: Exception, caller: Caller) -> Unreachable:
    """Say why no answer came."""
    where, causes = caller.address, list(_causes(error))
    host = where.partition("://")[2].partition("/")[0]
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            hints = ["start a cluster on this machine: heroctl dev", f"or name another: heroctl login ADDR ({_from()})"]
            return Unreachable(f"nothing listens at {where} (connection refused)", hints=hints)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, host)
        if isinstance(cause, ssl.SSLError):
            hints = [f"if it speaks plain HTTP: heroctl login http://{host}"]
            return Unreachable(f"{where} does not speak TLS as expected ({cause.reason or cause})", hints=hints)
        if isinstance(cause, socket.gaierror):
            return Unreachable(f"the name {host.partition(':')[0]} cannot be resolved", hints=[f"check {_from()}"])
    name = type(error).__name__
    if "Timeout" in name:
        doing = "accept a connection" if name == "ConnectTimeout" else "answer in time"
        return Unreachable(
            f"{where} did not {doing}", hints=["check the network between here and there, and try again"]
        )
    hints = ["try again; heroctl status tells how the cluster is"]
    if name == "RemoteProtocolError" and where.startswith("http://"):
        hints.append(f"if it speaks TLS: heroctl login https://{host}")
    return Unreachable(f"the connection to {where} broke ({str(error) or name})", hints=hints)


def _from() -> str:
    return "--address, HEROCTL_ADDR or the context"


def _untrusted(cause: ssl.SSLCertVerificationError, host: str) -> Unreachable:
    hints = [f"if it is signed by your own authority: heroctl login https://{host} --ca-cert FILE"]
    if "Hostname mismatch" in cause.verify_message or "IP address mismatch" in cause.verify_message:
        hints = ["use the name that the certificate is for"]
    return Unreachable(f"the certificate of {host} is not trusted: {cause.verify_message}", hints=hints)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _hints(status: int, error: str, caller: Caller, retry_after: float) -> Iterator[str]:
    if status == 401:
        yield from _unauthorized(caller)
    elif error in _TO_DO:
        yield _TO_DO[error]
    elif status == 403:
        yield "see what you may: heroctl acl self; ask an admin for a role that allows this"
    elif status == 404 and error in _LISTS:
        yield f"see what there is: {_LISTS[error]}"
    elif status in (404, 405):
        yield "if the API is older than this command line, it may not know the request yet"
    elif status == 409:
        yield "look at the present state, then decide again"
    elif status in _TEMPORARY:
        yield f"try again in {retry_after:.0f} s" if retry_after else "try again shortly"
        yield "how the cluster is: heroctl status"
    elif status < 500:
        yield "see how it is typed: the same command with --help"
    else:
        yield "report it with the request id; the API's log has the rest"


_LISTS: Final = {
    "job_not_found": "heroctl job list",
    "allocation_not_found": "heroctl alloc list",
    "node_not_found": "heroctl node list",
    "deployment_not_found": "heroctl deployment list",
    "member_not_found": "heroctl cluster peers",
    "version_not_found": "heroctl job history JOB, heroctl secret history NAME",
    "secret_not_found": "heroctl secret list",
    "task_not_found": "heroctl job status JOB",
    "event_not_found": "heroctl log tail",
    "user_not_found": "heroctl acl user list",
    "token_not_found": "heroctl acl token list",
    "role_not_found": "heroctl acl role list",
    "policy_not_found": "heroctl acl policy list",
    "namespace_not_found": "heroctl namespace list",
    "alert_not_found": "heroctl alert list",
    "webhook_not_found": "heroctl webhook list",
    "delivery_not_found": "heroctl webhook deliveries ID",
}
_TO_DO: Final = {
    "index_conflict": "somebody was faster: heroctl job plan FILE, then decide again",
    "job_exists": "leave out --check-index 0 to change the job that is there: heroctl job plan FILE",
    "job_stopped": "start it again: heroctl job run FILE",
    "job_type_fixed": "remove the one that is there, heroctl job delete NAME, or take another name",
    "not_batch": "it is rolled out: heroctl job run FILE, heroctl job restart NAME",
    "not_periodic": "launch it: heroctl job dispatch NAME",
    "not_dispatchable": "launch it now: heroctl job periodic force NAME",
    "not_restartable": "launch it: heroctl job periodic force NAME, heroctl job dispatch NAME",
    "too_many_launches": "see what they wait for: heroctl job explain NAME",
    "secret_pinned": "who needs it: heroctl secret describe NAME",
    "secret_exists": "leave out --check-index 0 to give it another value",
    "secret_lost": "write it anew: heroctl secret create NAME",
    "secrets_not_configured": "on the api's server: --secrets-key-file; see docs/secrets.md, and heroctl doctor",
    "secrets_key_missing": "add that key to the file of every api; see docs/secrets.md",
    "alert_exists": "change it: heroctl alert update NAME",
    "too_many_alerts": "delete those that nobody needs: heroctl alert list",
    "webhook_disabled": "why it is off: heroctl webhook status ID; then: heroctl webhook update ID --enable",
    "too_many_webhooks": "delete those that lead nowhere any more: heroctl webhook list",
    "no_stable_version": "choose one: heroctl job history JOB, then heroctl job rollback JOB VERSION",
    "deployment_over": "see what became of it: heroctl deployment list",
    "not_promotable": "how it goes on by itself: heroctl deployment list --watch",
    "not_ready": "watch it become healthy: heroctl deployment list --watch",
    "no_successor": "start one more reconciler, then see that it is there: heroctl cluster peers",
    "ambiguous_id": "type more of the id",
    "invalid_spec": "mend it, then look again: heroctl validate FILE",
    "upgrade_incomplete": "the cluster's processes are of different releases: heroctl doctor",
    "exceeds_own_rights": "see what you may: heroctl acl self; an admin may give everything",
    "wrong_password": "type the password that you log in with",
    "not_a_password_login": "log in with your name and password: heroctl login",
    "last_admin": "make another admin first: heroctl acl user update NAME --role admin --namespace '*'",
    "role_in_use": "take it from them first: heroctl acl user update, heroctl acl token delete",
    "policy_in_use": "take it from those roles first: heroctl acl role update",
    "built_in": "make one of your own: heroctl acl policy create, heroctl acl role create",
    "namespace_not_empty": "remove its jobs first: heroctl job list -n NAME",
}


def _unauthorized(caller: Caller) -> Iterator[str]:
    if not caller.origin:
        yield f"log in first: heroctl login {caller.address}"
    elif caller.origin == caller.context:
        yield f"the session of context {caller.context} is over: heroctl login {caller.address}"
    else:
        yield f"the token in {caller.origin} is wrong, expired or revoked: take another, or heroctl login"
