"""Options that are too long for fsconfig(2), which takes 255 bytes: the layers of many an overlay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from .._lazy import pattern
from ..errors import SpecError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["fitting"]

_LONGEST: Final = 255
_COLON: Final = pattern(r"(?<!\\):")
_ESCAPED: Final = pattern(r"\\(.)")
_APPENDING: Final = (6, 7)  # the kernel that has "lowerdir+"


def fitting(fstype: str, data: Iterable[str], kernel: tuple[int, int], origin: str) -> Iterator[str]:
    """Yield the options of a file system in a form that the kernel takes; `SpecError`, `UnsupportedError`."""
    for item in data:
        key, _, value = item.partition("=")
        if fstype == "overlay" and key == "lowerdir" and _is_long(value):
            if kernel < _APPENDING:
                raise UnsupportedError(
                    f"lower directories of more than {_LONGEST} bytes", needs="Linux 6.7", origin=origin
                )
            yield from (_checked(layer, origin) for layer in _layers(value))
        else:
            yield _checked(item, origin)


def _is_long(value: str) -> bool:
    return len(os.fsencode(value)) > _LONGEST


def _checked(item: str, origin: str) -> str:
    key, _, value = item.partition("=")
    if _is_long(key) or _is_long(value):
        raise SpecError(f"{key[:32]}: longer than {_LONGEST} bytes", origin=origin)
    return item


def _layers(value: str) -> Iterator[str]:
    """Yield each layer by itself, the topmost first; those for data alone come after two colons.

    What is appended needs no escapes.  overlayfs.rst "Multiple lower layers"
    """
    key = "lowerdir+"
    for part in _COLON.split(value):
        if part:
            path = _ESCAPED.sub(r"\1", part)
            yield f"{key}={path}"
        else:
            key = "datadir+"
