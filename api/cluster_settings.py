"""The settings of the cluster: what an operator may change while it runs."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, structs

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.wire import encode
from api.world import World
from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.intents import settings as intents
from heroctl.domain.state import State
from heroctl.domain.topics import SETTINGS


class SettingsBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/cluster/settings`: what is left out stays as it is."""

    placement: Literal["binpack", "spread"] | UnsetType = UNSET
    preemption: bool | UnsetType = UNSET
    auto_rebalance: bool | UnsetType = UNSET


class SettingsItem(Struct, frozen=True):
    """All settings; `index`: of their last change, 0 if there was none.

    `placement`: nodes are filled one after the other (`binpack`), or kept alike (`spread`). `preemption`: replicas make
    way for such of a priority that is higher by 10 or more. `auto_rebalance`: replicas move when a node joins.
    """

    placement: str
    preemption: bool
    auto_rebalance: bool
    index: int


@tells(SettingsItem)
def show(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """The settings of the cluster."""
    return Reading(SETTINGS, lambda: encode(_item(world.state)))


def _item(state: State) -> SettingsItem:
    now = cluster_settings(state)
    return SettingsItem(now.placement, now.preemption, now.auto_rebalance, intents.settings_index(state))


@tells(SettingsItem, "settings_changed", body=SettingsBody)
async def update(call: Call) -> Answer:
    """Set some of the settings of the cluster."""
    given = {key: value for key, value in structs.asdict(await call.body(SettingsBody)).items() if value is not UNSET}
    guard = call.number("check_index")
    done = await call.change(intents.STREAM, lambda state: intents.set_settings(state, given, guard))
    now = _item(call.parts.view.state)
    return answer(now, index=done.index or call.parts.view.state.topic_index(SETTINGS))
