"""Loading what commands with an event loop need, and of Python's library no more than they use.

`asyncio` works without `ssl`, and msgspec without `typing_extensions`: they are told that there are none,
and whoever wants them later gets them.  Modules that are imported but hardly ever used are loaded at their
first use.  All this saves a third of the time.
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
_LATE = ("inspect", "locale", "textwrap", "tokenize")

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


for _name in _LATE:
    sys.modules.setdefault(_name, _Late(_name))
_hidden = [name for name in _HIDDEN if name not in sys.modules]
sys.modules |= dict.fromkeys(_hidden)  # type: ignore[arg-type] # None is "there is no such module"
try:
    import asyncio

    import msgspec  # noqa: F401 - so that it is loaded
finally:
    for _name in _hidden:
        del sys.modules[_name]
