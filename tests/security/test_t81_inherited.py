"""T81: the payload inherits something of the caller that nobody gave it."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any

import pytest
from support.specs import with_process

from aiocontainer import Spec
from aiocontainer.spec import Rlimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.guest import Found

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

STACK, CORE, FILES = resource.RLIMIT_STACK, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE


@pytest.fixture(params=["init", "exec"])
def report(
    request: pytest.FixtureRequest, bad_parent: Callable[..., dict[str, Any]], guestfs: str
) -> dict[str, Any]:
    """How it went for a payload whose caller is strange in every way."""
    text = with_process(Spec.default(["guest"], rootfs=guestfs), env=("PATH=/bin", "GIVEN=yes"))
    if request.param == "init":
        return bad_parent(spec=text.encode().decode(), strange=True, groups=[4, 999])
    text = text.with_args(["sleep", "60"])
    entered = bad_parent(spec=text.encode().decode(), strange=True, groups=[4, 999], exec={})
    assert "exec" in entered, entered
    return {**entered, **entered["exec"]}


@pytest.fixture
def found(report: dict[str, Any]) -> Found:
    """What the payload found itself to be."""
    assert report.get("exit") == 0, report
    guest: Found = report["guest"]
    return guest


def test_attributes(found: Found) -> None:
    expected = {
        "cpus": sorted(os.sched_getaffinity(0)),
        "nice": 0,
        "policy": os.SCHED_OTHER,
        "ioprio": 0,
        "mempolicy": 0,
        "personality": 0,
        "umask": 0o022,
        "blocked": 0,
        "ignored": 0,
        "dumpable": 1,
        "securebits": 0,
        "keepcaps": 0,
        "subreaper": 0,
        "death_signal": 0,
        "groups": [],
        "no_new_privs": 1,
        "has_terminal": 0,
    }
    assert {name: found[name] for name in expected} == expected


def test_session_is_its_own(found: Found) -> None:
    assert found["sid"] == found["pgid"] == found["pid"]


def test_keyring_is_its_own(report: dict[str, Any], found: Found) -> None:
    kind, _, _, _, name = found["keyring"].split(";")
    assert (kind, name) == ("keyring", f"_ses.{report['id']}")


def test_descriptors(found: Found) -> None:
    assert set(found["fds"]) == {"0", "1", "2"}


def test_environment(found: Found) -> None:
    assert sorted(found["env"]) == ["GIVEN=yes", "HOME=/root", "PATH=/bin"]


def test_what_is_inherited_by_rule(found: Found) -> None:
    """OCI config.md: limits and the OOM score that the specification does not name stay as they are."""
    assert found["oom_score_adj"] == "321"
    assert found["rlimits"][STACK] == [4 << 20, 64 << 20]
    assert found["rlimits"][CORE] == [123456, 654321]  # the helper itself had none
    assert found["rlimits"][FILES] == [1024, 1024]  # the specification's own


def test_what_is_asked_for_counts(bad_parent: Callable[..., dict[str, Any]], guestfs: str) -> None:
    limits = (
        Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
        Rlimit(type="RLIMIT_STACK", soft=1 << 20, hard=2 << 20),
    )
    spec = with_process(Spec.default(["guest"], rootfs=guestfs), rlimits=limits, oom_score_adj=100)
    found = bad_parent(spec=spec.encode().decode(), strange=True)["guest"]
    assert found["rlimits"][CORE] == [0, 0]
    assert found["rlimits"][STACK] == [1 << 20, 2 << 20]
    assert found["oom_score_adj"] == "100"
    soft, hard = resource.getrlimit(FILES)
    unlimited = [2**64 - 1 if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard)]
    assert found["rlimits"][FILES] == unlimited
