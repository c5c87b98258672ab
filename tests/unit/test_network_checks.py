"""What is refused of network devices before the kernel is asked."""

from __future__ import annotations

import errno
import os

import pytest

from aiocontainer import NetworkError, SpecError, network
from aiocontainer.network import Route


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "a%d", "x" * 16, "a\0b"])
async def test_names(name: str) -> None:
    """Invariant 32a."""
    for refused in (
        network.bring_up(name),
        network.delete_device(name),
        network.create_veth(name, 0),
        network.create_veth("aioc0", 0, name=name),
        network.add_addresses(name, ()),
        network.interface_stats(name),
    ):
        with pytest.raises(SpecError, match="not a name for a network device"):
            await refused


@pytest.mark.parametrize(
    "route",
    [
        Route(),
        Route(destination="10.0.0.0/8"),
        Route(destination="10.0.0.1/8", gateway="10.0.0.1"),
        Route(destination="ten", interface="eth0"),
        Route(destination="10.0.0.0/33", interface="eth0"),
        Route(destination="fd00::/8", gateway="10.0.0.1"),
        Route(gateway="10.0.0.1/8"),
        Route(interface="a/b"),
        Route(gateway="10.0.0.1", source="somewhere"),
    ],
    ids=str,
)
async def test_routes(route: Route) -> None:
    with pytest.raises(SpecError) as caught:
        await network.add_routes((route,))
    assert caught.value.origin == "routes"


@pytest.mark.parametrize("address", ["", "ten", "10.0.0.1/33", "10.0.0.1/x", "::1/129"])
async def test_addresses(address: str) -> None:
    with pytest.raises(SpecError) as caught:
        await network.add_addresses("aioc0", (address,))
    assert caught.value.origin == "addresses"


def test_a_namespace_is_a_pidfd_or_a_file() -> None:
    pidfd = os.pidfd_open(os.getpid())
    with network.open_namespace(pidfd) as one:
        os.close(pidfd)
        with network.open_namespace(one.fileno()) as other:
            assert os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
            assert os.path.samestat(os.fstat(one.fileno()), os.stat("/proc/self/ns/net"))


def test_errors_are_sentences() -> None:
    error = NetworkError("move", errno.EEXIST, device="eth0", origin="$.linux.netDevices.eth0")
    assert str(error) == "$.linux.netDevices.eth0: move eth0: File exists"
    assert str(NetworkError("find", errno.ENODEV)) == "find: No such device"
