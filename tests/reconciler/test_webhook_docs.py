"""The receivers that are printed in docs/webhooks.md: run, told something true and something forged."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from reconciler.webhook_post import Reply, headers
from tests import house
from tests.needs import needs
from tests.reconciler.test_webhook_post import BODY, DELIVERY, Sender
from tests.servers import free_port
from tests.waiting import until

SECRET: Final = "whk_a1b2c3"
PAGE: Final = house.ROOT / "docs" / "webhooks.md"


def snippet(language: str) -> str:
    """Give what is printed in a language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(
    ("language", "name"), [("python", "receiver.py"), pytest.param("js", "receiver.cjs", marks=needs("node"))]
)
def test_a_printed_receiver_takes_what_is_ours_and_nothing_else(language: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(snippet(language))
    port, command = free_port(), sys.executable if language == "python" else "node"
    environ = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    url = f"http://127.0.0.1:{port}/"
    out = tmp_path / "out"
    with out.open("wb") as said, subprocess.Popen([command, name], cwd=tmp_path, env=environ, stdout=said) as running:
        try:
            until(lambda: _answers(url), timeout=30, what="the receiver")
            assert asyncio.run(_told(url)) == [Reply(204), Reply(204)]
            signed = headers(DELIVERY, ["whk_forged"], 1)
            assert httpx2.post(url, content=BODY, headers=signed, trust_env=False).status_code == 401
            signed = headers(DELIVERY, [SECRET], 1)
            assert httpx2.post(url, content=BODY + b" ", headers=signed, trust_env=False).status_code == 401
        finally:
            running.kill()
    assert out.read_text().count("evt_a_7 job.deployed") == 2


def _answers(url: str) -> bool:
    try:
        return httpx2.post(url, content=b"{}", trust_env=False).status_code == 401
    except httpx2.HTTPError:
        return False


async def _told(url: str) -> list[Reply]:
    sender = Sender()
    await sender.keep(SECRET)
    first = await sender.send(url)
    await sender.keep("whk_another")
    replies = [first, await sender.send(url)]
    await sender.post.close()
    return replies


def test_what_is_printed_in_go_says_the_same() -> None:
    """There may be no compiler here: its words are held to what the others do."""
    text = snippet("go")
    for word in ("hmac.New(sha256.New", "hmac.Equal", "X-HeroCtl-Signature", "X-HeroCtl-Signature-Previous"):
        assert word in text
    assert text.count("{") == text.count("}")
