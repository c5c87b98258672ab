"""A container that is created to be started: nothing keeps its program from running."""

from __future__ import annotations

from msgspec.structs import replace
from plan_cases import HOSTS

from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.options import Options
from aiocontainer.plan.plan import GateSocket
from aiocontainer.plan.steps import Gate, Pause
from aiocontainer.spec import Spec


def test_it_waits_for_its_state_alone() -> None:
    options = Options(id="once", bundle="/bundle")
    spec, host = Spec.default(["true"], rootfs="/rootfs"), next(iter(HOSTS.values()))
    gated = compile_plan(spec, host, options)
    plan = compile_plan(spec, host, replace(options, at_once=True))
    pauses = [step for step in gated.steps if isinstance(step, Pause)]
    ready = [step for step in plan.steps if isinstance(step, Pause)]
    assert str(pauses[-1]) == "report that the container is created"
    assert str(ready[-1]) == "wait until the state is saved"
    assert not any(isinstance(step, Gate) for step in plan.steps)
    assert not any(isinstance(fd, GateSocket) for fd in plan.fds)
    behind = [type(step) for step in gated.steps[gated.steps.index(pauses[-1]) + 2 :]]
    assert [type(step) for step in plan.steps[plan.steps.index(ready[-1]) + 1 :]] == behind
