"""One header of an archive into a value: ustar, GNU and pax.  tar(5), pax(1p), GNU tar "Basic Format".

Readers of such archives differ in what they make of contradictions; one that checks an archive and one
that unpacks it then see two archives.  So what they could see differently is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from ..errors import ImageError
from .limits import MAX_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BLOCK",
    "Entry",
    "Kind",
    "Raw",
    "Segments",
    "entry_of",
    "more_segments",
    "parse_block",
    "parse_records",
    "parse_segments",
    "segment_problems",
    "shown",
]

BLOCK: Final = 512

Kind: TypeAlias = Literal["file", "link", "symlink", "char", "block", "directory", "fifo"]

_KINDS: Final[dict[bytes, Kind]] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",  # contiguous: a file for everybody
    b"S": "file",
    b"1": "link",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}
_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_SEGMENT: Final = struct.Struct("12s12s")
_OLD_SEGMENTS: Final = 386  # where GNU's old sparse files have their map
_OLD_COUNT: Final = 4
_MORE_COUNT: Final = 21
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \0]*")
_DECIMAL: Final = re.compile(rb"[0-9]{1,20}")
_TIME: Final = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]{1,30}))?")
_MOST_SECONDS: Final = 1 << 34  # of ext4; others have more
_MAX_ID: Final = 2**32 - 2  # -1 leaves an owner alone: chown(2)
_XATTR: Final = b"SCHILY.xattr."
_XATTR_LIBARCHIVE: Final = b"LIBARCHIVE.xattr."

Segments: TypeAlias = tuple[tuple[int, int], ...]


class Raw(Struct):
    """A header block by itself."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    type: bytes
    link: bytes
    device: tuple[int, int]
    real_size: int = 0
    """Of GNU's old sparse files."""
    segments: Segments = ()
    more: bool = False
    """Further blocks with segments follow."""


class Entry(Struct):
    """An entry with what its extended headers say."""

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    stored: int
    """Bytes in the archive."""
    size: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = {}
    segments: Segments | None = None
    """Offset and length of each piece that is stored; None: it is stored whole."""
    mapped: bool = False
    """The content begins with those."""


def parse_block(block: bytes) -> Raw:
    """Read a header block; `ImageError` for a wrong sum, or a number that is none."""
    name, mode, uid, gid, size, mtime, total, type, link, magic, major, minor, prefix = _FIELDS.unpack(block)
    _check_sum(block, total)
    gnu = magic == b"ustar  \0"
    if magic[:5] == b"ustar" and not gnu and prefix[:1] != b"\0":
        name = _text(prefix) + b"/" + _text(name)
    if type == b"\0" and _text(name).endswith(b"/"):
        type = b"5"  # before there was a type: tar(5) "Pre-POSIX"
    raw = Raw(
        name=_text(name),
        mode=_number(mode, "mode"),
        uid=_number(uid, "uid"),
        gid=_number(gid, "gid"),
        size=_number(size, "size"),
        mtime_ns=_number(mtime, "mtime", negative=True) * 10**9,
        type=type,
        link=_text(link),
        device=(_number(major, "device"), _number(minor, "device")) if type in b"34" else (0, 0),
    )
    if type == b"S":
        if not gnu:
            raise ImageError("is a sparse file of GNU tar in an archive that is not")
        raw.segments = _old_segments(block, _OLD_SEGMENTS, _OLD_COUNT)
        raw.more = block[482] != 0
        raw.real_size = _number(block[483:495], "size")
    return raw


def more_segments(block: bytes) -> tuple[Segments, bool]:
    """Read a further block with segments of an old sparse file; and whether another follows."""
    return _old_segments(block, 0, _MORE_COUNT), block[504] != 0


