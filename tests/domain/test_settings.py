"""One Struct is the flags, the variables and the lines of a file of a process."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct, field

from heroctl.domain.duration import Duration, Size
from heroctl.domain.settings import Ended, SettingsError, asked, begin, describe, load, show, table, usage


class Settings(Struct, frozen=True, kw_only=True):
    api: Annotated[tuple[str, ...], describe("where the api is")]
    listen: Annotated[str, describe("where to listen")] = "127.0.0.1:8080"
    workers: Annotated[int, Meta(ge=1), describe("how many")] = 1
    cpu: float | None = None
    memory: Size | None = None
    every: Annotated[Duration, describe("how often")] = Duration(2_000)
    runtime: Literal["auto", "docker"] = "auto"
    dev: bool = False
    colour: bool = True
    labels: Annotated[dict[str, str], describe("labels", flag="label")] = field(default_factory=dict)
    join_token: Annotated[str, describe("a token", secret=True)] = ""
    database_url: str = ""

    def __post_init__(self) -> None:
        if self.dev and self.workers > 1:
            msg = "dev mode has one worker"
            raise ValueError(msg)


def read(*argv: str, env: dict[str, str] | None = None, toml: str = "") -> Settings:
    return load(Settings, argv, env or {}, toml, section="agent")


def problems(*argv: str, env: dict[str, str] | None = None, toml: str = "") -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(*argv, env=env, toml=toml)
    return caught.value.problems


def test_the_defaults_hold_where_nothing_is_given() -> None:
    assert read("--api", "http://a") == Settings(api=("http://a",))


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default() -> None:
    toml = 'listen = "file:1"\n'
    env = {"HEROCTL_LISTEN": "env:1"}
    assert read("--api=a", toml=toml).listen == "file:1"
    assert read("--api=a", toml=toml, env=env).listen == "env:1"
    assert read("--api=a", "--listen", "flag:1", toml=toml, env=env).listen == "flag:1"


def test_the_table_of_the_process_wins_over_the_shared_top_level() -> None:
    toml = 'listen = "shared"\nother = 1\n[agent]\nlisten = "own"\n[api]\nlisten = "not ours"\nunheard = 1\n'
    assert read("--api=a", toml=toml).listen == "own"


def test_every_shape_is_read_from_flags() -> None:
    settings = read(
        *("--api", "a", "--api=b", "--workers", "3", "--cpu", "1.5", "--memory", "2GiB", "--every=250ms"),
        *("--runtime", "docker", "--dev=false", "--no-colour", "--label", "a=1", "--label=b=x=y"),
    )
    assert settings.api == ("a", "b")
    assert (settings.workers, settings.cpu, settings.memory) == (3, 1.5, Size(2 << 30))
    assert (settings.every, settings.runtime, settings.dev, settings.colour) == (Duration(250), "docker", False, False)
    assert settings.labels == {"a": "1", "b": "x=y"}


def test_lists_and_maps_are_comma_separated_in_variables_and_native_in_the_file() -> None:
    env = {"HEROCTL_API": "a,b", "HEROCTL_LABELS": "x=1,y=2", "HEROCTL_DEV": "Yes"}
    assert (read(env=env).api, read(env=env).labels, read(env=env).dev) == (("a", "b"), {"x": "1", "y": "2"}, True)
    toml = 'api = ["a", "b"]\nworkers = 2\ncolour = false\nmemory = "1KB"\nlabels = {x = "1"}\n'
    settings = read(toml=toml)
    assert (settings.api, settings.workers, settings.colour) == (("a", "b"), 2, False)
    assert (settings.labels, settings.memory) == ({"x": "1"}, Size(1000))


def test_everything_that_is_wrong_is_said_at_once_and_says_where() -> None:
    found = problems(
        *("--workers", "0", "--nonsense", "--label", "novalue", "--listen"),
        env={"HEROCTL_CPU": "many", "HEROCTL_DEV": "maybe", "HEROCTL_EVERY": "soon"},
        toml='[agent]\nruntime = "rocket"\ntypo = 1\n',
    )
    text = "\n".join(found)
    for where in ("--workers", "--nonsense", "--label", "--listen", "HEROCTL_CPU", "HEROCTL_DEV", "HEROCTL_EVERY"):
        assert where in text
    assert "[agent] runtime" in text
    assert "[agent] typo" in text
    assert "--api: is needed" in found


def test_a_rule_over_several_settings_is_a_problem_too() -> None:
    assert problems("--api=a", "--dev", "--workers=2") == ("dev mode has one worker",)


def test_a_file_that_is_not_toml_and_a_section_that_is_no_table_are_problems() -> None:
    assert "settings file" in problems("--api=a", toml="= 1")[0]
    assert "not a table" in problems("--api=a", toml="agent = 1")[0]


def test_show_masks_secrets_and_passwords_in_urls_and_reads_back() -> None:
    settings = read("--api=a", "--join-token=hj_very", env={"HEROCTL_DATABASE_URL": "postgres://me:pw@db/x"})
    text = show(settings)
    assert "hj_very" not in text
    assert "pw@" not in text
    assert "postgres://me:***@db/x" in text
    assert load(Settings, (), {}, text).every == settings.every


def test_an_unreadable_secret_is_not_repeated() -> None:
    class Secretive(Struct, frozen=True):
        key: Annotated[int, describe("a key", secret=True)] = 0

    with pytest.raises(SettingsError) as caught:
        load(Secretive, ["--key", "s3cret"], {})
    assert "s3cret" not in str(caught.value)


def test_asked_finds_the_file_and_the_wish_to_print() -> None:
    assert asked(["--config", "/a", "--help"], {}) == ("/a", False, True)
    assert asked(["--config=/a"], {"HEROCTL_CONFIG": "/b"}).config == "/a"
    assert asked(["--show-config"], {"HEROCTL_CONFIG": "/b"}) == ("/b", True, False)
    assert read("--api=a", "--config", "/x", "--show-config").api == ("a",)


def test_the_table_and_the_help_name_flag_variable_and_default() -> None:
    rows = {row.name: row for row in table(Settings)}
    assert (rows["labels"].flag, rows["labels"].variable) == ("--label", "HEROCTL_LABELS")
    assert (rows["every"].default, rows["every"].kind) == ('"2s"', "duration")
    assert (rows["runtime"].kind, rows["join_token"].secret) == ("auto|docker", True)
    text = usage(Settings, "heroctl agent")
    assert "--join-token" in text
    assert "HEROCTL_WORKERS" in text


@pytest.mark.parametrize(
    ("argv", "out", "err", "code"),
    [
        (["--help"], "usage: prog", "", 0),
        (["--show-config", "--name", "x"], 'name = "x"', "", 0),
        (["--nmae", "x"], "", "--nmae: there is no such flag", 2),
        (["--config", "gone.toml", "--name", "x"], "", "gone.toml", 2),
    ],
)
def test_a_start_that_ends_before_it_began(argv: list[str], out: str, err: str, code: int) -> None:
    """Help and `--show-config` print and end well; what is wrong is said, and the code is 2."""

    class One(Struct, frozen=True, kw_only=True):
        name: Annotated[str, describe("a name")]

    def read(name: str) -> str:
        raise FileNotFoundError(name)

    ended = begin(One, argv, {}, read, program="prog", section="")
    assert isinstance(ended, Ended)
    assert (out in ended.out, err in ended.err, ended.code) == (True, True, code)


class Quiet(Struct, frozen=True, kw_only=True):
    keys: Annotated[tuple[str, ...], describe("keys", secret=True, argument=False)] = ()


def test_what_must_not_be_an_argument_has_no_flag() -> None:
    """Everybody on a machine can read the arguments of its processes; a wrong one is not repeated, either."""
    with pytest.raises(SettingsError) as wrong:
        load(Quiet, ["--keys", "s3cret"], {})
    assert str(wrong.value) == "--keys: there is no such flag"
    found = load(Quiet, [], {"HEROCTL_KEYS": "a,b"})
    assert found.keys == ("a", "b")
    assert show(found) == 'keys = "***"\n'
    assert "HEROCTL_KEYS (no flag)" in usage(Quiet, "p")
    assert load(Quiet, [], {}, 'keys = ["a"]').keys == ("a",)
