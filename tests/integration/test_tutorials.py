"""Each program of the tutorials prints what its page says, and leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.cgroups import needs_controllers
from support.documents import Program, agrees, programs

from aiocontainer import UnsupportedError

if TYPE_CHECKING:
    from support.leaks import Leaks


@pytest.mark.needs("root", "compiled", "overlay")
@pytest.mark.parametrize("program", programs("integration"), ids=lambda program: program.id)
def test_program(program: Program, snap: Leaks, capsys: pytest.CaptureFixture[str]) -> None:
    needs_controllers(*(name for name in ("memory", "pids") if f"{name}=" in program.text))
    code = compile(program.text, program.id, "exec", dont_inherit=True)
    try:
        exec(code, {"__name__": "__main__"})
    except UnsupportedError as exc:  # pressure, where the kernel does not account it
        pytest.skip(f"needs {exc.needs}")
    printed = capsys.readouterr()
    assert agrees(program, printed.out), printed.out
    assert printed.err == ""
