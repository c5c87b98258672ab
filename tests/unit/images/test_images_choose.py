"""Which image a reference names, in layouts and archives, good and broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.images import INDEX, blob, digest, docker_archive, image_config, manifest, oci_layout, tarred
from support.tars import archive, member

from aiocontainer.errors import ContainerError, ImageError, NotFoundError, UnsupportedError
from aiocontainer.images.choose import Found, find_image, parse_platform, parse_reference, tags
from aiocontainer.images.files import open_files
from aiocontainer.images.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = (archive(member(b"a", b"1")), archive(member(b"b", b"2")))
AMD64 = "linux/amd64"
ZEROS = b"0" * 64


def found(reference: str, platform: str = AMD64) -> Found:
    parsed = parse_reference(reference)
    with open_files(parsed.path, Limits()) as files:
        return find_image(files, parsed, parse_platform(platform))


def index(layout: Path, *descriptors: dict[str, Any]) -> None:
    layout.mkdir(exist_ok=True)
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(descriptors)}
    (layout / "index.json").write_text(json.dumps(document))


def for_platform(layout: Path, architecture: str, variant: str = "") -> dict[str, Any]:
    descriptor = manifest(layout, LAYERS[:1], architecture=architecture, variant=variant)
    return {**descriptor, "platform": {"os": "linux", "architecture": architecture, "variant": variant}}


def test_one_image_in_every_form(tmp_path: Path) -> None:
    layout = oci_layout(tmp_path / "layout", LAYERS, {"Cmd": ["x"]}, tag="docker.io/library/app:1.0")
    forms = [str(layout), f"{layout}:1.0", f"{layout}:docker.io/library/app:1.0", str(tarred(layout))]
    ids = {(found(form).digest, tuple(each.diff_id for each in found(form).layers)) for form in forms}
    assert len(ids) == 1
    (name, diff_ids) = ids.pop()
    assert diff_ids == tuple(map(digest, LAYERS))
    assert found(f"{layout}@{name}").config.config is not None
    with open_files(str(layout), Limits()) as files:
        assert tags(files) == ["docker.io/library/app:1.0"]


def test_docker_archives_with_links(tmp_path: Path) -> None:
    saved = docker_archive(tmp_path / "saved.tar", [LAYERS[0], LAYERS[1], LAYERS[0]], tag="app:1.0")
    image = found(f"{saved}:app:1.0")
    assert [each.diff_id for each in image.layers] == [digest(LAYERS[n]) for n in (0, 1, 0)]
    with open_files(str(saved), Limits()) as files:
        for layer, content in zip(image.layers, (0, 1, 0), strict=True):
            with files.open(layer.file) as piece:
                assert piece.read(1 << 20) == LAYERS[content]
        assert tags(files) == ["app:1.0"]
    with pytest.raises(NotFoundError, match=r"there are: app:1\.0"):
        found(f"{saved}:2.0")


@pytest.mark.parametrize(
    ("platform", "wanted"),
    [
        ("linux/amd64", ("amd64", "")),
        ("linux/arm64", ("arm64", "v8")),
        ("linux/arm64/v8", ("arm64", "v8")),
        ("linux/arm/v7", ("arm", "v6")),
        ("linux/riscv64", None),
        ("windows/amd64", None),
        ("linux/arm/v5", None),
    ],
)
def test_platforms_in_nested_indexes(platform: str, wanted: tuple[str, str] | None, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    inner = [
        for_platform(layout, *each) for each in (("arm64", "v8"), ("amd64",), ("arm", "v5"), ("arm", "v6"))
    ]
    inner[2]["platform"]["variant"] = "v9"
    nested = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": inner}).encode()
    index(layout, {"mediaType": INDEX, **blob(layout, nested)})
    if wanted is None:
        with pytest.raises(UnsupportedError, match="this image"):
            found(str(layout), platform)
    else:
        assert (found(str(layout), platform).config.platform.architecture, *wanted[1:]) == wanted


def test_indexes_without_an_end(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    descriptor = {"mediaType": INDEX, **blob(layout, b'{"schemaVersion": 2, "manifests": []}')}
    for _ in range(9):
        document = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
        descriptor = {"mediaType": INDEX, **blob(layout, document)}
    index(layout, descriptor)
    with pytest.raises(ImageError, match="without an end"):
        found(str(layout))


def test_several_names_and_none_asked_for(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    named = []
    for tag in ("1.0", "2.0"):
        descriptor = manifest(layout, LAYERS, author=tag)
        named.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
    index(layout, *named)
    assert found(f"{layout}:2.0").config.author == "2.0"
    with pytest.raises(NotFoundError, match=r"there are: 1\.0, 2\.0"):
        found(str(layout))


def broken(layout: Path, kind: str) -> None:
    """Break one thing in a good layout."""
    name = json.loads((layout / "index.json").read_text())["manifests"][0]
    path = layout / "blobs" / name["digest"].replace(":", "/")
    document = json.loads(path.read_text())
    if kind == "changed-manifest":
        path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    elif kind == "long-manifest":
        path.write_bytes(path.read_bytes() + b" ")
    elif kind == "missing-manifest":
        path.unlink()
    elif kind == "fifo":
        path.unlink()
        import os

        os.mkfifo(path)
    elif kind == "link-outside":
        path.unlink()
        path.symlink_to("/etc/passwd")
    elif kind == "changed-config":
        config = layout / "blobs" / document["config"]["digest"].replace(":", "/")
        config.write_bytes(config.read_bytes().replace(b"amd64", b"AMD64"))
    else:
        document |= {
            "index-too": {"manifests": []},
            "no-config": {"config": None},
            "one-layer-less": {"layers": document["layers"][:1]},
            "encrypted": {"layers": [{**each, "mediaType": "x+encrypted"} for each in document["layers"]]},
            "bad-digest": {"config": {**document["config"], "digest": "sha256:../../../etc/passwd"}},
            "bad-algorithm": {"config": {**document["config"], "digest": "md5:00"}},
            "negative": {"config": {**document["config"], "size": -1}},
            "version-1": {"schemaVersion": 1},
            "words": {"layers": "all of them"},
            "huge": {"annotations": {"x": "y" * (5 << 20)}},
        }[kind]
        index(layout, {"mediaType": name["mediaType"], **blob(layout, json.dumps(document).encode())})


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("changed-manifest", "is sha256:"),
        ("long-manifest", "bytes, not"),
        ("missing-manifest", "No such file"),
        ("fifo", "is no file"),
        ("link-outside", "outside"),
        ("changed-config", "is sha256:"),
        ("index-too", "neither an index nor a manifest, or both"),
        ("no-config", "neither an index"),
        ("one-layer-less", "1 layers, and digests of 2"),
        ("encrypted", "layer of the type"),
        ("bad-digest", "no digest"),
        ("bad-algorithm", "no digest that is known"),
        ("negative", "-1 bytes"),
        ("version-1", "version 1"),
        ("words", "index or manifest"),
        ("huge", "document of"),
    ],
)
def test_broken_layouts(kind: str, problem: str, tmp_path: Path) -> None:
    layout = oci_layout(tmp_path / "layout", LAYERS)
    broken(layout, kind)
    with pytest.raises(ContainerError) as caught:
        found(str(layout))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({b"manifest.json": b"[]"}, "there are: none"),
        ({b"manifest.json": b"{}"}, "manifest.json"),
        ({b"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}, "has no file"),
        ({b"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', b"c": image_config(())}, "1 layers"),
        (
            {b"manifest.json": b'[{"Config": "%s.json"}]' % (b"0" * 64), b"0" * 64 + b".json": b"{}"},
            "is sha256:",
        ),
        ({b"x": b""}, "neither an OCI layout"),
        ({b"index.json": b"[" * 100_000}, "index"),
    ],
)
def test_broken_docker_archives(files: dict[bytes, bytes], problem: str, tmp_path: Path) -> None:
    target = tmp_path / "saved.tar"
    target.write_bytes(archive(*(member(name, content) for name, content in files.items())))
    with pytest.raises(ContainerError) as caught:
        found(str(target))
    assert problem in str(caught.value)


def test_archives_of_images_that_are_none(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    twice = member(b"index.json", b"{}")
    for data, problem in (
        (archive(twice, twice), "twice"),
        (b"\x1f\x8b" + bytes(100), "compressed archive"),
        (b"garbage" * 200, "checksum"),
        (archive(member(b"big", size=10**9), end=b""), "middle"),
        (archive(*(member(b"%d" % n) for n in range(30))), "more than 10"),
    ):
        target.write_bytes(data)
        with pytest.raises(ContainerError) as caught:
            open_files(str(target), Limits(members=10))
        assert problem in str(caught.value)
    with pytest.raises(NotFoundError):
        parse_reference(str(tmp_path / "nothing:latest"))
