"""The golden listings: cases/HOST/NAME.json compiles to cases/HOST/NAME.plan.

``python tests/unit/plan/plan_cases.py`` writes them all anew; the difference is for a reviewer.
"""

from __future__ import annotations

from pathlib import Path

from plan_hosts import HOSTS, options

from aiocontainer.plan.compile import compile_plan
from aiocontainer.spec import decode_spec

CASES = Path(__file__).parent / "cases"


def cases() -> list[Path]:
    return sorted(CASES.glob("*/*.json"))


def listing(case: Path) -> str:
    value = decode_spec(case.read_bytes())
    terminal = value.process is not None and value.process.terminal
    host = HOSTS[case.parent.name]
    driver = "systemd" if host.systemd else "cgroupfs"
    plan = compile_plan(value, host, options(console=terminal, cgroup_driver=driver))
    return plan.listing()


if __name__ == "__main__":
    for each in cases():
        each.with_suffix(".plan").write_text(listing(each))
