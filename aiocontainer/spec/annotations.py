"""Annotations that mean something to a runtime."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANNOTATIONS", "SYSTEMD_PROPERTY", "UNSAFE_ANNOTATIONS", "gvariant_text"]

SYSTEMD_PROPERTY = "org.systemd.property."  # runc systemd-properties.md

# Whoever may set these, as an image does whose labels become annotations, may weaken isolation or
# mislead others.  A name that ends with a dot stands for all that begin with it.
ANNOTATIONS: Mapping[str, str] = {
    "bundle": "reserved: engines take it for the path of the bundle",
    "org.criu.config": "a file of options for a checkpoint",
    SYSTEMD_PROPERTY: "what the service manager does with the container's unit",
}
"""Annotations that mean something to a runtime, and what."""

UNSAFE_ANNOTATIONS = tuple(ANNOTATIONS)

# GVariant text, as far as its beginning tells it from a bare word.
_GVARIANT = re.compile(
    r"""(?s)
    b?['"].* | [\[({<@].* | true | false
    | [+-]?(?: 0x[0-9a-fA-F]+ | [0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)? )
    | (?:boolean|byte|u?int16|u?int32|u?int64|handle|double|string|objectpath|signature)\s.*""",
    re.VERBOSE,
)


def gvariant_text(value: str | int | bool) -> str:
    """Write a value as GVariant text.

    Text stays as it is when it is GVariant text already (``"uint64 5"``, ``"['a']"``) and is quoted
    otherwise.  A number is an unsigned one of 64 bits, as most properties are, unless negative.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"uint64 {value}" if value >= 0 else f"int64 {value}"
    if _GVARIANT.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
