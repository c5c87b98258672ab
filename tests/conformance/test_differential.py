"""Bundles by chance, run by Debian's runtimes and by us: every difference stands in docs/differences.md.

AIOCONTAINER_BUNDLES is the number of the first bundle and how many there are, "1,200"; the same
numbers give the same bundles.
"""

from __future__ import annotations

import os
import shutil

import pytest
from support.aside import aside
from support.compare import compare
from support.differences import unexplained

pytestmark = [
    pytest.mark.needs("root", "gcc"),
    pytest.mark.may_block("it runs other programs"),
    pytest.mark.timeout(300),
]

FIRST, COUNT = map(int, os.environ.get("AIOCONTAINER_BUNDLES", "1,200").split(","))
REFUSED = "run refused by both: "


def check(peer: str, differences: dict[str, list[int]]) -> None:
    refused = sum(len(seeds) for each, seeds in differences.items() if each.startswith(REFUSED))
    ours = {each: seeds for each, seeds in differences.items() if not each.startswith(REFUSED)}
    print(f"{COUNT} bundles from {FIRST} by {peer}: {refused} refused by both, {len(ours)} differences")
    assert unexplained(peer, ours) == []
    assert refused <= COUNT // 10


@pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc")
async def test_runc(guest_program: str) -> None:
    check("runc", await compare("runc", guest_program, FIRST, COUNT))


@pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")
def test_crun(guest_program: str) -> None:
    """With a pure cgroup2: it knows no hybrid."""
    check("crun", aside(compare, "crun", guest_program, FIRST, COUNT, pure_cgroup2=True, timeout_s=240))
