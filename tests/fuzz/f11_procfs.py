"""F11: the kernel's own text: made by a generator that escapes as the kernel does, then read back."""

from __future__ import annotations

import os

from aiocontainer.plan.mountinfo import find_hierarchies, parse_mountinfo, parse_own
from aiocontainer.probe import parse_filesystems, parse_id_map, parse_status
from aiocontainer.store.identity import parse_stat

from .source import Source

NASTY = (
    b"/",
    b"/a b",
    b"/a - cgroup2 x rw",
    b"/\\",
    b"/\n1 2 0:1",
    b"/\t",
    b"/d//deleted",
    b"",
    b"/\xff",
    b"/#,=",
)


def name(source: Source) -> bytes:
    """A name as a container could choose it: anything but NUL."""
    raw = source.pick(NASTY) if source.flag() else source.raw(source.below(40))
    return raw.replace(b"\0", b"")


def escaped(raw: bytes) -> bytes:
    """As seq_path(9) writes it."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes((byte,)) for byte in raw)


def mountinfo(source: Source) -> None:
    lines, meant = [], []
    for id in range(source.below(8)):
        root, point = (b"/" + name(source).lstrip(b"/") for _ in range(2))
        origin, kind = name(source), source.pick((b"cgroup", b"cgroup2", b"tmpfs", b"fuse.x"))
        tags = [b"shared:%d" % source.below(99) for _ in range(source.below(3))]
        options = source.pick((b"rw", b"rw,cpu,cpuacct", b"ro,name=systemd", b"rw,nsdelegate"))
        fields = [
            b"%d" % id,
            b"1",
            b"%d:%d" % (source.below(4096), source.below(2**20)),
            escaped(root),
            escaped(point),
        ]
        lines.append(b" ".join([*fields, b"rw", *tags, b"-", kind, escaped(origin), options]))
        meant.append(tuple(map(os.fsdecode, (root, point, kind, origin, options))))
    text = b"\n".join([*lines, b""])
    found = [(m.root, m.point, m.type, m.source, m.super_options) for m in parse_mountinfo(text)]
    assert found == meant
    only = [m.point for m in parse_mountinfo(text, types=("cgroup2",))]
    assert only == [point for _, point, kind, _, _ in meant if kind == "cgroup2"]
    own = {"": "/x", "cpu,cpuacct": "/", "name=systemd": "/.."}
    for hierarchy in find_hierarchies(parse_mountinfo(text), own).values():
        assert hierarchy.own.startswith("/")


def stat(source: Source) -> None:
    """A command cannot forge what stands behind it.  proc_pid_stat(5)"""
    state, started = source.pick((b"R", b"S", b"Z", b"T", b"D")), source.number()
    comm = source.pick((b") Z 1 1", b"a) R (", b"\n", b"(", b")", b"")) + name(source)[:15]
    after = [state, *[b"7"] * 18, b"%d" % started, *[b"9"] * 30]
    assert parse_stat(b"4242 (" + comm + b") " + b" ".join(after) + b"\n") == (state.decode(), started)


def own_cgroups(source: Source) -> None:
    meant = {}
    for number in range(source.below(6)):
        key = source.pick(("", "cpu,cpuacct", "name=systemd", f"c{number}"))
        meant[key] = "/" + os.fsdecode(name(source).replace(b"\n", b"").replace(b"\r", b"").lstrip(b"/"))
    text = "".join(f"{index}:{key}:{path}\n" for index, (key, path) in enumerate(meant.items()))
    assert parse_own(os.fsencode(text)) == meant


def id_map(source: Source) -> None:
    rows = tuple((source.number(), source.number(), source.number()) for _ in range(source.below(6)))
    text = "".join("{:>10} {:>10} {:>10}\n".format(*row) for row in rows)
    assert parse_id_map(text.encode()) == rows


def anything(source: Source) -> None:
    """Whatever it is, it is read or refused, as ValueError or what that is a kind of."""
    data = source.rest()
    for read in (lambda: list(parse_mountinfo(data)), lambda: parse_own(data), lambda: parse_stat(data)):
        try:
            read()
        except (ValueError, IndexError):
            continue
    parse_status(data)
    parse_filesystems(data)


def one(data: bytes) -> None:
    source = Source(data)
    source.pick((mountinfo, stat, own_cgroups, id_map, anything))(source)
