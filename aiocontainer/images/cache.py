"""Unpacked layers, shared by all images and processes: a directory that may be removed when nobody uses it.

``layers/<name>`` is a layer, with what is known of it in ``<name>.json``; ``roots/<chain>`` is what
an image needs, to be locked (shared) by who uses it; ``locks/<name>`` makes sure that a layer is unpacked
by one process at a time; ``tmp/*`` is what is being unpacked, locked by who does it.  flock(2) everywhere,
so that what a killed process leaves is known for what it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from .. import native
from .._aio import Closing, OwnedFd
from ..errors import ImageError
from ..plan.mountinfo import parse_mountinfo
from .streams import digest_of
from .tree import open_beneath, remove_tree
from .unpack import Rights, Unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cache", "Pruned", "Root", "chains", "default_cache", "names_of", "rights_of_ours"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTS: Final = ("layers", "roots", "locks", "tmp")
_MAX_RECORD_BYTES: Final = 1 << 20


class Record(Struct, frozen=True):
    """What is known of a layer that is there."""

    diff_id: str
    unpacked: Unpacked


class Pruned(Struct, frozen=True):
    """What was removed."""

    layers: int
    bytes: int


def default_cache() -> str:
    """Return where it is: on disk, and root's wherever the environment points."""
    if os.geteuid() == 0:
        return "/var/cache/aiocontainer/images"
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return os.path.join(base, "aiocontainer/images")


def rights_of_ours() -> Rights:
    """Return what this process may do: root everything, root of a user namespace give files away."""
    root = os.geteuid() == 0
    return Rights(devices=root and not _in_user_namespace(), owners=root)


def _in_user_namespace() -> bool:
    """Whether ids are mapped: user_namespaces(7) has one line for all of them in the first namespace."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def chains(diff_ids: Sequence[str]) -> list[str]:
    """Return the digest of each layer with all below it.  OCI image-spec config.md "Layer ChainID"."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(digest_of(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return found


