"""Archives that want to write elsewhere, or to be two things, or to have no end."""

from __future__ import annotations

import gzip
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from support.tars import BLOCK, Member, archive, header, member, pax, record

from aiocontainer.images.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CANARY", "CASES", "LIMITS", "Case", "file", "outside_of", "state"]

LIMITS = Limits(layer_bytes=8 << 20, file_bytes=4 << 20, entries=400)
CANARY = b"do not touch\n"


def link(name: bytes, target: bytes) -> Member:
    return member(name, type=b"2", link=target)


def hard(name: bytes, target: bytes) -> Member:
    return member(name, type=b"1", link=target)


def directory(name: bytes, **fields: object) -> Member:
    return member(name, type=b"5", mode=0o755, **fields)


def file(name: bytes, content: bytes = b"x", **fields: object) -> Member:
    return member(name, content, **fields)


def named(name: bytes, **fields: object) -> Member:
    return pax((b"path", name)) + file(b"short", **fields)


def old_sparse(*segments: tuple[int, int], size: int, stored: int) -> Member:
    block = bytearray(header(b"sparse", b"S", size=stored, magic=b"ustar  \0"))
    for index, (offset, length) in enumerate(segments):
        at = 386 + 24 * index
        block[at : at + 24] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return Member(bytes(block) + bytes(stored + -stored % BLOCK))


def sparse(map: bytes, *, size: int, stored: int, name: bytes = b"sparse") -> Member:
    """The form 1.0."""
    content = map.ljust(len(map) + -len(map) % BLOCK, b"\0") + b"x" * stored
    head = pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    )
    return head + member(b"GNUSparseFile/sparse", content)


def gnu(**values: bytes) -> Member:
    return pax(*((f"GNU.sparse.{key}".encode(), value) for key, value in values.items()))


def xattr(name: bytes, value: bytes = b"y") -> Member:
    return pax((b"SCHILY.xattr." + name, value))


def long(type: bytes, text: bytes) -> Member:
    return member(b"././@LongLink", text, type)


class Case(NamedTuple):
    name: str
    data: bytes
    problem: str | None = None
    """What the refusal says; None: it is unpacked, and stays inside."""


def case(name: str, *members: Member, problem: str | None = None, end: bytes | None = None) -> Case:
    return Case(name, archive(*members) if end is None else archive(*members, end=end), problem)


UP = "leads upwards"
THROUGH = "leads through"
LINKS = "hard link"
OUT = b"../outside/canary"

NAMES = (
    case("dotdot", file(b"../evil"), problem=UP),
    case("dotdot-deep", file(b"a/b/../../../evil"), problem=UP),
    case("dotdot-inside", file(b"a/../b"), problem=UP),
    case("dotdot-only", directory(b".."), problem=UP),
    case("dotdot-slash", directory(b"../"), problem=UP),
    case("dotdot-pax", named(OUT), problem=UP),
    case("dotdot-long", long(b"L", OUT + b"\0") + file(b"x"), problem=UP),
    case("dotdot-prefix", file(b"evil", prefix=b".."), problem=UP),
    case("dotdot-sparse-name", sparse(b"0\n", size=0, stored=0, name=OUT), problem=UP),
    case("sparse-empty", sparse(b"0\n", size=10, stored=0)),
    case("absolute", file(b"/etc/passwd")),
    case("absolute-double", file(b"//etc/passwd")),
    case("absolute-pax", named(b"/etc/passwd")),
    case("absolute-dotdot", file(b"/../etc/passwd"), problem=UP),
    case("dots", file(b"./././x")),
    case("slashes", file(b"a////b")),
    case("trailing-slash-file", file(b"a/", type=b"7")),
    case("empty-name", file(b""), problem="in the place of the root"),
    case("root-file", file(b"."), problem="in the place of the root"),
    case("root-link", link(b"./", b"/"), problem="in the place of the root"),
    case("root-hard-link", hard(b"/", b"x"), problem="in the place of the root"),
    case("root-device", member(b".", type=b"3", major=1, minor=3), problem="in the place of the root"),
    case("not-utf8", file(b"\xff\xfe\x80/\xc0\xaf")),
    case("overlong-dots", file(b"\xc0\xae\xc0\xae/x")),
    case("newline", file(b"a\nb\x01\x7f")),
    case("backslash", file(b"..\\..\\evil")),
    case("long-component", named(b"n" * 256), problem="too long"),
    case("longest-component", named(b"n" * 255)),
    case("long-path", named(b"a/" * 2100 + b"x"), problem="a path of"),
    case("deep", named(b"d/" * 600 + b"x"), problem="too deep"),
    case("nul-in-pax", named(b"a\0b"), problem="NUL"),
    case("nul-in-link", pax((b"linkpath", b"a\0b")) + link(b"l", b"x"), problem="NUL"),
)

