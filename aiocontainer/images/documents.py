"""The documents of an image, decoded strictly: OCI image-spec, and what ``docker save`` writes."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from .._convert import learn
from ..errors import ImageError, UnsupportedError
from .limits import MAX_LAYERS
from .streams import check_digest

__all__ = [
    "Config",
    "Descriptor",
    "Document",
    "ImageConfig",
    "Platform",
    "Saved",
    "decode_config",
    "decode_document",
    "decode_saved",
    "is_layer",
]

_INDEXES: Final = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_MANIFESTS: Final = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
_LAYERS: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_COMPRESSIONS: Final = ("", "+gzip", "+zstd", ".gzip", ".zstd")
_MAX_MANIFESTS: Final = 1024

T = TypeVar("T")


class Platform(Struct, frozen=True):
    """What an image runs on."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(Struct, frozen=True, rename="camel"):
    """Another blob.  OCI image-spec descriptor.md."""

    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Document(Struct, frozen=True, rename="camel"):
    """An index or a manifest; never both: CVE-2021-41190."""

    schema_version: int = 2
    media_type: str = ""
    manifests: tuple[Descriptor, ...] | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None


class Config(Struct, frozen=True, rename="pascal"):
    """How a container of the image is run; null is as good as nothing.  OCI image-spec config.md."""

    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, object] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class RootFs(Struct, frozen=True):
    """The layers, the lowest first."""

    type: str
    diff_ids: tuple[str, ...] | None = None


class ImageConfig(Struct, frozen=True):
    """What an image says of itself."""

    rootfs: RootFs
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None
    author: str | None = None
    config: Config | None = None

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the layers' archives, decompressed; the lowest first."""
        return self.rootfs.diff_ids or ()

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(self.architecture, self.os, self.variant)


class Saved(Struct, frozen=True, rename="pascal"):
    """One image of an archive by ``docker save``: files in the archive."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


def _decode(data: bytes, type: type[T], what: str) -> T:
    learn(type)
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ImageError(f"{what}: {exc}") from None


def decode_document(data: bytes, media_type: str = "") -> Document:
    """Decode an index or manifest, of the *media_type* that its descriptor says."""
    document = _decode(data, Document, "index or manifest")
    if document.schema_version != 2:
        raise UnsupportedError(f"a manifest of version {document.schema_version}", needs="2", origin="image")
    if (document.manifests is None) == (document.config is None or document.layers is None):
        raise ImageError("is neither an index nor a manifest, or both")
    if document.manifests is not None and (document.config is not None or document.layers is not None):
        raise ImageError("is an index and a manifest")
    known = _MANIFESTS if document.manifests is None else _INDEXES
    for said in (media_type, document.media_type):
        if said and said in _MANIFESTS | _INDEXES and said not in known:
            raise ImageError(f"is no {said}")
    if len(document.manifests or ()) > _MAX_MANIFESTS:
        raise ImageError(f"has more than {_MAX_MANIFESTS} manifests")
    for each in (*(document.manifests or ()), *(document.layers or ()), document.config):
        if each is not None:
            _check_descriptor(each)
    return document


def _check_descriptor(descriptor: Descriptor) -> None:
    check_digest(descriptor.digest)
    if not 0 <= descriptor.size < 2**62:
        raise ImageError(f"has {descriptor.size} bytes", digest=descriptor.digest)


def is_layer(media_type: str) -> bool:
    """Whether it is an archive of files: those of other artifacts are not, nor what is encrypted."""
    return any(media_type == f"{base}{compression}" for base in _LAYERS for compression in _COMPRESSIONS)


def decode_config(data: bytes) -> ImageConfig:
    """Decode the configuration of an image."""
    config = _decode(data, ImageConfig, "configuration")
    if config.rootfs.type != "layers":
        raise UnsupportedError(f"a root of the type {config.rootfs.type!r}", needs="layers", origin="image")
    if len(config.diff_ids) > MAX_LAYERS:
        raise ImageError(f"has {len(config.diff_ids)} layers, at most {MAX_LAYERS}")
    for diff_id in config.diff_ids:
        check_digest(diff_id)
    return config


def decode_saved(data: bytes) -> tuple[Saved, ...]:
    """Decode the list of images in an archive by ``docker save``."""
    return _decode(data, tuple[Saved, ...], "manifest.json")
