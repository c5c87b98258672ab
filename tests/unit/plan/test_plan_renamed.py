"""Renaming a plan gives what compiling for the other id gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan_cases import CASES, cases
from plan_hosts import HOSTS, V2, compiled, options, spec

from aiocontainer.plan.compile import compile_plan, renamed
from aiocontainer.spec import decode_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case.relative_to(CASES).with_suffix("")))
def test_as_compiled(case: Path) -> None:
    value = decode_spec(case.read_bytes())
    host = HOSTS[case.parent.name]
    terminal = value.process is not None and value.process.terminal
    driver = "systemd" if host.systemd else "cgroupfs"
    first, second = (options(id=id, console=terminal, cgroup_driver=driver) for id in ("first", "second"))

    assert renamed(compile_plan(value, host, first), value, host, second) == compile_plan(value, host, second)


def test_most_steps_stay_the_same_objects() -> None:
    plan = compiled(spec(), V2)
    other = renamed(plan, spec(), V2, options(id="another"))

    changed = [step for step, before in zip(other.steps, plan.steps, strict=True) if step is not before]
    assert [type(step).__name__ for step in changed] == ["Keyring"]
    assert other.cgroup != plan.cgroup
