"""What an api process can be told, and what it refuses to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.__main__ import main
from api.settings import Settings
from heroctl.domain.settings import SettingsError, load

DSN = "postgresql://u:secret@db/x"


def read(*argv: str) -> Settings:
    return load(Settings, ["--dsn", DSN, *argv], {})


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "localhost:1", "[::1]:8080", "127.8.8.8:65535"])
def test_loopback_needs_no_tls(listen: str) -> None:
    assert read("--listen", listen).address.is_loopback


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "example.com:80"])
def test_anything_else_needs_tls_or_a_proxy(listen: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--tls-cert"):
        read("--listen", listen)
    assert read("--listen", listen, "--behind-proxy").address.port
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    assert read("--listen", listen, "--tls-cert", str(tmp_path / "cert"), "--tls-key", str(tmp_path / "key")).tls


@pytest.mark.parametrize(
    "listen", ["8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", ":8080", "a:b"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match="--listen"):
        read("--listen", listen)


@pytest.mark.parametrize(
    "argv", [["--tls-cert", "/none"], ["--tls-cert", "/none", "--tls-key", "/none"], ["--log-level", "loud"]]
)
def test_what_cannot_work_is_refused(argv: list[str]) -> None:
    with pytest.raises(SettingsError):
        read(*argv)


def test_secrets_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dsn", DSN, "--redis-url", "redis://:hush@r/0", "--show-config"]) == 0
    shown = capsys.readouterr().out
    assert "secret" not in shown.replace("secrets_", "")
    assert "hush" not in shown
    assert 'listen = "127.0.0.1:8080"' in shown


def test_wrong_settings_are_told_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--listen", "0.0.0.0:80"]) == 2
    said = capsys.readouterr().err
    assert "--dsn" in said
    assert main(["--help"]) == 0
    assert "--admin-password-file" in capsys.readouterr().out
