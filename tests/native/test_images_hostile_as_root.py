"""T02 for the machine's root, who may make devices and give files away, and through the cache."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.hostile_archives import CASES, LIMITS, outside_of, state
from support.images import digest, oci_layout
from support.tars import archive, member

from aiocontainer.errors import ContainerError, ImageError
from aiocontainer.images.cache import names_of
from aiocontainer.images.choose import find_image, parse_platform, parse_reference
from aiocontainer.images.files import open_files
from aiocontainer.images.worker import Request, unpack_missing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.needs("root", "compiled")]

BASE = archive(member(b"etc", type=b"5", mode=0o755), member(b"etc/passwd", b"root:x:0:0::/root:/bin/sh\n"))


def unpacked(layout: Path, cache: Path, data: bytes) -> bool:
    """Whether *data* could be a layer; whatever is refused says of which layer it was."""
    oci_layout(layout, [BASE, data], zip=False)
    with open_files(str(layout), LIMITS) as files:
        found = find_image(files, parse_reference(str(layout)), parse_platform("linux/amd64"))
    try:
        unpack_missing(Request(str(layout), str(cache), found.layers, LIMITS))
    except ContainerError as exc:
        assert not isinstance(exc, ImageError) or exc.digest == digest(data)  # noqa: PT017
        return False
    return True


def test_nothing_happens_outside_and_nothing_stays_half(tmp_path: Path) -> None:
    """As layers of an image; what is compressed is refused at the latest for its digest, which is another."""
    cache, layout = tmp_path / "cache", tmp_path / "layout"
    (cache / "tmp").mkdir(parents=True)
    cache.chmod(0o700)
    outside = outside_of(cache / "tmp")
    before = state(outside)
    made = Counter[bool]()
    for case in CASES:
        success = unpacked(layout, cache, case.data)
        made[success] += 1
        assert not (success and case.problem), case.name
        assert state(outside) == before, case.name
        assert os.listdir(cache / "tmp") == ["outside"], case.name
        names = names_of([digest(BASE), digest(case.data)])[-1]
        assert any((cache / "layers" / name).exists() for name in names) is success, case.name
    assert made[False] >= 120
    assert made[True] >= 30
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "layout"]
