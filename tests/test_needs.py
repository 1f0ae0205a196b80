"""A test that cannot run here says so once and loudly, and fails where everything is required."""

from __future__ import annotations

import pytest

from tests import needs

_TESTS = """
    import pytest
    from tests.needs import needs

    @needs("moon")
    def test_one(): raise AssertionError("must not run")

    @pytest.fixture
    def rocket(): raise AssertionError("must not start")

    @needs("moon")
    class TestMore:
        def test_two(self, rocket): ...
        def test_three(self): ...

    @needs("sun")
    def test_four(): ...

    def test_five(): ...
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setitem(needs.NEEDS, "moon", needs.Need(lambda: "it is not up", "wait for the night"))
    monkeypatch.setitem(needs.NEEDS, "sun", needs.Need(lambda: "", "wait for the day"))
    monkeypatch.delenv("HEROCTL_REQUIRE", raising=False)
    monkeypatch.setattr(needs, "missing", lambda name: needs.NEEDS[name].missing())
    pytester.makeini(
        "[pytest]\nmarkers = needs(name): what a test needs\nasyncio_default_fixture_loop_scope = function"
    )
    pytester.makepyfile(_TESTS)
    return pytester


def test_what_is_missing_is_said_once_with_its_count_and_its_cure(inner: pytest.Pytester) -> None:
    result = inner.runpytest_inprocess(plugins=[needs])
    result.assert_outcomes(passed=2, skipped=3)
    lines = [line for line in result.outlines if line.startswith("SKIPPED moon")]
    assert lines == ["SKIPPED moon: it is not up — 3 tests did not run; wait for the night"]
    assert not any("sun" in line for line in result.outlines)


@pytest.mark.parametrize(("required", "failed"), [("all", 3), ("sun, moon", 3), ("sun", 0)])
def test_what_is_required_fails_when_missing(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, failed: int
) -> None:
    monkeypatch.setenv("HEROCTL_REQUIRE", required)
    result = inner.runpytest_inprocess(plugins=[needs])
    result.assert_outcomes(passed=2, skipped=3 - failed, failed=0, errors=failed)


def test_an_unknown_need_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unknown need 'fame': one of browser, curl"):
        needs.needs("fame")


def test_every_need_can_be_looked_up_here() -> None:
    for name, need in needs.NEEDS.items():
        assert isinstance(need.missing(), str), name
