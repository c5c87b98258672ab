"""What a test may leave behind: nothing.  Two pictures of the machine, and their difference.

Other tests may run on the machine meanwhile, and the kernel tidies up a little after the fact; so
only what is still there after some time of waiting counts as left behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["LeakError", "Leaks", "picture"]

# Names of cgroups and processes that can be ours.
PREFIX = "aioc"


class LeakError(AssertionError):
    """Something is there that was not there before."""


def read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:  # a process that ended while we looked
        return ""


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def mounts() -> Iterator[str]:
    """Mounts of this mount namespace: where, what, and which part of it."""
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        yield f"mount {fields[4]} of {' '.join(right.split()[:2])} {fields[3]}"


def cgroup_roots() -> Iterator[str]:
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            yield left.split()[4]


def cgroups() -> Iterator[str]:
    for root in cgroup_roots():
        for directory, names, _ in os.walk(root):
            yield from (f"cgroup {directory}/{name}" for name in names if name.startswith(PREFIX))


def status(pid: str, field: str) -> str:
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(f"{field}:"):
            return line.partition(":")[2].strip()
    return ""


def is_ours(pid: str) -> bool:
    """A child of this process; or an orphan that is one of its kind by name, or in a pid namespace.

    What has a living parent elsewhere belongs to another run of tests on this machine.
    """
    parent = status(pid, "PPid")
    if parent == str(os.getpid()):
        return True
    if parent not in ("0", "1"):
        return False
    if status(pid, "Name").startswith(PREFIX):
        return True
    namespace = link(f"/proc/{pid}/ns/pid")
    return bool(namespace) and namespace != link("/proc/self/ns/pid")


def processes() -> Iterator[str]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if is_ours(pid):
            command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
            yield f"process {pid}: {command or status(pid, 'Name')} ({status(pid, 'State')})"


def descriptors() -> Iterator[str]:
    """Open descriptors of this process, but the one that lists them."""
    for number in os.listdir("/proc/self/fd"):
        target = link(f"/proc/self/fd/{number}")
        if target and not target.endswith("/fd"):
            yield f"descriptor {number}: {target}"


def keyrings() -> Iterator[str]:
    """Keys that this process can see, but those of services: root sees them.  keyrings(7), proc_keys(5)"""
    for line in read("/proc/keys").splitlines():
        fields = line.split()
        if fields[8].rstrip(":") in ("invocation_id", "_ses"):  # systemd.exec(5) "KeyringMode="
            continue
        yield f"key {fields[0]} {fields[7]} {fields[8].rstrip(':')}"  # then how full it is: may change


def entries(directories: Iterable[str]) -> Iterator[str]:
    """State of containers in watched directories, and in the default ones."""
    for directory in ("/run/aiocontainer", *directories):
        with contextlib.suppress(FileNotFoundError):
            yield from (f"state {directory}/{name}" for name in os.listdir(directory))


KINDS: tuple[Callable[[], Iterator[str]], ...] = (mounts, cgroups, processes, descriptors, keyrings)


def picture(directories: Iterable[str] = ()) -> frozenset[str]:
    """Everything that a container could leave behind, in words."""
    found = {what for kind in KINDS for what in kind()}
    return frozenset(found.union(entries(directories)))


class Leaks:
    """Compares the machine with how it was at the beginning."""

    def __init__(self, *, patience_s: float) -> None:
        self.patience_s = patience_s
        self._directories: list[str] = []
        self._before = picture()

    def watch(self, directory: str) -> None:
        """Look for leftovers in *directory* too, a state root; it counts as empty now."""
        self._directories.append(directory)

    def left(self) -> list[str]:
        """What is there now and was not before; waits for it to go."""
        deadline = time.monotonic() + self.patience_s
        pause_s, left = 0.005, picture(self._directories) - self._before
        while left and time.monotonic() < deadline:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.25)
            left &= picture(self._directories)
        return sorted(left)

    def check(self) -> None:
        """Raise `LeakError` naming everything that was left behind."""
        left = self.left()
        if left:
            raise LeakError("left behind:\n" + "\n".join(left))
