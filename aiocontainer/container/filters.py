"""Programs of seccomp filters: built once for each profile, and kept in memory and on disk."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from .. import native
from .._digest import sha256
from ..plan.flags import BPF_MAXINSNS
from ..plan.steps import Seccomp
from ..store import Cache, default_cache

if TYPE_CHECKING:
    from ..plan.filter import Filter
    from ..plan.plan import Plan

__all__ = ["Filters"]

_FORM: Final = 3
"""Of the stub and of everything else that is ours in a program; another number makes all be built anew."""
_INSTRUCTION_SIZE: Final = 8
_MOST: Final = 64


class Filters:
    """Safe to use from any thread; building one takes milliseconds, a known one a tenth of one."""

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache or Cache(default_cache())
        self._programs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def complete(self, plan: Plan) -> Plan:
        """Return *plan* with the program of its filter, where it has one."""
        for index, step in enumerate(plan.steps):
            if isinstance(step, Seccomp):
                built = replace(step, program=self.program(step.filter))
                return replace(plan, steps=(*plan.steps[:index], built, *plan.steps[index + 1 :]))
        return plan

    def program(self, filter: Filter) -> bytes:
        """Return what the kernel is to execute; `UnsupportedError`, `SpecError`."""
        key = sha256(self._machine + msgspec.msgpack.encode(filter)).hexdigest()
        with self._lock:  # who asks for the same meanwhile had better wait
            program = self._programs.pop(key, None) or self._kept(key) or self._built(key, filter)
            self._programs[key] = program
            if len(self._programs) > _MOST:
                del self._programs[next(iter(self._programs))]
        return program

    @cached_property
    def _machine(self) -> bytes:
        """What a program depends on besides the profile."""
        return msgspec.msgpack.encode((_FORM, *native.libseccomp()))

    def _kept(self, key: str) -> bytes | None:
        program = self._cache.get(key, BPF_MAXINSNS * _INSTRUCTION_SIZE)
        return program if program and len(program) % _INSTRUCTION_SIZE == 0 else None

    def _built(self, key: str, filter: Filter) -> bytes:
        program = native.build_filter(filter)
        self._cache.put(key, program)
        return program
