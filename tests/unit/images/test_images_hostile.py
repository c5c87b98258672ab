"""T02: archives that want to write elsewhere, or to be two things, or to have no end."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING

import pytest
from support.hostile_archives import CASES, LIMITS, Case, file, outside_of, state
from support.tars import archive

from aiocontainer.errors import ContainerError, ImageError
from aiocontainer.images.archive import Archive
from aiocontainer.images.streams import Counted, decompressed
from aiocontainer.images.unpack import Rights, Unpacker

if TYPE_CHECKING:
    from pathlib import Path


def unpack(data: bytes, layer: Path) -> None:
    stream = Counted(
        decompressed(io.BytesIO(data).read),
        f"sha256:{hashlib.sha256(data).hexdigest()}",
        LIMITS.layer_bytes,
        what="the layer",
    )
    root = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    try:
        rights = Rights(devices=False, owners=False)
        Unpacker(root, rights).unpack(Archive(stream.read, LIMITS))
    finally:
        os.close(root)


def test_there_are_enough() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)
    assert sum(case.problem is not None for case in CASES) >= 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_happens_outside(case: Case, tmp_path: Path) -> None:
    outside = outside_of(tmp_path)
    layer = tmp_path / "layer"
    layer.mkdir()
    before = state(outside)
    if case.problem is None:
        unpack(case.data, layer)
    else:
        with pytest.raises(ContainerError) as caught:
            unpack(case.data, layer)
        assert case.problem in str(caught.value)
    assert state(outside) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["layer", "outside"]


def test_the_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        unpack(archive(file(b"good"), file(b"a/../b")), tmp_path)
    assert caught.value.entry == "a/../b"
    assert str(caught.value) == "entry 'a/../b': leads upwards"
