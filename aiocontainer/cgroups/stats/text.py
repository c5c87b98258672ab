"""The text of accounting files, understood purely.

Keys that are not known are passed over, for every kernel adds some; what is known is exact or refused.
A file ends with a newline or is not whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from ..._lazy import pattern
from .values import IoEntry, Pressure, PressureLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MalformedError", "Texts", "cpu_list", "device_table", "keyed", "limit", "nested", "number"]

T = TypeVar("T")

NO_LIMIT: Final = 2**63 - 2**34
"""From here on it is none: v1 says LONG_MAX rounded down to its pages, which may be of 16 GiB."""

MOST_CPUS: Final = 1 << 16

_DIGITS: Final = 20  # of 2**64
_SIGNED: Final = pattern(rb"-?[0-9]{1,19}")
_KEYED: Final = pattern(rb"^([^ \t\n]+)[ \t]+([0-9]{1,20})$", re.MULTILINE)
_PRESSURE: Final = pattern(
    rb"(some|full) avg10=([0-9]{1,3}\.[0-9]{2}) avg60=([0-9]{1,3}\.[0-9]{2})"
    rb" avg300=([0-9]{1,3}\.[0-9]{2}) total=([0-9]{1,20})"
)
_DEVICE: Final = pattern(r"([0-9]{1,10}):([0-9]{1,10})")


class MalformedError(ValueError):
    """An accounting file does not say what it should; `file` is its name, `text` the place."""

    def __init__(self, problem: str, text: bytes = b"", *, file: str = "") -> None:
        super().__init__(problem, text, file)
        self.problem = problem
        self.text = text
        self.file = file

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        return f"{place}{self.problem}" + (f": {self.text[:100]!r}" if self.text else "")


def whole(text: bytes) -> bytes:
    """Return *text* with plain newlines, once it is known to be complete."""
    if text and not text.endswith(b"\n"):
        raise MalformedError("it ends in the middle of a line", text[-100:])
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def number(text: bytes) -> int:
    """Read a file that is one number, at most 2**64 - 1."""
    return _number(whole(text).strip())


def limit(text: bytes) -> int | None:
    """Read a limit: None for "max", and for what v1 says instead."""
    return _limit(whole(text).strip())


def signed(text: bytes) -> int:
    """Read a number that may be negative."""
    field = whole(text).strip()
    if not _SIGNED.fullmatch(field):
        raise MalformedError("no number", field)
    return int(field)


def keyed(text: bytes, known: frozenset[str] | None = None) -> dict[str, int]:
    """Read "key number" lines; one of another form must not be of a *known* key, by default of none."""
    text = whole(text)
    found = _KEYED.findall(text)
    if len(found) != text.count(b"\n"):
        _check_odd(text, known or frozenset())
    return {_decode(key): int(value) for key, value in found}


def limits(text: bytes) -> dict[str, int | None]:
    """Read "key number" lines in which a number may be "max"."""
    rows = (line.split() for line in whole(text).splitlines())
    return {_decode(row[0]): _limit(row[1]) for row in rows if len(row) == 2}


def nested(text: bytes, known: frozenset[str]) -> dict[str, dict[str, int | None]]:
    """Read "name key=number key=max" lines; only *known* keys.

    A kernel may leave names before the one that the numbers belong to: up to Linux 5.15 the device of a
    line without numbers stays without a newline.
    """
    found: dict[str, dict[str, int | None]] = {}
    for line in whole(text).splitlines():
        name = ""
        for field in line.split():
            key, equals, value = _decode(field).partition("=")
            if not equals:
                name = key
                found.setdefault(name, {})
            elif key in known:
                found.setdefault(name, {})[key] = _limit(value.encode(errors="surrogateescape"))
    if "" in found:
        raise MalformedError("numbers of nobody", text[:100])
    return found


def device(name: str) -> tuple[int, int] | None:
    """Read "major:minor"; None for what is no device."""
    match = _DEVICE.fullmatch(name)
    return (int(match[1]), int(match[2])) if match is not None else None


def device_table(text: bytes) -> tuple[IoEntry, ...]:
    """Read "major:minor [op] number" lines of v1; the total of all devices is left out."""
    return tuple(_entries(whole(text)))


def _entries(text: bytes) -> Iterator[IoEntry]:
    for line in text.splitlines():
        fields = line.split()
        place = device(_decode(fields[0])) if fields else None
        if place is None:
            continue
        if len(fields) not in (2, 3):
            raise MalformedError("no line of a table of devices", line)
        op = _decode(fields[1]) if len(fields) == 3 else ""
        yield IoEntry(*place, op, _number(fields[-1]))


def columns(text: bytes) -> dict[str, tuple[int, ...]]:
    """Read a table of numbers under a line of titles, such as ``cpuacct.usage_all``."""
    titles, *rows = [line.split() for line in whole(text).splitlines()] or [[]]
    if any(len(row) != len(titles) for row in rows):
        raise MalformedError("a row of another length than its titles", text[:100])
    return {_decode(title): tuple(_number(row[place]) for row in rows) for place, title in enumerate(titles)}


def row(text: bytes) -> tuple[int, ...]:
    """Read numbers in a row."""
    return tuple(map(_number, whole(text).split()))


def cpu_list(text: bytes) -> tuple[int, ...]:
    """Read a list such as "0-3,8".  cpuset(7) "List format"."""
    numbers: list[int] = []
    for part in filter(None, whole(text).strip().split(b",")):
        first, dash, last = part.partition(b"-")
        low = _number(first)
        high = _number(last) if dash else low
        if not low <= high < MOST_CPUS:
            raise MalformedError("no range of a list", part)
        numbers += range(low, high + 1)
    return tuple(numbers)


def pressure(text: bytes) -> Pressure:
    """Read a file of pressure stall information; kinds of lines that are not known are passed over."""
    lines: dict[str, PressureLine] = {}
    for line in whole(text).splitlines():
        kind = line.partition(b" ")[0]
        match = _PRESSURE.fullmatch(line.rstrip())
        if match is None:
            if kind in (b"some", b"full"):
                raise MalformedError("no line of pressure", line)
            continue
        lines[kind.decode()] = PressureLine(
            avg10=float(match[2]),
            avg60=float(match[3]),
            avg300=float(match[4]),
            total_us=_number(match[5]),
        )
    if "some" not in lines:
        raise MalformedError("no line of some pressure", text[:100])
    return Pressure(some=lines["some"], full=lines.get("full"))


class Texts:
    """Files of one reading, by name; what is malformed is told with the name of its file.

    *read* gives the text of a file, None where there is none.
    """

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read

    def has(self, file: str) -> bool:
        """Tell whether there is such a file."""
        return self._read(file) is not None

    def number(self, file: str) -> int:
        """Return the one number of *file*, which has to be there."""
        return self._parsed(file, number)

    def maybe_number(self, file: str) -> int | None:
        """Return the one number of *file*; None where there is none."""
        return self._maybe(file, number)

    def maybe_signed(self, file: str) -> int | None:
        """Return the number of *file*, which may be negative; None where there is none."""
        return self._maybe(file, signed)

    def limit(self, file: str) -> int | None:
        """Return the limit of *file*; None where there is none."""
        return self._maybe(file, limit)

    def limits(self, file: str) -> dict[str, int | None]:
        """Return "key number" lines with "max"; none where there is no such file."""
        return self._maybe(file, limits) or {}

    def keyed(self, file: str, known: frozenset[str]) -> dict[str, int]:
        """Return "key number" lines of *file*, which has to be there."""
        return self._parsed(file, lambda text: keyed(text, known))

    def maybe_keyed(self, file: str, known: frozenset[str]) -> dict[str, int]:
        """Return "key number" lines; none where there is no such file."""
        return self._maybe(file, lambda text: keyed(text, known)) or {}

    def nested(self, file: str, known: frozenset[str]) -> dict[str, dict[str, int | None]]:
        """Return "name key=number" lines; none where there is no such file."""
        return self._maybe(file, lambda text: nested(text, known)) or {}

    def table(self, *files: str) -> tuple[IoEntry, ...]:
        """Return the first table of devices that is there and has entries."""
        return next((found for file in files if (found := self._maybe(file, device_table))), ())

    def columns(self, file: str) -> dict[str, tuple[int, ...]]:
        """Return the columns of a table under titles; none where there is no such file."""
        return self._maybe(file, columns) or {}

    def row(self, file: str) -> tuple[int, ...]:
        """Return numbers in a row; none where there is no such file."""
        return self._maybe(file, row) or ()

    def cpu_list(self, *files: str) -> tuple[int, ...]:
        """Return the list of the first file that is there."""
        for file in files:
            found = self._maybe(file, cpu_list)
            if found is not None:
                return found
        return ()

    def pressure(self, file: str) -> Pressure | None:
        """Return pressure; None where the kernel does not account it."""
        return self._maybe(file, pressure)

    def _maybe(self, file: str, parse: Callable[[bytes], T]) -> T | None:
        text = self._read(file)
        if text is None:
            return None
        try:
            return parse(text)
        except MalformedError as exc:
            raise MalformedError(exc.problem, exc.text, file=file) from None

    def _parsed(self, file: str, parse: Callable[[bytes], T]) -> T:
        found = self._maybe(file, parse)
        if found is None:
            raise MalformedError("missing, though its controller is there", file=file)
        return found


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > _DIGITS:  # of bytes: ASCII alone
        raise MalformedError("no number", field)
    value = int(field)
    if value >= 2**64:
        raise MalformedError("no number of 64 bits", field)
    return value


def _limit(field: bytes) -> int | None:
    if field == b"max":
        return None
    value = _number(field)
    return None if value >= NO_LIMIT else value


def _check_odd(text: bytes, known: frozenset[str]) -> None:
    for line in text.splitlines():
        if not _KEYED.fullmatch(line) and _decode(line.partition(b" ")[0]) in known:
            raise MalformedError("no number", line)


def _decode(field: bytes) -> str:
    return field.decode("ascii", "surrogateescape")
