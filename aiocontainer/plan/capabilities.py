"""The five capability sets of the payload.  capabilities(7), OCI config.md "Linux Process"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ..spec import Capabilities as SpecCapabilities
from .flags import CAPABILITIES, capability_words
from .steps import Bounding, Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .host import Host

__all__ = ["CapabilitySets", "capability_sets"]


class CapabilitySets(Struct, frozen=True):
    """The steps for them: one before the change of user, one after it."""

    bounding: Bounding
    others: Capabilities


def capability_sets(
    sets: SpecCapabilities | None, host: Host, origin: str, warnings: list[str], *, user_namespace: bool
) -> CapabilitySets:
    """Return the steps, exact to the set; nothing said is nothing held, as with runc and crun.

    What the kernel does not know, or what we do not hold ourselves, is left out with a warning: a
    container gets less than it asked for, never more.  In its own user namespace it can have all.
    """
    sets = sets or SpecCapabilities()
    known = (1 << host.last_cap + 1) - 1
    ours = known if user_namespace else known & host.capabilities
    bounding, effective, permitted, inheritable, ambient = (
        _mask(names)
        for names in (sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient)
    )
    missing = (bounding | permitted | inheritable) & ~ours
    if missing:
        warnings.append(f"{origin}: left out, as we do not have them: {capability_words(missing)}")
    # Ambient ones have to be permitted and inheritable, else prctl(2) refuses; that they are not is
    # told by the document's own check.
    return CapabilitySets(
        Bounding(f"{origin}.bounding", bounding & ours),
        Capabilities(
            origin,
            effective=effective & ours,
            permitted=permitted & ours,
            inheritable=inheritable & ours,
            ambient=ambient & permitted & inheritable & ours,
        ),
    )


def _mask(names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        mask |= 1 << CAPABILITIES[name]
    return mask
