"""Mount options: one table for all words that runc and crun know, and the parser over it.

A word that is not in the table belongs to the file system.  mount(8), mount_setattr(2), OCI
config.md "Linux mount options".
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import SpecError, UnsupportedError
from .flags import (
    ATTR_WORDS,
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MOUNT_COPY_LINK,
    MOUNT_COPY_UP,
    MOUNT_SOURCE_NOFOLLOW,
    MOUNT_TARGET_NOFOLLOW,
    PROPAGATION,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MOUNT_OPTIONS", "IdmapOption", "MountOptions", "Option", "parse_options"]


class Option(Struct, frozen=True):
    """What one word means."""

    attrs: int = 0
    cleared: int = 0
    recursive: bool = False
    """The attributes go to submounts too; for a bind: submounts come along."""
    propagation: int = 0
    bind: bool = False
    remount: bool = False
    flags: int = 0
    """MOUNT_* of ``wire.h``."""
    idmap: bool = False
    """With owners as id maps have them; submounts too if recursive."""
    superblock: str = ""
    """Flag of the whole file system, for fsconfig(2): means nothing on a bind."""
    does: str = ""
    """What the other fields do not tell, for the documentation."""
    needs: str = ""
    """Known, but not implemented: what is missing."""


_NOTHING: Final = Option()


def _attributes() -> Iterator[tuple[str, Option]]:
    """Words for one attribute, each also with "r" in front for the whole tree (Linux 5.12)."""
    pairs = [(on, off, flag, 0) for flag, on, off in ATTR_WORDS]
    # An atime mode is one value of a field: all of the field is cleared, then the value is set.
    # What clears a mode goes back to the kernel's default, which is relatime.
    pairs += [
        ("noatime", "atime", MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME),
        ("relatime", "norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME),
        ("strictatime", "nostrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
    ]
    for on, off, flag, field in pairs:
        for prefix, recursive in (("", False), ("r", True)):
            yield prefix + on, Option(attrs=flag, cleared=field, recursive=recursive)
            yield prefix + off, Option(cleared=field or flag, recursive=recursive)


def _superblock() -> Iterator[tuple[str, Option]]:
    """Words for flags that the mount API keeps per file system: parameters of a new one."""
    for word in ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"):
        yield word, Option(superblock=word)
    for word in ("rsync", "rasync", "rdirsync", "rmand", "rnomand"):  # crun's: no more than the above
        yield word, Option(superblock=word[1:])


MOUNT_OPTIONS: Final[Mapping[str, Option]] = {
    "defaults": _NOTHING,
    "bind": Option(bind=True),
    "rbind": Option(bind=True, recursive=True),
    "remount": Option(remount=True),
    **dict(_attributes()),
    **{word: Option(propagation=flags) for word, flags in PROPAGATION.items()},
    **dict(_superblock()),
    # MS_SILENT only keeps the kernel's log quiet; i_version is off unless the file system decides.
    "silent": Option(does="nothing: it is about the kernel's log, and fsconfig(2) has no such flag"),
    "loud": Option(does="nothing"),
    "noiversion": Option(does="nothing: file systems decide themselves"),
    "iversion": Option(needs="a file system's own option: MS_I_VERSION has no successor in fsconfig(2)"),
    "idmap": Option(idmap=True),
    "ridmap": Option(idmap=True, recursive=True),
    "tmpcopyup": Option(flags=MOUNT_COPY_UP, does="a tmpfs starts with what it covers"),
    "copy-symlink": Option(
        flags=MOUNT_COPY_LINK | MOUNT_SOURCE_NOFOLLOW,
        does="a source that is a link becomes a link in the container",
    ),
    "src-nofollow": Option(flags=MOUNT_SOURCE_NOFOLLOW, does="a link is the source itself"),
    "dest-nofollow": Option(flags=MOUNT_TARGET_NOFOLLOW, does="a link is the target itself"),
    "z": Option(needs="relabelling"),
    "Z": Option(needs="relabelling"),
}

# Parameters of security modules: in mount(8) they may stand in quotes to protect commas.
_QUOTED: Final = frozenset({"context", "fscontext", "defcontext", "rootcontext"})


class IdmapOption(Struct, frozen=True):
    """A mount is to show other owners."""

    recursive: bool
    text: str
    """The maps, as crun writes them in the option itself; "" has them come from elsewhere."""
    origin: str


class MountOptions(Struct, frozen=True):
    """What all options of one mount ask for together."""

    attrs: int = 0
    cleared: int = 0
    recursive_attrs: int = 0
    recursive_cleared: int = 0
    propagation: tuple[int, ...] = ()
    """In order; each in a call of its own, because they add up (a slave can be shared again)."""
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    flags: int = 0
    """MOUNT_* of ``wire.h``."""
    idmap: IdmapOption | None = None
    superblock: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    """For the file system: "key" or "key=value" each."""

    def value(self, key: str) -> str | None:
        """Return the last value of a file system option; "" for one without a value."""
        found = None
        for item in self.data:
            name, _, text = item.partition("=")
            if name == key:
                found = text
        return found


class _Parser:
    """Collects the words of one mount; a later word overrides an earlier one."""

    def __init__(self) -> None:
        self.once = [0, 0]  # attributes to set, to clear
        self.tree = [0, 0]
        self.propagation: list[int] = []
        self.bind = self.recursive = self.remount = False
        self.flags = 0
        self.idmap: IdmapOption | None = None
        self.superblock: list[str] = []
        self.data: list[str] = []

    def add(self, word: str, origin: str) -> None:
        option = MOUNT_OPTIONS.get(word)
        if option is None:
            option = _idmap(word)
        if option is None:
            self.data.append(_unquoted(word))
            return
        if option.needs:
            raise UnsupportedError(f"mount option {word!r}", needs=option.needs, origin=origin)
        self._attributes(option)
        if option.bind:
            self.bind, self.recursive = True, self.recursive or option.recursive
        if option.propagation:
            self.propagation.append(option.propagation)
        if option.superblock:
            self.superblock.append(option.superblock)
        if option.idmap:
            self.idmap = IdmapOption(option.recursive, word.partition("=")[2], origin)
        self.flags |= option.flags
        self.remount |= option.remount

    def _attributes(self, option: Option) -> None:
        if not option.attrs and not option.cleared:
            return
        pair = self.tree if option.recursive else self.once
        pair[0] = pair[0] & ~option.cleared | option.attrs
        # What is set need not be cleared, but for an atime mode: the kernel demands both.
        pair[1] = (pair[1] | option.cleared) & ~(option.attrs & ~MOUNT_ATTR_ATIME)

    def result(self) -> MountOptions:
        return MountOptions(
            attrs=self.once[0],
            cleared=self.once[1],
            recursive_attrs=self.tree[0],
            recursive_cleared=self.tree[1],
            propagation=tuple(self.propagation),
            bind=self.bind,
            recursive=self.recursive,
            remount=self.remount,
            flags=self.flags,
            idmap=self.idmap,
            superblock=tuple(self.superblock),
            data=tuple(self.data),
        )


def _idmap(word: str) -> Option | None:
    """Find crun's form with maps in the option, "idmap=uids=0-1-2;gids=0-1-2"."""
    name, equals, _ = word.partition("=")
    return MOUNT_OPTIONS[name] if equals and name in {"idmap", "ridmap"} else None


def _unquoted(word: str) -> str:
    key, _, value = word.partition("=")
    if key in _QUOTED and len(value) > 1 and value[0] == value[-1] == '"':
        return f"{key}={value[1:-1]}"
    return word


def split_items(text: str) -> list[str]:
    """Split one entry of the list at its commas, but not at those behind a backslash or in quotes.

    runc joins the entries with commas for mount(2), so callers have come to write several in one.
    """
    if "," not in text:
        return [text]
    items, start, quoted, escaped = [], 0, False, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            items.append(text[start:at])
            start = at + 1
    return [*items, text[start:]]


def parse_options(options: Sequence[str], origin: str) -> MountOptions:
    """Say what the options mean together; `origin` is the address of their list."""
    return _parsed(tuple(options), origin)


@lru_cache(maxsize=256)  # the mounts of one specification are mostly those of the last
def _parsed(options: tuple[str, ...], origin: str) -> MountOptions:
    parser = _Parser()
    for index, text in enumerate(options):
        for word in split_items(text):
            if not word:
                continue
            if word[0] == "=":
                raise SpecError(f"option {word!r} has no name", origin=f"{origin}[{index}]")
            parser.add(word, f"{origin}[{index}]")
    return parser.result()
