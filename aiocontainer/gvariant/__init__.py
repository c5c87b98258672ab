"""GVariant's text format, complete in both directions: ``{'weights': <[uint32 1, 2]>}``.

The format is GLib's (documentation of GLib, "GVariant Text Format"), the types are those of D-Bus and
GVariant's maybe.  Nothing here needs GLib, D-Bus or any other part of this package but its errors.

Values are plain Python, in the shapes that D-Bus libraries take:

=============================  ===========================================================
``b``                          bool
``y n q i u x t h``            int, in the range of the type; ``h`` is a descriptor's index
``d``                          float
``s o g``                      str
``v``                          `Variant`
``ay``                         bytes
``a{..}``                      dict
any other array                list
``(..)`` and a lone ``{..}``   tuple
``m..``                        None or `Just`
=============================  ===========================================================
"""

from ..errors import GVariantError
from .parser import MAX_BYTES, parse
from .types import MAX_DEPTH
from .values import Just, Variant, convert, dbus_problem
from .writer import format  # noqa: A004 - says what it does, as `json.dumps` does not

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "GVariantError",
    "Just",
    "Variant",
    "convert",
    "dbus_problem",
    "format",
    "parse",
]
