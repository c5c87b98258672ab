"""Golden listings on simulated machines: what a reviewer reads when a step moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan_cases import CASES, cases, listing
from plan_hosts import V2, compiled, spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case.relative_to(CASES).with_suffix("")))
def test_listing(case: Path) -> None:
    assert listing(case) == case.with_suffix(".plan").read_text()


def test_a_plan_is_the_same_every_time() -> None:
    assert compiled(spec()) == compiled(spec())
    assert compiled(spec()).listing() == compiled(spec()).listing()


def test_the_listing_shows_no_secret() -> None:
    plan = compiled(spec(args=("true", "--password=hunter2"), env=("TOKEN=hunter2",)), V2)

    assert "hunter2" not in plan.listing()
    assert "TOKEN" in plan.listing()


def test_every_line_of_a_specification_is_found_again() -> None:
    """Each mount and each path has a step that names it as its origin."""
    value = spec()
    assert value.linux is not None
    origins = {step.origin for step in compiled(value).steps}

    wanted = {f"$.mounts[{index}]" for index in range(len(value.mounts))}
    wanted |= {f"$.linux.maskedPaths[{index}]" for index in range(len(value.linux.masked_paths))}
    wanted |= {f"$.linux.readonlyPaths[{index}]" for index in range(len(value.linux.readonly_paths))}
    assert wanted <= origins
