"""Errors travel between processes, with everything that they say."""

from __future__ import annotations

import copy
import pickle

import pytest

from aiocontainer import errors
from aiocontainer.events import ExitStatus
from aiocontainer.plan.steps import Pause

EXAMPLES = [
    errors.ContainerError("anything"),
    errors.SpecError("is wrong", origin="$.root"),
    errors.GVariantError("is wrong", origin="$.annotations", column=3),
    errors.UnsupportedError("a thing", needs="another", origin="$"),
    errors.StateError("start", status="running", id="a", reason="because"),
    errors.NotRunningError("kill", status="stopped"),
    errors.PausedError("kill", status="paused"),
    errors.NotFoundError("a"),
    errors.ExistsError("a", what="unit"),
    errors.StateCorruptError("/run/a", "is torn"),
    errors.BootstrapError(Pause("$", 1), 2, call="openat2"),
    errors.HelperError("died", errno=3),
    errors.NetworkError("move", 19, device="eth0", origin="$"),
    errors.CgroupError("/sys/fs/cgroup/a", 2, value="1", origin="$", advice="look"),
    errors.OutOfMemoryError("start", 2, id="a", certain=False),
    errors.ResctrlError("/sys/fs/resctrl/a", 22, value="x", status="no"),
    errors.SystemdError("StartUnit", "org.name", "no", unit="a.scope", result="failed", errno=5),
    errors.UnitExistsError("a.scope", "active"),
    errors.RequestGoneError(1, 2),
    errors.HookError("$.hooks.prestart[0]", None, b"out", problem="late"),
    errors.ImageError("is torn", path="/a", digest="sha256:0", entry="b"),
    errors.WorkerLostError("tcp://127.0.0.1:1"),
    errors.CriuError("dump", "no", ["line"]),
    errors.ContainerExited(ExitStatus(code=3), args=["sh"], stderr=b"text"),
]


def test_all_are_here() -> None:
    assert {type(each).__name__ for each in EXAMPLES} == set(errors.__all__)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("travel", [lambda each: pickle.loads(pickle.dumps(each)), copy.copy])
def test_nothing_is_lost(error: errors.ContainerError, travel: object) -> None:
    error.add_note("on its way")
    again = travel(error)  # type: ignore[operator]
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    if isinstance(error, OSError):
        assert (again.errno, again.strerror, again.filename) == (error.errno, error.strerror, error.filename)
