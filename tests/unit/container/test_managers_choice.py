"""Who makes cgroups is decided, or refused, when the runtime is."""

from __future__ import annotations

import pytest

from aiocontainer import Runtime, SpecError, UnsupportedError, runtime
from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.container.delegation import _scope
from aiocontainer.plan.host import CgroupMode, Host


@pytest.mark.parametrize("choice", ["systemd", "delegated"])
def test_without_systemd(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.setattr(runtime, "has_systemd", lambda: False)
    with pytest.raises(UnsupportedError) as caught:
        Runtime(cgroups=choice)  # type: ignore[arg-type]
    assert caught.value.origin == "cgroups"
    monkeypatch.setattr(runtime, "has_systemd", lambda: True)
    Runtime(cgroups=choice)  # type: ignore[arg-type]


def test_no_such_way() -> None:
    with pytest.raises(SpecError):
        Runtime(cgroups="docker")  # type: ignore[arg-type]


@pytest.mark.parametrize("user", [False, True])
def test_the_scope_of_an_application(user: bool) -> None:
    host = Host(euid=0, egid=0, kernel=(6, 1), systemd=257, cgroup_mode=CgroupMode.V2, user_manager=user)
    plan, other = _scope(host), _scope(host)
    values = {each.name: each.value for each in plan.properties}
    assert plan.name != other.name
    assert (plan.user, plan.slice) == (user, "app.slice" if user else "system.slice")
    assert (values["Delegate"], values["Slice"], values["TasksMax"]) == (True, plan.slice, 2**64 - 1)


def test_a_disowned_cgroup_reaches_nothing() -> None:
    cgroup = FakeCgroup()
    cgroup.adopt(3)
    cgroup.disown()
    cgroup.kill()
    assert cgroup.signals == []
