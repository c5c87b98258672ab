"""System calls that Python's library lacks.  All of them block only as long as the kernel does."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from typing import Final, TypeAlias

from .._tuples import NamedTuple
from ._lib import ffi, lib

__all__ = [
    "Exit",
    "attach_device_filter",
    "map_mount",
    "netlink_socket",
    "is_in_memory",
    "knows_call",
    "layered",
    "load_device_filter",
    "open_in_root",
    "open_tree",
    "openat2",
    "overlay",
    "rooted_mounts",
    "start_program",
    "syncfs",
    "start_worker",
    "user_namespace",
    "user_namespace_maps",
    "wait_pidfd",
]

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

_AT_FDCWD: Final = -100
_OPEN_TREE_CLONE: Final = 1
_TMPFS_MAGIC: Final = 0x01021994
_RAMFS_MAGIC: Final = 0x858458F6
_AT_RECURSIVE: Final = 0x8000
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_MAPS_BYTES: Final = 65536  # 340 lines of 33 at most, and twice that
_RACES: Final = 128  # how often a lookup may be raced before it is given up

_CLD_EXITED: Final = int(os.CLD_EXITED)
_CLD_DUMPED: Final = int(os.CLD_DUMPED)


IdMap: TypeAlias = Sequence[tuple[int, int, int]]


class Exit(NamedTuple):
    """How a process ended: exactly one of `code` and `signal` is set."""

    code: int | None
    signal: int | None
    """A number: real-time signals between the first and the last have no name."""
    core_dumped: bool
    rusage: resource.struct_rusage | None
    """What it and the children that it waited for used; None where only the kernel's note of the
    exit was left, because somebody else had reaped it."""


def _checked(result: int, *names: str | bytes) -> int:
    """Return what a call gave, or raise the OSError that its negative errno stands for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), *names)
    return result


def start_program(
    path: str,
    args: Sequence[str],
    env: Sequence[str],
    *,
    directory: str,
    input: int,
    output: int,
    errors: int,
) -> tuple[int, int]:
    """Start a program without copying this process, and return its pid and a pidfd, the caller's to close.

    It gets *input* as descriptor 0, *output* as 1, *errors* as 2 and no other, and leads a session.
    `OSError` where it cannot be executed, `ValueError` for a NUL in a string.
    """
    pidfd = ffi.new("int *", -1)
    (argv, *_kept), (envp, *_kept_too) = _vector(args), _vector(env)
    place = _text(directory)
    pid: int = lib.lib_start_program(_text(path), argv, envp, place, input, output, errors, pidfd)
    return _checked(pid, path), pidfd[0]


def start_worker(
    path: str,
    args: Sequence[str],
    env: Sequence[str],
    fds: Sequence[int],
    *,
    namespace: int = -1,
    keyring: str | None = None,
    permissions: int = 0,
) -> tuple[int, int]:
    """Start a program with fds[i] as its descriptor i and no other; returns as `start_program`.

    It runs in that *namespace*, too, unless it is -1; with *keyring* its session keyring is a new
    one of that name, with these *permissions*: keyctl_setperm(3).
    """
    pidfd = ffi.new("int *", -1)
    (argv, *_kept), (envp, *_kept_too) = _vector(args), _vector(env)
    numbers = ffi.new("int[]", list(fds))
    ring = ffi.NULL if keyring is None else _text(keyring)
    pid: int = lib.lib_start_worker(
        _text(path), argv, envp, numbers, len(fds), namespace, ring, permissions, pidfd
    )
    return _checked(pid, path), pidfd[0]


def rooted_mounts(root: str, directories: Sequence[str], *, read_only: bool) -> tuple[int, list[int]]:
    """Return a mount namespace like ours where *root* is a mount, and *directories* as opened there.

    The caller closes all of them.  Nobody is in it, so it goes with its descriptor.
    """
    (paths, *_kept), fds = _vector(directories), ffi.new("int[]", len(directories) or 1)
    place = _text(root)
    mounts: int = lib.lib_rooted_mounts(
        place, int(read_only), ffi.cast("const char *const *", paths), len(directories), fds
    )
    return _checked(mounts, root), [fds[index] for index in range(len(directories))]


def _text(string: str) -> ffi.CData:
    raw = os.fsencode(string)
    if b"\0" in raw:
        raise ValueError("a NUL character")
    return ffi.new("char[]", raw)


def _vector(strings: Sequence[str]) -> list[ffi.CData]:
    """Return them as execve(2) takes them, followed by what has to be kept as long."""
    kept = [_text(string) for string in strings]
    return [ffi.new("char *[]", [*kept, ffi.NULL]), *kept]


def wait_pidfd(pidfd: int, *, reap: bool = True) -> Exit | None:
    """Reap the process of *pidfd* if it has ended; None while it lives.

    Without *reap* it is left for whoever made it, which may be another object of this process.

    `ChildProcessError` if it is not our child, or if its status is lost: once it has executed a
    program a child is an ordinary one, so where SIGCHLD is ignored, or somebody waits for any child
    at all, only Linux 6.15 can still tell how it ended (PIDFD_INFO_EXIT).
    """
    result = ffi.new("struct lib_exit *")
    _checked(lib.lib_wait(pidfd, int(reap), result))
    if result.code == 0:
        return None
    usage = _usage(result) if result.usage_known else None
    if result.code == _CLD_EXITED:
        return Exit(result.status, None, False, usage)
    return Exit(None, result.status, result.code == _CLD_DUMPED, usage)


