"""An ordinary container, as a control: what fails an attack's test is the attack, not the set-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.guest import look

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from hostile import Canary

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


async def test_ordinary_container(runtime: Runtime, guestfs: str, canary: Canary) -> None:
    found = await look(runtime, Spec.default([], rootfs=guestfs))
    assert found["pid"] == 1
    assert found["cwd"] == "/"
