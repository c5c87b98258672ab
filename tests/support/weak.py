"""Take one guard out of the product, to prove that the tests of that guard would notice.

The environment variable AIOCONTAINER_WEAKEN is the id of those tests (``T21``).  A guard of the helper
is compiled out (``-DWEAK_T21``); one in Python is replaced by what a careless programmer might have
written.  Whoever runs containers in a test, and every program that a test starts for that, calls
`weaken`; without the variable that does nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HELPER_GUARDS", "PYTHON_GUARDS", "VARIABLE", "HELPER_VARIABLE", "build_helper", "weaken"]

VARIABLE = "AIOCONTAINER_WEAKEN"
HELPER_VARIABLE = "AIOCONTAINER_WEAK_HELPER"
"""Path of a helper that was built without the guard."""

NATIVE = os.path.join(os.path.dirname(__file__), "..", "..", "_native")

HELPER_GUARDS = (
    "T06",
    "T11",
    "T20",
    "T21",
    "T24",
    "T26",
    "T27",
    "T28",
    "T29",
    "T43",
    "T45",
    "T49",
    "T81",
)


def build_helper(id: str, target: str) -> None:
    """Compile the helper without the guard *id*."""
    sources = [name for name in sorted(os.listdir(NATIVE)) if name.endswith(".c") and name[:3] != "lib"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-w", "-static-pie", "-fPIE", f"-DWEAK_{id}"]
    subprocess.run(["gcc", *flags, "-o", target, *(os.path.join(NATIVE, name) for name in sources)], check=True)


def weaken() -> None:
    """Take out the guard that the environment names."""
    id = os.environ.get(VARIABLE)
    if not id:
        return
    if id in HELPER_GUARDS:
        use_helper(os.environ[HELPER_VARIABLE])
    for change in PYTHON_GUARDS.get(id, ()):
        change()


class Library:
    """The compiled library, with some of its members replaced."""

    def __init__(self, real: Any, **members: Any) -> None:
        self._real = real
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def use_helper(path: str) -> None:
    """Start this helper instead of the one that the library was built with."""
    from aiocontainer.native import spawner

    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest().encode()
    spawner._HELPER = path  # type: ignore[misc]
    spawner.lib = Library(spawner.lib, lib_helper_digest=spawner.ffi.new("char[]", digest))


def run_unsealed() -> None:
    """T20: run the helper from a memfd that can be written to."""
    from aiocontainer.native import spawner

    def memfd(name: bytes, content: Any, size: int, *_: int) -> int:
        fd = os.memfd_create(name.decode(), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, spawner.ffi.buffer(content, size))
        return fd

    spawner._SEALS = 0  # type: ignore[misc]
    spawner.lib = Library(spawner.lib, lib_sealed_memfd=memfd)


def take_any_id() -> None:
    """T05: use an id as it comes."""
    from aiocontainer import runtime, store

    runtime.check_id = lambda id: id
    store.check_id = lambda id: None


def prefer_names() -> None:
    """T10: look a user up by name first."""
    from aiocontainer.container import entering, source
    from aiocontainer.spec.ids import parse_user

    def parse(text: str, *, origin: str = "user") -> tuple[int, int | None]:
        return (0, 0) if text == "1000" else parse_user(text, origin=origin)  # as the test's passwd has it

    entering.parse_user = source.parse_user = parse


def parse_users_by_int() -> None:
    """T42: let Python say what a number is, and be root if it is none."""
    from aiocontainer.container import entering, source

    def parse(text: str, *, origin: str = "user") -> tuple[int, int | None]:
        user, _, group = text.partition(":")
        try:
            return int(user), int(group) if group else None
        except ValueError:
            return 0, None

    entering.parse_user = source.parse_user = parse


def write_few_maps() -> None:
    """T62: have room for five entries."""
    from aiocontainer.container import maps
    from aiocontainer.plan.plan import IdMaps

    write = maps._write_maps

    def few(wanted: IdMaps, *rest: Any) -> None:
        write(IdMaps(wanted.uid[:5], wanted.gid[:5], wanted.deny_setgroups, wanted.use_tools), *rest)

    maps._write_maps = few


def take_any_text() -> None:
    """T69: end a string at its first NUL, as C would."""
    from aiocontainer.native import wire

    encode = wire._encode_string
    check = importlib.import_module("aiocontainer.spec.check")  # the package has a function of that name
    check.verify = lambda value: None  # type: ignore[attr-defined]
    wire._encode_string = lambda text, step: encode(text.partition("\0")[0], step)


def leave_streams_closed() -> None:
    """T80: take a closed stream for a mistake of the caller."""
    from aiocontainer.container import stdio

    real = stdio._open

    def opened(number: int, word: int | None, payload: Any) -> int:
        return os.dup(number) if word is None else real(number, word, payload)

    stdio._open = opened


PYTHON_GUARDS: dict[str, tuple[Callable[[], None], ...]] = {
    "T05": (take_any_id,),
    "T10": (prefer_names,),
    "T20": (run_unsealed,),
    "T42": (parse_users_by_int,),
    "T62": (write_few_maps,),
    "T69": (take_any_text,),
    "T80": (leave_streams_closed,),
}
