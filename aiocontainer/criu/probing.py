"""Which CRIU is there, and what it and the kernel can do: asked once."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import CriuError, UnsupportedError
from .messages import Kind, Version, encode_request
from .session import Swrk

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Criu", "probe_criu"]

_OLDEST: Final = Version(3, 0)
_FEATURES: Final = ("mem_track", "lazy_pages", "pidfd_store")
_NFTABLES: Final = Version(3, 17)


class Criu(Struct, frozen=True):
    """A CRIU that answers."""

    program: str
    """As given to the runtime."""
    version: Version
    features: frozenset[str]
    """Of the kernel, as CRIU sees it: "mem_track", "lazy_pages", "pidfd_store"."""
    has_iptables: bool = True
    """Whether its programs are there; nftables are used otherwise."""

    def require(self, version: Version, origin: str) -> None:
        """`UnsupportedError` where it is older."""
        if self.version < version:
            raise UnsupportedError(origin, needs=f"CRIU {version}, this is {self.version}", origin=origin)

    def require_feature(self, feature: str, origin: str) -> None:
        """`UnsupportedError` where CRIU says that this kernel cannot do it."""
        if feature not in self.features:
            raise UnsupportedError(origin, needs=f"{feature} of CRIU and the kernel", origin=origin)

    def network_lock(self, asked: str | None, numbers: Mapping[str, int]) -> int | None:
        """Return the number of how to lock; None: CRIU knows only one way."""
        if asked is None:
            asked = "iptables" if self.has_iptables or self.version < _NFTABLES else "nftables"
        if asked == "iptables":
            return None if self.version < _NFTABLES else numbers[asked]
        self.require(_NFTABLES, "network_lock")
        return numbers[asked]


async def probe_criu(program: str) -> Criu:
    """Ask *program*; `UnsupportedError` where it is missing or too old, `CriuError`."""
    worker = await Swrk.start(program)
    try:
        answer = await worker.ask(encode_request(Kind.VERSION, keep_open=True))
        if not answer.success or answer.version is None:
            raise UnsupportedError("checkpoint and restore", needs=f"CRIU {_OLDEST} or newer")
        if answer.version < _OLDEST:
            needs = f"CRIU {_OLDEST} or newer, this is {answer.version}"
            raise UnsupportedError("checkpoint and restore", needs=needs)
        checked = await worker.ask(encode_request(Kind.FEATURE_CHECK, features=_FEATURES))
    except CriuError as exc:
        raise CriuError("asking CRIU for its version", exc.problem, exc.log) from exc
    finally:
        await worker.close()
    features = checked.features if checked.success else frozenset()
    iptables = shutil.which("iptables-restore", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Criu(program, answer.version, features, iptables is not None)
