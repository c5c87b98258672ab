"""T64: a label that was asked for is not in force, and nobody notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support import needs
from support.specs import with_process

from aiocontainer import BootstrapError, Runtime, Spec
from aiocontainer.container import environment
from aiocontainer.probe import probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.leaks import Leaks

pytestmark = pytest.mark.needs("root", "busybox")

LABELS = {"selinux_label": "system_u:system_r:container_t:s0", "apparmor_profile": "aioc-test-none"}
OF_EXEC = {"selinux_label": "selinux_label", "apparmor_profile": "apparmor"}


@pytest.fixture
async def believer(monkeypatch: pytest.MonkeyPatch, snap: Leaks, tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime that takes this machine for one with both modules."""
    if needs.missing("selinux") is None or needs.missing("apparmor") is None:
        pytest.skip("needs a machine without the modules")
    monkeypatch.setattr(environment, "probe", lambda: replace(probe(), selinux=True, apparmor=True))
    snap.watch(root := str(tmp_path / "believer"))
    async with Runtime(root=root) as runtime:
        yield runtime


@pytest.mark.parametrize("kind", LABELS)
async def test_nothing_runs_without(believer: Runtime, rootfs: str, kind: str) -> None:
    spec = with_process(Spec.default(["true"], rootfs=rootfs), **{kind: LABELS[kind]})
    with pytest.raises(BootstrapError) as caught:
        await believer.run(spec)
    assert caught.value.origin.startswith("$.process.")


@pytest.mark.parametrize("kind", LABELS)
async def test_nothing_is_entered_without(believer: Runtime, rootfs: str, kind: str) -> None:
    async with believer.container(Spec.default(["sleep", "60"], rootfs=rootfs)) as container:
        with pytest.raises(BootstrapError):
            await container.exec(["true"], **{OF_EXEC[kind]: LABELS[kind]})
