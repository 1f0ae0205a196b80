"""The api of the next release."""

from __future__ import annotations

import sys

import pytest

from api import __main__ as main
from tests.upgrade.tomorrow import learn

if __name__ == "__main__":
    learn(pytest.MonkeyPatch())
    sys.exit(main.main(sys.argv[1:]))
