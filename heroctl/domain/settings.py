"""Settings of a process: one Struct, of which every field is a flag, a variable and a line of a TOML file.

    class Settings(Struct, frozen=True, kw_only=True):
        listen: Annotated[str, describe("address and port to listen on")] = "127.0.0.1:8080"
        redis_url: Annotated[str, describe("where Redis is", secret=True)] = ""

`listen` is `--listen`, `HEROCTL_LISTEN` and `listen = "…"`; the flag wins over the variable, the variable over the
file, the file over the default. In the file a process reads the table named as itself, then the top level, which it
shares with the others. Pure: the shell hands in argv, environ and the file's text (`asked` tells which file).
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

T = TypeVar("T", bound=Struct)

MASK: Final = "***"
PREFIX: Final = "HEROCTL_"
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@\s]*):[^@/\s]+@")
_ASKED: Final = ("config", "show-config", "help")
_SWITCH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class SettingsError(Exception):
    """What is wrong with the settings, one line each, naming the flag, variable or line; never a secret's value."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Asked(NamedTuple):
    """What a command line asks beside its settings: the file to read, and whether to print instead of to run."""

    config: str | None
    show: bool
    help: bool


class Setting(NamedTuple):
    """One row of the documentation's table. `default` is as `show` prints it; "" where there is none, as for `flag`."""

    name: str
    flag: str
    variable: str
    kind: str
    default: str
    help: str
    secret: bool
    shape: Literal["value", "switch", "list", "map"]
    type: Any  # as annotated
    own: Any  # the same without Annotated and None; a class with `parse(text)` reads itself


def describe(text: str, *, secret: bool = False, flag: str = "", argument: bool = True) -> Meta:
    """Annotate a field: its help, whether `--show-config` masks it, another name for its flag (`label` for labels).

    Without `argument` it has no flag: everybody on a machine can read the arguments of its processes.
    """
    return Meta(description=text, extra={"secret": secret, "flag": flag, "argument": argument})


def asked(argv: Sequence[str], environ: Mapping[str, str]) -> Asked:
    """Find `--config FILE` (or HEROCTL_CONFIG), `--show-config` and `--help` on a command line."""
    config = environ.get(PREFIX + "CONFIG") or None
    for at, word in enumerate(argv):
        if word.startswith("--config="):
            config = word.partition("=")[2]
        elif word == "--config" and at + 1 < len(argv):
            config = argv[at + 1]
    return Asked(config, "--show-config" in argv, "--help" in argv or "-h" in argv)


class Ended(NamedTuple):
    """A start that ends before it began: what to print, where, and the exit code."""

    out: str = ""
    err: str = ""
    code: int = 0


def begin(
    kind: type[T],
    argv: Sequence[str],
    environ: Mapping[str, str],
    read: Callable[[str], str],
    *,
    program: str,
    section: str,
) -> T | Ended:
    """Do what every process does first: find its settings, or say why it does not start.

    `read` gives a file's text. Ends for `--help`, for `--show-config`, and, with code 2, for settings that are wrong.
    """
    question = asked(argv, environ)
    if question.help:
        return Ended(out=usage(kind, program))
    try:
        text = read(question.config) if question.config else ""
        settings = load(kind, argv, environ, text, section=section)
    except OSError as error:
        return Ended(err=f"--config {question.config}: {error.strerror or error}\n", code=2)
    except UnicodeDecodeError:
        return Ended(err=f"--config {question.config}: it is no text in UTF-8\n", code=2)
    except SettingsError as error:
        return Ended(err=f"{error}\n", code=2)
    return Ended(out=show(settings)) if question.show else settings


def load(kind: type[T], argv: Sequence[str], environ: Mapping[str, str], toml: str = "", *, section: str = "") -> T:
    """Make the settings from a command line (without the program), the environment and a file's text.

    SettingsError names everything that is wrong at once. `section` is the file's table of this process.
    """
    settings = table(kind)
    problems: list[str] = []
    given: dict[str, tuple[str, Any]] = {}
    given.update(_from_file(settings, toml, section, problems))
    given.update(_from_environment(settings, environ))
    given.update(_from_flags(settings, argv, problems))
    values = {
        setting.name: value
        for setting in settings
        if setting.name in given and (value := _convert(setting, *given[setting.name], problems)) is not NODEFAULT
    }
    missing = [setting.flag for setting in settings if _required(kind, setting.name) and setting.name not in given]
    problems += [f"{flag}: is needed" for flag in missing]
    if problems:
        raise SettingsError(problems)
    try:
        return kind(**values)
    except ValueError as error:
        raise SettingsError([str(error)]) from error


def table(kind: type[Struct]) -> list[Setting]:
    """Describe every setting, in the order of the Struct's fields."""
    return [_setting(field) for field in msgspec.structs.fields(kind)]


def show(settings: Struct) -> str:
    """Print settings as TOML with secrets masked; passwords inside URLs are masked everywhere."""
    return "".join(
        f"{row.name} = {_text(getattr(settings, row.name), secret=row.secret)}\n"
        for row in table(type(settings))
        if getattr(settings, row.name) is not None
    )


def usage(kind: type[Struct], program: str) -> str:
    """Print the help of a process."""
    lines = [f"usage: {program} [--config FILE] [--show-config] [--help] [setting ...]", ""]
    for row in table(kind):
        value = "" if row.shape == "switch" else f" {row.kind if '|' in row.kind else row.kind.upper()}"
        default = f" (default: {row.default})" if row.default else ""
        lines.append(f"  {row.flag}{value}" if row.flag else f"  {row.variable} (no flag)")
        lines.append(f"      {row.help}{default} [{row.variable}]")
    return "\n".join(lines) + "\n"


