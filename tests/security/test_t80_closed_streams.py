"""T80: descriptor 0 counts as unset, and a parent that ignores SIGCHLD never learns of the end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from support.specs import with_process

from aiocontainer import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

COMBINATIONS = [list(c) for size in range(4) for c in itertools.combinations(range(3), size)]


def spec(rootfs: str, *args: str, **changes: Any) -> str:
    return with_process(Spec.default(args, rootfs=rootfs), **changes).encode().decode()


@pytest.mark.parametrize("leak", [False, True], ids=["clean", "leaking"])
@pytest.mark.parametrize("closed", COMBINATIONS, ids=lambda c: "".join(map(str, c)) or "none")
def test_closed(
    bad_parent: Callable[..., dict[str, Any]], guestfs: str, closed: list[int], leak: bool
) -> None:
    """All three are open in the container, as /dev/null where they were not, and nothing else is."""
    report = bad_parent(spec=spec(guestfs, "guest"), closed=closed, leak=leak)
    assert report.get("exit") == 0, report
    fds = report["guest"]["fds"]
    assert set(fds) == {"0", "1", "2"}
    for number in closed:
        if number != 1:  # which is where it writes its report
            assert fds[str(number)]["rdev"] == [1, 3], report
    assert {"0", "1", "2"} <= set(report["created"])
    assert len(report["created"]) == 4, "the streams and the gate"


@pytest.mark.parametrize("closed", [[], [0], [0, 1, 2]], ids=["none", "0", "012"])
def test_status_is_known_to_who_ignores_children(
    bad_parent: Callable[..., dict[str, Any]], guestfs: str, closed: list[int]
) -> None:
    """Before exec(2) nobody takes it away from us; how much the kernel tells afterwards is its affair."""
    text = spec(guestfs, "sleep", "60")
    report = bad_parent(spec=text, closed=closed, ignore_children=True, exec={})
    assert report["exec"]["guest"]["pid"] > 1, report


@pytest.mark.needs("kernel>=6.15")
def test_status_is_right_for_who_ignores_children(
    bad_parent: Callable[..., dict[str, Any]], guestfs: str
) -> None:
    report = bad_parent(spec=spec(guestfs, "sh", "-c", "echo '{}'; exit 7"), ignore_children=True)
    assert report["exit"] == 7
