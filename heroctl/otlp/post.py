"""Posts to an OTLP/HTTP endpoint, whoever that may be: in bounded time, and of its answer no more than is needed.

What to do about an answer is said by the protocol: 429, 502, 503 and 504 come again, and nothing else does.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from heroctl.otlp.target import Target

ANSWER: Final = 64 * 1024  # bytes of an answer that are read
LONGEST: Final = 120.0  # seconds for which an endpoint may ask to be left alone
_AGAIN: Final = frozenset({429, 502, 503, 504})


class Away(Exception):  # noqa: N818 - a temporary fault
    """Nobody takes it now. `after`: seconds for which the endpoint asks to be left alone; 0: it did not say."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Refused(Exception):  # noqa: N818 - an answer
    """This will not be taken, now or later."""


class Post:
    """See above."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._headers = {"content-type": "application/x-protobuf", "user-agent": "heroctl", **target.headers}
        if target.gzip:
            self._headers["content-encoding"] = "gzip"
        self._client: httpx2.AsyncClient | None = None

    async def send(self, body: bytes) -> bytes:
        """Post one message and return the answer's body. Raises Away and Refused."""
        try:
            async with asyncio.timeout(self._target.patience):
                return await self._sent(body)
        except TimeoutError as error:
            raise Away("does not answer in time") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Away(f"does not answer: {str(error) or type(error).__name__}") from error

    async def _sent(self, body: bytes) -> bytes:
        client = await self._http()
        content = await asyncio.to_thread(gzip.compress, body, 6) if self._target.gzip else body
        answer = bytearray()
        async with client.stream("POST", self._target.url, headers=self._headers, content=content) as response:
            status, after = response.status_code, _after(response.headers.get("retry-after", ""))
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > ANSWER:
                    break
        if status in _AGAIN:
            raise Away(f"answers {status}", after)
        if not 200 <= status < 300:
            raise Refused(f"answers {status}")
        return bytes(answer) if len(answer) <= ANSWER else b""

    async def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            certificate = self._target.certificate or None
            context = await asyncio.to_thread(ssl.create_default_context, cafile=certificate)
            self._client = httpx2.AsyncClient(
                verify=context,
                timeout=self._target.patience,
                limits=httpx2.Limits(max_connections=1),
                follow_redirects=False,
                headers={"accept-encoding": "identity"},
            )
        return self._client

    async def close(self) -> None:
        """End."""
        if self._client is not None:
            await self._client.aclose()


def _after(text: str) -> float:
    """Read `Retry-After`: seconds, or a date."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN is no time
