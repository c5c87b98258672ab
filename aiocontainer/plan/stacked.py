"""A root file system of layers: an overlay that the specification mounts on "/" before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._lazy import pattern
from ..errors import SpecError, UnsupportedError
from .mount_options import parse_options
from .paths import clean
from .plan import Layers

if TYPE_CHECKING:
    from .draft import Draft

__all__ = ["stacked_root"]

_ORIGIN: Final = "$.mounts[0]"
_COLON: Final = pattern(r"(?<!\\):")
_ESCAPED: Final = pattern(r"\\(.)")
_MAX_LAYERS: Final = 500  # OVL_MAX_STACK
_SINGLE: Final = ("upperdir", "workdir")


def stacked_root(draft: Draft) -> Layers | None:
    """Return the layers that the root is made of; None where it is a directory.

    Without an upper directory what is written ends with the container.  `SpecError`, `UnsupportedError`.
    """
    mount = next(iter(draft.spec.mounts), None)
    if mount is None or mount.type != "overlay" or clean(mount.destination) != "/":
        return None
    if draft.by_parent:
        needs = "layers whose owners are mapped: leave out linux.uidMappings, or do it as an ordinary user"
        raise UnsupportedError("a root of layers in a user namespace of root's", needs=needs, origin=_ORIGIN)
    found = _options(mount.options)
    upper, work = (found.get(key, "") for key in _SINGLE)
    layers = tuple(found.get("lowerdir", "").split("\0")) if "lowerdir" in found else ()
    if bool(upper) != bool(work):
        raise SpecError("upperdir and workdir go together", origin=f"{_ORIGIN}.options")
    if not 0 < len(layers) <= _MAX_LAYERS:
        raise SpecError(f"{len(layers)} layers, from 1 to {_MAX_LAYERS}", origin=f"{_ORIGIN}.options")
    for path in (*layers, *filter(None, (upper, work))):
        if not path.startswith("/"):
            raise SpecError(f"{path!r} is no absolute path", origin=f"{_ORIGIN}.options")
    return Layers(
        layers, mount.source or "overlay", _ORIGIN, upper, work, userxattr=draft.host.in_user_namespace
    )


def _options(texts: tuple[str, ...]) -> dict[str, str]:
    """Return what there is of each option, all layers as one text with NULs between them."""
    options = parse_options(texts, f"{_ORIGIN}.options")
    found: dict[str, str] = {}
    for item in options.data:
        key, _, value = item.partition("=")
        if key in _SINGLE:
            found[key] = value
        elif key in ("lowerdir", "lowerdir+"):
            layers = (
                [value] if key == "lowerdir+" else [_ESCAPED.sub(r"\1", part) for part in _COLON.split(value)]
            )
            found["lowerdir"] = "\0".join([*filter(None, [found.get("lowerdir")]), *layers])
        else:
            raise SpecError(f"{item!r} is no option of a root of layers", origin=f"{_ORIGIN}.options")
    if options.attrs or options.flags or options.propagation or options.superblock:
        raise SpecError(
            "a root of layers has no such options; see root.readonly", origin=f"{_ORIGIN}.options"
        )
    return found
