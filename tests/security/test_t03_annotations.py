"""T03 (CVE-2014-6408): annotations, which come from labels of an image, take its confinement away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.guest import look
from support.specs import with_process

from aiocontainer import Runtime, Spec

if TYPE_CHECKING:
    from hostile import Canary

pytestmark = pytest.mark.needs("root", "gcc", "busybox")


def annotations(canary: Canary) -> dict[str, str]:
    """What runtimes and engines have obeyed, or might."""
    return {
        "io.kubernetes.cri-o.seccompProfile": "unconfined",
        "io.podman.annotations.seccomp": "unconfined",
        "io.podman.annotations.privileged": "TRUE",
        "io.podman.annotations.label": "disable",
        "run.oci.seccomp_bpf_data": "",
        "run.oci.seccomp_fail_unknown_syscall": "0",
        "run.oci.keep_original_groups": "1",
        "run.oci.handler": "krun",
        "run.oci.hooks.stdout": canary / "file",
        "run.oci.hooks.stderr": canary / "made",
        "run.oci.pidfd_receiver": canary / "fifo",
        "run.oci.mount_context_type": "context",
        "run.oci.systemd.subgroup": "../..",
        "run.oci.delegate-cgroup": "../..",
        "org.opencontainers.image.exposedPorts": "1",
        "org.criu.config": canary / "file",
        "module.wasm.image/variant": "compat",
        "bundle": canary.path,
    }


SAME = (
    "uids",
    "gids",
    "groups",
    "capabilities",
    "no_new_privs",
    "securebits",
    "rlimits",
    "umask",
    "cwd",
    "env",
)


async def test_annotations_change_nothing(runtime: Runtime, guestfs: str, canary: Canary) -> None:
    base = with_process(Spec.default([], rootfs=guestfs).with_default_seccomp(), no_new_privileges=True)
    with_them = base
    for key, value in annotations(canary).items():
        with_them = with_them.with_annotation(key, value)
    usual, found = await look(runtime, base), await look(runtime, with_them)
    assert {name: found[name] for name in SAME} == {name: usual[name] for name in SAME}
    done = await runtime.run(with_them.with_args(["grep", "^Seccomp:", "/proc/self/status"]))
    assert (done.stdout or b"").split() == [b"Seccomp:", b"2"]
