"""Names are looked up by threads, and a machine may have none to spare."""

from __future__ import annotations

import threading

import pytest

from heroctl.outside import Names, Unanswered


async def test_names_that_got_no_thread_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", none_left)
        for number in range(20):
            with pytest.raises(Unanswered, match="cannot be looked up now"):
                await names.find(f"host-{number}", 443)
    assert "127.0.0.1" in await names.find("localhost", 443)
