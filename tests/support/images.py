"""Images made for a test: OCI layouts and archives as docker saves them, of layers given as bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.tars import archive, member

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["blob", "digest", "docker_archive", "image_config", "manifest", "oci_layout", "tarred"]

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image_config(layers: Sequence[bytes], config: dict[str, Any] | None = None, **changes: Any) -> bytes:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "config": config or {},
        **changes,
    }
    return json.dumps(document).encode()


def blob(layout: Path, data: bytes) -> dict[str, Any]:
    """Write a blob and return its descriptor, without a type."""
    name = digest(data)
    target = layout / "blobs" / name.replace(":", "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return {"digest": name, "size": len(data)}


def manifest(
    layout: Path,
    layers: Sequence[bytes],
    config: dict[str, Any] | None = None,
    *,
    zip: bool = True,
    **changes: Any,
) -> dict[str, Any]:
    """Write one image and return the descriptor of its manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **blob(layout, image_config(layers, config, **changes)),
        },
        "layers": [
            {
                "mediaType": f"{LAYER}+gzip" if zip else LAYER,
                **blob(layout, gzip.compress(layer, 1, mtime=0) if zip else layer),
            }
            for layer in layers
        ],
    }
    return {"mediaType": MANIFEST, **blob(layout, json.dumps(document).encode())}


def oci_layout(
    layout: Path,
    layers: Sequence[bytes],
    config: dict[str, Any] | None = None,
    *,
    tag: str = "latest",
    **more: Any,
) -> Path:
    """Make a layout of one image."""
    layout.mkdir(exist_ok=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    descriptor = manifest(layout, layers, config, **more)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
    (layout / "index.json").write_text(json.dumps(index))
    return layout


def tarred(layout: Path) -> Path:
    """Put a directory into an archive beside it."""
    members = [
        member(str(each.relative_to(layout)).encode(), each.read_bytes())
        for each in sorted(layout.rglob("*"))
        if each.is_file()
    ]
    target = Path(f"{layout}.tar")
    target.write_bytes(archive(*members))
    return target


def docker_archive(
    target: Path, layers: Sequence[bytes], config: dict[str, Any] | None = None, *, tag: str = "app:latest"
) -> Path:
    """Write what docker save wrote before it wrote OCI layouts: a layer that is there twice is a link."""
    document = image_config(layers, config)
    name = digest(document).removeprefix("sha256:")
    members = [member(f"{name}.json".encode(), document)]
    files: dict[bytes, str] = {}
    paths = []
    for index, layer in enumerate(layers):
        path = f"{index:064x}/layer.tar"
        if layer in files:
            members.append(member(path.encode(), type=b"2", link=f"../{files[layer]}".encode()))
        else:
            members.append(member(path.encode(), layer))
        files.setdefault(layer, path)
        paths.append(path)
    saved = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": paths}]
    target.write_bytes(archive(*members, member(b"manifest.json", json.dumps(saved).encode())))
    return target
