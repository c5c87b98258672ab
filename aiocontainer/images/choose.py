"""Which image is meant: a path with a tag or a digest, and among several the one for this machine."""

from __future__ import annotations

import os
import platform as _platform
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from .._tuples import NamedTuple
from ..errors import ImageError, NotFoundError, UnsupportedError
from .documents import (
    Descriptor,
    Document,
    ImageConfig,
    Platform,
    Saved,
    decode_config,
    decode_document,
    decode_saved,
    is_layer,
)
from .streams import check_digest, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .files import Files

__all__ = ["Found", "Layer", "Reference", "find_image", "parse_platform", "parse_reference", "tags"]

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME: Final = "io.containerd.image.name"
_MAX_NESTED: Final = 4
_HEX: Final = re.compile(r"(?:^|/)([0-9a-f]{64})(?:\.json)?$")

# Names of machines as Linux has them: architecture and variant as images do.
_MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}


class Reference(NamedTuple):
    """What was asked for; at most one of tag and digest."""

    path: str
    tag: str = ""
    digest: str = ""


class Layer(Struct, frozen=True):
    """One layer: what it unpacks to, and the file that it is in."""

    diff_id: str
    file: str
    digest: str = ""
    """Of the file; "" where only the layer's own is known."""
    size: int | None = None


class Found(Struct, frozen=True):
    """An image that was found and verified, all but its layers."""

    config: ImageConfig
    digest: str
    """Of its manifest; of its configuration, where there is no manifest."""
    layers: tuple[Layer, ...]
    """The lowest first."""


def parse_reference(text: str) -> Reference:
    """Divide ``PATH``, ``PATH:TAG`` or ``PATH@DIGEST``; a path that exists is one, whatever is in it."""
    if os.path.lexists(text):
        return Reference(text)
    path, at, digest = text.rpartition("@")
    if at and ":" in digest and os.path.lexists(path):
        return Reference(path, digest=check_digest(digest))
    at_colon = len(text)
    while (at_colon := text.rfind(":", 0, at_colon)) > 0:
        if os.path.lexists(text[:at_colon]):
            return Reference(text[:at_colon], tag=text[at_colon + 1 :])
    raise NotFoundError(text)


def parse_platform(text: str | None) -> Platform:
    """Read ``OS/ARCHITECTURE[/VARIANT]``; None is this machine."""
    if text is None:
        machine = _platform.machine()
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        return Platform(architecture, "linux", variant)
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ImageError(f"{text!r} is no platform, as linux/arm64/v8 is one")
    return Platform(parts[1], parts[0], parts[2] if len(parts) == 3 else "")


def find_image(files: Files, reference: Reference, platform: Platform) -> Found:
    """Find the image and read what it says of itself; `ImageError`, `NotFoundError`, `UnsupportedError`."""
    if files.has("index.json"):
        return _of_layout(files, reference, platform)
    if files.has("manifest.json"):
        return _of_docker(files, reference)
    raise ImageError("is neither an OCI layout nor an archive by docker save", path=files.path)


def tags(files: Files) -> list[str]:
    """Return the names of the images."""
    if files.has("index.json"):
        index = decode_document(files.document("index.json"))
        return sorted({name for each in index.manifests or () for name in _names(each)})
    return sorted(
        {tag for each in decode_saved(files.document("manifest.json")) for tag in each.repo_tags or ()}
    )


# OCI layouts -------------------------------------------------------------------------------------------


def _of_layout(files: Files, reference: Reference, platform: Platform) -> Found:
    index = decode_document(files.document("index.json"))
    if index.manifests is None:
        raise ImageError("index.json is no index", path=files.path)
    top = _chosen(index.manifests, reference, files)
    descriptor, manifest = _manifest(files, top, platform)
    assert manifest.config is not None
    config = decode_config(_verified(files, manifest.config))
    layers = manifest.layers or ()
    _check_count(config, len(layers), descriptor.digest)
    for layer in layers:
        if layer.media_type and not is_layer(layer.media_type):
            raise UnsupportedError(
                f"a layer of the type {layer.media_type}", needs="an archive", origin="image"
            )
    found = tuple(
        Layer(diff_id, _blob(each.digest), each.digest, each.size)
        for diff_id, each in zip(config.diff_ids, layers, strict=True)
    )
    return Found(config, descriptor.digest, found)


def _chosen(manifests: Sequence[Descriptor], reference: Reference, files: Files) -> tuple[Descriptor, ...]:
    """Return those that the reference names; several are one image for several machines."""
    if reference.digest:
        named = tuple(each for each in manifests if each.digest == reference.digest)
        if not named:  # of a blob that no name leads to
            with files.open(_blob(reference.digest)) as piece:
                return (Descriptor(reference.digest, piece.size),)
        return named[:1]
    if reference.tag:
        named = _tagged(manifests, reference.tag)
    else:
        names = {name for each in manifests for name in _names(each)[:1]}
        named = tuple(manifests) if len(names) < 2 else _tagged(manifests, "latest")
    if not named:
        known = ", ".join(sorted({name for each in manifests for name in _names(each)})) or "none"
        raise NotFoundError(f"{files.path}:{reference.tag or 'latest'} (there are: {known[:400]})")
    return named