def _usage(result: ffi.CData) -> resource.struct_rusage:
    """Return it as wait4(2) gives it; the fields that Linux never fills are 0."""
    fields = (
        result.user_us / 1e6,
        result.system_us / 1e6,
        result.max_rss_kb,
        *(0, 0, 0),
        result.minor_faults,
        result.major_faults,
        0,
        result.blocks_in,
        result.blocks_out,
        *(0, 0, 0),
        result.switches_voluntary,
        result.switches_forced,
    )
    return resource.struct_rusage(fields)


def openat2(dirfd: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open relative to a descriptor under the rules of RESOLVE_*; close-on-exec."""
    return _checked(lib.lib_openat2(dirfd, os.fsencode(path), flags, mode, resolve), path)


def open_in_root(rootfd: int, path: str, flags: int) -> int:
    """Open *path* as a process whose root is *rootfd* would, but through no magic link.

    A lookup through ``..`` that is raced by a rename is tried again, so many times.
    """
    for _ in range(_RACES):
        try:
            return openat2(rootfd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except BlockingIOError:
            continue
    return openat2(rootfd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def knows_call(name: str) -> bool:
    """Whether the kernel has a system call, one of those in ``lib_probe.c``, and no filter hides it."""
    return bool(_checked(lib.lib_knows_call(name.encode()), name))


def open_tree(path: str, recursive: bool, *, nofollow: bool = False) -> int:
    """Return a detached clone of the mount at *path*, with those below it if *recursive*.

    With *nofollow* a link at the end is what is cloned.
    """
    flags = _OPEN_TREE_CLONE | (_AT_RECURSIVE if recursive else 0) | (_AT_SYMLINK_NOFOLLOW if nofollow else 0)
    return _checked(lib.lib_open_tree(_AT_FDCWD, os.fsencode(path), flags), path)


def user_namespace(uid_map: IdMap, gid_map: IdMap) -> int:
    """Return a new user namespace in which nobody is; maps are (inside, outside, size) each."""
    texts = (
        "".join(f"{inside} {outside} {size}\n" for inside, outside, size in m) for m in (uid_map, gid_map)
    )
    return _checked(lib.lib_user_namespace(*(text.encode() for text in texts)))


def user_namespace_maps(user_namespace: int) -> tuple[IdMap, IdMap, bool]:
    """Return its maps of users and of groups, and whether setgroups(2) is denied there."""
    buffer = ffi.new("char[]", _MAPS_BYTES)
    size = _checked(lib.lib_user_namespace_maps(user_namespace, buffer, _MAPS_BYTES))
    uid, gid, setgroups = ffi.buffer(buffer, size)[:].split(b"\0")[:3]
    return _id_map(uid), _id_map(gid), setgroups.strip() == b"deny"


def _id_map(text: bytes) -> IdMap:
    rows = (map(int, line.split()) for line in text.splitlines())
    return tuple((inside, outside, size) for inside, outside, size in rows)


def map_mount(tree: int, user_namespace: int, recursive: bool) -> None:
    """Show the owners in a detached mount as the maps of *user_namespace* have them."""
    _checked(lib.lib_map_mount(tree, user_namespace, recursive))


def netlink_socket(namespace: int) -> int:
    """Return a netlink socket in the network namespace of a namespace file or a pidfd; -1 is our own."""
    return _checked(lib.lib_netlink_socket(namespace))


def overlay(lower: str, *, owner: tuple[int, int] = (0, 0), size: str = "") -> int:
    """Return a detached overlay over *lower* whose writes go to a tmpfs and end with the mount.

    *owner* gets the root of the upper layer; *size* as in tmpfs(5).
    """
    return _checked(lib.lib_overlay(os.fsencode(lower), os.fsencode(size), *owner), lower)


def layered(
    layers: Sequence[str],
    *,
    source: str,
    upper: tuple[str, str] | None = None,
    owner: tuple[int, int] = (0, 0),
    userxattr: bool = False,
) -> int:
    """Return a detached overlay over *layers*, the topmost first.

    Writes go to a tmpfs whose root is *owner*'s, or to *upper*, its directory and the one to work in.
    *source* is what the kernel shows that it is made of.
    """
    kept = [_text(layer) for layer in layers]
    array = ffi.new("char *[]", kept)
    strings = [_text(source), *(_text(path) for path in upper or ())]
    what = ffi.new("struct lib_layers *")
    what.layers, what.count, what.source = array, len(kept), strings[0]
    what.upper, what.work = strings[1:] if upper is not None else (ffi.NULL, ffi.NULL)
    what.uid, what.gid, what.userxattr = *owner, userxattr
    return _checked(lib.lib_layered(what), source)


def syncfs(fd: int) -> None:
    """Have all of a file system on disk."""
    _checked(lib.lib_syncfs(fd))


def load_device_filter(program: bytes) -> int:
    """Return a descriptor of the verified BPF *program*, for any number of cgroups; the caller's."""
    return _checked(lib.lib_load_device_filter(ffi.from_buffer(program), len(program)))


def attach_device_filter(cgroup_fd: int, program_fd: int) -> None:
    """Make a loaded program the one device filter of this cgroup v2 directory."""
    _checked(lib.lib_attach_device_filter(cgroup_fd, program_fd))


def is_in_memory(fd: int) -> bool:
    """Whether the file system of *fd* is tmpfs or ramfs, whose calls wait for no disk."""
    return _checked(lib.lib_filesystem_type(fd)) in (_TMPFS_MAGIC, _RAMFS_MAGIC)
