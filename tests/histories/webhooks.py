"""The part of the made history that is about webhooks: made, changed, rotated, tried, switched off and deleted."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.intents import access, webhooks
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it, of webhooks and of people of its own."""
    world.do(access.create_user(world.state, "hugo", ("operator",), "vault-hugo", ("*",)))
    world.do(access.create_token(world.state, e.TokenCreated("t-hook", "hook", "hugo", ("operator",), "vault-t-hook")))
    _make(world, "wh-1", "admin", events=("job.deployed", "node.down"))
    _make(world, "wh-2", "hugo", token="t-hook", namespace="*")
    _make(world, "wh-3", "hugo")
    hook = world.state.webhooks["wh-1"]
    changed = e.WebhookUpdated(
        hook.id, hook.namespace, hook.url, ("*",), "admin", description="for the chat", enabled=False
    )
    world.do(webhooks.update_webhook(world.state, changed))
    on = e.WebhookUpdated(hook.id, hook.namespace, "https://hooks.example.com/2", ("*",), "admin")
    world.do(webhooks.update_webhook(world.state, on))
    rotated = e.WebhookRotated("wh-1", hook.namespace, "vault-wh-1-2", world.state.time + 60_000)
    world.do(webhooks.rotate_webhook(world.state, rotated))
    world.do(webhooks.ping_webhook(world.state, "wh-1"))
    world.do(webhooks.redeliver(world.state, "wh-1", 3, 9, failed_only=True))
    world.do(access.delete_token(world.state, "t-hook"))
    world.add(e.WebhookDisabled("wh-2", "*", "creator_gone"))
    world.do(webhooks.delete_webhook(world.state, "wh-2"))
    world.do(access.delete_user(world.state, "hugo"))


def _make(
    world: World,
    identity: str,
    user: str,
    *,
    token: str = "",
    namespace: str = "default",
    events: tuple[str, ...] = ("*",),
) -> None:
    event = e.WebhookCreated(
        identity, namespace, f"https://hooks.example.com/{identity}", events, f"vault-{identity}", user, token
    )
    world.do(webhooks.create_webhook(world.state, event))
