"""A tar archive as a stream of entries, read once and in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import ImageError
from .headers import (
    BLOCK,
    Entry,
    Raw,
    Segments,
    entry_of,
    more_segments,
    parse_block,
    parse_records,
    parse_segments,
    segment_problems,
    shown,
)
from .limits import MAX_EXTENDED_BYTES, MAX_PATH_BYTES, MAX_SEGMENTS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Archive"]

_CHUNK: Final = 1 << 18
_EMPTY: Final = bytes(BLOCK)
_LONG_NAME: Final = b"L"
_LONG_LINK: Final = b"K"
_HEADER: Final = b"x"
_GLOBAL: Final = b"g"
_HARMLESS: Final = {b"comment"}  # what git archive writes


class _Ahead(Struct):
    """What came before a header and belongs to it."""

    seen: set[bytes]
    name: bytes = b""
    link: bytes = b""
    records: tuple[tuple[bytes, bytes], ...] = ()


class Archive:
    """Entries of an archive; *read* returns at most so many bytes, and none at the end.

    *pass_over*, where there is a faster way than reading, goes on by so many bytes.
    Iterating gives each entry; `content` is for the one that was given last, and what is not taken of it
    is passed over.  Raises `ImageError`.  The end is read, too: nothing may follow but zeros.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        limits: Limits,
        *,
        pass_over: Callable[[int], None] | None = None,
    ) -> None:
        self._read = read
        self._pass_over = pass_over
        self._limits = limits
        self._left = 0
        """Bytes of the present entry that were not read yet, the padding included."""
        self._entry: Entry | None = None
        self._at = 0

    @property
    def offset(self) -> int:
        """Where in the archive the next byte is read: of an entry just given, its content."""
        return self._at

    def __iter__(self) -> Iterator[Entry]:
        for count, entry in enumerate(self._entries()):
            if count >= self._limits.entries:
                raise ImageError(f"more than {self._limits.entries} entries", entry=shown(entry.name))
            yield entry

    def content(self) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces of the present file: offset and bytes each."""
        entry = self._entry
        assert entry is not None
        for offset, size in ((0, entry.stored),) if entry.segments is None else entry.segments:
            end = offset + size
            while offset < end:
                data = self._some(min(end - offset, _CHUNK))
                self._left -= len(data)
                yield offset, data
                offset += len(data)

    def _entries(self) -> Iterator[Entry]:
        while (block := self._block()) is not None:
            ahead = _Ahead(set())
            raw = parse_block(block)
            while self._take_ahead(raw, ahead):
                following = self._block()
                if following is None:
                    raise ImageError("ends after an extended header")
                raw = parse_block(following)
            yield self._begin(raw, ahead)
            self._skip()
        self._finish()

    # Headers ----------------------------------------------------------------------------------------

    def _block(self) -> bytes | None:
        """Return the next header; None at the end, marked or not."""
        block = self._take(BLOCK, optional=True)
        return None if not block or block == _EMPTY else block

    def _take_ahead(self, raw: Raw, ahead: _Ahead) -> bool:
        """Read what only tells about the next entry; whether it was such."""
        type = raw.type
        if type not in {_LONG_NAME, _LONG_LINK, _HEADER, _GLOBAL}:
            return False
        if type in ahead.seen:
            raise ImageError(f"has two extended headers of the type {type!r}")
        ahead.seen.add(type)
        if type == _GLOBAL:
            _check_global(self._body(raw, MAX_EXTENDED_BYTES))
        elif type == _HEADER:
            ahead.records = tuple(parse_records(self._body(raw, MAX_EXTENDED_BYTES)))
        elif type == _LONG_NAME:
            ahead.name = _long(self._body(raw, MAX_PATH_BYTES + BLOCK))
        else:
            ahead.link = _long(self._body(raw, MAX_PATH_BYTES + BLOCK))
        return True

    def _body(self, raw: Raw, limit_bytes: int) -> bytes:
        if raw.size > limit_bytes:
            raise ImageError(f"has an extended header of {raw.size} bytes", entry=shown(raw.name))
        body = self._take(raw.size)
        self._take(-raw.size % BLOCK)
        return body

    def _begin(self, raw: Raw, ahead: _Ahead) -> Entry:
        if raw.more:
            self._more_segments(raw)
        entry = entry_of(raw, ahead.records, ahead.name, ahead.link)
        if max(entry.size, entry.stored) > self._limits.file_bytes:
            raise ImageError(
                f"of {max(entry.size, entry.stored)} bytes, at most {self._limits.file_bytes}",
                entry=shown(entry.name),
            )
        self._entry = entry
        self._left = entry.stored + -entry.stored % BLOCK
        if entry.mapped:
            self._take_map(entry)
        return entry

    def _more_segments(self, raw: Raw) -> None:
        while raw.more:
            found, raw.more = more_segments(self._take(BLOCK))
            raw.segments += found
            if len(raw.segments) > MAX_SEGMENTS or not found:
                raise ImageError("is sparse, and its map has no end", entry=shown(raw.name))

    def _take_map(self, entry: Entry) -> None:
        """Read the map with which the content begins, in whole blocks."""
        text = b""
        found: tuple[Segments, int] | None = None
        while found is None:
            if entry.stored - len(text) < BLOCK or len(text) > MAX_EXTENDED_BYTES:
                raise ImageError("is sparse, and its map has no end", entry=shown(entry.name))
            text += self._take(BLOCK)
            found = parse_segments(text)
        entry.segments, size = found
        if size != len(text):
            raise ImageError("is sparse, and its map ends elsewhere", entry=shown(entry.name))
        entry.stored -= size
        self._left -= size
        for problem in segment_problems(entry):
            raise ImageError(problem, entry=shown(entry.name))

    # Bytes ------------------------------------------------------------------------------------------

    def _skip(self) -> None:
        if self._pass_over is not None:
            self._pass_over(self._left)
            self._at += self._left
            self._left = 0
        while self._left:
            self._left -= len(self._some(min(self._left, _CHUNK)))

    def _finish(self) -> None:
        """Read to the very end: what digests are of is all of it."""
        while data := self._read(_CHUNK):
            self._at += len(data)
            if data.count(0) != len(data):
                raise ImageError("goes on after the end of the archive")

    def _some(self, size: int) -> bytes:
        data = self._read(size)
        if not data:
            raise ImageError("ends in the middle", entry=shown(self._entry.name) if self._entry else "")
        self._at += len(data)
        return data

    def _take(self, size: int, *, optional: bool = False) -> bytes:
        """Return exactly so many bytes; nothing at the end if that is *optional*."""
        if size == 0:
            return b""
        data = self._read(size)
        if len(data) != size:
            parts = [data]
            missing = size - len(data)
            while missing and (more := self._read(missing)):
                parts.append(more)
                missing -= len(more)
            data = b"".join(parts)
        self._at += len(data)
        if len(data) != size and (data or not optional):
            raise ImageError("ends in the middle", entry=shown(self._entry.name) if self._entry else "")
        return data


def _long(body: bytes) -> bytes:
    text, nul, rest = body.partition(b"\0")
    if rest.strip(b"\0") or not text or (not nul and len(body) > MAX_PATH_BYTES):
        raise ImageError("has a long name that is none", entry=shown(text))
    return text


def _check_global(body: bytes) -> None:
    """Refuse defaults for all entries: some readers take them, and others do not."""
    for key, _ in parse_records(body):
        if key not in _HARMLESS:
            raise ImageError(f"has a global header with {shown(key)}")
