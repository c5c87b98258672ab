"""Take one guard out of the product, to prove that the tests of that guard would notice.

The environment variable AIOCONTAINER_WEAKEN is the id of those tests (``T21``; ``T26_CLOSE`` where an
attack meets several guards).  A guard of the helper is compiled out (``-DWEAK_T21``); one in Python is
replaced by what a careless programmer might have written.  Whoever runs containers in a test, and
every program that a test starts for that, calls `weaken`; without the variable that does nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HELPER_GUARDS", "PYTHON_GUARDS", "VARIABLE", "HELPER_VARIABLE", "build_helper", "weaken"]

VARIABLE = "AIOCONTAINER_WEAKEN"
HELPER_VARIABLE = "AIOCONTAINER_WEAK_HELPER"
"""Path of a helper that was built without the guard."""

NATIVE = os.path.join(os.path.dirname(__file__), "..", "..", "_native")

HELPER_GUARDS = (
    *(
        "T02",
        "T04",
        "T06",
        "T07",
        "T11",
        "T12",
        "T13",
        "T20",
        "T21",
        "T24",
        "T26",
        "T26_CLOSE",
        "T27",
        "T28",
    ),
    *("T29", "T30", "T40", "T43", "T45", "T49", "T64", "T65", "T79", "T81"),
)


def build_helper(id: str, target: str) -> None:
    """Compile the helper without the guard *id*."""
    sources = [name for name in sorted(os.listdir(NATIVE)) if name.endswith(".c") and name[:3] != "lib"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-w", "-static-pie", "-fPIE", f"-DWEAK_{id}"]
    subprocess.run(
        ["gcc", *flags, "-o", target, *(os.path.join(NATIVE, name) for name in sources)], check=True
    )


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


def put(place: str, value: Any) -> None:
    """Put a value in the place of what ``module.name`` is, wherever the package has it by that name."""
    module, _, name = place.rpartition(".")
    importlib.import_module("aiocontainer.runtime")  # and with it everything that runs containers
    old = getattr(importlib.import_module(f"aiocontainer.{module}"), name)
    for each in list(sys.modules.values()):
        if each.__name__.startswith("aiocontainer.") and vars(each).get(name) is old:
            setattr(each, name, value)


def use_helper(path: str) -> None:
    """Start this helper instead of the one that the library was built with."""
    from aiocontainer.native._lib import ffi, lib

    with open(path, "rb") as file:
        digest = hashlib.blake2b(file.read(), digest_size=32).hexdigest().encode()
    put("native.spawner._HELPER", path)
    put("native.spawner.lib", Library(lib, lib_helper_digest=ffi.new("char[]", digest)))


def run_unsealed() -> None:
    """T20: run the helper from a memfd that can be written to."""
    from aiocontainer.native import spawner
    from aiocontainer.native._lib import ffi

    def memfd(name: bytes, content: Any, size: int, *_: int) -> int:
        fd = os.memfd_create(name.decode(), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, ffi.buffer(content, size))
        return fd

    put("native.spawner._SEALS", 0)
    spawner.lib = Library(vars(spawner)["lib"], lib_sealed_memfd=memfd)  # type: ignore[attr-defined]


def ask_for_no_calls() -> None:
    """OLDK: begin, and see how far it goes."""
    put("probe._NEEDED_CALLS", ())


def let_others_in() -> None:
    """T01: leave permissions to the caller's umask."""
    from aiocontainer.store import Store

    bind = Store.bind_gate

    def bind_gate(store: Any, id: str) -> Any:
        gate = bind(store, id)
        for path in (store.path, f"{store.path}/{id}", store.gate_path(id)):
            os.chmod(path, 0o777 & ~_umask())
        return gate

    Store.bind_gate = bind_gate  # type: ignore[method-assign]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def obey_annotations() -> None:
    """T03: do as an annotation says."""
    from msgspec.structs import replace

    from aiocontainer.plan.compile import compile_plan

    def obeying(spec: Any, *rest: Any, **options: Any) -> Any:
        if "unconfined" in spec.annotations.values():
            spec = replace(spec, linux=replace(spec.linux, seccomp=None))
        return compile_plan(spec, *rest, **options)

    put("plan.compile.compile_plan", obeying)


def hide_little() -> None:
    """T08: have nothing read-only or out of sight."""
    put("spec.default._MASKED_PATHS", ())
    put("spec.default._READONLY_PATHS", ())


def mount_anywhere() -> None:
    """T09: anything may come to lie below /proc."""
    from aiocontainer.plan import mounts

    class Everything(frozenset[str]):
        def __contains__(self, _: object) -> bool:
            return True

    mounts.UNDER_PROC = Everything()  # type: ignore[misc]


def follow_to_the_host() -> None:
    """T14: look a path up below the root by putting it behind the root's name."""

    def open_in_root(rootfd: int, path: str, flags: int) -> int:
        return os.open(f"/proc/self/fd/{rootfd}/{path.lstrip('/')}", flags | os.O_CLOEXEC)

    put("native.calls.open_in_root", open_in_root)


def wrap_lengths() -> None:
    """T23: have 16 bits for the length of a string."""
    from aiocontainer.native.wire import _LENGTH, _encode_string

    def encode(text: str, step: Any) -> bytes:
        whole = _encode_string(text, step)
        return _LENGTH.pack((len(whole) - _LENGTH.size - 1) & 0xFFFF) + whole[_LENGTH.size :]

    put("native.wire._encode_string", encode)


