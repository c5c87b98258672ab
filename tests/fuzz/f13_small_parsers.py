"""F13: sysctl names, host names, lists of CPUs, limits, network devices, id maps: each against a model."""

from __future__ import annotations

import functools

from msgspec.structs import replace
from plan_hosts import spec

from aiocontainer import SpecError
from aiocontainer.spec import IDMapping, NetDevice, Rlimit, Spec, check, parse_list, verify
from aiocontainer.spec.ids import MAX_CPUS, ascii_int, check_id
from aiocontainer.spec.rules.devices import is_interface_name
from aiocontainer.spec.rules.idmaps import map_problems
from aiocontainer.spec.rules.sysctl import sysctl_namespace, sysctl_path

from .source import Source

PARTS = (
    *("net", "ipv4", "conf", "neigh", "eth0", "eth0.100", "kernel", "msgmax", "domainname", "hostname", "fs"),
    *("mqueue", "..", ".", "", "a b", "user", "core_pattern", "eno2/100", "\n", "all", "%d"),
)
NUMBERS = "0123456789"


def sysctl(source: Source) -> None:
    """One spelling, one path: no part of it leads elsewhere, and the other spelling is the same file."""
    separator = source.pick("./")
    key = (
        separator.join(source.pick(PARTS) for _ in range(source.below(7) + 1))
        if source.flag()
        else source.text(40)
    )
    try:
        path = sysctl_path(key)
    except SpecError as exc:
        assert exc.origin.startswith("$.linux.sysctl"), exc
        return
    parts = path.split("/")
    assert all(part not in ("", ".", "..") for part in parts), path
    assert not any(char.isspace() or char == "\0" for char in path)
    assert sysctl_path(path) == path or "/" not in path
    namespace = sysctl_namespace(path)
    if namespace is not None:
        assert parts[0] in ("net", "user", "fs", "kernel")
        assert (parts[0], namespace) != ("kernel", None)
        assert path not in ("kernel/core_pattern", "kernel/hostname")


def cpus(source: Source) -> None:
    """A list is a set of numbers."""
    text = ",".join(element(source) for _ in range(source.below(8))) if source.flag() else source.text(24)
    meant: set[int] | None = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not part.strip():
            continue
        ends = [first, last] if dash else [first, first]
        if any(not end or len(end) > 9 or any(c not in NUMBERS for c in end) for end in ends):
            meant = None
            break
        low, high = map(int, ends)
        if not low <= high < MAX_CPUS:
            meant = None
            break
        assert meant is not None
        meant |= set(range(low, high + 1)) if high - low < 4096 else {low, high}
    try:
        found = parse_list(text, origin="x")
    except SpecError as exc:
        assert exc.origin == "x"
        assert meant is None, text
        return
    assert meant is not None, text
    ends = {each for part in found for each in (part if len(part) <= 4096 else (part[0], part[-1]))}
    assert ends == meant, text


def element(source: Source) -> str:
    kind = source.integer(1)
    words = ("", " ", "-", "1-", "-1", "+1", "1_0", "\u0661", "3-1", "01", "65535", "65536", "0x1")
    if kind < 64:
        return source.pick(words)
    first = source.below(70)
    return str(first) if kind < 128 else f"{first}-{first + source.below(9)}"


def numbers(source: Source) -> None:
    text = str(source.number()) if source.flag() else source.text(24)
    maximum = source.number()
    try:
        value = ascii_int(text, maximum=maximum, origin="x")
    except SpecError:
        canonical = text.isascii() and text.isdigit() and str(int(text or "0")) == text and len(text) <= 20
        assert not canonical or int(text) > maximum, text
        return
    assert str(value) == text
    assert 0 <= value <= maximum


def ids(source: Source) -> None:
    text = source.text(300)
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
    good = 0 < len(text) <= 255 and set(text) <= allowed and text[0] != "."
    try:
        assert check_id(text) == text
    except SpecError as exc:
        assert exc.origin == "id"
        assert not good, text
        return
    assert good, text


def interfaces(source: Source) -> None:
    """dev_valid_name(), Linux net/core/dev.c."""
    text = source.text(20)
    good = bool(text) and text not in (".", "..") and len(text.encode()) <= 15
    good = good and not any(char in "/:%\0" or char.isspace() for char in text)
    assert is_interface_name(text) == good, text


def maps(source: Source) -> None:
    """No id twice on either side, none beyond the last."""
    entries = []
    for _ in range(source.below(10)):
        near = (
            [source.below(40) for _ in range(2)]
            if source.flag()
            else [source.number() % 2**32 for _ in range(2)]
        )
        size = source.below(12) + 1 if source.flag() else source.number() % 2**32 or 1
        entries.append(IDMapping(container_id=near[0], host_id=near[1], size=size))
    good = all(max(e.container_id, e.host_id) + e.size <= 2**32 - 1 for e in entries)
    for side in ("container_id", "host_id"):
        for index, a in enumerate(entries):
            for b in entries[:index]:
                one, other = getattr(a, side), getattr(b, side)
                good = good and not (one < other + b.size and other < one + a.size)
    assert good == (not list(map_problems(entries, "$"))), entries


@functools.cache
def base() -> Spec:
    return spec(mounts=())


def document(source: Source) -> None:
    """Host name, limits and network devices of a whole specification."""
    name = source.text(80)
    limits = tuple(
        Rlimit(type=source.pick(("RLIMIT_NOFILE", "RLIMIT_CORE")), soft=source.number(), hard=source.number())
        for _ in range(source.below(4))
    )
    devices = {
        source.text(18): NetDevice(name=source.text(18) if source.flag() else "")
        for _ in range(source.below(3))
    }
    whole = base()
    assert whole.process is not None
    assert whole.linux is not None
    asked = replace(
        whole,
        hostname=name,
        process=replace(whole.process, rlimits=limits),
        linux=replace(whole.linux, net_devices=devices),
    )
    names = [device.name or host for host, device in devices.items()]
    texts = [name, *devices, *(device.name for device in devices.values())]
    good = (
        not any("\0" in each for each in texts)
        and len(name.encode()) <= 64
        and all(limit.soft <= limit.hard < 2**64 for limit in limits)
        and len({limit.type for limit in limits}) == len(limits)
        and all(is_interface_name(each) for each in [*devices, *names])
        and len(set(names)) == len(names)
    )
    try:
        verify(asked)
        check(asked)
    except SpecError as exc:
        assert exc.origin.startswith("$"), exc
        assert not good, asked
        return
    assert good, asked


KINDS = (sysctl, cpus, numbers, ids, interfaces, maps, document)


def one(data: bytes) -> None:
    source = Source(data)
    source.pick(KINDS)(source)
