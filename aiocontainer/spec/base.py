"""What all OCI objects share: how they are spelled in JSON, and the number ranges of the schema.

Unset is always told from zero: an unset number is None.  An empty string or list means the same as
an absent one, as every peer writes it, except where a field says otherwise.
"""

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Id", "Int32", "Int64", "Object", "Uint16", "Uint32", "Uint64"]

Uint16 = Annotated[int, Meta(ge=0, le=2**16 - 1)]
Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
# msgspec takes no bound beyond int64; `document.py` refuses what is wider than 64 bits.
Uint64 = Annotated[int, Meta(ge=0)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

# A user or group id.  The last value is the kernel's "no change", never an id.  setresuid(2)
Id = Annotated[int, Meta(ge=0, le=2**32 - 2)]


class Object(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all objects: frozen, by keyword, camelCase in JSON, unknown properties ignored."""
