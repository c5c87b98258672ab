"""What a runtime and the command line say of units; the machine is made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aiocontainer import GVariantError, Runtime, Spec, SpecError, UnsupportedError, gvariant
from aiocontainer import runtime as module
from aiocontainer.cli import execute
from aiocontainer.plan.host import CgroupMode
from aiocontainer.probe import probe
from aiocontainer.spec import default_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    value = default_spec().with_systemd_property("CollectMode", "inactive-or-failed")
    (tmp_path / "config.json").write_bytes(value.encode())
    return tmp_path


@pytest.fixture(autouse=True)
def _systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    host = replace(
        probe(),
        systemd=257,
        user_manager=False,
        euid=0,
        cgroup_mode=CgroupMode.V2,
        cgroup_hierarchies={"": "/sys/fs/cgroup"},
        init_cgroup={"": "/"},
    )
    monkeypatch.setattr(module, "probe", lambda: host)
    monkeypatch.setattr(module, "has_systemd", lambda: True)


def properties(bundle: Path, **options: Any) -> dict[str, object]:
    cgroup = Runtime(cgroups="systemd").plan(bundle, id="web", **options).cgroup
    assert cgroup is not None
    assert cgroup.unit is not None
    return {each.name: each.value for each in cgroup.unit.properties}


def test_the_plan_has_the_unit(bundle: Path) -> None:
    assert properties(bundle)["CollectMode"] == "inactive-or-failed"
    assert not Runtime().plan(bundle).warnings


def test_properties_are_given_as_values(bundle: Path) -> None:
    given = {
        "CollectMode": "inactive",
        "TimeoutStopSec": 2.5,
        "After": ["a.service"],
        "NotKnownYet": gvariant.parse("<uint16 5>"),
    }
    found = properties(bundle, systemd_properties=given)

    assert found["CollectMode"] == "inactive"
    assert found["TimeoutStopUSec"] == 2_500_000
    assert found["After"] == ["a.service"]
    assert found["NotKnownYet"] == gvariant.Variant("q", 5)
    with pytest.raises(GVariantError, match=r"systemd_properties\.TimeoutStopUSec"):
        properties(bundle, systemd_properties={"TimeoutStopUSec": -1})


def test_a_lenient_path_is_an_option(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = Spec.load(bundle)
    assert value.linux is not None
    value = replace(value, linux=replace(value.linux, cgroups_path="p:n/a"))
    (bundle / "config.json").write_bytes(value.encode())

    with pytest.raises(SpecError, match="slice:prefix:name"):
        Runtime(cgroups="systemd").plan(bundle)
    lenient = Runtime(cgroups="systemd", lenient_paths=True).plan(bundle).cgroup
    assert lenient is not None
    assert lenient.unit is not None
    assert lenient.unit.subgroup == "a"
    assert execute(["--systemd-cgroup", "--lenient-cgroups-path", "plan", str(bundle)]) == 0
    assert "its processes live in its cgroup a" in capsys.readouterr().out


def test_the_mode_of_a_job_is_one_of_two(bundle: Path) -> None:
    with pytest.raises(SpecError, match="no mode of a job"):
        Runtime(job_mode="isolate")  # type: ignore[arg-type]
    made = Runtime(root=bundle, job_mode="replace")._open()
    assert made.managers.of(user=False)._job_mode == "replace"
    made.close()
    assert execute(["--systemd-job-mode", "isolate", "list"]) == 1


async def test_only_systemd_has_properties_to_read_back(bundle: Path) -> None:
    async with Runtime(root=bundle / "state", cgroups="none") as runtime:
        with pytest.raises(UnsupportedError, match="systemd cgroup driver") as caught:
            await runtime.create("aioc-test-verify", bundle, verify_properties=True)
    assert caught.value.origin == "verify_properties"


def test_an_untrusted_bundle_may_less(tmp_path: Path, bundle: Path) -> None:
    value = Spec.load(bundle).with_systemd_property("KillMode", "none")
    (bundle / "config.json").write_bytes(value.encode())

    assert properties(bundle)["KillMode"] == "none"
    with pytest.raises(SpecError, match="untrusted"):
        properties(bundle, property_policy="untrusted")
    with pytest.raises(SpecError, match="no policy"):
        properties(bundle, property_policy="lax")


async def test_create_refuses_before_anything_is_touched(tmp_path: Path, bundle: Path) -> None:
    async with Runtime(tmp_path / "state", cgroups="cgroupfs") as runtime:
        with pytest.raises(SpecError, match="no policy"):
            await runtime.create("web", bundle, property_policy="lax")  # type: ignore[arg-type]
        with pytest.raises(GVariantError):
            await runtime.create("web", bundle, systemd_properties={"SendSIGHUP": 5})
        with pytest.raises(UnsupportedError, match="systemd cgroup driver"):
            await runtime.create("web", bundle, systemd_properties={"SendSIGHUP": True})
        assert [each async for each in runtime.list()] == []


@pytest.mark.parametrize("words", [["plan", "--systemd-cgroup"], ["--systemd-cgroup", "plan"]])
def test_the_command_line_prints_it(
    words: list[str], bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute([*words, str(bundle)]) == 0

    printed = capsys.readouterr().out
    assert "aiocontainer-container.scope in system.slice" in printed
    assert '$.annotations["org.systemd.property.CollectMode"]' in printed
