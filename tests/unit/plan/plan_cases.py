"""The golden listings: cases/HOST/NAME.json compiles to cases/HOST/NAME.plan.

``python tests/unit/plan/plan_cases.py`` writes them all anew; the difference is for a reviewer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plan_hosts import HOSTS, options

from aiocontainer.plan.compile import compile_plan
from aiocontainer.spec import decode_spec

if TYPE_CHECKING:
    from aiocontainer.plan.options import Options
    from aiocontainer.plan.plan import Plan
    from aiocontainer.spec import Spec

CASES = Path(__file__).parent / "cases"


def cases() -> list[Path]:
    return sorted(CASES.glob("*/*.json"))


def compiled_case(case: Path, id: str = "web") -> Plan:
    """The plan of a case; machines with a service manager are for its driver."""
    value = decode_spec(case.read_bytes())
    return compile_plan(value, HOSTS[case.parent.name], case_options(case, value, id))


def case_options(case: Path, value: Spec, id: str) -> Options:
    terminal = value.process is not None and value.process.terminal
    driver = "systemd" if HOSTS[case.parent.name].systemd else "cgroupfs"
    return options(id=id, console=terminal, cgroup_driver=driver)


def listing(case: Path) -> str:
    return compiled_case(case).listing()


if __name__ == "__main__":
    for each in cases():
        each.with_suffix(".plan").write_text(listing(each))
