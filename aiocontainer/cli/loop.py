"""Loading what commands with an event loop need, without what none of them uses.

`asyncio` works without `ssl`, and msgspec without `typing_extensions`; loading these two takes as long as
making a container.  Nothing is hidden from whoever wants them later.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["asyncio"]

gc.disable()  # what is being loaded is no garbage, and looking for some takes a tenth of the time

_hidden = [name for name in ("ssl", "typing_extensions") if name not in sys.modules]
sys.modules |= dict.fromkeys(_hidden)  # type: ignore[arg-type] # None is "there is no such module"
try:
    import asyncio

    import msgspec  # noqa: F401 - so that it is loaded
finally:
    for _name in _hidden:
        del sys.modules[_name]