def names_of(diff_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return both names of each layer: by itself, and together with all below it."""
    pairs = zip(diff_ids, chains(diff_ids), strict=True)
    return [(_name(diff_id), f"chain-{_name(chain)}") for diff_id, chain in pairs]


class Root(Closing):
    """The layers of one image, the lowest first, which stay while this is open."""

    def __init__(self, path: str, names: Sequence[tuple[str, str]], lock: OwnedFd) -> None:
        self.path: str = path
        self.names: tuple[tuple[str, str], ...] = tuple(names)
        self._lock = lock

    def close(self) -> None:
        """Let it be pruned, if nobody else uses it; a second call does nothing."""
        self._lock.close()


class Cache(Closing):
    """The cache at *path*, made if need be, 0700; `ImageError` where it is somebody else's."""

    def __init__(self, path: str | None = None) -> None:
        self.path: str = os.path.abspath(path or default_cache())
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self._fd = OwnedFd(os.open(self.path, _DIRECTORY))
        except OSError as exc:
            raise ImageError(f"cache: {exc.strerror}", path=self.path) from exc
        try:
            found = os.fstat(self._fd.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise ImageError("the cache must be ours, and writable by nobody else", path=self.path)
            for part in _PARTS:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=self._fd.fileno())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._fd.close()

    def _open(self, path: str, flags: int = _DIRECTORY) -> int:
        return os.open(path, flags, 0o600, dir_fd=self._fd.fileno())

    # Layers -----------------------------------------------------------------------------------------

    def find(self, names: tuple[str, str]) -> tuple[str, Record] | None:
        """Return a layer by its name, or by the one that it has together with those below it."""
        for name in names:
            with (
                contextlib.suppress(OSError, msgspec.DecodeError),
                OwnedFd(
                    self._open(f"layers/{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                ) as file,
            ):
                data = os.read(file.fileno(), _MAX_RECORD_BYTES)
                os.stat(f"layers/{name}", dir_fd=self._fd.fileno())
                return name, msgspec.json.decode(data, type=Record)
        return None

    def directory(self, name: str) -> str:
        """Return where a layer is."""
        return f"{self.path}/layers/{name}"

    def open_layer(self, name: str) -> OwnedFd:
        """Open the directory of a layer."""
        return OwnedFd(self._open(f"layers/{name}"))

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Wait until nobody else unpacks this layer, and keep others waiting."""
        with OwnedFd(self._open(f"locks/{name}", _FILE)) as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def filling(self) -> Iterator[Filling]:
        """Make a directory to unpack into; whatever happens, it is gone afterwards or a layer."""
        name = os.urandom(8).hex()
        parent = OwnedFd(self._open("tmp"))
        with parent:
            os.mkdir(name, 0o700, dir_fd=parent.fileno())
            with OwnedFd(self._open(f"tmp/{name}")) as fd:
                fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    yield Filling(self, name, fd)
                finally:
                    _discard(parent.fileno(), name)

    def commit(self, temporary: str, name: str, record: Record) -> None:
        """Make what was unpacked a layer, all at once: its record comes first."""
        with OwnedFd(self._open("layers")) as layers:
            remove_tree(layers.fileno(), name.encode())  # without a record, it is none
            native.syncfs(layers.fileno())
            self._write(f"tmp/{temporary}.json", f"layers/{name}.json", msgspec.json.encode(record))
            own = self._fd.fileno()
            os.rename(f"tmp/{temporary}", f"layers/{name}", src_dir_fd=own, dst_dir_fd=own)

    def _write(self, temporary: str, path: str, data: bytes) -> None:
        """Have a file there with all of its content."""
        own = self._fd.fileno()
        with OwnedFd(self._open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)) as file:
            os.write(file.fileno(), data)
            os.fsync(file.fileno())
        os.rename(temporary, path, src_dir_fd=own, dst_dir_fd=own)

    def sweep(self) -> None:
        """Remove what processes left that were killed while they unpacked."""
        with OwnedFd(self._open("tmp")) as tmp:
            for name in os.listdir(tmp.fileno()):
                self._sweep_one(tmp.fileno(), name)

    def _sweep_one(self, tmp: int, name: str) -> None:
        try:
            fd = OwnedFd(open_beneath(tmp, os.fsencode(name), _DIRECTORY))
        except OSError:
            return  # a record, which goes with its directory; or nothing any more
        with fd, contextlib.suppress(BlockingIOError):
            fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            _discard(tmp, name)

    # Roots ------------------------------------------------------------------------------------------

    def use(self, diff_ids: Sequence[str]) -> Root:
        """Say that these layers are needed, whether they are there already or not."""
        marks = chains(diff_ids)
        names = names_of(diff_ids)
        root = f"roots/{_name(marks[-1]) if marks else 'empty'}"
        with self._gate(fcntl.LOCK_SH):
            for path in (root, f"{root}/rootfs"):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700 if path == root else 0o755, dir_fd=self._fd.fileno())
            lock = OwnedFd(self._open(root))
            if "layers.json" not in os.listdir(lock.fileno()):
                temporary = f"{root}/{os.urandom(8).hex()}"
                self._write(temporary, f"{root}/layers.json", json.dumps(names).encode())
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
        return Root(f"{self.path}/{root}", names, lock)

    @contextlib.contextmanager
    def _gate(self, operation: int) -> Iterator[None]:
        """Pruning and beginning to use keep out of each other's way."""
        with OwnedFd(self._open("locks/gate", _FILE)) as gate:
            fcntl.flock(gate.fileno(), operation)
            yield

    def prune(self) -> Pruned:
        """Remove layers that no image in use has: none that is open somewhere, or mounted anywhere."""
        self.sweep()
        with self._gate(fcntl.LOCK_EX):
            mounted = _mounted_roots()
            needed: set[str] = set()
            with OwnedFd(self._open("roots")) as roots:
                for name in os.listdir(roots.fileno()):
                    if f"{self.path}/roots/{name}" in mounted or not self._discard_root(roots.fileno(), name):
                        needed.update(self._needs(name))
            return self._remove_layers(needed)

    def _discard_root(self, roots: int, name: str) -> bool:
        """Remove a root that nobody has locked."""
        with OwnedFd(os.open(name, _DIRECTORY, dir_fd=roots)) as fd:
            try:
                fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            remove_tree(roots, os.fsencode(name))
            return True

    def _needs(self, name: str) -> list[str]:
        with OwnedFd(self._open(f"roots/{name}/layers.json", os.O_RDONLY | os.O_CLOEXEC)) as file:
            pairs = json.loads(os.read(file.fileno(), _MAX_RECORD_BYTES))
        return [name for pair in pairs for name in pair]

    def _remove_layers(self, needed: set[str]) -> Pruned:
        count = size = 0
        with OwnedFd(self._open("layers")) as layers:
            for entry in os.listdir(layers.fileno()):
                name = entry.removesuffix(".json")
                if name in needed or not entry.endswith(".json"):
                    continue
                found = self.find((name, name))
                size += found[1].unpacked.bytes if found is not None else 0
                os.unlink(entry, dir_fd=layers.fileno())
                count += 1
            records = set(os.listdir(layers.fileno()))
            for entry in records:
                if not entry.endswith(".json") and entry not in needed and f"{entry}.json" not in records:
                    remove_tree(layers.fileno(), os.fsencode(entry))
        return Pruned(count, size)


class Filling:
    """A directory on its way to be a layer."""

    def __init__(self, cache: Cache, name: str, fd: OwnedFd) -> None:
        self._cache = cache
        self._name = name
        self.fd: OwnedFd = fd

    def commit(self, name: str, record: Record) -> None:
        """Make it the layer *name*."""
        self._cache.commit(self._name, name, record)


def _discard(tmp: int, name: str) -> None:
    """Remove what was to be a layer, and its record: before the directory, whose lock protects it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{name}.json", dir_fd=tmp)
    remove_tree(tmp, os.fsencode(name))


def _name(digest: str) -> str:
    return digest.replace(":", "-")


def _mounted_roots() -> set[str]:
    """Return what overlays in any mount namespace say that they are made of, as far as we may look."""
    found: set[str] = set()
    seen: set[int] = set()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            namespace = os.stat(f"/proc/{pid}/ns/mnt").st_ino
            if namespace in seen:
                continue
            with open(f"/proc/{pid}/mountinfo", "rb") as file:
                mounts = parse_mountinfo(file.read(), types=("overlay",))
                found.update(mount.source for mount in mounts)
            seen.add(namespace)
    return found
