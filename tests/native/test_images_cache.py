"""The cache of unpacked layers: shared, made once, removed when nobody uses it, and never half."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

import pytest
from support.images import digest, docker_archive, oci_layout, tarred
from support.tars import archive, member

from aiocontainer import Image, ImageError, NotFoundError
from aiocontainer.images.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = [pytest.mark.needs("root", "compiled"), pytest.mark.may_block("images are made in the test")]

BASE = archive(
    member(b"etc", type=b"5", mode=0o750),
    member(b"etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n"),
    member(b"tmp", type=b"5", mode=0o1777),
)
TOP = archive(member(b"tmp/file", b"1"), member(b"etc/.wh.passwd"))


def left(cache: Path) -> tuple[list[str], list[str]]:
    """What is in the cache: layers, and what is half."""
    names = sorted(each for each in os.listdir(cache / "layers") if not each.endswith(".json"))
    return names, os.listdir(cache / "tmp")


async def opened(reference: Path | str, cache: Path) -> Image:
    return await Image.open(str(reference), cache=str(cache), platform="linux/amd64")


async def test_forms_of_one_image_share_its_layers(tmp_path: Path, snap: Leaks) -> None:
    cache = tmp_path / "cache"
    layout = oci_layout(tmp_path / "layout", [BASE, TOP])
    plain = oci_layout(tmp_path / "plain", [BASE, TOP], zip=False)
    saved = docker_archive(tmp_path / "saved.tar", [BASE, TOP])
    seen = set()
    for form in (layout, tarred(layout), plain, saved):
        with await opened(form, cache) as image:
            seen.add((image.layers, tuple(os.stat(layer).st_ino for layer in image.layers)))
            assert image.notes == image.left_out == ()
    assert len(seen) == 1
    assert len(left(cache)[0]) == 2
    assert left(cache)[1] == []


async def test_implied_directories_are_like_those_below(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with await opened(oci_layout(tmp_path / "one", [BASE, TOP]), cache) as image:
        assert stat.S_IMODE(os.stat(f"{image.layers[0]}/tmp").st_mode) == 0o1777
        assert stat.S_IMODE(os.stat(f"{image.layers[0]}/etc").st_mode) == 0o750
    with await opened(oci_layout(tmp_path / "other", [TOP]), cache) as image:
        assert stat.S_IMODE(os.stat(f"{image.layers[0]}/tmp").st_mode) == 0o755
    assert len(left(cache)[0]) == 3


async def test_many_ask_and_one_unpacks(tmp_path: Path, snap: Leaks) -> None:
    layers = [archive(member(b"f%d" % n, os.urandom(1 << 20))) for n in range(3)]
    layout = oci_layout(tmp_path / "layout", layers)
    images = await asyncio.gather(*(opened(layout, tmp_path / "cache") for _ in range(6)))
    assert len({image.layers for image in images}) == 1
    assert {os.stat(layer).st_nlink for layer in images[0].layers} == {2}
    assert left(tmp_path / "cache")[1] == []
    for image in images:
        image.close()


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([BASE, archive(member(b"good"), member(b"../evil"))], "entry '../evil': leads upwards"),
        ([BASE, TOP[:1000]], "ends in the middle"),
    ],
)
async def test_nothing_is_left_of_a_bad_layer(
    layers: list[bytes], problem: str, tmp_path: Path, snap: Leaks
) -> None:
    cache = tmp_path / "cache"
    layout = oci_layout(tmp_path / "layout", layers)
    with pytest.raises(ImageError) as caught:
        await opened(layout, cache)
    assert problem in str(caught.value)
    assert str(layout) in str(caught.value)
    assert caught.value.digest.startswith("sha256:")
    assert left(cache) == ([digest(BASE).replace(":", "-")], [])


async def test_what_its_digest_does_not_say(tmp_path: Path) -> None:
    """The file is whole, and another; or the archive in it is."""
    cache = tmp_path / "cache"
    layout = oci_layout(tmp_path / "layout", [BASE], zip=False)
    blob = layout / "blobs" / digest(BASE).replace(":", "/")
    blob.write_bytes(BASE.replace(b"app", b"apt"))
    with pytest.raises(ImageError, match=r"the layer.* is sha256:"):
        await opened(layout, cache)
    blob.write_bytes(BASE + bytes(512))
    with pytest.raises(ImageError, match="has more than"):
        await opened(layout, cache)
    blob.write_bytes(b"")
    with pytest.raises(ImageError, match=r"has 0 bytes|is sha256:"):
        await opened(layout, cache)
    blob.unlink()
    with pytest.raises(ImageError, match="No such file"):
        await opened(layout, cache)
    assert left(cache) == ([], [])


async def wait_until(condition: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    while not condition():
        passed = loop.create_future()
        loop.call_later(0.001, passed.set_result, None)
        await passed


async def test_a_cancelled_one_leaves_nothing(tmp_path: Path, snap: Leaks) -> None:
    """Cancelled wherever it is: before the process, while it begins, while it unpacks, at the end."""
    cache = tmp_path / "cache"
    layer = archive(*(member(b"d/%d" % n, bytes(50_000)) for n in range(300)))
    layout = oci_layout(tmp_path / "layout", [BASE, layer])

    def has_begun() -> bool:
        return (cache / "tmp").is_dir() and bool(left(cache)[1])

    for attempt in range(4):
        task = asyncio.ensure_future(opened(layout, cache))
        if attempt % 2:
            await wait_until(has_begun)
        else:
            await asyncio.sleep(0.01 * attempt)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        names, half = left(cache) if (cache / "layers").is_dir() else ([], [])
        assert half == []
        assert set(names) <= {digest(BASE).replace(":", "-"), digest(layer).replace(":", "-")}
    with await opened(layout, cache) as image:
        assert len(image.layers) == 2
        names, _ = left(cache)
        assert len(os.listdir(f"{image.layers[0]}/d")) == 300


async def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Cache(str(cache)):
        half = cache / "tmp/0123"
        (half / "deep/er").mkdir(parents=True)
        (half / "deep/er/file").write_text("x")
        without_record = cache / "layers" / digest(BASE).replace(":", "-")
        without_record.mkdir()
        (without_record / "stale").write_text("x")
    with await opened(oci_layout(tmp_path / "layout", [BASE]), cache) as image:
        assert sorted(os.listdir(image.layers[0])) == ["etc", "tmp"]
    assert left(cache)[1] == []


async def test_pruning_spares_what_is_used(tmp_path: Path, snap: Leaks) -> None:
    cache = tmp_path / "cache"
    one = await opened(oci_layout(tmp_path / "one", [BASE]), cache)
    two = await opened(oci_layout(tmp_path / "two", [BASE, archive(member(b"big", bytes(5000)))]), cache)
    assert await Image.prune(cache) == (0, 0)
    two.close()
    assert await Image.prune(cache) == (1, 5000)
    assert left(cache)[0] == [os.path.basename(one.layers[0])]
    one.close()
    layers, size = await Image.prune(cache)
    assert layers == 1
    assert size > 0
    assert left(cache) == ([], [])


@pytest.fixture
def others(tmp_path: Path) -> Path:
    path = tmp_path / "others"
    path.mkdir(mode=0o755)
    os.chown(path, 1000, 1000)
    return path


async def test_a_cache_of_somebody_else_is_refused(others: Path, tmp_path: Path) -> None:
    layout = oci_layout(tmp_path / "layout", [BASE])
    with pytest.raises(ImageError, match="must be ours"):
        await opened(layout, others)
    with pytest.raises(NotFoundError):
        await opened(tmp_path / "nothing", others)


async def test_layers_that_hide_all_below_and_layers_twice(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    hiding = archive(member(b".wh..wh..opq"), member(b"only", b"1"))
    with await opened(oci_layout(tmp_path / "one", [BASE, hiding]), cache) as image:
        assert [os.path.basename(layer) for layer in image.layers] == [digest(hiding).replace(":", "-")]
    plain = archive(member(b"x", b"1"))
    with await opened(oci_layout(tmp_path / "two", [plain, BASE, plain]), cache) as image:
        assert [os.path.basename(layer) for layer in image.layers] == [
            digest(layer).replace(":", "-") for layer in (plain, BASE)
        ]
    with await opened(oci_layout(tmp_path / "none", []), cache) as image:
        assert os.listdir(image.layers[0]) == []