def use_abstract_names() -> None:
    """T46: have the gate where no directory is in the way."""
    from aiocontainer.store import Store
    from aiocontainer.store import store as module

    bind = Store.bind_gate

    def bind_gate(store: Any, id: str) -> Any:
        bind(store, id).close()  # what is left shows that there is a gate
        gate = module._seqpacket()
        gate.bind(f"\0aiocontainer-{id}")
        gate.listen(1)
        gate.setblocking(True)
        return gate

    def connect_gate(_: Any, id: str) -> Any:
        peer = module._seqpacket()
        peer.connect(f"\0aiocontainer-{id}")
        return peer

    Store.bind_gate = bind_gate  # type: ignore[method-assign]
    Store.connect_gate = connect_gate  # type: ignore[method-assign]


def write_cgroups() -> None:
    """T50: mount cgroups as they are."""
    from aiocontainer.plan import cgroup_mounts

    cgroup_mounts.MOUNT_ATTR_RDONLY = 0  # type: ignore[misc]


def read_any_passwd() -> None:
    """T61: read whatever is there."""
    from aiocontainer.container import source

    class Stat:
        S_ISREG = staticmethod(lambda mode: True)

        def __getattr__(self, name: str) -> Any:
            import stat

            return getattr(stat, name)

    source.stat = Stat()  # type: ignore[assignment]


def mix_sources_up() -> None:
    """T71: give a mount what was opened for its neighbour."""
    from aiocontainer.container.fds import Sources
    from aiocontainer.plan.plan import Tree

    opened = Sources.open

    def mixed(sources: Any, plan: Any, stack: Any) -> list[int]:
        fds = opened(sources, plan, stack)
        mine = [isinstance(item, Tree) and "/aioc-test-" in item.path for item in plan.fds]
        trees = [index for index, each in enumerate(mine) if each]
        for one, other in itertools.pairwise(trees):
            fds[one], fds[other] = fds[other], fds[one]
        return fds

    Sources.open = mixed  # type: ignore[method-assign]


def tell_everything() -> None:
    """T73: help whoever looks for the fault by showing what was asked for."""
    from aiocontainer.container.setup import Setup

    run = Setup.run

    async def telling(setup: Any) -> Any:
        try:
            return await run(setup)
        except Exception as exc:
            exc.add_note(repr(vars(setup)))
            raise

    Setup.run = telling  # type: ignore[method-assign]


def forget_a_descriptor() -> None:
    """T78: leave one open whenever something has failed."""
    from aiocontainer.container.launch import Launch

    abort = Launch.abort

    def forgetting(launch: Any) -> None:
        os.open(os.devnull, os.O_RDONLY)
        abort(launch)

    Launch.abort = forgetting  # type: ignore[method-assign]


def take_any_id() -> None:
    """T05: use an id as it comes."""

    def check(text: str) -> str:
        return text

    put("spec.ids.check_id", check)


def prefer_names() -> None:
    """T10: look a user up by name first."""
    from aiocontainer.spec.ids import parse_user

    def parse(text: str, *, origin: str = "user") -> tuple[int, int | None]:
        return (0, 0) if text == "1000" else parse_user(text, origin=origin)  # as the test's passwd has it

    put("spec.ids.parse_user", parse)


def parse_users_by_int() -> None:
    """T42: let Python say what a number is, and be root if it is none."""

    def parse(text: str, *, origin: str = "user") -> tuple[int, int | None]:
        user, _, group = text.partition(":")
        try:
            return int(user), int(group) if group else None
        except ValueError:
            return 0, None

    put("spec.ids.parse_user", parse)


def bind_sys_as_asked() -> None:
    """T25: make what is bound read-only, and what is mounted below it as it is."""
    from aiocontainer.plan import mounts

    mounts._shows_cgroups = lambda draft, place: False


def write_few_maps() -> None:
    """T62: have room for five entries."""
    from aiocontainer.container.maps import _write_maps
    from aiocontainer.plan.plan import IdMaps

    def few(maps: IdMaps, *rest: Any) -> None:
        _write_maps(IdMaps(maps.uid[:5], maps.gid[:5], maps.deny_setgroups, maps.use_tools), *rest)

    put("container.maps._write_maps", few)


def take_any_text() -> None:
    """T69: end a string at its first NUL, as C would."""
    from aiocontainer.native.wire import _encode_string

    put("spec.document.verify", lambda value: None)
    put("native.wire._encode_string", lambda text, step: _encode_string(text.partition("\0")[0], step))


def leave_streams_closed() -> None:
    """T80: take whatever has the number of a standard stream for the stream."""
    put("container.stdio._is_stream", lambda number: True)


def wait_as_others_do() -> None:
    """T80: wait for a child that may be an ordinary one, and may be gone."""
    from aiocontainer import native

    def wait(pidfd: int, *, reap: bool = True) -> native.Exit | None:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        if ended is None:
            return None
        if ended.si_code == os.CLD_EXITED:
            return native.Exit(ended.si_status, None, False, None)
        return native.Exit(None, ended.si_status, False, None)

    put("native.wait_pidfd", wait)


PYTHON_GUARDS: dict[str, tuple[Callable[[], None], ...]] = {
    "OLDK": (ask_for_no_calls,),
    "T01": (let_others_in,),
    "T03": (obey_annotations,),
    "T05": (take_any_id,),
    "T08": (hide_little,),
    "T09": (mount_anywhere,),
    "T10": (prefer_names,),
    "T14": (follow_to_the_host,),
    "T20": (run_unsealed,),
    "T23": (wrap_lengths,),
    "T25": (bind_sys_as_asked,),
    "T42": (parse_users_by_int,),
    "T46": (use_abstract_names,),
    "T50": (write_cgroups,),
    "T61": (read_any_passwd,),
    "T62": (write_few_maps,),
    "T69": (take_any_text,),
    "T71": (mix_sources_up,),
    "T73": (tell_everything,),
    "T78": (forget_a_descriptor,),
    "T80": (leave_streams_closed,),
    "T80_WAIT": (wait_as_others_do,),
}
