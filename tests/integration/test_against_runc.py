"""The same limits by runc and by us, with both drivers: every difference stands in docs/differences.md.

Few bundles hold all fields of `linux.resources`; AIOCONTAINER_LIMIT_BUNDLES is how many more are made by
chance, the same ones each time.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support.cgroups import needs_controllers, passed_on_as_before
from support.compare_limits import by_chance, compare, covering, fields
from support.differences import unexplained

from aiocontainer.probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = [
    pytest.mark.needs("root", "busybox"),
    pytest.mark.may_block("it runs other programs"),
    pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc"),
]

MORE = int(os.environ.get("AIOCONTAINER_LIMIT_BUNDLES", "0"))


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with passed_on_as_before():
        yield


@pytest.mark.parametrize(
    "systemd",
    [
        pytest.param(False, id="cgroupfs"),
        pytest.param(True, id="systemd", marks=pytest.mark.needs("systemd", "cgroup2")),
    ],
)
async def test_every_file_and_every_property(
    snap: Leaks,
    tmp_path: Path,
    rootfs: str,
    *,
    systemd: bool,
) -> None:
    needs_controllers("memory", "cpu", "pids", "blkio")
    host = probe()
    bundles = [*covering(host), *(by_chance(seed, host) for seed in range(1, MORE + 1))]
    found: dict[str, list[int]] = {}
    files, properties = set(), set()
    for number, documents in enumerate(bundles):
        compared = await compare(rootfs, str(tmp_path), documents, systemd=systemd)
        for each in compared.differences:
            found.setdefault(each, []).append(number)
        files |= compared.files
        properties |= compared.properties
    refused = [each for each in found if "refused by both: " in each]
    asked = fields(bundles)
    print(f"{len(bundles)} bundles, {len(asked)} fields: {len(files)} files, {len(properties)} properties")
    print(f"{len(found)} differences, of them refused by both: {refused}", *found, sep="\n")
    assert len(asked) >= 23
    assert len(files) >= 20
    assert len(properties) >= (100 if systemd else 0)
    assert unexplained("runc", {each: found[each] for each in found if each not in refused}) == []
    assert len(refused) <= len(bundles) // 5
