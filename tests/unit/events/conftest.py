"""Whatever waits runs on every loop."""

from __future__ import annotations

import pytest
from support.loops import KINDS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_kind" in metafunc.fixturenames:
        needing = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in KINDS if kind != "asyncio"]
        metafunc.parametrize("loop_kind", ["asyncio", *needing])
