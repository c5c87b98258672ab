"""F7: users and groups of a hostile image, and subordinate ids, against a reading field by field."""

from __future__ import annotations

from aiocontainer import SpecError
from aiocontainer.plan.user import MAX_BYTES, home_of, resolve_user
from aiocontainer.probe import parse_subordinate
from aiocontainer.spec import parse_user

from .source import Source

ENTRIES = (
    b"root:x:0:0:root:/root:/bin/sh",
    b"user:x:1000:1000::/home:/bin/sh",
    b"1000:x:0:0::/evil:",
    b"a::1::::",
    b"a:x::1::/:",
    b"#b:x:1:1::/:",
    b"b:x:+1:1::/:",
    b"c:x:1_0:0::/:",
    b"d:x:4294967295:0::/:",
    b"e:x:01:1::/:",
    b"f:x:\xd9\xa1:1::/:",
    b"g\0:x:1:1::/:",
    b"tty:x:5:",
    b"user:x:1000:user,root",
    b"0:x:1234:user",
    b"h:x:7:,user,",
    b"user:100000:65536",
    b"1000:4294967294:2",
)
USERS = (
    "",
    "0",
    "root",
    "user",
    "1000",
    "1000:5",
    "user:tty",
    "root:",
    ":5",
    "a",
    "1",
    "00",
    "+1",
    "1_0",
    "\u0661",
)


def text(source: Source) -> bytes:
    """A file of lines that nearly are what they should be; sometimes very many of one."""
    lines = []
    for _ in range(source.below(12)):
        kind = source.integer(1)
        line = ENTRIES[kind % len(ENTRIES)] if kind < 200 else source.raw(source.below(64))
        if kind & 7 == 7:
            at = source.below(len(line) + 1)
            line = line[:at] + source.raw(1) + line[at + 1 :]
        lines += [line] * (source.below(4000) if kind == 199 else 1)
    return source.pick((b"\n", b"\n\n", b"\r\n")).join(lines) + source.pick((b"", b"\n"))


def number(text: str) -> int | None:
    """A plain decimal number that can be an id of these files."""
    if text == "" or any(char not in "0123456789" for char in text) or (text[0] == "0" and len(text) > 1):
        return None
    return int(text) if len(text) < 12 and int(text) < 2**31 else None


def rows(data: bytes, fields: int) -> list[list[str]]:
    found = []
    for line in data[:MAX_BYTES].split(b"\n"):
        if b"\0" in line or line[:1] == b"#" or line.count(b":") != fields - 1:
            continue
        found.append([part.decode(errors="replace") for part in line.split(b":")])
    return found


def model(text: str, passwd: bytes, group: bytes) -> tuple[int, int, tuple[int, ...]] | None:
    """Uid, gid and groups; None where it is refused."""
    user, colon, wanted = text.partition(":")
    user = user or "0"
    users = [r for r in rows(passwd, 7) if r[0] and number(r[2]) is not None and number(r[3]) is not None]
    groups = rows(group, 4)
    uid, name, gid = number(user), "", 0
    if uid is None and user.isdigit():
        return None
    if uid is not None:
        row = next((r for r in users if number(r[2]) == uid), None)
    else:
        row = next((r for r in users if r[0] == user), None)
        if row is None:
            return None
    if row is not None:
        name, uid, gid = row[0], number(row[2]), number(row[3]) or 0
    assert uid is not None
    if not colon:
        own = [number(r[2]) for r in groups if name and name in r[3].split(",")]
        return uid, gid, tuple(dict.fromkeys(each for each in own if each is not None))
    if number(wanted) is not None:
        return uid, number(wanted) or 0, ()
    if not wanted or wanted.isdigit():
        return None
    found = next((number(r[2]) for r in groups if r[0] == wanted and number(r[2]) is not None), None)
    return None if found is None else (uid, found, ())


def one(data: bytes) -> None:
    source = Source(data)
    asked = source.pick(USERS) if source.integer(1) < 200 else source.text(12)
    passwd, group = text(source), text(source)
    expected = model(asked, passwd, group)
    try:
        found = resolve_user(asked, passwd, group)
    except SpecError as exc:
        assert exc.origin == "user"
        assert expected is None, (asked, expected)
    else:
        assert expected == (found.uid, found.gid, found.groups), (asked, found, expected)
        # Root only where somebody wrote so.
        assert found.uid or asked.partition(":")[0] in ("", "0") or b":0:" in passwd
    home_of(passwd, source.number())
    plain(asked)
    subordinate(passwd + group)


def plain(asked: str) -> None:
    """Without files nothing but digits is an id."""
    try:
        uid, gid = parse_user(asked)
    except SpecError:
        return
    assert asked == str(uid) + ("" if gid is None else f":{gid}")
    assert 0 <= uid <= 2**32 - 2
    assert 0 <= (gid or 0) <= 2**32 - 2


def subordinate(data: bytes) -> None:
    owners = frozenset({b"user", b"1000"})
    for first, count in parse_subordinate(data, owners):
        assert first >= 0
        assert 0 < count <= 2**32 - 1 - first
