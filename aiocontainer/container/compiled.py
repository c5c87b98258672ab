"""Compile each specification once: containers of one `Spec` differ in little more than their ids."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from .. import native
from ..plan.compile import compile_plan, renamed
from .starting import gate_facts

if TYPE_CHECKING:
    from ..plan.host import Host
    from ..plan.options import Options
    from ..plan.plan import Plan
    from ..spec import Spec
    from .filters import Filters

__all__ = ["Compiled", "Compiler"]

_MOST: Final = 64
"""Specifications that are remembered; the longest unused is forgotten first."""


class Compiled(Struct, frozen=True):
    """A plan as the helper reads it, and what `start` will need to know of it."""

    plan: Plan
    records: tuple[bytes, ...]
    gate: object

    @property
    def wire(self) -> bytes:
        """The bytes of the plan's memfd."""
        return native.assemble_plan(self.records, len(self.plan.fds))


class _Entry(Struct, frozen=True):
    spec: Spec  # kept alive, so that its identity stays its own
    compiled: Compiled


class Compiler:
    """Compiles for one machine; safe to use from any thread."""

    def __init__(self, host: Host, filters: Filters) -> None:
        self._host = host
        self._filters = filters
        self._entries: dict[tuple[int, Options], _Entry] = {}
        self._lock = threading.Lock()

    def compile(self, spec: Spec, options: Options) -> Compiled:
        """Return the plan of *spec*, by renaming the one of an earlier container where there is one."""
        key = (id(spec), replace(options, id=""))
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._entries[key] = entry
        if entry is not None:
            return self._renamed(entry.compiled, spec, options)
        plan = self._filters.complete(compile_plan(spec, self._host, options))
        compiled = Compiled(plan, tuple(map(native.encode_step, plan.steps)), gate_facts(plan))
        with self._lock:
            self._entries[key] = _Entry(spec, compiled)
            if len(self._entries) > _MOST:
                del self._entries[next(iter(self._entries))]
        return compiled

    def _renamed(self, had: Compiled, spec: Spec, options: Options) -> Compiled:
        plan = renamed(had.plan, spec, self._host, options)
        records = list(had.records)
        for index, step in enumerate(plan.steps):
            if step is not had.plan.steps[index]:
                records[index] = native.encode_step(step)
        return Compiled(plan, tuple(records), had.gate)
