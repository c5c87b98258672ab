"""A spawner for each test that wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiocontainer import native

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def spawner() -> Iterator[native.Spawner]:
    with native.Spawner.start() as spawner:
        yield spawner
