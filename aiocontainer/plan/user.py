"""The files that name users and groups, as data.  passwd(5), group(5).

They come from the container's image, so nothing in them is trusted: a line that is not what it has to
be is skipped, and no number is read that is not one (CVE-2016-3697, CVE-2026-30892).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_BYTES", "MAX_ID", "ResolvedUser", "home_of", "resolve_user"]

MAX_BYTES: Final = 1 << 20
"""A larger file is not read: it is none that names users."""
MAX_ID: Final = 2**31 - 1
_DIGITS: Final = len(str(MAX_ID))
_PASSWD_FIELDS: Final = 7
_GROUP_FIELDS: Final = 4


class ResolvedUser(Struct, frozen=True):
    """A user as the files have it."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Entry(Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


def home_of(passwd: bytes, uid: int) -> str | None:
    """Return the home directory of the first entry with that uid; None where there is none."""
    for entry in _users(passwd):
        if entry.uid == uid:
            return entry.home or None
    return None


def resolve_user(text: str, passwd: bytes, group: bytes, *, origin: str = "user") -> ResolvedUser:
    """Say who ``user``, ``uid``, ``user:group`` or any mix is; "" is the user with uid 0.

    Digits are always an id, even where an entry has them for its name, and need no entry.  The
    supplementary groups of the files count only where no group is named.
    """
    user, colon, named_group = text.partition(":")
    if colon and not named_group:
        raise SpecError(f"{text!r} names no group", origin=origin)
    entry = _find_user(user or "0", passwd, origin)
    if colon:
        return ResolvedUser(entry.uid, _find_group(named_group, group, origin), (), entry.home or "/")
    groups = tuple(
        dict.fromkeys(gid for gid, members in _members(group) if entry.name and entry.name in members)
    )
    return ResolvedUser(entry.uid, entry.gid, groups, entry.home or "/")


def _find_user(text: str, passwd: bytes, origin: str) -> _Entry:
    uid = _number(text)
    if uid is not None:
        found = (entry for entry in _users(passwd) if entry.uid == uid)
        return next(found, _Entry("", uid, 0, "/"))
    if text.isdigit():
        raise SpecError(f"{text!r} is no user id", origin=origin)
    for entry in _users(passwd):
        if entry.name == text:
            return entry
    raise SpecError(f"no user {text!r}", origin=origin)


def _find_group(text: str, group: bytes, origin: str) -> int:
    gid = _number(text)
    if gid is not None:
        return gid
    if text.isdigit():
        raise SpecError(f"{text!r} is no group id", origin=origin)
    for fields in _lines(group, _GROUP_FIELDS):
        found = _number(fields[2])
        if fields[0] == text and found is not None:
            return found
    raise SpecError(f"no group {text!r}", origin=origin)


def _users(passwd: bytes) -> Iterator[_Entry]:
    for fields in _lines(passwd, _PASSWD_FIELDS):
        uid, gid = _number(fields[2]), _number(fields[3])
        if fields[0] and uid is not None and gid is not None:
            yield _Entry(fields[0], uid, gid, fields[5])


def _members(group: bytes) -> Iterator[tuple[int, set[str]]]:
    for fields in _lines(group, _GROUP_FIELDS):
        gid = _number(fields[2])
        if gid is not None:
            yield gid, set(fields[3].split(","))


def _lines(data: bytes, fields: int) -> Iterator[list[str]]:
    """Yield the fields of each line that has as many; undecodable bytes match no name."""
    for line in data[:MAX_BYTES].split(b"\n"):
        parts = line.decode(errors="replace").split(":")
        if len(parts) == fields and not line.startswith(b"#") and b"\0" not in line:
            yield parts


def _number(text: str) -> int | None:
    """Return an id of plain decimal digits; None for anything else, as an empty field or "010"."""
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS or (text[0] == "0" and text != "0"):
        return None
    value = int(text)
    return value if value <= MAX_ID else None
