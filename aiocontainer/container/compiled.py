"""Compile each specification once: containers of one `Spec` differ in little more than their ids."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from .. import native
from .._digest import sha256
from ..plan.compile import compile_plan, renamed
from ..plan.steps import Fork, Keyring, Seccomp
from .starting import gate_facts

if TYPE_CHECKING:
    from ..plan.host import Host
    from ..plan.options import Options
    from ..plan.plan import Plan
    from ..spec import Spec
    from .filters import Filters

__all__ = ["Compiled", "Compiler", "traits_of"]

_MOST: Final = 64
"""Specifications that are remembered; the longest unused is forgotten first."""


class Traits(Struct, frozen=True):
    """What of its steps the parent has to know before it comes to them; the same for all of one `Spec`."""

    processes: int
    """How many the helper makes, one after the other: the last is the one that counts."""
    keyring: bool
    listens_early: bool
    """A filter hands out its listener before "created"."""
    listens_late: bool
    """A filter hands out its listener at start."""


def traits_of(plan: Plan) -> Traits:
    """Look through the steps of *plan*."""
    listening = [step for step in plan.steps if isinstance(step, Seccomp) and step.listens]
    return Traits(
        processes=1 + sum(isinstance(step, Fork) for step in plan.steps),
        keyring=any(isinstance(step, Keyring) for step in plan.steps),
        listens_early=any(not step.late for step in listening),
        listens_late=any(step.late for step in listening),
    )


class Compiled(Struct, frozen=True):
    """A plan as the helper reads it, and what `start` will need to know of it."""

    plan: Plan
    records: tuple[bytes, ...]
    gate: object
    traits: Traits
    config: bytes
    """The specification as it is kept."""
    config_sha256: str

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
        config = spec.encode()
        compiled = Compiled(
            plan,
            tuple(map(native.encode_step, plan.steps)),
            gate_facts(plan),
            traits_of(plan),
            config,
            sha256(config).hexdigest(),
        )
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
        return replace(had, plan=plan, records=tuple(records))
