"""One directory of one cgroup hierarchy, reached from the hierarchy's root by descriptors alone.

No component may be a link or another file system: security.md invariant 38.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Final

from .._aio import OwnedFd
from ..errors import CgroupError, ExistsError
from .mounts import DIRECTORY
from .parse import parse_pids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .mounts import Mounts

__all__ = ["Directory"]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES: Final = 1 << 16
_ATTEMPTS: Final = 16  # at a race with somebody who removes the directory above


class Directory:
    """A cgroup directory that may or may not be there.

    `made` counts the directories, from the last one up, that are ours to remove; 0: it was there
    before, and stays.  Threads may read while another closes it.
    """

    def __init__(self, mounts: Mounts, key: str, path: str, made: int = 1) -> None:
        self.path = path
        self.made: int = made
        self._mounts = mounts
        self._key = key
        self._names = _names_below(mounts.point(key), path)
        self._name = self._names[-1]
        # Who uses the descriptor above holds it: closed meanwhile, the number could be another file's.
        self._lock = threading.RLock()
        self._above: OwnedFd | None = None
        self._self: OwnedFd | None = None
        self.claimed: bool = False

    def _mount(self) -> int:
        return self._mounts.fd(self._key)

    @property
    def is_nested(self) -> bool:
        """Whether there is a cgroup above it that is not the root of all."""
        return len(self._names) > 1

    # Being there ------------------------------------------------------------------------------------

    def survey(self) -> None:
        """Set `made` to what `make` would set it to."""
        self.made = 0
        for depth in range(len(self._names), 0, -1):
            try:
                os.stat("/".join(self._names[:depth]), dir_fd=self._mount(), follow_symlinks=False)
            except FileNotFoundError:
                self.made += 1
            except OSError as exc:
                raise CgroupError(self.path, exc.errno or 0) from exc
            else:
                return

    def make(self) -> None:
        """Make the directory and what is missing above it, all or nothing; sets `made`."""
        for _ in range(_ATTEMPTS):
            # Lost against somebody who removes the directory above, once it is empty: again.
            with contextlib.suppress(FileNotFoundError):
                return self._make()
        raise CgroupError(self.path, errno.ENOENT)

    def _make(self) -> None:
        self.made = 0
        above = self._mount()
        for depth, name in enumerate(self._names):
            try:
                if depth:
                    self._above = OwnedFd(self._enter(self._names[depth - 1], above))
                    above = self._above.fileno()
                self.made = self.made + 1 if _mkdir(name, above) else 0
            except OSError as exc:
                self._remove_levels(depth, self.made)
                if isinstance(exc, FileNotFoundError | CgroupError):
                    raise
                raise CgroupError(self.path, exc.errno or 0) from exc

    def _enter(self, name: str, above: int) -> int:
        """Open a directory by name, on the same file system."""
        fd = os.open(name, DIRECTORY, dir_fd=above)
        if os.fstat(fd).st_dev != os.fstat(self._mount()).st_dev:
            os.close(fd)
            raise CgroupError(self.path, errno.EXDEV)
        return fd

    def _parent(self) -> int:
        """Return the directory above, still ours, to who holds the lock; FileNotFoundError."""
        if len(self._names) == 1:
            return self._mount()
        if self._above is None:
            above = OwnedFd(os.dup(self._mount()))
            for name in self._names[:-1]:
                with above:
                    above = OwnedFd(self._enter(name, above.fileno()))
            self._above = above
        return self._above.fileno()

    def exists(self) -> bool:
        """Tell whether it is there."""
        return self.inode() != 0

    def inode(self) -> int:
        """Return its inode, unique among all cgroups of this boot; 0 when it is not there."""
        try:
            with self._lock:
                return os.stat(self._name, dir_fd=self._parent(), follow_symlinks=False).st_ino
        except FileNotFoundError:
            return 0
        except OSError as exc:
            raise CgroupError(self.path, exc.errno or 0) from exc

    def open(self) -> OwnedFd:
        """Open the directory; FileNotFoundError."""
        with self._lock:
            return OwnedFd(self._enter(self._name, self._parent()))

    def descriptor(self) -> int:
        """Return a descriptor of the directory; ours, until `close`; CgroupError."""
        if self._self is None:
            try:
                self._self = self.open()
            except OSError as exc:
                raise CgroupError(self.path, exc.errno or 0) from exc
        return self._self.fileno()

    def claim(self) -> None:
        """Keep everybody else from claiming it until `close`; ExistsError when somebody was first.

        By flock(2): a claim ends with the process that holds it.
        """
        try:
            fcntl.flock(self.descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ExistsError(self.path, what="cgroup in use") from exc
        self.claimed = True

    def rest(self) -> None:
        """Close the directory above; it is opened again when it is needed."""
        with self._lock:
            if self._above is not None:
                self._above.close()
                self._above = None

    def close(self) -> None:
        """Give descriptors and the claim back; the directory can still be used."""
        if self.claimed:
            # Not by closing alone: a copy of the descriptor may have travelled.
            fcntl.flock(self.descriptor(), fcntl.LOCK_UN)
            self.claimed = False
        if self._self is not None:
            self._self.close()
            self._self = None
        self.rest()

    # Files ------------------------------------------------------------------------------------------

    def open_to_read(self, file: str) -> int:
        """Open one of its files to read it; the caller closes it; CgroupError."""
        return self._open_file(file, _READ)

    def open_to_write(self, file: str) -> int:
        """Open one of its files to write to it; the caller closes it; CgroupError."""
        return self._open_file(file, _WRITE)

    def _open_file(self, file: str, flags: int) -> int:
        try:
            with self._lock:
                return os.open(f"{self._name}/{file}", flags, dir_fd=self._parent())
        except OSError as exc:
            raise CgroupError(f"{self.path}/{file}", exc.errno or 0) from exc

    def read(self, file: str) -> bytes:
        """Read one of its files whole; CgroupError."""
        fd = self.open_to_read(file)
        try:
            return _read_all(fd)
        except OSError as exc:
            raise CgroupError(f"{self.path}/{file}", exc.errno or 0) from exc
        finally:
            os.close(fd)

    def write(self, file: str, value: str) -> None:
        """Write *value* to one of its files; CgroupError."""
        self.write_each(file, (value,))

    def write_each(self, file: str, values: Iterable[str]) -> None:
        """Write each of *values*, in one call as cgroup files want it, to one of its files; CgroupError."""
        fd = self.open_to_write(file)
        value = ""
        try:
            for value in values:
                _write(fd, value)
        except OSError as exc:
            raise CgroupError(f"{self.path}/{file}", exc.errno or 0, value=value) from exc
        finally:
            os.close(fd)

    def inherit(self, file: str) -> None:
        """Give every directory of the way down to us that has none the value from above it."""
        value = ""
        for depth in range(len(self._names) + 1):
            name = "/".join((*self._names[:depth], file))
            try:
                own = _read_at(name, self._mount()).decode().strip()
                if not own:
                    with OwnedFd(os.open(name, _WRITE, dir_fd=self._mount())) as fd:
                        _write(fd.fileno(), value)
            except OSError as exc:
                raise CgroupError(f"{self.path}/{file}", exc.errno or 0, value=value) from exc
            value = own or value

    def pass_on(self, wanted: str = "") -> None:
        """Have all controllers, or only the *wanted* one, passed on down to it as far as they can be.

        All that a level lists in one write, and if that is refused one by one: a controller may be in
        use in v1, or the level have processes of its own.  cgroup-v2.rst "Enabling and Disabling".

        The *wanted* one is written also where it counts as passed on: it does so from the beginning of
        somebody else's write, and its files are there at the end, which another write waits for.
        """
        for depth in range(len(self._names)):
            level = "/".join((*self._names[:depth], ""))
            names = [f"+{name}" for name in self._to_pass(level, wanted)]
            if names and not self._pass(level, " ".join(names)) and len(names) > 1:
                for each in names:
                    self._pass(level, each)

    def _to_pass(self, level: str, wanted: str) -> list[str]:
        try:
            listed, passed = (
                os.fsdecode(_read_at(f"{level}cgroup.{file}", self._mount())).split()
                for file in ("controllers", "subtree_control")
            )
        except OSError as exc:
            raise CgroupError(f"{self.path}: above it, {level}", exc.errno or 0) from exc
        missing = [name for name in listed if name not in passed]
        if missing and self._has_domain_processes(level):
            missing = []
        if not wanted:
            return missing
        return [wanted] if wanted in (*missing, *passed) else []

    def _has_domain_processes(self, level: str) -> bool:
        """Tell whether a level has processes of its own, which keep it from passing controllers on.

        Those that know threads it could pass on, but would become the root of a threaded subtree by
        that, in which there can be no container.  cgroup-v2.rst "Threads".
        """
        try:
            is_domain = _read_at(f"{level}cgroup.type", self._mount()).strip() == b"domain"
            return is_domain and bool(_read_at(f"{level}cgroup.procs", self._mount()))
        except FileNotFoundError:  # the root of all, which passes on whatever is in it
            return False
        except OSError as exc:
            raise CgroupError(f"{self.path}: above it, {level}", exc.errno or 0) from exc

    def _pass(self, level: str, change: str) -> bool:
        try:
            with OwnedFd(os.open(f"{level}cgroup.subtree_control", _WRITE, dir_fd=self._mount())) as fd:
                _write(fd.fileno(), change)
        except OSError:
            return False
        return True

    def chown(self, uid: int, files: Iterable[str]) -> None:
        """Give it, and those of *files* that are there, to a user; CgroupError."""
        try:
            with self.open() as top:
                os.fchown(top.fileno(), uid, -1)
                for file in files:
                    with contextlib.suppress(FileNotFoundError):
                        os.chown(file, uid, -1, dir_fd=top.fileno(), follow_symlinks=False)
        except OSError as exc:
            raise CgroupError(self.path, exc.errno or 0) from exc

    # Members ----------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """List the processes in it and below it; none when it is gone."""
        try:
            with self.open() as top:
                pids = _members(".", top.fileno())
                for above, name in below(top.fileno()):
                    pids += _members(name, above)
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise CgroupError(f"{self.path}/cgroup.procs", exc.errno or 0) from exc
        return list(dict.fromkeys(pids))

    # Going away -------------------------------------------------------------------------------------

    def remove(self) -> bool:
        """Remove it and all below it, and what we made above it; False while it is busy."""
        try:
            if not self._rmdir():
                self._remove_below()
                if not self._rmdir():
                    return False
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise CgroupError(self.path, exc.errno or 0) from exc
        self._remove_levels(len(self._names) - 1, self.made - 1)
        return True

    def _rmdir(self) -> bool:
        with self._lock:
            return _rmdir(self._name, self._parent())

    def _remove_below(self) -> None:
        with self.open() as top:
            for above, name in below(top.fileno()):
                _rmdir(name, above)

    def _remove_levels(self, last: int, count: int) -> None:
        """Remove *count* directories of the way down to us, from the *last* one (1: the first) up.

        As far as nobody else uses them.
        """
        for length in range(last, last - count, -1):
            with contextlib.suppress(OSError):
                os.rmdir("/".join(self._names[:length]), dir_fd=self._mount())


def below(top: int) -> Iterator[tuple[int, str]]:
    """Walk the directories below *top*, deepest first: the descriptor of the one above, the name.

    Two descriptors are enough however deep somebody has nested them: it climbs by "..", which leads
    back to where it came from, because cgroup2 directories cannot be moved, and those of v1 only be
    renamed.  What vanishes meanwhile is left out.
    """
    device = os.fstat(top).st_dev
    here = OwnedFd(os.open(".", DIRECTORY, dir_fd=top))
    names: list[str] = []
    todo = [_subdirectories(here.fileno())]
    try:
        while True:
            if todo[-1]:
                name = todo[-1].pop()
                with contextlib.suppress(FileNotFoundError):
                    child = OwnedFd(os.open(name, DIRECTORY, dir_fd=here.fileno()))
                    if os.fstat(child.fileno()).st_dev != device:
                        child.close()
                        continue
                    here.close()
                    here = child
                    names.append(name)
                    todo.append(_subdirectories(here.fileno()))
            elif names:
                todo.pop()
                with here as child:
                    here = OwnedFd(os.open("..", DIRECTORY, dir_fd=child.fileno()))
                yield here.fileno(), names.pop()
            else:
                return
    finally:
        here.close()


def _subdirectories(fd: int) -> list[str]:
    # kernfs counts the directories inside as links, as most file systems do.
    if os.fstat(fd).st_nlink == 2:
        return []
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _members(name: str, above: int) -> list[int]:
    """List the processes of one directory; none when it is gone."""
    for file in ("cgroup.procs", "cgroup.threads"):
        try:
            return parse_pids(_read_at(f"{name}/{file}", above))
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENODEV):
                break
            # A threaded cgroup does not list processes.  cgroup-v2.rst "Threads".
            if exc.errno != errno.EOPNOTSUPP or file == "cgroup.threads":
                raise
    return []


def _read_at(name: str, dirfd: int) -> bytes:
    """Read a file whole; cgroupfs gives a page or so at a time."""
    fd = os.open(name, _READ, dir_fd=dirfd)
    try:
        return _read_all(fd)
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    chunks = []
    while chunk := os.read(fd, _CHUNK_BYTES):
        chunks.append(chunk)
    return b"".join(chunks)


def _write(fd: int, value: str) -> None:
    data = value.encode()
    if os.write(fd, data) != len(data):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _mkdir(name: str, above: int) -> bool:
    """Make a directory; False when there is one."""
    try:
        os.mkdir(name, 0o755, dir_fd=above)
    except FileExistsError:
        return False
    return True


def _rmdir(name: str, above: int) -> bool:
    """Remove a directory; True when it is gone, False while it is in use."""
    try:
        os.rmdir(name, dir_fd=above)
    except FileNotFoundError:
        return True
    except OSError as exc:
        if exc.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def _names_below(point: str, path: str) -> tuple[str, ...]:
    """Split *path* into the components below *point*; never none: a root is nobody's cgroup."""
    prefix = "/" if point == "/" else point + "/"
    names = tuple(path.removeprefix(prefix).split("/"))
    if not path.startswith(prefix) or any(name in ("", ".", "..") for name in names):
        raise CgroupError(path, errno.EINVAL)
    return names