LINK_CASES = (
    case("through-link", link(b"l", b"../outside"), file(b"l/canary"), problem=THROUGH),
    case("through-absolute-link", link(b"l", b"/"), file(b"l/evil"), problem=THROUGH),
    case("through-link-in-root", directory(b"d"), link(b"l", b"d"), file(b"l/x"), problem=THROUGH),
    case("through-dangling", link(b"l", b"nowhere"), file(b"l/x"), problem=THROUGH),
    case("through-loop", link(b"l", b"l"), file(b"l/x"), problem=THROUGH),
    case("through-chain", link(b"a", b"b"), link(b"b", b"../outside"), file(b"a/canary"), problem=THROUGH),
    case("through-file", file(b"f"), file(b"f/x"), problem=THROUGH),
    case("through-fifo", member(b"f", type=b"6"), file(b"f/x"), problem=THROUGH),
    case("directory-over-link", link(b"l", b"../outside"), directory(b"l"), file(b"l/canary")),
    case("file-over-link", link(b"l", OUT), file(b"l")),
    case("link-over-file", file(b"l"), link(b"l", OUT)),
    case("chmod-through-link", link(b"l", OUT), member(b"l", mode=0o777)),
    case("device-over-link", link(b"l", OUT), member(b"l", type=b"6")),
    case("link-to-nothing", link(b"l", b""), problem="link to nothing"),
    case("long-link", pax((b"linkpath", b"x" * 5000)) + link(b"l", b"x"), problem="too much"),
    case("hard-outside", hard(b"h", OUT), problem=UP),
    case("hard-absolute", hard(b"h", b"/etc/passwd"), problem=LINKS),
    case("hard-through-link", link(b"l", b"../outside"), hard(b"h", b"l/canary"), problem=LINKS),
    case("hard-to-link", link(b"l", OUT), hard(b"h", b"l"), file(b"h", b"evil")),
    case("hard-to-link-chmod", link(b"l", OUT), hard(b"h", b"l")),
    case("hard-to-itself", file(b"h"), hard(b"h", b"h"), problem=LINKS),
    case("hard-to-directory", directory(b"d"), hard(b"h", b"d"), problem=LINKS),
    case("hard-to-nothing", hard(b"h", b"missing"), problem=LINKS),
    case("hard-to-root", hard(b"h", b"/"), problem=LINKS),
    case("hard-to-empty", hard(b"h", b""), problem=LINKS),
    case("hard-to-whiteout", member(b".wh.w"), hard(b"h", b"w"), problem=LINKS),
    case("hard-to-whiteout-name", hard(b"h", b".wh.w"), problem=LINKS),
    case(
        "hard-with-content", Member(header(b"h", b"1", link=b"x", size=3) + bytes(BLOCK)), problem="content"
    ),
    case("dotdot-in-hard-pax", pax((b"linkpath", OUT)) + hard(b"h", b"x"), problem=UP),
)

