"""Files and directories of the store, by descriptor: made ours alone, written durably, read with distrust."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ..errors import StateCorruptError

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: somebody may have put a fifo there.
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def default_root(program: str = "aiocontainer", *, rootless: bool | None = None) -> str:
    """Where the state goes when nobody said; *rootless* None means: unless we are root, and /run is root's.

    It is not in the user namespace of an ordinary user, where his engine works as root.
    ``$XDG_RUNTIME_DIR`` counts only if it is ours alone, since anybody may have set it.
    """
    euid = os.geteuid()
    if rootless is None:
        rootless = euid != 0 or not _is_roots("/run")
    if not rootless:
        return f"/run/{program}"
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime_dir):
        try:
            found = os.stat(runtime_dir)
        except OSError:
            return f"/tmp/{program}-{euid}"
        if stat.S_ISDIR(found.st_mode) and found.st_uid == euid and not found.st_mode & 0o022:
            return os.path.join(runtime_dir, program)
    return f"/tmp/{program}-{euid}"  # Store opens it only if it is a directory of ours and no link


def _is_roots(path: str) -> bool:
    try:
        return os.stat(path).st_uid == 0
    except FileNotFoundError:
        return True


def make_root(path: str) -> None:
    """Make the root, 0700 whatever the umask, and what is missing above it."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_root(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:  # by somebody who makes it at the same time
            return
    # Sticky for an ordinary user: cleaners of $XDG_RUNTIME_DIR and /tmp leave such alone.
    # XDG Base Directory Specification.
    os.chmod(path, 0o700 if os.geteuid() == 0 else 0o1700)


def check_root(fd: int, path: str) -> None:
    """Refuse a root that is /, or in which others may do as they please; SpecError."""
    found = os.fstat(fd)
    if os.path.samestat(found, os.stat("/")):
        problem = "the state of containers cannot be kept in /"
    elif found.st_uid != os.geteuid() or found.st_mode & 0o022:
        problem = f"{path} must be ours, and writable by nobody else"
    else:
        return
    from ..errors import SpecError  # takes longer to load than a look at a container

    raise SpecError(problem, origin="root")


class closing:  # noqa: N801 - as in contextlib, which takes longer to import than all of this to run
    """Close *fd* in the end."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd: int = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def try_flock(fd: int, operation: int) -> bool:
    """Lock without waiting; False when somebody else has it."""
    import fcntl  # a library of its own, and most who come here only read

    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_new(dirfd: int, name: str, data: bytes) -> None:
    """Make a file of *data*, on disk when this returns."""
    fd = os.open(name, _NEW, 0o600, dir_fd=dirfd)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask took
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def read_old(dirfd: int, name: str, path: str, limit_bytes: int) -> bytes | None:
    """Read a file whole; None when there is none, StateCorruptError when it cannot be ours."""
    try:
        fd = os.open(name, _OLD, dir_fd=dirfd)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise _corrupt(path, "is not a regular file") from exc
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _corrupt(path, "is not a regular file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise _corrupt(path, "belongs to another user, or others may write it")
        if found.st_size > limit_bytes:
            raise _corrupt(path, f"is larger than {limit_bytes} bytes")
        return os.read(fd, limit_bytes)
    finally:
        os.close(fd)


def _corrupt(path: str, problem: str) -> StateCorruptError:
    from ..errors import StateCorruptError  # as above

    return StateCorruptError(path, problem)


def unlink_entry(name: str, dirfd: int) -> None:
    """Remove a file, or a directory and all below it; no error when it is gone."""
    try:
        os.unlink(name, dir_fd=dirfd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        import shutil  # hardly anything of ours is a directory

        shutil.rmtree(name, ignore_errors=True, dir_fd=dirfd)
