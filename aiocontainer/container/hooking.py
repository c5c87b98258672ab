"""What runs outside a container at the points of its life: its hooks there, and its creator's callbacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..hooks import Callbacks, run_callback, run_hook
from ..plan.hooks import hook_state, outside_hooks
from ..spec import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..plan.hooks import HookKind, OutsideHook
    from ..spec import Spec, State, Status

__all__ = ["LATER_KINDS", "Hooking", "later_hooks"]

LATER_KINDS: tuple[HookKind, ...] = ("startContainer", "poststart", "poststop")
"""Hooks that run after create, maybe by another process."""

_log = logging.getLogger("aiocontainer.hooks")


def later_hooks(spec: Spec) -> list[HookKind]:
    """Return which kinds of hooks *spec* has for after create, for whoever loads the container."""
    if spec.hooks is None:
        return []
    asked = (spec.hooks.start_container, spec.hooks.poststart, spec.hooks.poststop)
    return [kind for kind, hooks in zip(LATER_KINDS, asked, strict=True) if hooks]


class Hooking:
    """Hooks and callbacks of one container.  Every wait may be cancelled, and kills the hook."""

    def __init__(
        self, spec: Spec, id: str, bundle: str, callbacks: Callbacks | None, environment: Mapping[str, str]
    ) -> None:
        """Prepare; *environment* is for hooks that say nothing of one."""
        self._spec = spec
        self._id = id
        self._bundle = bundle
        self._callbacks = callbacks or Callbacks()
        self._environment = environment

    async def before_pivot(self, pid: int) -> None:
        """Run what comes once namespaces and mounts are there; the first failure ends the creation."""
        state = self._state("creating", pid)
        await self._run(state, "prestart", "createRuntime")
        await run_callback(self._callbacks, "create_runtime", state)
        await run_callback(self._callbacks, "create_container", state)

    async def before_start(self, pid: int) -> None:
        """Run what comes before the gate is opened; the first failure stops the container."""
        await run_callback(self._callbacks, "start_container", self._state("created", pid))

    async def after_start(self, pid: int) -> None:
        """Run what comes once the program runs; the first failure stops the container."""
        state = self._state("running", pid)
        await self._run(state, "poststart")
        await run_callback(self._callbacks, "poststart", state)

    async def after_end(self) -> None:
        """Run what comes when nothing is left of it; failures are logged, and the rest runs."""
        state = self._state("stopped", None)
        for each in outside_hooks(self._spec, "poststop"):
            try:
                await self._run_one(each, state)
            except Exception as exc:  # noqa: BLE001 - told; OCI runtime.md "Lifecycle" 13
                _log.warning("container %s: %s", self._id, exc)
        try:
            await run_callback(self._callbacks, "poststop", state)
        except Exception:  # noqa: BLE001 - the same
            _log.exception("container %s: the callback poststop failed", self._id)

    async def _run(self, state: State, *kinds: HookKind) -> None:
        for each in outside_hooks(self._spec, *kinds):
            await self._run_one(each, state)

    async def _run_one(self, each: OutsideHook, state: State) -> None:
        await run_hook(
            each.hook,
            encode(state),
            origin=each.origin,
            cwd=self._bundle,
            env=self._environment,
            outputs=each.outputs,
        )

    def _state(self, status: Status, pid: int | None) -> State:
        return hook_state(self._spec, self._id, self._bundle, status, pid)