def _check_sum(block: bytes, field: bytes) -> None:
    """Of all bytes, those of the sum itself counted as spaces; some programs took them as signed."""
    summed = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(summed)
    signed = unsigned - 256 * sum(byte > 127 for byte in summed)
    if _number(field, "checksum") not in (unsigned, signed):
        raise ImageError("has a header with a wrong checksum")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str, *, negative: bool = False) -> int:
    """Octal digits, or GNU's binary numbers for what does not fit."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ~(0x80 << 8 * (len(field) - 1))
        if field[0] == 0xFF:
            value = int.from_bytes(field, "big", signed=True)
        if value < 0 and not negative:
            raise ImageError(f"has a negative {what}")
        return value
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise ImageError(f"has a {what} that is no number: {field!r}")
    return int(found[1] or b"0", 8)


def _old_segments(block: bytes, start: int, count: int) -> Segments:
    found = []
    for index in range(count):
        offset, size = _SEGMENT.unpack_from(block, start + index * _SEGMENT.size)
        if offset[:1] == b"\0":
            break
        found.append((_number(offset, "offset"), _number(size, "size")))
    return tuple(found)


# Extended headers --------------------------------------------------------------------------------------


def parse_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keywords and values of a pax header, in their order; `ImageError`."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 21)
        digits = data[at:space] if space > at else b""
        if _DECIMAL.fullmatch(digits) is None:
            raise ImageError("has an extended header with a record without a length")
        end = at + int(digits)
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n":
            raise ImageError("has an extended header with a record of a wrong length")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise ImageError("has an extended header with a record without a keyword")
        yield key, value
        at = end


_IGNORED: Final = frozenset({b"atime", b"ctime", b"uname", b"gname", b"comment", b"LIBARCHIVE.creationtime"})
_SPARSE: Final = b"GNU.sparse."
_SPARSE_REPEATED: Final = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


def entry_of(raw: Raw, records: Sequence[tuple[bytes, bytes]], name: bytes, link: bytes) -> Entry:
    """Return the entry of a header with its pax *records* and GNU's long *name* and *link*, "" for none."""
    values = _values(records)
    kind = _KINDS.get(raw.type)
    if kind is None:
        raise ImageError(f"has the type {raw.type!r}, which no layer has", entry=shown(raw.name))
    entry = Entry(
        name=values.get(b"path") or name or raw.name,
        kind=kind,
        mode=raw.mode & 0o7777,
        uid=_decimal(values, b"uid", raw.uid),
        gid=_decimal(values, b"gid", raw.gid),
        mtime_ns=_time(values[b"mtime"]) if b"mtime" in values else raw.mtime_ns,
        stored=_decimal(values, b"size", raw.size),
        size=0,
        link=values.get(b"linkpath") or link or raw.link,
        device=raw.device,
        xattrs=_xattrs(values),
    )
    entry.size = raw.real_size if raw.type == b"S" else entry.stored
    if raw.type == b"S":
        entry.segments = raw.segments
    elif any(key.startswith(_SPARSE) for key in values) or any(key in _SPARSE_REPEATED for key, _ in records):
        _apply_sparse(entry, values, records)
    _check(entry)
    return entry


def shown(name: bytes) -> str:
    """Return a name as people see it: what is no text is escaped."""
    return name[:400].decode(errors="backslashreplace")


