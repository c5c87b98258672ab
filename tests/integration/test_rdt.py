"""intelRdt from create to delete, on a directory that behaves like resctrl: no machine here has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aiocontainer import BootstrapError, Runtime, Spec, SpecError, UnsupportedError
from aiocontainer.container import environment
from aiocontainer.plan.host import Resctrl
from aiocontainer.probe import probe
from aiocontainer.spec import IntelRdt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks
    from support.resctrl import FakeResctrl

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.fixture
async def shared(
    fake_resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch, snap: Leaks, tmp_path: Path
) -> AsyncIterator[Runtime]:
    """A runtime on a machine that has resctrl."""
    facts = Resctrl(root=fake_resctrl.root, resources=frozenset({"L3", "MB"}), monitoring=True)
    monkeypatch.setattr(environment, "probe", lambda: replace(probe(), resctrl=facts))
    async with Runtime(root=str(tmp_path / "state")) as runtime:
        yield runtime


def spec(rootfs: str, *args: str, **rdt: Any) -> Spec:
    base = Spec.default(list(args) or ["sleep", "60"], rootfs=rootfs)
    assert base.linux is not None
    return replace(base, linux=replace(base.linux, intel_rdt=IntelRdt(**rdt)))


def take(fake: FakeResctrl, *paths: str) -> list[str]:
    """What was written to join, and forget it."""
    found = [fake.read(path) for path in paths]
    for path in paths:
        os.truncate(f"{fake.root}/{path}", 0)
    return found


@pytest.mark.proves("$.linux.intelRdt.l3CacheSchema", "$.linux.intelRdt.enableMonitoring")
async def test_from_create_to_delete(shared: Runtime, fake_resctrl: FakeResctrl, rootfs: str) -> None:
    asked = spec(rootfs, l3_cache_schema="L3:0=f", enable_monitoring=True)
    files = ("aioc-test-rdt/tasks", "aioc-test-rdt/mon_groups/aioc-test-rdt/tasks")
    async with shared.container(asked, id="aioc-test-rdt") as container:
        assert take(fake_resctrl, *files) == ["0", "0"]
        assert fake_resctrl.read("aioc-test-rdt/schemata").startswith("L3:0=f\n")
        process = await container.exec(["true"])
        await process.wait()
        assert take(fake_resctrl, *files) == ["0", "0"]
    assert os.listdir(f"{fake_resctrl.root}/mon_groups") == []
    assert not os.path.exists(f"{fake_resctrl.root}/aioc-test-rdt")


@pytest.mark.proves("$.linux.intelRdt.closID", "$.linux.intelRdt.memBwSchema")
async def test_a_shared_group(shared: Runtime, fake_resctrl: FakeResctrl, rootfs: str) -> None:
    fake_resctrl.group("gold")
    await shared.run(spec(rootfs, "true", clos_id="gold", mem_bw_schema="MB:0=100"))
    assert take(fake_resctrl, "gold/tasks") == ["0"]
    with pytest.raises(SpecError, match="exists, and its MB:0"):
        await shared.create(None, spec(rootfs, clos_id="gold", mem_bw_schema="MB:0=50"))
    assert os.path.isdir(f"{fake_resctrl.root}/gold")


@pytest.mark.proves("$.linux.intelRdt.schemata[]")
@pytest.mark.parametrize("line", ["L3:0=3", "MB:0=70"])
async def test_lines_of_any_resource(
    shared: Runtime, fake_resctrl: FakeResctrl, rootfs: str, line: str
) -> None:
    async with shared.container(spec(rootfs, schemata=(line,)), id="aioc-test-rdt"):
        assert fake_resctrl.read("aioc-test-rdt/schemata").startswith(f"{line}\n")


async def test_a_creation_that_fails(shared: Runtime, fake_resctrl: FakeResctrl, rootfs: str) -> None:
    with pytest.raises(BootstrapError):
        await shared.create("aioc-test-rdt", spec(rootfs, "/no/such/program", enable_monitoring=True))
    assert not os.path.exists(f"{fake_resctrl.root}/aioc-test-rdt")


async def test_loaded_again(shared: Runtime, fake_resctrl: FakeResctrl, rootfs: str, tmp_path: Path) -> None:
    """Whoever deletes it knows the group from the state."""
    container = await shared.create("aioc-test-rdt", spec(rootfs))
    async with Runtime(root=str(tmp_path / "state"), lifetime="detached") as other:
        loaded = await other.load("aioc-test-rdt")
        assert os.path.isdir(f"{fake_resctrl.root}/aioc-test-rdt")
        await loaded.delete(force=True)
    assert not os.path.exists(f"{fake_resctrl.root}/aioc-test-rdt")
    await container.delete(force=True)


async def test_without_resctrl(runtime: Runtime, rootfs: str) -> None:
    if os.path.exists("/sys/fs/resctrl/info"):
        pytest.skip("needs a machine without resctrl")
    with pytest.raises(UnsupportedError, match="resctrl"):
        await runtime.create(None, spec(rootfs))
