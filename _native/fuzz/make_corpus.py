"""Write the corpus anew from the golden plans of the unit tests, one file per case.

Needs the built library; the difference is for a reviewer.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "plan")]

from plan_cases import cases, compiled_case  # noqa: E402 - from the directories above

from aiocontainer.native import encode_plan  # noqa: E402
from aiocontainer.plan.steps import Seccomp  # noqa: E402


def main() -> None:
    """Encode each case."""
    for case in cases():
        plan = compiled_case(case)
        if any(isinstance(step, Seccomp) for step in plan.steps):
            continue  # its program comes later, from libseccomp
        name = f"{case.parent.name}-{case.stem}.plan"
        (HERE / "corpus" / "decode" / name).write_bytes(encode_plan(plan.steps, len(plan.fds)))


if __name__ == "__main__":
    main()
