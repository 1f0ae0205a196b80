"""One attempt to tell a webhook something: signed, sent to an address that may be spoken to, and what came back.

A delivery carries `X-HeroCtl-Signature`, the hex digits of the HMAC-SHA256 of its body with the secret's bytes, and
what the Standard Webhooks ask for: an id, a time, and a signature over both and the body. While a secret rotates, the
one before signs as well.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import httpx2
from msgspec import Struct

from eventstore.deliveries import Delivery
from eventstore.log import LogUnavailable
from eventstore.master import Master
from eventstore.seal import Place
from heroctl.domain.credentials import rows_of
from heroctl.domain.delivery import ANSWER, TIMEOUT, asked_for
from heroctl.domain.errors import Refusal
from heroctl.domain.records import Webhook
from heroctl.outside import Outside, Unanswered

CONNECT: Final = 5.0  # seconds for each address
LINGER: Final = 2.0  # seconds for the body of an answer, which changes nothing
_STANDARD: Final = "whsec_"
_KNOWN: Final = 10_000  # secrets that are kept open


class Reply(Struct, frozen=True):
    """What came back: `status` 0: no answer, and why; `retry_after`: seconds that were asked for."""

    status: int = 0
    error: str = ""
    answer: bytes = b""
    retry_after: float = 0.0


class Post:
    """Sends. `release` is what this process is of."""

    def __init__(self, outside: Outside, master: Master, release: str) -> None:
        self._outside = outside
        self._master = master
        self._agent = f"HeroCtl/{release}"
        self._secrets: dict[str, str] = {}

    async def send(self, hook: Webhook, delivery: Delivery, now: int) -> Reply:
        """Tell a webhook something, once; `now` in ms. Raises LogUnavailable where its secret cannot be read."""
        try:
            secrets = [await self._secret(hook, row) for row in rows_of(hook, now)]
            async with asyncio.timeout(TIMEOUT):
                said = await self._outside.ask(
                    "POST",
                    httpx2.URL(hook.url),
                    {**headers(delivery, secrets, now // 1000), "User-Agent": self._agent},
                    ANSWER,
                    content=delivery.body,
                )
        except TimeoutError:
            return Reply(error=f"no answer within {TIMEOUT:g} seconds")
        except Unanswered as error:
            return Reply(error=f"the receiver {error}")
        except Refusal as error:
            return Reply(error=f"its secret cannot be opened: {error.message}")
        wait = asked_for(said.headers.get("retry-after", ""), now / 1000)
        wrong = "" if 200 <= said.status < 300 else f"the receiver answered {said.status}"
        return Reply(said.status, wrong, said.body, wait)

    async def close(self) -> None:
        """End."""
        await self._outside.close()

    async def _secret(self, hook: Webhook, row: str) -> str:
        found = self._secrets.get(row)
        if found is None:
            value = await self._master.open(Place(row, hook.namespace, f"webhook/{hook.id}", 1))
            if value is None:
                raise LogUnavailable("the row of a webhook's secret is not there")
            if len(self._secrets) >= _KNOWN:
                self._secrets.clear()
            found = self._secrets[row] = value.decode()
        return found


def headers(delivery: Delivery, secrets: Sequence[str], now: int) -> dict[str, str]:
    """Say what stands beside a body; the first secret is the present one. `now` in seconds."""
    signed = b".".join((delivery.id.encode(), str(now).encode(), delivery.body))
    found = {
        "Content-Type": "application/json",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{_base64(_key(secret), signed)}" for secret in secrets),
        "X-HeroCtl-Event": delivery.type,
        "X-HeroCtl-Attempt": str(delivery.attempts + 1),
        "X-HeroCtl-Signature": _hex(secrets[0], delivery.body),
    }
    if len(secrets) > 1:
        found["X-HeroCtl-Signature-Previous"] = _hex(secrets[1], delivery.body)
    return found


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _base64(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    """Give the bytes that the standard's libraries sign with: what is written in base64 behind their prefix."""
    if secret.startswith(_STANDARD):
        try:
            return base64.b64decode(secret.removeprefix(_STANDARD), validate=True)
        except binascii.Error:
            pass  # it only looks like one
    return secret.encode()
