"""The rules of the house that no other tool checks. CONTRIBUTING.md tells them in prose."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import house
from tests.needs import NEEDS

LONGEST_FUNCTION: Final = 60
LONGEST_FILE: Final = 400
MEDIAN_FUNCTION: Final = 10
MOST_POSITIONAL: Final = 6

SOURCES: Final = [*house.product(), *house.tests()]
LOCKS: Final = ("requirements.lock", "requirements-test.lock")

# ── budget ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_functions_fit_on_a_screen() -> None:
    long = [f.where for file in SOURCES for f in house.functions(file) if f.lines > LONGEST_FUNCTION]
    assert long == []


def test_most_functions_are_small() -> None:
    assert statistics.median(f.lines for file in house.product() for f in house.functions(file)) <= MEDIAN_FUNCTION


def test_files_fit_in_a_head() -> None:
    long = [house.name(file) for file in SOURCES if len(file.read_text().splitlines()) > LONGEST_FILE]
    assert long == []


def test_every_function_is_typed() -> None:
    untyped = [f"{f.where}: {f.untyped}" for file in SOURCES for f in house.functions(file) if f.untyped]
    assert untyped == []


def test_no_function_takes_more_than_six_by_position() -> None:
    wide = [f.where for file in SOURCES for f in house.functions(file) if len(f.positional) > MOST_POSITIONAL]
    assert wide == []


def test_no_room_for_odds_and_ends() -> None:
    banned = {"common", "core", "helpers", "managers", "misc", "util", "utils"}
    assert [house.name(file) for file in SOURCES if banned & {*file.with_suffix("").parts}] == []


# ── floors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_imports_keep_to_their_floors() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([linter, "--no-cache"], cwd=house.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_pure_file_is_under_the_contract() -> None:
    contracts = _pyproject()["tool"]["importlinter"]["contracts"]
    listed = next(contract["source_modules"] for contract in contracts if contract["id"] == "pure")
    there = [*house.PURE_ROOMS, *(file for file in house.PURE_FILES if (house.ROOT / file).exists())]
    assert sorted(listed) == sorted(path.removesuffix(".py").replace("/", ".") for path in there)


def test_the_domain_knows_the_standard_library_msgspec_and_itself() -> None:
    allowed = {"msgspec", *sys.stdlib_module_names}
    at_home = {"heroctl/domain/cron.py": "cronsim"}
    for file in (house.ROOT / "heroctl/domain").rglob("*.py"):
        for line, module in house.imports(file):
            inside = module == "heroctl.domain" or module.startswith("heroctl.domain.")
            known = inside or module.partition(".")[0] in allowed or module == at_home.get(house.name(file))
            assert known, f"{house.name(file)}:{line} imports {module}"


def test_pure_files_read_no_clock_and_touch_no_file() -> None:
    banned = re.compile(r"(^(open|print|input|exec|eval|breakpoint|globals|id|hash)|\.(now|utcnow|today))$")
    found = [
        f"{house.name(file)}:{call.lineno} {called}"
        for file in house.pure()
        for call, called in house.calls(file)
        if banned.search(called) and not (called == "hash" and call.lineno in house.lines_of(file, "__hash__"))
    ]
    assert found == []


# ── the wheel and the locks ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=house.ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(each for each in names if each.endswith(".dist-info/METADATA"))).decode()
    version = _pyproject()["project"]["version"]
    assert {each.partition("/")[0] for each in names} == {*house.PACKAGES, f"heroctl-{version}.dist-info"}
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert {house.name(file) for file in house.product()} <= set(names)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_place(lock: str) -> None:
    text = (house.ROOT / lock).read_text()
    assert re.findall(r".*(?:://|(?<!\S)--?(?:i|index-url|extra-index-url|find-links|f|e)\b| @ ).*", text) == []
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n|^ +#.*\n", "", text, flags=re.MULTILINE).strip()):
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_locks_agree_and_satisfy_the_project() -> None:
    pinned, with_tests = (_pins(house.ROOT / lock) for lock in LOCKS)
    assert pinned.items() <= with_tests.items()
    project, groups = _pyproject()["project"], _pyproject()["dependency-groups"]
    shipped = [*project["dependencies"], *project["optional-dependencies"]["dev"], *groups["build"]]
    for asked, lock in ((shipped, pinned), (groups["test"], with_tests)):
        for requirement in map(Requirement, asked):
            version = lock.get(canonicalize_name(requirement.name), "")
            assert version, f"{requirement.name} is in no lock: make lock"
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, locked {version}"


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|NotImplemented[E]rror)\b")
    assert _lines(later) == []


def test_no_path_of_one_machine() -> None:
    assert _lines(re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/\w|/tm[p]/(?:hc|bash)\b")) == []


def test_every_exemption_gives_its_reason() -> None:
    exempt = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b(?P<codes>[^#\n]*)(?P<rest>.*)")
    reason = re.compile(r"(?:^:?\s*(?:\[[\w, -]+\]|[A-Z]+\d+(?:,\s*[A-Z]+\d+)*))\W+\w+.*")
    bare = [
        f"{house.name(file)}:{number}"
        for file in SOURCES
        if file != Path(__file__)
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (found := exempt.search(line)) and not reason.match(found["codes"] + found["rest"])
    ]
    assert bare == []


def test_tests_wait_for_conditions_and_do_not_sleep() -> None:
    asleep = [
        f"{house.name(file)}:{call.lineno}"
        for file in house.tests()
        if file.name != "waiting.py"
        for call, called in house.calls(file)
        if called in {"time.sleep", "asyncio.sleep", "anyio.sleep"} and not _is_zero(call)
    ]
    assert asleep == []


def test_ci_installs_what_tests_need() -> None:
    asked = {
        str(call.args[0].value)
        for file in house.tests()
        for call, called in house.calls(file)
        if called in {"needs", "tests.needs.needs"} and isinstance(call.args[0], ast.Constant)
    }
    installed = set(re.findall(r"^    \S+=(\S+)$", (house.ROOT / ".ci/run").read_text(), flags=re.MULTILINE))
    for name in asked & NEEDS.keys():
        packages = " ".join(re.findall(r"apt-get install ([\w. -]+)", NEEDS[name].install)).split()
        assert set(packages) <= installed, f"tests need {name}"


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _lines(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{house.name(file)}:{number} {line.strip()[:100]}"
        for file in house.kept()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((house.ROOT / "pyproject.toml").read_text())
