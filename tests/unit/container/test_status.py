"""The lifecycle table against the OCI's words and runc's extensions."""

from __future__ import annotations

import pytest

from aiocontainer.container.status import Status, after
from aiocontainer.errors import NotRunningError, PausedError, StateError

ALLOWED = {
    "start": {Status.CREATED: Status.RUNNING},
    "exec": {Status.CREATED: Status.CREATED, Status.RUNNING: Status.RUNNING},
    "pause": {Status.CREATED: Status.PAUSED, Status.RUNNING: Status.PAUSED},
    "resume": {Status.PAUSED: Status.RUNNING},
    "kill": {status: status for status in (Status.CREATED, Status.RUNNING, Status.PAUSED)},
    "delete": {Status.CREATED: Status.STOPPED, Status.STOPPED: Status.STOPPED},
}


@pytest.mark.parametrize("operation", ALLOWED)
@pytest.mark.parametrize("status", Status)
def test_every_pair(operation: str, status: Status) -> None:
    if status in ALLOWED[operation]:
        assert after(status, operation) is ALLOWED[operation][status]
        return
    with pytest.raises(StateError) as caught:
        after(status, operation, id="web")
    assert (caught.value.operation, caught.value.status, caught.value.id) == (operation, status, "web")


@pytest.mark.parametrize(
    ("status", "operation", "kind"),
    [
        (Status.PAUSED, "exec", PausedError),
        (Status.PAUSED, "delete", PausedError),
        (Status.STOPPED, "kill", NotRunningError),
        (Status.STOPPED, "exec", NotRunningError),
        (Status.STOPPED, "start", NotRunningError),
        (Status.RUNNING, "resume", StateError),
    ],
)
def test_refusals_have_their_class(status: Status, operation: str, kind: type[StateError]) -> None:
    with pytest.raises(kind):
        after(status, operation)


def test_everything_can_end() -> None:
    assert {after(status, "exited") for status in Status} == {Status.STOPPED}


def test_the_sentence() -> None:
    with pytest.raises(StateError, match="cannot start container 'web': it is running \\(already started\\)"):
        after(Status.RUNNING, "start", id="web")
