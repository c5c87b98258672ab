"""Renaming a plan gives what compiling for the other id gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan_cases import CASES, case_options, cases, compiled_case
from plan_hosts import HOSTS, V2, compiled, options, spec

from aiocontainer.plan.compile import renamed
from aiocontainer.spec import decode_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case.relative_to(CASES).with_suffix("")))
def test_as_compiled(case: Path) -> None:
    value = decode_spec(case.read_bytes())
    other = renamed(
        compiled_case(case, "first"), value, HOSTS[case.parent.name], case_options(case, value, "second")
    )

    assert other == compiled_case(case, "second")


def test_most_steps_stay_the_same_objects() -> None:
    plan = compiled(spec(), V2)
    other = renamed(plan, spec(), V2, options(id="another"))

    changed = [step for step, before in zip(other.steps, plan.steps, strict=True) if step is not before]
    assert [type(step).__name__ for step in changed] == ["Keyring"]
    assert other.cgroup != plan.cgroup
