"""Conformance: one file for each section of the OCI runtime specification that is implemented.

Each looks at a container from outside, through /proc, and from inside, by what a guest says.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = os.path.dirname(__file__)
SCHEMAS = Path(__file__).parents[3] / "shared" / "data" / "oci-runtime-spec-1.3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at a container from outside does so at once."""
    for item in items:
        if str(item.path).startswith(HERE):
            item.add_marker(pytest.mark.may_block("it looks at /proc"))


@pytest.fixture(scope="session")
def schemas() -> Path:
    """The specification's own JSON schemas."""
    if not SCHEMAS.is_dir():
        pytest.skip("the runtime-spec schemas are not beside the tree")
    return SCHEMAS
