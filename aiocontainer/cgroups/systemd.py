"""A container's unit: the scope, or slice, whose cgroup systemd makes and we use.

Only what must be asked of systemd is: everything that a file of the cgroup can do is done by the
drivers of cgroup file systems, which never talk to anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NoReturn

from .._aio import finish, undo
from ..errors import SystemdError, UnitExistsError
from ..plan.unit import UnitPlan, UnitProperty
from .bus import GONE
from .manager import NO_SUCH_UNIT, UNIT_EXISTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.unit_differences import PropertyDifference
    from .manager import Job, Manager, UnitState

__all__ = ["Unit"]

_UNKNOWN_S: Final = 0.05
"""Pause between two looks for a unit of which nobody knows whether it is ours."""


class Unit:
    """One unit, to be started or known to be there.

    `is_ours` says whether to stop it: false until it was started, and for a slice that was there before.
    """

    def __init__(self, manager: Manager, plan: UnitPlan, *, started: bool = False) -> None:
        self._manager = manager
        self._plan = plan
        self.is_ours: bool = started

    @property
    def name(self) -> str:
        """Its whole name, with the suffix."""
        return self._plan.name

    @property
    def user(self) -> bool:
        """Whether our user's own manager has it."""
        return self._plan.user

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice: it starts without processes, and one that is there already will do."""
        return self.name.endswith(".slice")

    # Beginning --------------------------------------------------------------------------------------

    async def start(self, pid: int) -> None:
        """Make the unit around process *pid*; returns once its cgroup is there, with the process in it.

        All or nothing: after a failure or cancellation there is no unit of ours.  `UnitExistsError` for
        somebody else's, `SystemdError`; `UnsupportedError` for a property that this systemd does not know.
        """
        job = self._manager.listen(self.name)
        try:
            # Never left half-way: without the reply nobody knows what there is to undo.
            await finish(lambda: self._begin(job, pid))
            await self._complete(job)
        except BaseException as exc:
            if self.is_ours:
                await undo(exc, self._retract)
            raise
        finally:
            self._manager.forget(job)

    async def _complete(self, job: Job) -> None:
        """Wait for the job, and meanwhile say what a start cannot be told with it."""
        setting = asyncio.ensure_future(self._set_resources())
        try:
            if job.path:
                await self._started(job)
            await setting
        finally:
            setting.cancel()
            await asyncio.wait([setting])
            setting.cancelled() or setting.exception()  # seen: the unit is gone, or it was raised above

    async def _begin(self, job: Job, pid: int) -> None:
        try:
            await self._queue(job, pid)
        except SystemdError as exc:
            if exc.name == UNIT_EXISTS:
                await self._begin_anew(job, pid)
            elif exc.name in GONE:
                await self._find(job, pid, exc)
            else:
                raise

    async def _queue(self, job: Job, pid: int) -> None:
        job.path = await self._manager.start_transient(self.name, self._start_properties(pid))
        self.is_ours = True

    async def _begin_anew(self, job: Job, pid: int) -> None:
        """Meet a unit of the same name: use a slice, forget what has failed, leave alone what is alive."""
        if self.is_slice:
            return
        with contextlib.suppress(SystemdError):
            await self._manager.reset_failed(self.name)
        try:
            await self._queue(job, pid)
        except SystemdError as exc:
            if exc.name == UNIT_EXISTS:
                state = await self._manager.state(self.name)
                raise UnitExistsError(self.name, state.active if state else "gone again") from exc
            if exc.name in GONE:
                await self._find(job, pid, exc)
                return
            raise

    async def _find(self, job: Job, pid: int, lost: SystemdError) -> None:
        """Find out what became of a start of which the answer was lost.

        Ours is the unit that has our process in it, or takes it in soon.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._manager.job_s
        while loop.time() < deadline:
            state = await self._manager.state(self.name)
            if state is None:
                return await self._repeat(job, pid, lost)
            if self.is_slice:
                return None  # whoever made it
            if await self._manager.has_process(self.name, pid):
                self.is_ours = True
                return None
            if not state.job:
                raise UnitExistsError(self.name, state.active) from lost
            await asyncio.sleep(_UNKNOWN_S)
        raise lost

    async def _repeat(self, job: Job, pid: int, lost: SystemdError) -> None:
        """Start it once more: the call had never arrived."""
        try:
            await self._queue(job, pid)
        except SystemdError as exc:
            if exc.name == UNIT_EXISTS:
                state = await self._manager.state(self.name)
                if state is not None and await self._manager.has_process(self.name, pid):
                    self.is_ours = True  # it had arrived after all, late
                    return
            exc.add_note(f"after {lost}")
            raise

    def _start_properties(self, pid: int) -> list[UnitProperty]:
        properties = list(self._plan.properties)
        if not self.is_slice:
            names = [each.name for each in properties]
            behind = names.index("Delegate") + 1 if "Delegate" in names else len(names)
            properties.insert(behind, UnitProperty("PIDs", "au", [pid]))
        return properties

    async def _started(self, job: Job) -> None:
        result = await self._manager.outcome(job, _start_result)
        if result != "done":
            self._fail("start", result)

    async def _set_resources(self) -> None:
        if self._plan.resources:
            await self._manager.set_properties(self.name, self._plan.resources)

    def _fail(self, operation: str, result: str) -> NoReturn:
        message = f"its job ended as {result!r}"
        if result == "timeout":
            message = f"its job did not end within {self._manager.job_s:g} s"
        raise SystemdError(operation, "", message, unit=self.name, result=result)

    async def _retract(self) -> None:
        """Leave nothing of a start that did not work."""
        try:
            with contextlib.suppress(SystemdError):
                await self._manager.kill(self.name)  # what is in it is ours alone, and has not begun
            await self.stop()
        finally:
            self.is_ours = False

    # Being there ------------------------------------------------------------------------------------

    async def update(self, properties: Sequence[UnitProperty]) -> None:
        """Set properties for as long as it lives; those that an old systemd does not know are left out."""
        await self._manager.set_properties(self.name, properties)

    async def differences(self) -> tuple[PropertyDifference, ...]:
        """Read back what was asked for by name, and return what the manager has otherwise, or not at all."""
        if not any(each.by_name for each in self._plan.properties):
            return ()
        from ..plan.unit_differences import property_differences  # only those who ask pay for it

        return tuple(property_differences(self._plan, await self._manager.properties(self.name)))

    async def settle(self) -> None:
        """Wait for the manager to have written what it was told: it does so before it hears the next call."""
        await self._manager.state(self.name)

    async def attach(self, subgroup: str, pids: Sequence[int]) -> None:
        """Move processes into the cgroup *subgroup* ("/sub"; "" is its own) of the unit."""
        await self._manager.attach(self.name, subgroup, pids)

    # Ending -----------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stop it, if it is ours, and let it be forgotten; that it is gone already is as good.

        Its processes are asked to end first, and have the unit's TimeoutStopUSec: better kill them before.
        """
        if not self.is_ours:
            return
        job = self._manager.listen(self.name)
        try:
            job.path = await self._manager.stop_unit(self.name)
            result = await self._manager.outcome(job, _stop_result)
        except SystemdError as exc:
            if exc.name != NO_SUCH_UNIT:
                raise
            result = "done"
        finally:
            self._manager.forget(job)
        with contextlib.suppress(SystemdError):
            await self._manager.reset_failed(self.name)
        if result == "timeout":
            self._fail("stop", result)
        if result != "done":
            from logging import getLogger  # nobody should get here

            getLogger("aiocontainer").warning("stop %s: its job ended as %r", self.name, result)

    @property
    def plan(self) -> UnitPlan:
        """What it was made of."""
        return self._plan


def _start_result(state: UnitState | None) -> str:
    if state is None:
        return "canceled"
    return "done" if state.active in ("active", "reloading") else "failed"


def _stop_result(state: UnitState | None) -> str:
    return "done" if state is None or state.active in ("inactive", "failed") else "canceled"
