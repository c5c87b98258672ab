"""Images on disk into layers for overlayfs: OCI layouts and archives by docker save, without other tools."""

from __future__ import annotations

from .image import Image
from .limits import Limits as ImageLimits

__all__ = ["Image", "ImageLimits"]
