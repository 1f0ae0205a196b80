"""What dev mode prints."""

from __future__ import annotations

import pytest

from heroctl.dev.screen import Screen


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain words", "plain words"),
        ('{"level": "info", "event": "listening", "port": 80}', "info    listening port=80"),
        ('{"event": "no redis", "level": "warning", "why": "a b"}', 'warning no redis why="a b"'),
        ('{"timestamp": "x", "event": "e"}', "info    e"),
        ("{broken", "{broken"),
        ('{"event": "e", "why": "one\\n\\ttwo"}', 'info    e why="one two"'),
        ("\x1b[31mred\x1b[0m and\x07bell", "red and bell"),
    ],
)
def test_lines_stand_behind_their_childs_name(line: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    Screen().child("api", line)
    assert capsys.readouterr().err == f"api        │ {shown}\n"


def test_results_are_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.say("starting")
    screen.result("ready")
    assert capsys.readouterr() == ("ready\n", "dev        │ starting\n")
