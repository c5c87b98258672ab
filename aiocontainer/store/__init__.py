"""What is known of containers, kept where other processes find it; `store.py` says how.

Names are loaded when they are first used: who only reads a state needs next to none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache import Cache, default_cache
    from .documents import CgroupRecord, Record, State, UnitRecord, timestamp
    from .files import default_root
    from .identity import Identity, boot_id, identify, namespace_inodes, open_process
    from .store import Lock, Store, StoreError

__all__ = [
    "Cache",
    "CgroupRecord",
    "Identity",
    "Lock",
    "Record",
    "State",
    "Store",
    "StoreError",
    "UnitRecord",
    "boot_id",
    "default_cache",
    "default_root",
    "identify",
    "namespace_inodes",
    "open_process",
    "timestamp",
]

_HOMES = {
    "Cache": "cache",
    "default_cache": "cache",
    "CgroupRecord": "documents",
    "Record": "documents",
    "State": "documents",
    "UnitRecord": "documents",
    "timestamp": "documents",
    "default_root": "files",
    "Identity": "identity",
    "boot_id": "identity",
    "identify": "identity",
    "namespace_inodes": "identity",
    "open_process": "identity",
}
"""Name to module; what is not here lives in `store`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES.get(name, 'store')}", __name__), name)
    globals()[name] = value
    return value
