"""Bytes on their way from a blob to what reads them: counted, digested, decompressed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ..errors import ImageError, UnsupportedError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Counted", "Read", "check_digest", "decompressed", "digest_of", "has_zstd"]

Read: TypeAlias = Callable[[int], bytes]
"""Return at most so many bytes, and none at the end."""

_CHUNK: Final = 1 << 17
_SIZES: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW: Final = 1 << 27  # as `zstd --long`; RFC 8878 asks for 8 MiB at least
_OTHERS: Final = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4"}


def check_digest(text: str) -> str:
    """Return a digest that is one: ``sha256:`` or another registered algorithm, and lower-case hex."""
    algorithm, colon, hex = text.partition(":")
    size = _SIZES.get(algorithm) if colon else None
    if size is None:
        raise ImageError(f"{text[:140]!r} is no digest that is known here")
    if len(hex) != size or not set(hex) <= set("0123456789abcdef"):
        raise ImageError(f"{text[:140]!r} is no digest")
    return text


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of *data*."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Counted:
    """Passes on what it reads, and knows its digest; *most* bytes and no more."""

    def __init__(self, read: Read, digest: str, most: int, *, what: str) -> None:
        self._read = read
        self._expected = check_digest(digest)
        self._hash = hashlib.new(digest.partition(":")[0])
        self._most = most
        self._what = what
        self.size: int = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._read(size)
        self.size += len(data)
        if self.size > self._most:
            raise ImageError(f"{self._what} has more than {self._most} bytes", digest=self._expected)
        self._hash.update(data)
        return data

    def verify(self, size: int | None = None) -> None:
        """Check, at the end, that this was what it has to be, and *size* bytes."""
        while self.read(_CHUNK):
            continue
        if size is not None and self.size != size:
            raise ImageError(f"{self._what} has {self.size} bytes, not {size}", digest=self._expected)
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._expected:
            raise ImageError(f"{self._what} is {found}", digest=self._expected)


def decompressed(read: Read) -> Read:
    """Return what reads the decompressed bytes, by how they begin: gzip, zstd, or as they are."""
    head = b""
    while len(head) < len(_ZSTD) and (more := read(_CHUNK)):
        head += more
    rest = _Pushed(head, read).read
    if head.startswith(_GZIP):
        return _Inflated(rest, _gzip, "gzip").read
    if head.startswith(_ZSTD):
        return _Inflated(rest, _zstd(), "zstd").read
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise UnsupportedError(
                f"a layer compressed by {name}", needs="gzip, zstd or none", origin="layers"
            )
    return rest


class _Pushed:
    """Reads *head* first."""

    def __init__(self, head: bytes, read: Read) -> None:
        self._head = head
        self._rest = read

    def read(self, size: int) -> bytes:
        if not self._head:
            return self._rest(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Decompressor(Protocol):
    """One member of a compressed stream; at most so much output for each call."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflated:
    """Decompresses members one after the other."""

    def __init__(self, read: Read, make: Callable[[], _Decompressor], name: str) -> None:
        self._input = read
        self._make = make
        self._name = name
        self._member: _Decompressor | None = make()
        self._pending = b""
        self._begun = False

    def read(self, size: int) -> bytes:
        """Return some bytes; none at the end of the last member."""
        while self._member is not None:
            try:
                data = self._member.decompress(self._take(), size)
            except (zlib.error, ValueError, OSError) as exc:
                raise ImageError(f"{self._name}: {exc}") from None
            except Exception as exc:
                if type(exc).__module__.partition(".")[0] in {"zstandard", "compression", "_zstd"}:
                    raise ImageError(f"{self._name}: {exc}") from None
                raise
            if self._member.eof:
                self._next_member()
            if data:
                return data
        return b""

    def _take(self) -> bytes:
        """Return input for the decompressor: nothing, where it still has some."""
        assert self._member is not None
        if not getattr(self._member, "needs_input", True):
            return b""
        kept = getattr(self._member, "unconsumed_tail", b"")
        if kept:
            return bytes(kept)
        data, self._pending = self._pending or self._input(_CHUNK), b""
        if not data:
            raise ImageError(f"{self._name}: ends in the middle")
        return data

    def _next_member(self) -> None:
        assert self._member is not None
        self._pending = self._member.unused_data or self._input(_CHUNK)
        self._member = self._make() if self._pending else None


def _gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def has_zstd() -> bool:
    """Whether this interpreter can read zstd."""
    return _zstd_module() is not None


def _zstd_module() -> ModuleType | None:
    try:
        return import_module("compression.zstd")
    except ImportError:
        try:
            return import_module("zstandard")
        except ImportError:
            return None


def _zstd() -> Callable[[], _Decompressor]:
    module = _zstd_module()
    if module is None:
        raise UnsupportedError(
            "a layer compressed by zstd", needs="Python 3.14, or aiocontainer[zstd]", origin="layers"
        )
    if module.__name__ == "zstandard":
        return lambda: _Zstandard(module)
    options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW.bit_length() - 1}
    return lambda: module.ZstdDecompressor(options=options)


class _Zstandard:
    """The package's decompressor, which takes no bound of what it returns: so it is given little."""

    def __init__(self, module: ModuleType) -> None:
        self._inner = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._input = b""
        self._output = b""

    needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof) and not self._output

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        while not self._output and self._input and not self._inner.eof:
            piece, self._input = self._input[:_SMALL], self._input[_SMALL:]
            self._output = self._inner.decompress(piece)
        taken, self._output = self._output[:max_length], self._output[max_length:]
        self.needs_input = not self._output and not self._input
        return taken


_SMALL: Final = 512  # a block of 128 KiB takes three bytes at least, so this is at most some 20 MiB
