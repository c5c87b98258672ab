"""Signals by name, and exits as values."""

from __future__ import annotations

import signal

import pytest

from aiocontainer.container.exit import Completed
from aiocontainer.container.process import signal_number
from aiocontainer.errors import ContainerExited, SpecError
from aiocontainer.events import ExitStatus


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGTERM", signal.SIGTERM),
        ("sigkill", signal.SIGKILL),
        ("9", 9),
        (9, 9),
        (signal.SIGUSR1, signal.SIGUSR1),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-2", signal.SIGRTMAX - 2),
        (0, 0),
    ],
)
def test_signals(name: str | int, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize(
    "name", ["", "TERMX", "-1", "65", "RTMIN+99", "RTMAX+1", "RTMIN-1", "٩", "1_0", " 9", -1, 65]
)
def test_no_such_signal(name: str | int) -> None:
    with pytest.raises(SpecError) as caught:
        signal_number(name)
    assert caught.value.origin == "signal"


def test_how_an_exit_reads() -> None:
    killed = ExitStatus(signal=signal.SIGSEGV, core_dumped=True)
    assert (killed.returncode, killed.shell_code, str(killed)) == (-11, 139, "killed by SIGSEGV, core dumped")
    failed = ExitStatus(code=3)
    assert (failed.returncode, failed.shell_code, failed.clean, str(failed)) == (
        3,
        3,
        False,
        "ended with status 3",
    )
    unknown = ExitStatus(known=False)
    assert (unknown.returncode, unknown.shell_code, unknown.clean) == (None, 255, False)
    assert ExitStatus(code=0).clean


def test_check() -> None:
    done = Completed(args=("true",), exit=ExitStatus(code=0))
    assert done.check() is done
    with pytest.raises(ContainerExited, match="false: ended with status 1: oh") as caught:
        Completed(args=("false",), exit=ExitStatus(code=1), stderr=b"oh\n").check()
    assert caught.value.exit == ExitStatus(code=1)
