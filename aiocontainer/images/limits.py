"""How much of everything an image may have: more is refused before it is stored."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_EXTENDED_BYTES",
    "MAX_LAYERS",
    "MAX_NAME_BYTES",
    "MAX_PATH_BYTES",
    "MAX_SEGMENTS",
    "Limits",
]

MAX_DOCUMENT_BYTES: Final = 4 << 20
"""An index, manifest or configuration.  OCI distribution-spec "Pushing Manifests"."""
MAX_LAYERS: Final = 400
"""overlayfs takes 500: OVL_MAX_STACK."""
MAX_PATH_BYTES: Final = 4095
MAX_NAME_BYTES: Final = 255
MAX_DEPTH: Final = 512
"""Directories within each other."""
MAX_EXTENDED_BYTES: Final = 1 << 20
"""The extended header of one entry: extended attributes are the largest part, 64 KiB in all."""
MAX_SEGMENTS: Final = 1 << 16
"""Pieces of one sparse file."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds for what one layer unpacks to, and for the archive that holds the image."""

    layer_bytes: int = 64 << 30
    """All of its archive, decompressed."""
    file_bytes: int = 1 << 40
    """The length of one file; holes count."""
    entries: int = 4_000_000
    """Names in the archive of a layer."""
    members: int = 100_000
    """Files in an archive of a whole image."""
