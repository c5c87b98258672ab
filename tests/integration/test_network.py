"""Network devices that move into containers, and the pairs that connect them.

Each test runs as a program of its own in a network namespace of its own, which is the host's to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from aiocontainer import BootstrapError, Callbacks, NetworkError, Runtime, Spec, network
from aiocontainer.network import Route
from aiocontainer.spec import IDMapping, Namespace, NetDevice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "busybox", "iproute")

Report = dict[str, Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def apart(request: pytest.FixtureRequest, rootfs: str, tmp_path: Path) -> Callable[[str], Report]:
    """Function that runs one of the scenarios below in a network namespace of its own."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")

    def run(scenario: str) -> Report:
        command = ["unshare", "--net", sys.executable, "-W", "error", __file__, request.param, scenario]
        done = subprocess.run(
            [*command, rootfs, str(tmp_path / "state")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr
        report: Report = json.loads(done.stdout.splitlines()[-1])
        return report

    return run


# Scenarios: coroutines that return a report.


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def prepare() -> None:
    """A pair of devices: the first with addresses and routes, the second its neighbour."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "aioc0", "type", "veth", "peer", "name", "aioc1")
    ip("link", "set", "aioc1", "up")
    ip("addr", "add", "10.77.0.1/24", "broadcast", "10.77.0.255", "dev", "aioc0")
    ip("addr", "add", "10.78.0.1", "peer", "10.78.0.2/32", "dev", "aioc0")
    ip("-6", "addr", "add", "fd77::1/64", "nodad", "dev", "aioc0")
    ip("link", "set", "aioc0", "mtu", "1400", "up")
    ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2", "dev", "aioc0", "metric", "5")
    ip("route", "add", "default", "via", "10.77.0.254")
    ip("-6", "route", "add", "fd88::/64", "via", "fd77::2", "dev", "aioc0")


def look(name: str) -> Report:
    """What there is to know of a device here."""
    (link,) = json.loads(ip("-j", "addr", "show", "dev", name))
    addresses = sorted(
        (each["local"], each["prefixlen"], each.get("broadcast", ""), each.get("address", ""))
        for each in link["addr_info"]
        if each["scope"] == "global"
    )
    routes = [
        (each["dst"], each.get("gateway", ""), each.get("metric", 0))
        for family in ("-4", "-6")
        for each in json.loads(ip("-j", family, "route", "show", "dev", name))
        if each.get("protocol") != "kernel" and each["dst"] != "fe80::/64"
    ]
    return {
        "up": "UP" in link["flags"],
        "mtu": link["mtu"],
        "addresses": addresses,
        "routes": sorted(routes),
    }


def has(name: str) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError):
        return bool(ip("link", "show", "dev", name))
    return False


SHOW = "ip -o addr show; echo =; ip route; echo =; ip -6 route"


def spec(rootfs: str, *args: str, **devices: str) -> Spec:
    base = Spec.default(list(args) or ["sh", "-c", SHOW], rootfs=rootfs)
    assert base.linux is not None
    moved = {host: NetDevice(name=name) for host, name in devices.items()}
    return replace(base, linux=replace(base.linux, net_devices=moved))


async def moved(runtime: Runtime, rootfs: str) -> Report:
    prepare()
    before = look("aioc0")
    done = await runtime.run(spec(rootfs, aioc0="eth7"))
    assert done.stdout is not None
    return {"before": before, "inside": done.stdout.decode(), "left": has("aioc0")}


async def moved_below_a_user_namespace(runtime: Runtime, rootfs: str) -> Report:
    prepare()
    asked = spec(rootfs, aioc0="")
    assert asked.linux is not None
    whole = (IDMapping(container_id=0, host_id=0, size=65536),)
    namespaces = (*asked.linux.namespaces, Namespace(type="user"))
    linux = replace(asked.linux, namespaces=namespaces, uid_mappings=whole, gid_mappings=whole)
    done = await runtime.run(replace(asked, linux=linux))
    assert done.stdout is not None
    return {"inside": done.stdout.decode()}


async def failed(runtime: Runtime, asked: Spec) -> Report:
    """A creation that fails with a device on its way: it comes back as it was."""
    prepare()
    ip("link", "add", "aiocbr", "type", "bridge")
    ip("link", "set", "aioc0", "master", "aiocbr")
    await runtime.run(spec(asked.root.path if asked.root else "", "true"))  # what stays open is open
    before, fds = look("aioc0"), len(os.listdir("/proc/self/fd"))
    try:
        await runtime.create("aioc-test-net", asked)
    except (BootstrapError, NetworkError) as exc:
        notes = getattr(exc, "__notes__", [])
        failure = {"origin": exc.origin, "text": str(exc), "notes": notes}
    (link,) = json.loads(ip("-j", "link", "show", "dev", "aioc0"))
    return {
        "before": before,
        "after": look("aioc0"),
        "failure": failure,
        "master": link.get("master"),
        "leaked": len(os.listdir("/proc/self/fd")) - fds,
    }


async def no_program(runtime: Runtime, rootfs: str) -> Report:
    return await failed(runtime, spec(rootfs, "/no/such/program", aioc0="eth0"))


async def second_is_missing(runtime: Runtime, rootfs: str) -> Report:
    return await failed(runtime, spec(rootfs, aioc0="eth0", aioc9="eth1"))


async def name_is_taken(runtime: Runtime, rootfs: str) -> Report:
    return await failed(runtime, spec(rootfs, aioc0="eth0", aioc1="lo"))


async def cancelled(runtime: Runtime, rootfs: str) -> Report:
    """Cancelled wherever it is: the device is here, or with a container that was created."""
    prepare()
    before = look("aioc0")
    lost = 0
    for delay_ms in range(0, 60, 4):
        task = asyncio.create_task(runtime.create("aioc-test-net", spec(rootfs, "true", aioc0="eth0")))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        try:
            container = await task
        except asyncio.CancelledError:
            lost += look("aioc0") != before
        else:
            await container.delete(force=True)
            await asyncio.sleep(0.5)
            ip("link", "del", "aioc1") if has("aioc1") else None
            prepare()
    return {"lost": lost}


async def _killed(runtime: Runtime, asked: Spec) -> Report:
    """The creator dies with a device on its way; whoever deletes what it left puts it back."""
    ip("link", "add", "aiocbr", "type", "bridge")
    ip("link", "set", "aioc0", "master", "aiocbr")
    before = look("aioc0")
    document = runtime.root + ".json"
    with open(document, "wb") as file:
        file.write(asked.encode())
    command = [sys.executable, __file__, "asyncio", "dies", document, runtime.root]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    away = not has("aioc0")
    await runtime.delete("aioc-test-net", force=True)
    after = look("aioc0") if has("aioc0") else None
    return {"before": before, "after": after, "away": away, "returncode": done.returncode}


async def dies(runtime: Runtime, document: str) -> Report:
    def die(state: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with open(document, "rb") as file:
        asked = Spec.decode(file.read())
    await runtime.create("aioc-test-net", asked, callbacks=Callbacks(create_runtime=die))  # type: ignore[arg-type]
    return {}


async def killed(runtime: Runtime, rootfs: str) -> Report:
    prepare()
    async with runtime.container(spec(rootfs, "sleep", "60")) as other:
        asked = spec(rootfs, aioc0="eth0")
        assert asked.linux is not None
        rest = tuple(each for each in asked.linux.namespaces if each.type != "network")
        network = Namespace(type="network", path=f"/proc/{other.pid}/ns/net")
        return await _killed(runtime, replace(asked, linux=replace(asked.linux, namespaces=(*rest, network))))


async def joined(runtime: Runtime, rootfs: str) -> Report:
    """Into the namespace of another container, and never into our own."""
    prepare()
    async with runtime.container(spec(rootfs, "sleep", "60")) as other:
        asked = spec(rootfs, aioc0="eth0")
        assert asked.linux is not None
        rest = tuple(each for each in asked.linux.namespaces if each.type != "network")

        def into(pid: int | str) -> Spec:
            assert asked.linux is not None
            network = Namespace(type="network", path=f"/proc/{pid}/ns/net")
            return replace(asked, linux=replace(asked.linux, namespaces=(*rest, network)))

        try:
            await runtime.run(into(os.getpid()))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the test wants to see it
            refused = str(exc)
        done = await runtime.run(into(other.pid))
    assert done.stdout is not None
    return {"inside": done.stdout.decode(), "refused": refused}


async def connected(runtime: Runtime, rootfs: str) -> Report:
    ip("link", "set", "lo", "up")
    async with runtime.container(spec(rootfs, "sleep", "60")) as container:
        process = container.process
        assert process is not None
        await network.create_veth(
            "aiocpair",
            process.fileno(),
            addresses=("10.9.0.2/24", "fd09::2/64"),
            host_addresses=("10.9.0.1/24",),
            routes=(Route(gateway="10.9.0.1"), Route(destination="10.10.0.0/16", interface="eth0")),
            mtu=1300,
        )
        await network.add_addresses("eth0", ("10.11.0.1/24",), namespace=process.fileno())
        further = Route(destination="10.12.0.0/16", gateway="10.11.0.9")
        await network.add_routes((further,), namespace=process.fileno())
        await network.bring_up("lo", namespace=process.fileno())
        shown = await container.exec(["sh", "-c", SHOW], stdout=PIPE)
        inside, _ = await shown.communicate()
        words = ["ping", "-c", "3", "10.9.0.1"]
        ping = await container.exec(words, stdout=PIPE, capabilities=["CAP_NET_RAW"])
        await ping.communicate()
        stats = await network.interface_stats("aiocpair")
        pinged = (await ping.wait()).code
        assert inside is not None
        shown.close()
        ping.close()
        await network.delete_device("aiocpair")
    return {
        "inside": inside.decode(),
        "pinged": pinged,
        "rx": stats.rx_packets,
        "tx": stats.tx_packets,
        "left": has("aiocpair"),
    }


async def half_connected(runtime: Runtime, rootfs: str) -> Report:
    """All or nothing; and a process that has ended has no namespace."""
    await runtime.run(spec(rootfs, "true"))  # what stays open is open
    fds = len(os.listdir("/proc/self/fd"))
    async with runtime.container(spec(rootfs, "sleep", "60")) as container:
        process = container.process
        assert process is not None
        try:
            await network.create_veth("aiocpair", process.fileno(), routes=(Route(gateway="10.9.0.1"),))
        except NetworkError as exc:
            failure = str(exc)
        left = has("aiocpair")
        pidfd = os.dup(process.fileno())
        await container.kill("KILL")
        await process.wait()
        try:
            await network.bring_up("lo", namespace=pidfd)
        except NetworkError as exc:
            dead = str(exc)
        os.close(pidfd)
    return {"failure": failure, "left": left, "dead": dead, "leaked": len(os.listdir("/proc/self/fd")) - fds}


# Tests.


def words(text: str) -> list[str]:
    """Lines without the blanks that one `ip` has and another has not."""
    return [" ".join(line.split()) for line in text.splitlines()]


def shows(text: str, *wanted: str) -> None:
    lines = words(text)
    for each in wanted:
        assert any(each in line for line in lines), (each, lines)


@pytest.mark.proves("$.linux.netDevices{}.name")
def test_a_device_moves_with_addresses_and_routes(apart: Callable[[str], Report]) -> None:
    report = apart("moved")
    addresses, routes, routes6 = report["inside"].split("=\n")
    shows(
        addresses, "eth7 inet 10.77.0.1/24 brd 10.77.0.255", "inet 10.78.0.1 peer 10.78.0.2/32", "fd77::1/64"
    )
    assert "aioc0" not in addresses
    shows(routes, "default via 10.77.0.254 dev eth7", "10.88.0.0/16 via 10.77.0.2 dev eth7 metric 5")
    shows(routes6, "fd88::/64 via fd77::2 dev eth7")
    assert not report["left"]


def test_into_a_user_namespace(apart: Callable[[str], Report]) -> None:
    report = apart("moved_below_a_user_namespace")
    shows(report["inside"], "aioc0 inet 10.77.0.1/24")


@pytest.mark.parametrize(
    ("scenario", "origin", "word"),
    [
        ("no_program", "$.process.args[0]", "No such file"),
        ("second_is_missing", "$.linux.netDevices.aioc9", "find aioc9: No such device"),
        ("name_is_taken", "$.linux.netDevices.aioc1", "move aioc1: File exists"),
    ],
)
def test_a_creation_that_fails_gives_back(
    apart: Callable[[str], Report], scenario: str, origin: str, word: str
) -> None:
    report = apart(scenario)
    assert not report["failure"]["notes"]
    assert report["failure"]["origin"] == origin
    assert word in report["failure"]["text"]
    assert report["after"] == report["before"]
    assert len(report["before"]["addresses"]) == 3
    assert len(report["before"]["routes"]) == 3
    assert report["master"] == "aiocbr"
    assert report["leaked"] == 0


def test_a_killed_creator_loses_no_device(apart: Callable[[str], Report]) -> None:
    """By the write-ahead record, from the namespace that was joined."""
    report = apart("killed")
    assert report["returncode"] == -signal.SIGKILL
    assert report["away"]
    assert report["after"] == report["before"]


def test_cancelled_creations_lose_no_device(apart: Callable[[str], Report]) -> None:
    assert apart("cancelled") == {"lost": 0}


def test_joined_namespaces(apart: Callable[[str], Report]) -> None:
    report = apart("joined")
    shows(report["inside"], "eth0 inet 10.77.0.1/24")
    assert "would change the host" in report["refused"]


def test_a_pair_connects(apart: Callable[[str], Report]) -> None:
    report = apart("connected")
    addresses, routes, _ = report["inside"].split("=\n")
    shows(addresses, "lo inet 127.0.0.1/8", "eth0 inet 10.9.0.2/24", "fd09::2/64", "eth0 inet 10.11.0.1/24")
    shows(routes, "default via 10.9.0.1", "10.10.0.0/16 dev eth0", "10.12.0.0/16 via 10.11.0.9")
    assert report["pinged"] == 0
    assert min(report["rx"], report["tx"]) >= 3
    assert not report["left"]


def test_a_pair_that_fails_is_none(apart: Callable[[str], Report]) -> None:
    report = apart("half_connected")
    assert report["failure"] == "add a route to default: Network is unreachable"
    assert not report["left"]
    assert "No such process" in report["dead"]
    assert report["leaked"] == 0


async def main(scenario: str, rootfs: str, state: str) -> None:
    async with Runtime(root=state) as runtime:
        print(json.dumps(await globals()[scenario](runtime, rootfs)))


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "uvloop":
        import uvloop

        uvloop.run(main(*arguments))
    else:
        asyncio.run(main(*arguments))
