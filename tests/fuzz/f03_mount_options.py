"""F3: options of mounts, against a table written from mount(8) and mount_setattr(2) a second time."""

from __future__ import annotations

import functools

from msgspec.structs import replace
from plan_hosts import HOSTS, options, spec

from aiocontainer import Mount, SpecError, UnsupportedError
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.mount_options import MountOptions, parse_options
from aiocontainer.plan.steps import Bind

from .source import Source

# <linux/mount.h>
BOOLEANS = {
    "ro": (0x1, True),
    "rw": (0x1, False),
    "nosuid": (0x2, True),
    "suid": (0x2, False),
    "nodev": (0x4, True),
    "dev": (0x4, False),
    "noexec": (0x8, True),
    "exec": (0x8, False),
    "nodiratime": (0x80, True),
    "diratime": (0x80, False),
    "nosymfollow": (0x200000, True),
    "symfollow": (0x200000, False),
}
ATIME = 0x70
MODES = {
    "relatime": 0x00,
    "noatime": 0x10,
    "strictatime": 0x20,
    "atime": 0x00,
    "norelatime": 0x00,
    "nostrictatime": 0x00,
}
PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
RECURSIVE = 1 << 14
SUPERBLOCK = {"sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"}
TREE_SUPERBLOCK = {"rsync", "rasync", "rdirsync", "rmand", "rnomand"}
NOTHING = {"defaults", "silent", "loud", "noiversion"}
FLAGS = {"tmpcopyup": 512, "copy-symlink": 8192 | 2048, "src-nofollow": 2048, "dest-nofollow": 4096}
REFUSED = {"iversion", "z", "Z"}
LABELS = {"context", "fscontext", "defcontext", "rootcontext"}

WORDS = (
    *BOOLEANS,
    *(f"r{word}" for word in BOOLEANS),
    *MODES,
    *(f"r{word}" for word in MODES),
    *PROPAGATION,
    *(f"r{word}" for word in PROPAGATION),
    *sorted(SUPERBLOCK | TREE_SUPERBLOCK | NOTHING | REFUSED),
    *FLAGS,
    *("bind", "rbind", "remount", "idmap", "ridmap", "idmap=uids=0-1-2;gids=0-1-2", "ridmap=uids=0-1-2"),
    *(
        "size=64k",
        "mode=755",
        "uid=0",
        "subset=pid",
        'context="u:r:t:s0,c1"',
        "context=x",
        'context="',
        "=x",
        "",
    ),
)


class Model:
    """What the words mean together, one after the other."""

    def __init__(self) -> None:
        self.once: dict[int, int] = {}  # field to value
        self.tree: dict[int, int] = {}
        self.propagation: list[int] = []
        self.superblock: list[str] = []
        self.data: list[str] = []
        self.bind = self.recursive = self.remount = False
        self.flags = 0
        self.idmap: tuple[bool, str] | None = None

    def add(self, word: str) -> None:
        deep = word.startswith("r") and word[1:] in {**BOOLEANS, **MODES, **PROPAGATION}
        plain = word[1:] if deep else word
        name, equals, value = word.partition("=")
        if plain in BOOLEANS:
            flag, on = BOOLEANS[plain]
            (self.tree if deep else self.once)[flag] = flag if on else 0
        elif plain in MODES:
            (self.tree if deep else self.once)[ATIME] = MODES[plain]
        elif plain in PROPAGATION:
            self.propagation.append(PROPAGATION[plain] | (RECURSIVE if deep else 0))
        elif word in SUPERBLOCK:
            self.superblock.append(word)
        elif word in TREE_SUPERBLOCK:
            self.superblock.append(word[1:])
        elif word in ("bind", "rbind"):
            self.bind, self.recursive = True, self.recursive or word == "rbind"
        elif word == "remount":
            self.remount = True
        elif name in ("idmap", "ridmap"):
            self.idmap = (name == "ridmap", value)
        elif word in FLAGS:
            self.flags |= FLAGS[word]
        elif word not in NOTHING:
            if name in LABELS and equals and len(value) > 1 and value[0] == value[-1] == '"':
                word = f"{name}={value[1:-1]}"
            self.data.append(word)

    def agrees(self, found: MountOptions) -> None:
        for fields, attrs, cleared in (
            (self.once, found.attrs, found.cleared),
            (self.tree, found.recursive_attrs, found.recursive_cleared),
        ):
            assert attrs == sum(fields.values()), (fields, attrs)
            touched = sum(field for field, value in fields.items() if not value or field == ATIME)
            assert cleared == touched, (fields, cleared)
            assert not attrs & cleared & ~ATIME
        assert found.propagation == tuple(self.propagation)
        assert found.superblock == tuple(self.superblock)
        assert found.data == tuple(self.data)
        assert (found.bind, found.recursive, found.remount) == (self.bind, self.recursive, self.remount)
        assert found.flags == self.flags
        assert self.idmap == (None if found.idmap is None else (found.idmap.recursive, found.idmap.text))


def split(text: str) -> list[str]:
    """One entry at its commas, but for those in quotes or behind a backslash."""
    items, at = [""], 0
    quoted = False
    while at < len(text):
        if text[at] == "\\":
            items[-1] += text[at : at + 2]
            at += 2
            continue
        quoted ^= text[at] == '"'
        if text[at] == "," and not quoted:
            items.append("")
        else:
            items[-1] += text[at]
        at += 1
    return items


def entry(source: Source) -> str:
    kind = source.integer(1)
    if kind < 160:
        return WORDS[kind % len(WORDS)]
    if kind < 200:
        return ",".join(source.pick(WORDS) for _ in range(source.below(4) + 1))
    return source.text(20)


def one(data: bytes) -> None:
    source = Source(data)
    entries = [entry(source) for _ in range(source.below(12))]
    words = [word for text in entries for word in split(text) if word]
    model = Model()
    for word in words:
        model.add(word)
    try:
        found = parse_options(entries, "$")
    except UnsupportedError:
        assert any(word in REFUSED for word in words), words
        return
    except SpecError:
        assert any(word.startswith("=") for word in words), words
        return
    assert not any(word in REFUSED or word.startswith("=") for word in words), words
    model.agrees(found)
    planned(entries, model, source)


@functools.cache
def base() -> object:
    return spec(mounts=())


def planned(entries: list[str], model: Model, source: Source) -> None:
    """On a bind, options of a file system are refused; a flag that was asked for is in the plan."""
    mount = Mount(destination="/m", type=source.pick(("tmpfs", "none")), source="/s", options=tuple(entries))
    try:
        plan = compile_plan(replace(base(), mounts=(mount,)), HOSTS["linux-6.1-v2"], options())  # type: ignore[type-var]
    except (SpecError, UnsupportedError):
        return
    binds = [step for step in plan.steps if isinstance(step, Bind) and step.target == "/m"]
    if model.bind and not model.remount:
        assert not model.data, entries
        assert binds
        for field, value in model.once.items():
            assert binds[0].attrs & field == value, (entries, binds[0])
