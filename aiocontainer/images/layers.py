"""One layer from its file in the image to a directory, verified on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ImageError
from .archive import Archive
from .streams import Counted, decompressed
from .unpack import Unpacker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .choose import Layer
    from .files import Files
    from .limits import Limits
    from .unpack import Rights, Unpacked

__all__ = ["unpack_layer"]


def unpack_layer(
    files: Files, layer: Layer, directory: int, rights: Rights, limits: Limits, lowers: Sequence[int] = ()
) -> Unpacked:
    """Unpack *layer* into the empty *directory*; what is there afterwards is nothing if this raises.

    `ImageError`, with the digest and the entry, as soon as anything is not what it has to be; the digests
    can only be known at the end.
    """
    try:
        with files.open(layer.file) as piece:
            read = piece.read
            blob = None
            if layer.digest:
                most = piece.size if layer.size is None else layer.size
                blob = Counted(read, layer.digest, most, what="the layer's file")
                read = blob.read
            plain = Counted(decompressed(read), layer.diff_id, limits.layer_bytes, what="the layer")
            done = Unpacker(directory, rights, lowers).unpack(Archive(plain.read, limits))
            plain.verify()
            if blob is not None:
                blob.verify(layer.size)
            return done
    except ImageError as exc:
        exc.path = exc.path or files.path
        exc.digest = exc.digest or layer.digest or layer.diff_id
        raise
