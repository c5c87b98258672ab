"""Bundles by chance, run by Debian's runtimes and by us: every difference stands in docs/differences.md.

AIOCONTAINER_BUNDLES is the number of the first bundle and how many there are, "1,200"; the same
numbers give the same bundles.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from support.aside import aside
from support.compare import compare

pytestmark = [
    pytest.mark.needs("root", "gcc"),
    pytest.mark.may_block("it runs other programs"),
    pytest.mark.timeout(300),
]

PAGE = Path(__file__).parents[2] / "docs/differences.md"
FIRST, COUNT = map(int, os.environ.get("AIOCONTAINER_BUNDLES", "1,200").split(","))
REFUSED = "run refused by both: "


def explained(peer: str) -> list[re.Pattern[str]]:
    """Return what the page explains of a peer: rows of "who | pattern | why"."""
    rows = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in PAGE.read_text().splitlines()]
    tables = [row for row in rows if len(row) == 3 and row[1].startswith("`")]
    return [re.compile(row[1].strip("`").replace("\\|", "|")) for row in tables if row[0] in (peer, "both")]


def check(peer: str, differences: dict[str, list[int]]) -> None:
    patterns = explained(peer)
    refused = sum(len(seeds) for each, seeds in differences.items() if each.startswith(REFUSED))
    ours = {each: seeds for each, seeds in differences.items() if not each.startswith(REFUSED)}
    unexplained = [
        f"{each}  (bundles {seeds})"
        for each, seeds in ours.items()
        if not any(pattern.fullmatch(each) for pattern in patterns)
    ]
    print(f"{COUNT} bundles from {FIRST} by {peer}: {refused} refused by both, {len(ours)} differences")
    assert unexplained == []
    assert refused <= COUNT // 10


@pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc")
async def test_runc(guest_program: str) -> None:
    check("runc", await compare("runc", guest_program, FIRST, COUNT))


@pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")
def test_crun(guest_program: str) -> None:
    """With a pure cgroup2: it knows no hybrid."""
    check("crun", aside(compare, "crun", guest_program, FIRST, COUNT, pure_cgroup2=True, timeout_s=240))