def _tagged(manifests: Sequence[Descriptor], tag: str) -> tuple[Descriptor, ...]:
    exact = tuple(each for each in manifests if tag in _names(each))
    return exact or tuple(
        each for each in manifests if any(name.endswith(f":{tag}") for name in _names(each))
    )


def _names(descriptor: Descriptor) -> list[str]:
    annotations = descriptor.annotations or {}
    return [annotations[key] for key in (_REF_NAME, _CONTAINERD_NAME) if key in annotations]


def _manifest(
    files: Files, chosen: Sequence[Descriptor], platform: Platform, depth: int = 0
) -> tuple[Descriptor, Document]:
    """Go down through indexes to the manifest that fits this machine best."""
    if depth > _MAX_NESTED:
        raise ImageError("has indexes within indexes without an end", path=files.path)
    candidates = sorted(_ranked(chosen, platform), key=lambda each: each[0])
    for _, descriptor in candidates:
        document = decode_document(_verified(files, descriptor), descriptor.media_type)
        if document.manifests is None:
            if descriptor.platform is None and not _runs(files, document, platform):
                continue
            return descriptor, document
        try:
            return _manifest(files, document.manifests, platform, depth + 1)
        except UnsupportedError:
            continue
    wanted = "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))
    raise UnsupportedError("this image", needs=f"one for {wanted}, which it does not have", origin="platform")


def _ranked(chosen: Sequence[Descriptor], platform: Platform) -> Iterator[tuple[int, Descriptor]]:
    for descriptor in chosen:
        rank = 0 if descriptor.platform is None else _rank(descriptor.platform, platform)
        if rank is not None:
            yield rank, descriptor


def _rank(offered: Platform, wanted: Platform) -> int | None:
    """Say how well it fits, the lower the better; None: not at all."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if offered.variant == wanted.variant:
        return 0
    if not offered.variant or not wanted.variant:
        return 1 if offered.variant in ("", "v8", "v1") or not wanted.variant else None
    if wanted.architecture == "arm" and offered.variant < wanted.variant:
        return 1 + ord(wanted.variant[-1]) - ord(offered.variant[-1])
    return None


def _runs(files: Files, document: Document, platform: Platform) -> bool:
    """Whether the configuration says so; one that says nothing is taken at its word."""
    assert document.config is not None
    offered = decode_config(_verified(files, document.config)).platform
    return not offered.architecture or _rank(offered, platform) is not None


def _verified(files: Files, descriptor: Descriptor) -> bytes:
    """Read a document that is what its descriptor says."""
    try:
        data = files.document(_blob(descriptor.digest))
    except ImageError as exc:
        exc.digest = descriptor.digest
        raise
    if len(data) != descriptor.size:
        raise ImageError(f"has {len(data)} bytes, not {descriptor.size}", digest=descriptor.digest)
    found = digest_of(data, descriptor.digest.partition(":")[0])
    if found != descriptor.digest:
        raise ImageError(f"is {found}", path=files.path, digest=descriptor.digest)
    return data


def _blob(digest: str) -> str:
    return f"blobs/{check_digest(digest).replace(':', '/')}"


# docker save -------------------------------------------------------------------------------------------


def _of_docker(files: Files, reference: Reference) -> Found:
    saved = _saved(decode_saved(files.document("manifest.json")), reference, files)
    data = files.document(saved.config)
    digest = digest_of(data)
    named = _HEX.search(saved.config)
    if named is not None and digest != f"sha256:{named[1]}":
        raise ImageError(f"is {digest}", path=files.path, digest=f"sha256:{named[1]}")
    config = decode_config(data)
    layers = saved.layers or ()
    _check_count(config, len(layers), digest)
    found = tuple(Layer(diff_id, file) for diff_id, file in zip(config.diff_ids, layers, strict=True))
    return Found(config, digest, found)


def _saved(images: Sequence[Saved], reference: Reference, files: Files) -> Saved:
    if reference.digest:
        wanted = reference.digest
        named = [each for each in images if digest_of(files.document(each.config)) == wanted]
    elif reference.tag:
        tag = reference.tag
        named = [each for each in images if tag in (each.repo_tags or ())] or [
            each for each in images if any(name.endswith(f":{tag}") for name in each.repo_tags or ())
        ]
    else:
        named = list(images)
    if len(named) != 1:
        known = ", ".join(sorted({tag for each in images for tag in each.repo_tags or ()})) or "none"
        asked = reference.tag or reference.digest or "one image"
        raise NotFoundError(f"{files.path}: {asked} (there are: {known[:400]})")
    return named[0]


def _check_count(config: ImageConfig, layers: int, digest: str) -> None:
    if layers != len(config.diff_ids):
        raise ImageError(f"has {layers} layers, and digests of {len(config.diff_ids)}", digest=digest)
