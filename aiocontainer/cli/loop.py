"""Loading what commands with an event loop need, and of Python's library no more than they use.

`asyncio` works without `ssl`, and msgspec without `typing_extensions`: they are told that there are none,
and whoever wants them later gets them.  Modules that are imported but hardly ever used are loaded at their
first use.  Of others msgspec wants types that it can tell from all else, which no command makes values of:
it gets some.  All this saves two fifths of the time.
"""

from __future__ import annotations

import gc
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["asyncio"]

_HIDDEN = ("ssl", "typing_extensions")
_LATE = (
    "asyncio.sslproto",
    "asyncio.staggered",
    "inspect",
    "locale",
    "msgspec.inspect",
    "msgspec.toml",
    "msgspec.yaml",
    "textwrap",
    "tokenize",
    "traceback",
)
_TYPES = {"decimal": ("Decimal",), "uuid": ("SafeUUID", "UUID")}
"""What msgspec takes from modules that are larger than itself."""

gc.disable()  # what is being loaded is no garbage, and looking for some takes a tenth of the time


class _Late(ModuleType):
    """Stands for a module until something of it is used; importlib's LazyLoader loads at the next import."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        value = getattr(module, name)
        self.__dict__.update(module.__dict__)
        return value


def _stand_in(name: str) -> ModuleType | None:
    """Give what stands for a module while msgspec looks for it; None says that there is no such module."""
    if name in _HIDDEN:
        return None
    if name == "datetime":  # all of it is in C, beside which Python before 3.12 loads the same in Python
        module: ModuleType = __import__("_datetime")
        return module
    late = _Late(name)
    for type_name in _TYPES[name]:
        setattr(late, type_name, type(type_name, (), {"unknown": None}))
    return late


for _name in _LATE:
    sys.modules.setdefault(_name, _Late(_name))
_instead = {name: _stand_in(name) for name in (*_HIDDEN, *_TYPES, "datetime") if name not in sys.modules}
sys.modules |= _instead  # type: ignore[arg-type] # None is "there is no such module"
try:
    import asyncio

    import msgspec  # noqa: F401 - so that it is loaded
finally:
    for _name in _instead:
        del sys.modules[_name]