TWICE = (
    case("file-twice", file(b"f", b"1"), file(b"f", b"2")),
    case("directory-twice", directory(b"d"), file(b"d/x"), directory(b"d")),
    case("file-over-full-directory", file(b"d/x"), file(b"d"), problem="not empty"),
    case("link-over-full-directory", file(b"d/x"), link(b"d", b"../outside"), problem="not empty"),
    case(
        "link-over-empty-directory",
        directory(b"d"),
        link(b"d", b"../outside"),
        file(b"d/canary"),
        problem=THROUGH,
    ),
    case("directory-over-file", file(b"d"), directory(b"d"), file(b"d/x")),
    case("pax-path-twice", pax((b"path", b"a"), (b"path", b"../b")) + file(b"x"), problem="twice"),
    case("pax-twice", pax((b"path", b"a")) + pax((b"path", b"b")) + file(b"x"), problem="two extended"),
    case("long-name-twice", long(b"L", b"a\0") + long(b"L", b"b\0") + file(b"x"), problem="two extended"),
    case("global-path", pax((b"path", b"../evil"), type=b"g") + file(b"x"), problem="global header"),
    case("global-comment", pax((b"comment", b"0123"), type=b"g") + file(b"x")),
)

WHITEOUTS = (
    case("whiteout-of-parent", member(b".wh..."), problem="hides what is no name"),
    case("whiteout-of-self", member(b".wh.."), problem="hides what is no name"),
    case("whiteout-of-nothing", member(b".wh."), problem="hides what is no name"),
    case("whiteout-above", member(b"../.wh.outside"), problem=UP),
    case("whiteout-through-link", link(b"l", b"../outside"), member(b"l/.wh.canary"), problem=THROUGH),
    case("whiteout-with-content", file(b".wh.x", b"content"), problem="named as a whiteout"),
    case("whiteout-directory", directory(b".wh.x"), problem="named as a whiteout"),
    case("whiteout-link", link(b".wh.x", OUT), problem="named as a whiteout"),
    case("below-whiteout", file(b".wh.x/y"), problem="below a whiteout"),
    case("opaque-through-link", link(b"l", b"../outside"), member(b"l/.wh..wh..opq"), problem=THROUGH),
    case("opaque-root", member(b".wh..wh..opq")),
    case("aufs", directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2")),
    case("whiteout-then-directory", member(b".wh.d"), file(b"d/x")),
    case("forged-whiteout", member(b"w", type=b"3"), problem="the device 0:0"),
    case("forged-opaque", xattr(b"trusted.overlay.opaque") + directory(b"d"), problem="forge"),
    case("forged-redirect", xattr(b"trusted.overlay.redirect", b"/etc") + directory(b"d"), problem="forge"),
    case("forged-metacopy", xattr(b"user.overlay.metacopy", b"") + file(b"f"), problem="forge"),
    case("forged-on-link", xattr(b"trusted.overlay.redirect") + link(b"l", b"x"), problem="forge"),
)

DEVICES = (
    case("device-major", pax() + member(b"d", type=b"4", major=0o7777777), problem="which there cannot be"),
    case("socket-type", member(b"s", type=b"s"), problem="has the type"),
    case("multi-volume", member(b"m", type=b"M"), problem="has the type"),
    case("volume-label", member(b"v", type=b"V"), problem="has the type"),
    case("dump-directory", member(b"d", type=b"D"), problem="has the type"),
    case("device-with-content", member(b"d", b"x", type=b"3", major=1, minor=3), problem="content"),
    case("directory-with-content", directory(b"d", size=1) + Member(bytes(BLOCK)), problem="content"),
    case("set-user-id", member(b"su", b"x", mode=0o6755)),
    case("trusted-attribute", xattr(b"trusted.other") + file(b"f")),
    case("label", xattr(b"security.selinux") + file(b"f")),
    case("large-attribute", xattr(b"user.a", b"x" * 65537) + file(b"f"), problem="65537 bytes"),
    case("attribute-not-ascii", xattr(b"user.\xff") + file(b"f"), problem="of the name"),
)

NUMBERS = (
    case("size-not-octal", Member(header(b"f", size=b"9")), problem="size that is no number"),
    case("size-negative", Member(header(b"f", size=b"\xff" * 12)), problem="negative size"),
    case("size-huge", Member(header(b"f", size=b"\x80" + b"\x7f" * 11)), problem="at most"),
    case("size-beyond-limit", Member(header(b"f", size=5 << 20)), problem="at most"),
    case("size-pax-huge", pax((b"size", b"9" * 20)) + file(b"f"), problem="at most"),
    case("size-pax-words", pax((b"size", b"0x10")) + file(b"f"), problem="no number"),
    case("size-pax-negative", pax((b"size", b"-1")) + file(b"f"), problem="no number"),
    case("size-pax-too-long", pax((b"size", b"9" * 5000)) + file(b"f"), problem="no number"),
    case("owner-minus-one", pax((b"uid", b"4294967295")) + file(b"f"), problem="owner"),
    case("owner-words", pax((b"uid", b"root")) + file(b"f"), problem="no number"),
    case("time-words", pax((b"mtime", b"nan")) + file(b"f"), problem="time"),
    case("time-infinite", pax((b"mtime", b"99999999999")) + file(b"f"), problem="time"),
    case("time-before-all", pax((b"mtime", b"-1.5")) + file(b"f")),
    case("checksum", Member(header(b"f", checksum=b"000000\0 ")), problem="checksum"),
    case("checksum-words", Member(header(b"f", checksum=b"garbage!")), problem="checksum"),
    case("checksum-empty", Member(header(b"f", checksum=bytes(8))), problem="checksum"),
    case("noise", Member(bytes(range(256)) * 2), problem="checksum"),
)

RECORDS = tuple(
    case(f"pax-{name}", member(b"pax", body, b"x") + file(b"f"), problem="extended header")
    for name, body in {
        "no-length": b"path=x\n",
        "length-short": b"3 a=b\n",
        "length-long": b"99 path=x\n",
        "length-huge": b"9" * 30 + b" a=b\n",
        "no-newline": b"8 path=x",
        "no-keyword": b"6 =ab\n",
        "no-equals": b"7 abcd\n",
        "nul-in-keyword": record(b"a\0b", b"x"),
        "zero": b"0 a=b\n",
        "negative": b"-6 a=b\n",
        "space": b" 6 a=b\n",
    }.items()
)

SPARSE = (
    case("sparse-overlap", sparse(b"2\n0\n512\n256\n512\n", size=2048, stored=1024), problem="overlap"),
    case("sparse-backwards", sparse(b"2\n512\n256\n0\n256\n", size=2048, stored=512), problem="overlap"),
    case("sparse-beyond", sparse(b"1\n4096\n512\n", size=1024, stored=512), problem="beyond"),
    case("sparse-count", sparse(b"999999999\n", size=0, stored=512), problem="too many"),
    case("sparse-words", sparse(b"1\nx\ny\n", size=10, stored=512), problem="no number"),
    case("sparse-no-end", sparse(b"5\n" + b"0\n" * 3, size=10, stored=0), problem="no end"),
    case("sparse-stored", sparse(b"1\n0\n100\n", size=1000, stored=512), problem="not what is stored"),
    case("sparse-huge", sparse(b"1\n0\n0\n", size=1 << 60, stored=0), problem="at most"),
    case("sparse-old-beyond", old_sparse((0, 512), size=100, stored=512), problem="beyond"),
    case("sparse-old-overlap", old_sparse((0, 512), (0, 512), size=4096, stored=1024), problem="overlap"),
    case("sparse-old-huge", old_sparse(size=0o77777777777, stored=0), problem="at most"),
    case(
        "sparse-list",
        pax((b"GNU.sparse.map", b"0,1,2"), (b"GNU.sparse.size", b"9")) + file(b"f"),
        problem="half",
    ),
    case("sparse-no-size", pax((b"GNU.sparse.map", b"0,1")) + file(b"f"), problem="how long"),
    case(
        "sparse-unknown",
        pax((b"GNU.sparse.major", b"7"), (b"GNU.sparse.size", b"1")) + file(b"f"),
        problem="nothing",
    ),
    case("sparse-directory", pax((b"GNU.sparse.size", b"1")) + directory(b"d"), problem="no file"),
    case(
        "sparse-order",
        pax((b"GNU.sparse.size", b"9"), (b"GNU.sparse.numbytes", b"1"), (b"GNU.sparse.offset", b"0"))
        + file(b"f"),
        problem="out of order",
    ),
)

ENDS = (
    case("empty", end=b""),
    case("no-end", file(b"f"), end=b""),
    case("one-zero-block", file(b"f"), end=bytes(BLOCK)),
    case("half-header", end=header(b"f")[:300], problem="ends in the middle"),
    case("half-content", Member(header(b"f", size=1000) + b"x" * 512), end=b"", problem="in the middle"),
    case("header-alone", pax((b"path", b"x")), end=b"", problem="ends after"),
    case(
        "half-long-name", Member(header(b"l", b"L", size=600) + b"x"), end=b"", problem="ends in the middle"
    ),
    case("hidden-after-end", file(b"f"), end=bytes(2 * BLOCK) + header(b"hidden"), problem="goes on"),
    case("hidden-after-one-block", file(b"f"), end=bytes(BLOCK) + header(b"hidden"), problem="goes on"),
    case("long-name-huge", Member(header(b"l", b"L", size=1 << 30)), problem="extended header of"),
    case("pax-huge", Member(header(b"p", b"x", size=1 << 30)), problem="extended header of"),
    case("long-name-empty", long(b"L", b"\0\0") + file(b"f"), problem="long name"),
    case("long-name-more", long(b"L", b"a\0b") + file(b"f"), problem="long name"),
    case("too-many-entries", *(file(b"f%d" % index) for index in range(500)), problem="more than 400"),
    case(
        "too-many-bytes", *(file(b"f%d" % index, bytes(3 << 20)) for index in range(4)), problem="more than"
    ),
    case("zeros-without-end", end=bytes(9 << 20), problem="more than"),
)

COMPRESSED = (
    Case("gzip-cut", gzip.compress(archive(file(b"f", os.urandom(4000))))[:-20], "gzip"),
    Case("gzip-broken", b"\x1f\x8b" + bytes(range(100)), "gzip"),
    Case("gzip-garbage-after", gzip.compress(archive(file(b"f"))) + b"garbage", "gzip"),
    Case("gzip-members", gzip.compress(archive(file(b"f"))[:700]) + gzip.compress(archive(file(b"f"))[700:])),
    Case("gzip-bomb", gzip.compress(bytes(64 << 20)), "more than"),
    Case("gzip-bomb-of-members", gzip.compress(bytes(1 << 20)) * 40, "more than"),
    Case("gzip-checksum", gzip.compress(archive(file(b"f")))[:-8] + bytes(8), "gzip"),
    Case("xz", b"\xfd7zXZ\0" + bytes(100), "compressed by xz"),
    Case("bzip2", b"BZh91AY&SY" + bytes(100), "compressed by bzip2"),
)

CASES = (
    *NAMES,
    *LINK_CASES,
    *TWICE,
    *WHITEOUTS,
    *DEVICES,
    *NUMBERS,
    *RECORDS,
    *SPARSE,
    *ENDS,
    *COMPRESSED,
)


def outside_of(place: Path) -> Path:
    """Make what the archives are after, beside where they are unpacked."""
    outside = place / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(CANARY)
    return outside


def state(path: Path) -> list[tuple[object, ...]]:
    """Everything about what lies outside."""
    found = []
    for each in (path, *sorted(path.rglob("*"))):
        seen = each.lstat()
        content = each.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
        times = (seen.st_mtime_ns, seen.st_ctime_ns)
        found.append((str(each), seen.st_mode, seen.st_uid, seen.st_nlink, *times, content))
    return found
