"""Archives written byte by byte, so that they can say what no program writes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Member", "archive", "header", "member", "pax"]

BLOCK = 512
END = bytes(2 * BLOCK)


class Member(NamedTuple):
    """One entry and its content, in blocks."""

    data: bytes

    def __add__(self, other: object) -> Member:  # type: ignore[override]
        assert isinstance(other, Member)
        return Member(self.data + other.data)


def header(
    name: bytes,
    type: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_500_000_000,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One block, with the right checksum unless another is given."""

    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    fields = [
        name.ljust(100, b"\0")[:100],
        number(mode, 8),
        number(uid, 8),
        number(gid, 8),
        number(size, 12),
        number(mtime, 12),
        b" " * 8,
        type,
        link.ljust(100, b"\0")[:100],
        magic,
        bytes(64),
        number(major, 8),
        number(minor, 8),
        prefix.ljust(155, b"\0"),
    ]
    block = bytearray(b"".join(fields).ljust(BLOCK, b"\0"))
    total = sum(block)
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % total
    return bytes(block)


def member(name: bytes, content: bytes = b"", type: bytes = b"0", **fields: object) -> Member:
    """An entry with its content."""
    fields.setdefault("size", len(content))
    return Member(header(name, type, **fields) + content + bytes(-len(content) % BLOCK))  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header, with its own length in front."""
    size = len(key) + len(value) + 3
    while len(b"%d" % size) + len(key) + len(value) + 3 != size:
        size = len(b"%d" % size) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def pax(*records: tuple[bytes, bytes], type: bytes = b"x") -> Member:
    """An extended header."""
    return member(b"pax", b"".join(record(*each) for each in records), type)


def archive(*members: Member, end: bytes = END) -> bytes:
    """All of them, and the end."""
    return b"".join(each.data for each in members) + end
