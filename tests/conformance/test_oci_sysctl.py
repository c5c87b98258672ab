"""OCI config-linux.md "Sysctl"."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.specs import shell, with_linux, with_namespaces

from aiocontainer import Runtime, Spec, SpecError

pytestmark = pytest.mark.needs("root", "busybox")


def spec(rootfs: str, sysctl: dict[str, str], *paths: str) -> Spec:
    files = " ".join(f"/proc/sys/{path}" for path in paths)
    return with_linux(shell(f"cat {files}" if files else "true", rootfs), sysctl=sysctl)


def host(path: str) -> str:
    with open(f"/proc/sys/{path}") as file:
        return file.read()


GOOD = {
    "net.ipv4.ip_forward": ("net/ipv4/ip_forward", "1"),
    "net/ipv4/ip_unprivileged_port_start": ("net/ipv4/ip_unprivileged_port_start", "80"),
    "net.ipv4.conf.lo.forwarding": ("net/ipv4/conf/lo/forwarding", "1"),
    "kernel.msgmax": ("kernel/msgmax", "12345"),
    "kernel/shmmni": ("kernel/shmmni", "777"),
    "fs.mqueue.msg_max": ("fs/mqueue/msg_max", "11"),
    "kernel.domainname": ("kernel/domainname", "example.net"),
}


@pytest.mark.proves("$.linux.sysctl{}")
@pytest.mark.parametrize("key", GOOD)
async def test_set_in_the_container_alone(runtime: Runtime, rootfs: str, key: str) -> None:
    path, value = GOOD[key]
    before = host(path)
    done = await runtime.run(spec(rootfs, {key: value}, path))
    assert done.stdout == f"{value}\n".encode()
    assert host(path) == before


async def test_several(runtime: Runtime, rootfs: str) -> None:
    wanted = {key: value for key, (_, value) in GOOD.items()}
    done = await runtime.run(spec(rootfs, wanted, *(path for path, _ in GOOD.values())))
    assert done.stdout == "".join(f"{value}\n" for _, value in GOOD.values()).encode()


@pytest.mark.parametrize(
    "key",
    [
        "kernel.core_pattern",
        "kernel.panic",
        "vm.swappiness",
        "kernel.hostname",
        "kernel.sysrq",
        "fs.file-max",
        "net.ipv4.../../../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "../kernel/core_pattern",
        "net..ipv4",
        "/net/ipv4/ip_forward",
        "",
    ],
)
async def test_of_the_machine_is_refused(runtime: Runtime, rootfs: str, key: str) -> None:
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, spec(rootfs, {key: "1"}))
    assert caught.value.origin.startswith("$.linux.sysctl")


@pytest.mark.parametrize(
    ("key", "type"),
    [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc"), ("kernel.domainname", "uts")],
)
async def test_needs_its_namespace(runtime: Runtime, rootfs: str, key: str, type: str) -> None:
    """Not named at all, or the machine's own by its path."""
    kept = [each for each in ("mount", "pid", "uts", "ipc", "network") if each != type]
    base = spec(rootfs, {key: "1"})
    file = {"network": "net"}.get(type, type)
    for namespaces in (kept, [*kept, (type, f"/proc/self/ns/{file}")]):
        made = with_namespaces(base, *namespaces)
        if type == "uts":
            made = replace(made, hostname="")
        with pytest.raises(SpecError) as caught:
            await runtime.create(None, made)
        assert caught.value.origin == f'$.linux.sysctl["{key}"]'


async def test_one_parameter_by_two_names(runtime: Runtime, rootfs: str) -> None:
    wanted = {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}
    with pytest.raises(SpecError):
        await runtime.create(None, spec(rootfs, wanted))