def _setting(field: msgspec.structs.FieldInfo) -> Setting:
    kind, help_text, secret, flag, argument = field.type, "", False, "", True
    if get_origin(kind) is Annotated:
        kind, *metas = get_args(kind)
        for meta in metas:
            extra = getattr(meta, "extra", None) or {}
            help_text = getattr(meta, "description", None) or help_text
            secret, flag = extra.get("secret", secret), extra.get("flag", flag)
            argument = extra.get("argument", argument)
    plain = _plain(kind)
    shape = _shape(plain)
    default = field.default if field.default_factory is NODEFAULT else field.default_factory()
    return Setting(
        name=field.name,
        flag="--" + (flag or field.name).replace("_", "-") if argument else "",
        variable=PREFIX + field.name.upper(),
        kind=_kind(plain, shape),
        default="" if default in (NODEFAULT, None, "", (), [], {}) else _text(default, secret=secret),
        help=help_text,
        secret=secret,
        shape=shape,
        type=field.type,
        own=plain,
    )


def _required(kind: type[Struct], name: str) -> bool:
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    return field.required


def _plain(kind: Any) -> Any:  # noqa: ANN401 - a type, as annotations give it
    if get_origin(kind) in (Union, types.UnionType):
        left = [part for part in get_args(kind) if part is not type(None)]
        kind = left[0] if len(left) == 1 else kind
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _shape(kind: Any) -> Literal["value", "switch", "list", "map"]:  # noqa: ANN401 - as above
    origin = get_origin(kind) or kind
    if origin is bool:
        return "switch"
    if origin in (list, tuple, set, frozenset):
        return "list"
    return "map" if origin is dict else "value"


def _kind(kind: Any, shape: str) -> str:  # noqa: ANN401 - as above
    if get_origin(kind) is Literal:
        return "|".join(str(word) for word in get_args(kind))
    if shape == "map":
        return "key=value"
    if shape == "list":
        kind = (get_args(kind) or (str,))[0]
    return str(getattr(kind, "__name__", kind)).lower()


def _text(value: Any, *, secret: bool) -> str:  # noqa: ANN401 - any setting
    if secret and value:
        return f'"{MASK}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_text(one, secret=False)}' for key, one in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_text(one, secret=False) for one in value) + "]"
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    return msgspec.json.encode(_PASSWORD.sub(rf"\1:{MASK}@", str(value))).decode()


def _from_file(settings: list[Setting], toml: str, section: str, problems: list[str]) -> dict[str, tuple[str, Any]]:
    try:
        document = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"settings file: {error}")
        return {}
    own = document.get(section, {}) if section else {}
    if not isinstance(own, dict):
        problems.append(f"settings file: [{section}] is not a table")
        own = {}
    known = {setting.name for setting in settings}
    problems += [f"settings file: [{section}] {key}: there is no such setting" for key in own if key not in known]
    found = {name: (f"settings file: {name}", document[name]) for name in sorted(known) if name in document}
    return found | {name: (f"settings file: [{section}] {name}", own[name]) for name in sorted(known) if name in own}


def _from_environment(settings: list[Setting], environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for setting in settings:
        text = environ.get(setting.variable)
        if text is not None:
            many = setting.shape in ("list", "map")
            found[setting.name] = (setting.variable, [part for part in text.split(",") if part] if many else text)
    return found


def _from_flags(settings: list[Setting], argv: Sequence[str], problems: list[str]) -> dict[str, tuple[str, Any]]:
    by_flag = {setting.flag: setting for setting in settings if setting.flag}
    off = {"--no-" + setting.flag[2:]: setting for setting in settings if setting.shape == "switch"}
    found: dict[str, tuple[str, Any]] = {}
    words = list(argv)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        if flag[2:] in _ASKED or flag == "-h":
            del words[: flag == "--config" and not equals]
        elif flag in off:
            found[off[flag].name] = (flag, "false")
        elif (setting := by_flag.get(flag)) is None:
            problems.append(f"{flag}: there is no such flag")
            del words[: bool(words) and not equals and not words[0].startswith("-")]  # its value; it may be a secret
        elif setting.shape == "switch":
            found[setting.name] = (flag, value if equals else "true")
        elif not equals and not words:
            problems.append(f"{flag}: a value is needed")
        else:
            _take(found, setting, value if equals else words.pop(0))
    return found


def _take(found: dict[str, tuple[str, Any]], setting: Setting, value: str) -> None:
    if setting.shape == "value":
        found[setting.name] = (setting.flag, value)
        return
    _, before = found.get(setting.name, ("", []))
    found[setting.name] = (setting.flag, [*before, value])


def _convert(setting: Setting, where: str, value: Any, problems: list[str]) -> Any:  # noqa: ANN401 - any setting
    try:
        parse = getattr(setting.own, "parse", None)
        return parse(value) if parse else msgspec.convert(_raw(setting, value), setting.type, strict=False)
    except ValueError as error:
        shown = str(error) if not setting.secret else "the value cannot be read"
        problems.append(f"{where}: {shown}")
        return NODEFAULT


def _raw(setting: Setting, value: Any) -> Any:  # noqa: ANN401 - any setting
    if setting.shape == "map" and isinstance(value, list):
        pairs = [str(pair).partition("=") for pair in value]
        if bad := [key for key, equals, _ in pairs if not equals]:
            msg = f"{bad[0]!r} is not key=value"
            raise ValueError(msg)
        return {key: text for key, _, text in pairs}
    if setting.shape == "switch" and isinstance(value, str):
        if value.lower() not in _SWITCH:
            msg = "expected true or false"
            raise ValueError(msg)
        return _SWITCH[value.lower()]
    return value
