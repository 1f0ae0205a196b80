"""Alerts: thresholds of metrics that somebody wants to be told of. What fires becomes an event, and so a webhook's."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import Written, encode, stamp, stamp_or_none
from api.world import World
from api.write import Done
from heroctl.domain import alerts
from heroctl.domain.alerts import Alert, absent
from heroctl.domain.duration import Duration
from heroctl.domain.errors import Invalid, Problem, Refusal, not_found
from heroctl.domain.events import AlertSet
from heroctl.domain.intents import alerts as intents
from heroctl.domain.topics import ALERTS, alert_topic


class AlertBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What an alert says. `condition`: such as `> 90`; `for`: how long it has to hold; without `job` it is of nodes."""

    metric: str
    condition: str
    hold: str = field(default="0s", name="for")
    job: str = ""
    task: str = ""
    node: str = ""
    description: str = ""


class NewAlert(AlertBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of `POST /v1/alerts`."""

    name: str


class AlertItem(Struct, frozen=True, gc=False):
    """An alert. `of`: for which node or allocation it fires, and with which `value`; "": it does not."""

    name: str
    namespace: str
    metric: str
    condition: str
    hold: str = field(name="for")
    job: str
    task: str
    node: str
    description: str
    state: Literal["ok", "firing"]
    of: str
    value: float
    fired_at: str | None
    created_at: str
    create_index: int
    modify_index: int


@tells(list[AlertItem])
def listing(world: World, query: Query) -> Reading:
    """All alerts, by namespace and name; `?namespace=`."""
    sees = query.sees

    def make() -> bytes:
        found = (alert for (namespace, _), alert in sorted(world.state.alerts.items()) if sees(namespace))
        return encode([_show(alert) for alert in found if query.passes("namespace", alert.said.namespace)])

    return Reading(ALERTS, make)


@tells(AlertItem, "alert_not_found")
def detail(world: World, query: Query) -> Reading:
    """One alert, and whether it fires."""
    namespace, name = query.namespace, query.path["name"]
    seen = query.sees(namespace)

    def make() -> bytes:
        alert = world.state.alerts.get((namespace, name)) if seen else None
        if alert is None:
            raise absent(namespace, name)
        return encode(_show(alert))

    return Reading(alert_topic(namespace, name) if seen else ALERTS, make)


def _show(alert: Alert) -> AlertItem:
    said = alert.said
    return AlertItem(
        said.name,
        said.namespace,
        said.metric,
        alerts.condition(said),
        str(Duration.of(said.seconds)),
        said.job,
        said.task,
        said.node,
        said.description,
        "ok" if alert.fired_at is None else "firing",
        alert.of,
        alert.value,
        stamp_or_none(alert.fired_at),
        stamp(alert.created_at),
        alert.create_index,
        alert.modify_index,
    )


@tells(AlertItem, "alert_exists", "too_many_alerts", "invalid_alert", "namespace_not_found", body=NewAlert, status=201)
async def create(call: Call) -> Answer:
    """Set an alert: a metric, a condition, and how long that has to hold. It fires and is over as events."""
    wanted = await call.body(NewAlert)
    said = _said(call, wanted, wanted.name, not_found("namespace", call.namespace))
    done = await call.change(intents.alert_stream(said.namespace, said.name), lambda s: intents.create_alert(s, said))
    return _made(call, done, said, 201)


async def created(call: Call, done: Done) -> Answer:
    """Say again which alert was made."""
    wanted = await call.body(NewAlert)
    return _made(call, done, _said(call, wanted, wanted.name, not_found("namespace", call.namespace)), 201)


@tells(AlertItem, "alert_not_found", "invalid_alert", body=AlertBody)
async def update(call: Call) -> Answer:
    """Set an alert anew. It is judged anew, too."""
    name = call.path["name"]
    said = _said(call, await call.body(AlertBody), name, absent(call.namespace, name))
    done = await call.change(intents.alert_stream(said.namespace, said.name), lambda s: intents.update_alert(s, said))
    return _made(call, done, said, 200)


@tells(Written, "alert_not_found")
async def delete(call: Call) -> Answer:
    """Drop an alert."""
    await call.nothing()
    namespace, name = call.namespace, call.path["name"]
    call.allow(namespace, absent=absent(namespace, name))
    stream = intents.alert_stream(namespace, name)
    done = await call.change(stream, lambda state: intents.delete_alert(state, namespace, name))
    return answer(Written(done.index, name=name), index=done.index)


def _said(call: Call, body: AlertBody, name: str, hidden: Refusal) -> AlertSet:
    """Read what is wanted, for who may want it: an alert of nodes is for those who may see them all."""
    namespace = call.namespace
    call.allow(namespace, absent=hidden)
    try:
        comparison, threshold = alerts.read_condition(body.condition)
    except ValueError as error:
        raise _invalid("condition", str(error)) from None
    try:
        seconds = int(Duration.parse(body.hold).seconds)
    except ValueError as error:
        raise _invalid("for", str(error)) from None
    words = {"job": body.job, "task": body.task, "node": body.node, "description": body.description}
    said = AlertSet(namespace, name, body.metric, comparison, threshold, seconds, **words)
    if alerts.kind_of(said) == "node":
        call.need_everywhere("node:read")
    else:
        call.need("metric:read", namespace, said.job, absent=hidden)
    return said


def _invalid(path: str, message: str) -> Invalid:
    return Invalid("invalid_alert", f"{path}: {message}", details=(Problem(path, "invalid_value", message),))


def _made(call: Call, done: Done, said: AlertSet, status: int) -> Answer:
    state = call.parts.view.state
    alert = state.alerts.get((said.namespace, said.name)) or Alert(said, state.time, done.index, done.index)
    return answer(_show(alert), status, index=done.index or state.topic_index(ALERTS))
