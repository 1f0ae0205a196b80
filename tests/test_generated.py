"""Generated documents are what the code says today."""

from __future__ import annotations

import pytest

from tests.generated import DOCS, DOCUMENTS


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_current(name: str) -> None:
    """Run `python -m tests.generated` after a change of events or phases."""
    assert (DOCS / name).read_text() == DOCUMENTS[name]()
