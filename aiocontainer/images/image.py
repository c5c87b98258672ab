"""An image that is ready to be run: verified, unpacked, and turned into a specification."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from .. import native
from .._aio import Closing, OwnedFd, in_thread
from ..errors import ImageError, UnsupportedError
from ..plan.user import MAX_BYTES
from .cache import Cache
from .choose import Found, Layer, find_image, parse_platform, parse_reference
from .convert import image_spec, overlay_mount, unsafe_labels
from .files import open_files
from .limits import Limits
from .merged import read_merged
from .worker import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..spec import Spec
    from .cache import Record, Root
    from .documents import ImageConfig

__all__ = ["Image"]

_ATTEMPTS: Final = 8  # at somebody who prunes at the same time
_CHUNK: Final = 1 << 16
_USERS: Final = (b"etc/passwd", b"etc/group")
_PROGRAM: Final = """\
import sys
sys.path[:] = sys.argv[1].split("\\n")
from aiocontainer.images.worker import main
main()
"""


class Image(Closing):
    """An image whose layers are in the cache, and stay there as long as this is open: until `close`.

    One that `Runtime.image` has opened is closed with the runtime.
    """

    def __init__(
        self,
        reference: str,
        found: Found,
        root: Root,
        layers: Sequence[str],
        notes: Sequence[str],
        names: tuple[bytes, bytes],
    ) -> None:
        self.reference: str = reference
        """As it was opened."""
        self.config: ImageConfig = found.config
        """What it says of itself.  OCI image-spec config.md."""
        self.digest: str = found.digest
        """Of its manifest, ``sha256:...``."""
        self.layers: tuple[str, ...] = tuple(layers)
        """Directories in the cache, the topmost first."""
        self.left_out: tuple[str, ...] = unsafe_labels(found.config)
        """Labels that do not become annotations: some runtime takes them for orders."""
        self.notes: tuple[str, ...] = tuple(notes)
        """What could not be unpacked as it is, as devices by an ordinary user."""
        self._root = root
        self._names = names

    @classmethod
    async def open(
        cls,
        reference: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        limits: Limits | None = None,
    ) -> Image:
        """Find an image on disk, and unpack what the cache lacks of it.

        *reference* is ``PATH``, ``PATH:TAG`` or ``PATH@DIGEST`` of an OCI layout or an archive by docker
        save, as a directory or a tar file; without a tag, of the only image in it, or the latest.
        *cache* None is ``/var/cache/aiocontainer/images``, or below ``$XDG_CACHE_HOME`` of an ordinary
        user; *platform* is ``OS/ARCHITECTURE[/VARIANT]``, this machine if None.  A layer is unpacked once,
        whoever else asks for it; what was begun is removed when this is cancelled.
        Raises `NotFoundError`, `ImageError`, `UnsupportedError`.
        """
        place = None if cache is None else os.fspath(cache)
        opening = _Opening(os.fspath(reference), place, platform, limits or Limits())
        return await in_thread(opening.run, undo=Image.close, interrupt=opening.interrupt)

    def spec(
        self,
        args: Sequence[str] = (),
        *,
        entrypoint: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        hostname: str | None = None,
        tty: bool = False,
        read_only: bool = False,
        upper: str | os.PathLike[str] | None = None,
    ) -> Spec:
        """Return the specification of a container of this image.  OCI image-spec conversion.md.

        *args* take the place of the image's own, after its entry point; *entrypoint* takes that of both.
        *env* adds to the image's environment; *user* is a name or an id of the image, with ``:group`` if
        need be.  What is written ends with the container, or is kept in the directory *upper*, for one
        container at a time.  System calls are filtered by the default profile, programs gain no privileges,
        and the network is one of its own that has only lo.  `SpecError`.
        """
        passwd, group = self._names
        keeping = None if upper is None else _upper(os.path.abspath(upper))
        return image_spec(
            self.config,
            overlay_mount(self.layers, self._root.path, keeping),
            args,
            passwd=passwd,
            group=group,
            ids=None if os.geteuid() == 0 else (os.geteuid(), os.getegid()),
            entrypoint=entrypoint,
            env=env,
            cwd=cwd,
            user=user,
            hostname=hostname,
            tty=tty,
            read_only=read_only,
        )

    @staticmethod
    async def prune(cache: str | os.PathLike[str] | None = None) -> tuple[int, int]:
        """Remove layers that no open image and no container uses; returns how many, and their bytes."""

        def work() -> tuple[int, int]:
            with Cache(None if cache is None else os.fspath(cache)) as opened:
                done = opened.prune()
                return done.layers, done.bytes

        return await in_thread(work)

    def close(self) -> None:
        """Let the layers be pruned, once no container has them; a second call does nothing."""
        self._root.close()

    def __repr__(self) -> str:
        return f"<Image {self.reference} {self.digest}>"


def _upper(path: str) -> tuple[str, str]:
    """Make the directories of a layer that is kept, and return them: what is written, and room to work."""
    found = tuple(os.path.join(path, name) for name in ("upper", "work"))
    for each in found:
        os.makedirs(each, mode=0o755, exist_ok=True)
    return found[0], found[1]


class _Opening:
    """One `Image.open`, in a thread; another may interrupt it."""

    def __init__(self, reference: str, cache: str | None, platform: str | None, limits: Limits) -> None:
        self._text = reference
        self._cache = cache
        self._platform = platform
        self._limits = limits
        self._interrupted = False
        self._worker = -1
        self._lock = threading.Lock()

    def interrupt(self) -> None:
        """End the process that unpacks, and begin none."""
        with self._lock:
            self._interrupted = True
            if self._worker >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._worker, signal.SIGKILL)

    def run(self) -> Image:
        reference = parse_reference(self._text)
        with open_files(reference.path, self._limits) as files:
            try:
                found = find_image(files, reference, parse_platform(self._platform))
            except ImageError as exc:
                exc.path = exc.path or reference.path
                raise
        with Cache(self._cache) as cache:
            root = cache.use(found.config.diff_ids)
            try:
                return self._ready(cache, root, reference.path, found)
            except BaseException:
                root.close()
                raise

    def _ready(self, cache: Cache, root: Root, path: str, found: Found) -> Image:
        for _ in range(_ATTEMPTS):
            present = [cache.find(names) for names in root.names]
            if None not in present:
                return self._image(cache, root, found, [each for each in present if each is not None])
            try:
                self._unpack(cache, path, found.layers)
            finally:
                cache.sweep()
        raise ImageError("the cache is emptied again and again", path=cache.path)

    def _image(self, cache: Cache, root: Root, found: Found, present: Sequence[tuple[str, Record]]) -> Image:
        names: list[str] = []
        notes: list[str] = []
        for name, record in reversed(present):
            if name in names:  # overlayfs takes each once, and what is below adds nothing
                continue
            names.append(name)
            notes += record.unpacked.notes
            if record.unpacked.opaque:
                break
        layers = [cache.directory(name) for name in names] or [f"{root.path}/rootfs"]
        with ExitStack() as stack:
            opened = [stack.enter_context(cache.open_layer(name)).fileno() for name in names]
            passwd, group = (read_merged(opened, name, MAX_BYTES) or b"" for name in _USERS)
        return Image(self._text, found, root, layers, notes, (passwd, group))

    def _unpack(self, cache: Cache, path: str, layers: tuple[Layer, ...]) -> None:
        """Have it done by a process of its own, and wait for that."""
        request = Request(os.path.abspath(path), cache.path, layers, self._limits)
        with OwnedFd(os.memfd_create("aiocontainer-images")) as question, ExitStack() as stack:
            os.write(question.fileno(), msgspec.json.encode(request))
            os.lseek(question.fileno(), 0, os.SEEK_SET)
            answer, theirs = (stack.enter_context(OwnedFd(fd)) for fd in os.pipe2(os.O_CLOEXEC))
            errors = stack.enter_context(OwnedFd(os.memfd_create("aiocontainer-images")))
            pidfd = stack.enter_context(OwnedFd(self._start(question, theirs, errors)))
            theirs.close()
            data = _read_all(answer)
            _wait(pidfd)
            native.wait_pidfd(pidfd.fileno())
            with self._lock:
                self._worker = -1
            if self._interrupted:
                raise InterruptedError
            if not data:
                text = os.pread(errors.fileno(), _CHUNK, 0).decode(errors="backslashreplace")
                raise ImageError(f"unpacking ended: {text.strip()[-2000:]}", path=path)
        msgspec.json.decode(data, type=Answer).check()

    def _start(self, question: OwnedFd, answer: OwnedFd, errors: OwnedFd) -> int:
        if not sys.executable:
            raise UnsupportedError("unpacking", needs="an interpreter that knows its program", origin="image")
        with self._lock:
            if self._interrupted:
                raise InterruptedError
            _, self._worker = native.start_program(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _PROGRAM, "\n".join(_places())],
                [f"{name}={value}" for name, value in os.environ.items()],
                directory="/",
                input=question.fileno(),
                output=answer.fileno(),
                errors=errors.fileno(),
            )
            return self._worker


def _places() -> list[str]:
    """Return where its modules are: where ours are, whatever the environment says, and what finds us."""
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [*map(os.path.abspath, sys.path), own]


def _wait(pidfd: OwnedFd) -> None:
    """Wait for the end, which comes after the last word."""
    poll = select.poll()  # select(2) takes no descriptor from 1024 on
    poll.register(pidfd.fileno(), select.POLLIN)
    poll.poll()


def _read_all(fd: OwnedFd) -> bytes:
    parts = []
    while data := os.read(fd.fileno(), _CHUNK):
        parts.append(data)
    return b"".join(parts)