def _values(records: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """One value for each keyword; an empty one takes back nothing that is ours: pax(1p) "Keyword"."""
    values: dict[bytes, bytes] = {}
    for key, value in records:
        if key in _SPARSE_REPEATED:
            continue
        if key in values:
            raise ImageError(f"has an extended header with {shown(key)} twice")
        values[key] = value
    for key in (b"path", b"linkpath"):
        if b"\0" in values.get(key, b""):
            raise ImageError("has a NUL in its name")
    return {key: value for key, value in values.items() if key not in _IGNORED}


def _decimal(values: dict[bytes, bytes], key: bytes, otherwise: int) -> int:
    value = values.get(key, b"")
    if not value:
        return otherwise
    if _DECIMAL.fullmatch(value) is None:
        raise ImageError(f"has a {shown(key)} that is no number: {value[:40]!r}")
    return int(value)


def _time(value: bytes) -> int:
    """Nanoseconds of a time in seconds."""
    found = _TIME.fullmatch(value)
    if found is None:
        raise ImageError(f"has a time that is no number: {value[:40]!r}")
    fraction = int((found[3] or b"")[:9].ljust(9, b"0"))
    magnitude = int(found[2]) * 10**9 + fraction
    return -magnitude if found[1] else magnitude


def _xattrs(values: dict[bytes, bytes]) -> dict[str, bytes]:
    """Of both ways to write them; where there are both they say the same."""
    found: dict[str, bytes] = {}
    for key, value in values.items():
        if key.startswith(_XATTR):
            name, content = key[len(_XATTR) :], value
        elif key.startswith(_XATTR_LIBARCHIVE):
            name, content = unquote_to_bytes(key[len(_XATTR_LIBARCHIVE) :]), _base64(value)
        else:
            continue
        try:
            text = name.decode("ascii")
        except UnicodeDecodeError:
            raise ImageError(f"has an extended attribute of the name {name!r}") from None
        if found.setdefault(text, content) != content:
            raise ImageError(f"has two values for its extended attribute {text!r}")
    return found


def _base64(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as exc:
        raise ImageError(f"has an extended attribute in no base64: {exc}") from None


def _apply_sparse(entry: Entry, values: dict[bytes, bytes], records: Sequence[tuple[bytes, bytes]]) -> None:
    """GNU tar "Storing Sparse Files": 0.0 repeats two keywords, 0.1 has a list, 1.0 begins with the map."""
    version = (values.get(b"GNU.sparse.major", b"0"), values.get(b"GNU.sparse.minor", b"0"))
    if entry.kind != "file":
        raise ImageError("is sparse, and no file", entry=shown(entry.name))
    entry.name = values.get(b"GNU.sparse.name") or entry.name
    size = b"GNU.sparse.realsize" if b"GNU.sparse.realsize" in values else b"GNU.sparse.size"
    entry.size = _decimal(values, size, -1)
    if b"\0" in entry.name or entry.size < 0:
        raise ImageError("is sparse, and does not say how long it is", entry=shown(entry.name))
    if version == (b"1", b"0"):
        entry.mapped = True
    elif version[0] == b"0":
        numbers = values[b"GNU.sparse.map"].split(b",") if b"GNU.sparse.map" in values else _repeated(records)
        entry.segments = _pairs(numbers)
    else:
        raise ImageError("is sparse in a way of which nothing is known", entry=shown(entry.name))


def _repeated(records: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return offsets and sizes, which have to take turns."""
    found: list[bytes] = []
    for key, value in records:
        if key in _SPARSE_REPEATED:
            if key != _SPARSE_REPEATED[len(found) % 2]:
                raise ImageError("is sparse, and its map is out of order")
            found.append(value)
    return found


def _pairs(numbers: Sequence[bytes]) -> Segments:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS:
        raise ImageError("is sparse, and its map has half a piece, or too many")
    if any(_DECIMAL.fullmatch(number) is None for number in numbers):
        raise ImageError("is sparse, and its map has something that is no number")
    values = [int(number) for number in numbers]
    return tuple(zip(values[::2], values[1::2], strict=True))


def parse_segments(text: bytes) -> tuple[Segments, int] | None:
    """Read the map that begins a sparse file, and its length; None where more of it is needed."""
    first, newline, _ = text.partition(b"\n")
    if not newline:
        if len(text) >= BLOCK:
            raise ImageError("is sparse, and has no map")
        return None
    if _DECIMAL.fullmatch(first) is None or int(first) > MAX_SEGMENTS:
        raise ImageError("is sparse, and its map has too many pieces")
    count = 2 * int(first)
    numbers = text.split(b"\n", count + 1)
    if len(numbers) < count + 2:
        return None
    size = len(text) - len(numbers[-1])
    return _pairs(numbers[1:-1]), size + -size % BLOCK


def _check(entry: Entry) -> None:
    """Refuse what no entry may say, and what readers would see differently."""
    problem = next(_problems(entry), None)
    if problem is not None:
        raise ImageError(problem, entry=shown(entry.name))


def _problems(entry: Entry) -> Iterator[str]:
    if entry.kind != "file" and entry.stored:
        yield f"is a {entry.kind} that has a content"
    if entry.uid > _MAX_ID or entry.gid > _MAX_ID:
        yield f"has the owner {entry.uid}:{entry.gid}, which there cannot be"
    if abs(entry.mtime_ns) >= _MOST_SECONDS * 10**9:
        yield "has a time that no file system has"
    yield from segment_problems(entry)


def segment_problems(entry: Entry) -> Iterator[str]:
    """Check the pieces of a sparse file: in order, within the file, and all that is stored."""
    if entry.segments is None:
        return
    end = 0
    for offset, size in entry.segments:
        if offset < end or offset + size > entry.size:
            yield "is sparse, and its pieces overlap, or go beyond its end"
        end = offset + size
    if sum(size for _, size in entry.segments) != entry.stored:
        yield "is sparse, and its pieces are not what is stored"
