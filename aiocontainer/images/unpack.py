"""A layer's archive into a directory, in the form in which overlayfs takes it.

Whatever the archive says happens below the directory: each name is resolved by descriptor, through no
link and no mount, everything is made anew (O_EXCL), and what a file system would take for something else
than a file of the layer, as a device that is a whiteout, is refused.  OCI image-spec layer.md; T02.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ..errors import ImageError, UnsupportedError
from .headers import Entry, shown
from .tree import Directories, Path, is_whiteout, open_beneath, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .archive import Archive

__all__ = ["Rights", "Unpacked", "Unpacker"]

_WHITEOUT: Final = b".wh."
_OPAQUE: Final = b".wh..wh..opq"
_AUFS: Final = b".wh..wh."  # what aufs keeps for itself: no part of the image
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MAX_MAJOR: Final = 0xFFF
_MAX_MINOR: Final = 0xFFFFF
_MAX_XATTR_BYTES: Final = 65536
_MOST_NOTES: Final = 20

# What an image may say of a file to the kernel.  Those of overlayfs would have it take one layer's file
# for another, and labels are given by the machine.
_XATTRS: Final = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
_OVERLAY_XATTRS: Final = ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.")


class Rights(Struct, frozen=True):
    """What whoever unpacks may do."""

    devices: bool
    """Make device nodes, and attributes named ``trusted.*``: root of the machine alone."""
    owners: bool
    """Give files away: root, also of a user namespace.  Otherwise everything is ours."""

    @property
    def opaque(self) -> str:
        """The attribute by which overlayfs is told that a directory hides those below it."""
        return "trusted.overlay.opaque" if self.devices else "user.overlay.opaque"


class Unpacked(Struct, frozen=True):
    """What a layer was."""

    entries: int
    bytes: int
    """Of its files."""
    opaque: bool = False
    """Nothing of the layers below is to be seen: overlayfs has no such mark for its root."""
    implied: bool = False
    """Directories were made that it has no entry for, as the layers below have them."""
    notes: tuple[str, ...] = ()
    """What was left out, the first few."""


class Unpacker:
    """Unpacks one layer below the open directory *root*, which is empty and nobody else's.

    *lowers* are the open directories of the layers below, the topmost first.
    """

    def __init__(self, root: int, rights: Rights, lowers: Sequence[int] = ()) -> None:
        self._root = root
        self._rights = rights
        self._lowers = lowers
        self._directories = Directories(root)
        self._late: dict[Path, Entry] = {}
        """What directories get in the end, when nothing is made in them any more."""
        self._opaque: set[Path] = set()
        self._whiteouts: set[Path] = set()
        self._implied = False
        self._bytes = 0
        self._notes: list[str] = []

    def unpack(self, archive: Archive) -> Unpacked:
        """Make everything; `ImageError` with the name of the entry, `UnsupportedError`."""
        count = 0
        try:
            for entry in archive:
                self._one(entry, archive)
                count += 1
            self._finish()
        finally:
            self._directories.forget()
        return Unpacked(count, self._bytes, () in self._opaque, self._implied, tuple(self._notes))

    def _one(self, entry: Entry, archive: Archive) -> None:
        try:
            self._apply(entry, archive)
        except ImageError as exc:
            exc.entry = exc.entry or shown(entry.name)
            raise
        except OSError as exc:
            raise ImageError(_reason(exc), entry=shown(entry.name)) from exc

    def _apply(self, entry: Entry, archive: Archive) -> None:
        path = parts_of(entry.name)
        if not path:
            if entry.kind != "directory":
                raise ImageError(f"is a {entry.kind} in the place of the root")
            self._late[()] = entry
            return
        name = path[-1]
        if any(part.startswith(_AUFS) and part != _OPAQUE for part in path):
            self._note(entry, "of aufs itself")
        elif any(part.startswith(_WHITEOUT) for part in path[:-1]):
            raise ImageError("lies below a whiteout")
        elif name.startswith(_WHITEOUT):
            self._whiteout(entry, path)
        else:
            _MAKERS[entry.kind](self, entry, path, archive)

    # Whiteouts --------------------------------------------------------------------------------------

    def _whiteout(self, entry: Entry, path: Path) -> None:
        """Hide a name of the layers below, or all of a directory; what this layer has itself stays."""
        if entry.kind not in ("file", "link") or entry.stored:
            raise ImageError(f"is a {entry.kind}, or has a content, and is named as a whiteout")
        above, name = path[:-1], path[-1][len(_WHITEOUT) :]
        if path[-1] == _OPAQUE:
            self._parent(path)
            self._opaque.add(above)
            return
        if name in (b"", b".", b".."):
            raise ImageError("hides what is no name")
        parent = self._parent(path)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
            self._whiteouts.add((*above, name))
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._opaque.add((*above, name))
        except PermissionError as exc:
            raise UnsupportedError(
                "layers that hide files", needs="a cache that is not itself on an overlay", origin="cache"
            ) from exc

    # Directories ------------------------------------------------------------------------------------

    def _parent(self, path: Path) -> int:
        return self._directory(path[:-1])

    def _directory(self, path: Path) -> int:
        """Return a directory, made where the archive has no entry for it; not to be kept."""
        try:
            return self._directories.get(path)
        except FileNotFoundError:
            if not path:
                raise
            self._imply(path)
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            self._imply(path)
        return self._directories.get(path)

    def _imply(self, path: Path) -> None:
        parent = self._parent(path)
        self._make_directory(parent, path)
        self._implied = True
        self._late[path] = self._from_below(path)

    def _make_directory(self, parent: int, path: Path) -> None:
        """Make what is not there; a link or a file in its place is refused, a whiteout becomes opaque."""
        name = path[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.lstat(name, dir_fd=parent)
            if stat.S_ISDIR(found.st_mode):
                return
            if not is_whiteout(found):
                what = "a link" if stat.S_ISLNK(found.st_mode) else "something that is no directory"
                raise ImageError(f"leads through {what}") from None
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
            self._opaque.add(path)

    def _from_below(self, path: Path) -> Entry:
        """Return what an implied directory is like: as the topmost layer below has it."""
        for lower in self._lowers:
            try:
                fd = open_beneath(lower, b"/".join(path), _DIRECTORY)
            except OSError:
                continue
            try:
                return _entry_like(os.fstat(fd))
            finally:
                os.close(fd)
        return Entry(b"/".join(path), "directory", 0o755, 0, 0, 0, 0, 0)

    def _make_named(self, entry: Entry, path: Path, _: Archive) -> None:
        parent = self._parent(path)
        try:
            os.mkdir(path[-1], 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path[-1], dir_fd=parent).st_mode):
                self._clear(parent, path)
                os.mkdir(path[-1], 0o700, dir_fd=parent)
        self._late[path] = entry

    def _drop_whiteouts(self) -> None:
        """Remove those where nothing is left to hide: overlayfs lists them in a directory that is opaque."""
        if not self._opaque:
            return
        for path in self._whiteouts:
            if any(path[:depth] in self._opaque for depth in range(len(path))):
                parent = self._parent(path)
                if is_whiteout(os.lstat(path[-1], dir_fd=parent)):
                    os.unlink(path[-1], dir_fd=parent)

    def _finish(self) -> None:
        """Give directories what they get in the end, the deepest first."""
        self._late.setdefault((), Entry(b"", "directory", 0o755, 0, 0, 0, 0, 0))
        self._drop_whiteouts()
        for path in self._opaque:
            self._late.setdefault(path, Entry(b"/".join(path), "directory", 0o755, 0, 0, 0, 0, 0))
        for path in sorted(self._late, key=len, reverse=True):
            entry = self._late[path]
            try:
                fd = self._directories.get(path)
                if path and path in self._opaque:
                    self._mark_opaque(fd)
                self._dress(fd, entry)
            except OSError as exc:
                raise ImageError(_reason(exc), entry=shown(entry.name)) from exc

    def _mark_opaque(self, fd: int) -> None:
        try:
            os.setxattr(fd, self._rights.opaque, b"y")
        except OSError as exc:
            raise UnsupportedError(
                "opaque directories",
                needs=f"a cache whose file system has {self._rights.opaque}",
                origin="cache",
            ) from exc

    # Everything else --------------------------------------------------------------------------------

    def _clear(self, parent: int, path: Path) -> None:
        """Make room for an entry: the last of one name counts, but a directory with content stays."""
        found = os.lstat(path[-1], dir_fd=parent)
        if stat.S_ISDIR(found.st_mode):
            self._directories.forget()
            parent = self._parent(path)
            os.rmdir(path[-1], dir_fd=parent)
            self._late.pop(path, None)
            self._opaque.discard(path)
        else:
            if is_whiteout(found):  # a directory that comes now must not show what it hid
                self._opaque.add(path)
            os.unlink(path[-1], dir_fd=parent)

    def _room(self, path: Path, make: Callable[[int], None]) -> int:
        """Make something, in the place of what may be there; return the directory that it is in."""
        parent = self._parent(path)
        try:
            make(parent)
        except FileExistsError:
            self._clear(parent, path)
            self._opaque.discard(path)
            parent = self._parent(path)
            make(parent)
        return parent

    def _make_file(self, entry: Entry, path: Path, archive: Archive) -> None:
        opened: list[int] = []
        self._room(path, lambda parent: opened.append(os.open(path[-1], _NEW, 0o600, dir_fd=parent)))
        fd = opened[0]
        try:
            for offset, data in archive.content():
                _write(fd, data, offset)
                self._bytes += len(data)
            if entry.segments is not None:
                os.ftruncate(fd, entry.size)
            self._dress(fd, entry)
        finally:
            os.close(fd)

    def _make_link(self, entry: Entry, path: Path, _: Archive) -> None:
        """Make another name of a file of this very layer."""
        target = parts_of(entry.link)
        if not target or target == path or any(part.startswith(_WHITEOUT) for part in target):
            raise ImageError(f"is a hard link to {shown(entry.link)!r}")
        try:
            above = os.dup(self._directories.get(target[:-1]))
        except OSError as exc:
            raise ImageError(f"is a hard link to {shown(entry.link)!r}: {exc.strerror}") from exc
        try:
            self._link(entry, path, above, target[-1])
        finally:
            os.close(above)

    def _link(self, entry: Entry, path: Path, above: int, name: bytes) -> None:
        try:
            found = os.lstat(name, dir_fd=above)
        except FileNotFoundError:
            problem = f"is a hard link to {shown(entry.link)!r}, which its layer does not have"
            raise ImageError(problem) from None
        if stat.S_ISDIR(found.st_mode) or is_whiteout(found):
            raise ImageError(f"is a hard link to {shown(entry.link)!r}, which is no file")
        self._room(
            path,
            lambda parent: os.link(
                name, path[-1], src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False
            ),
        )

    def _make_symlink(self, entry: Entry, path: Path, _: Archive) -> None:
        if not entry.link or b"\0" in entry.link or len(entry.link) >= os.pathconf("/", "PC_PATH_MAX"):
            raise ImageError("is a link to nothing, or to too much")
        parent = self._room(path, lambda parent: os.symlink(entry.link, path[-1], dir_fd=parent))
        self._dress_name(parent, path[-1], entry)

    def _make_device(self, entry: Entry, path: Path, _: Archive) -> None:
        major, minor = entry.device
        if major > _MAX_MAJOR or minor > _MAX_MINOR or (entry.kind == "char" and (major, minor) == (0, 0)):
            raise ImageError(f"is the device {major}:{minor}, which there cannot be")
        if not self._rights.devices:
            self._note(entry, "a device, which only root can make")
            return
        type = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        self._make_node(entry, path, type, os.makedev(major, minor))

    def _make_fifo(self, entry: Entry, path: Path, _: Archive) -> None:
        self._make_node(entry, path, stat.S_IFIFO, 0)

    def _make_node(self, entry: Entry, path: Path, type: int, device: int) -> None:
        name = path[-1]
        parent = self._room(path, lambda parent: os.mknod(name, type | 0o600, device, dir_fd=parent))
        self._dress_name(parent, name, entry)

    # Attributes -------------------------------------------------------------------------------------

    def _dress(self, fd: int, entry: Entry) -> None:
        """Owner, mode, attributes and times, in an order in which none takes away another."""
        if self._rights.owners:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs.items():
            self._set_xattr(fd, entry, name, value)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _dress_name(self, parent: int, name: bytes, entry: Entry) -> None:
        """Do the same for what cannot be opened: it was made a moment ago, and is no directory."""
        if self._rights.owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=parent)
        for attribute in entry.xattrs:
            _refuse_overlay(attribute)
            self._note(entry, f"its attribute {attribute}")
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _set_xattr(self, fd: int, entry: Entry, name: str, value: bytes) -> None:
        _refuse_overlay(name)
        if len(value) > _MAX_XATTR_BYTES:
            raise ImageError(f"has an extended attribute of {len(value)} bytes")
        if not name.startswith(_XATTRS):
            self._note(entry, f"its attribute {name}")
            return
        try:
            os.setxattr(fd, name, value)
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise
            self._note(entry, f"its attribute {name}: {exc.strerror}")

    def _note(self, entry: Entry, what: str) -> None:
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(f"{shown(entry.name)}: {what}")


_MAKERS: Final = {
    "file": Unpacker._make_file,  # noqa: SLF001 - our own
    "link": Unpacker._make_link,  # noqa: SLF001
    "symlink": Unpacker._make_symlink,  # noqa: SLF001
    "char": Unpacker._make_device,  # noqa: SLF001
    "block": Unpacker._make_device,  # noqa: SLF001
    "directory": Unpacker._make_named,  # noqa: SLF001
    "fifo": Unpacker._make_fifo,  # noqa: SLF001
}


def _refuse_overlay(name: str) -> None:
    if name.startswith(_OVERLAY_XATTRS):
        raise ImageError(f"has the extended attribute {name}, which would forge what a layer is")


def _entry_like(found: os.stat_result) -> Entry:
    mode = stat.S_IMODE(found.st_mode)
    return Entry(b"", "directory", mode, found.st_uid, found.st_gid, found.st_mtime_ns, 0, 0)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _reason(exc: OSError) -> str:
    """Say what the kernel means."""
    if exc.errno == errno.EINVAL:
        return "has an owner, or something else, that the kernel does not take here: are its ids mapped?"
    if exc.errno == errno.ENOTEMPTY:
        return "takes the place of a directory that is not empty"
    return exc.strerror or str(exc)
