"""Write the corpus anew from the golden plans of the unit tests, one file per case.

Needs the built library; the difference is for a reviewer.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "plan")]

from plan_cases import cases  # noqa: E402 - from the directories above
from plan_hosts import HOSTS, options  # noqa: E402

from aiocontainer.native import encode_plan  # noqa: E402
from aiocontainer.plan.compile import compile_plan  # noqa: E402
from aiocontainer.spec import decode_spec  # noqa: E402


def main() -> None:
    """Encode each case."""
    for case in cases():
        spec = decode_spec(case.read_bytes())
        terminal = spec.process is not None and spec.process.terminal
        plan = compile_plan(spec, HOSTS[case.parent.name], options(console=terminal))
        name = f"{case.parent.name}-{case.stem}.plan"
        (HERE / "corpus" / "decode" / name).write_bytes(encode_plan(plan.steps, len(plan.fds)))


if __name__ == "__main__":
    main()
