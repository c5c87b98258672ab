"""checkpoint and restore: the processes of a container into images, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .arguments import UsageError
from .drive import drive
from .foreground import catch_signals, stand_in
from .handover import write_pid_file
from .run import adopt_its_orphans

if TYPE_CHECKING:
    from aiocontainer import Container, Runtime

    from .arguments import Invocation, Namespace

__all__ = ["checkpoint", "restore"]

_IMAGES = "checkpoint"
"""Directory where none is given, as with runc."""

_SWITCHES = ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "auto_dedup", "lazy_pages")
_OF_CHECKPOINT = ("leave_running", "pre_dump", "tcp_skip_in_flight", "link_remap")


def checkpoint(call: Invocation) -> int:
    """Save a container, which is gone then unless it is to go on."""
    options = call.options
    asked = _common(options) | {name: True for name in _OF_CHECKPOINT if getattr(options, name)}
    if options.parent_path:
        asked["parent"] = options.parent_path
    if options.page_server:
        asked["page_server"] = _server(options.page_server)
    if options.status_fd is not None:
        asked["status_fd"] = _descriptor(options.status_fd)

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        await container.checkpoint(images=options.image_path or _IMAGES, **asked)
        return 0

    return drive(call.program, work)


def restore(call: Invocation) -> int:
    """Bring one back, and, unless detached, stand in for it until it ends."""
    options = call.options
    if options.console_socket and not options.detach:
        raise UsageError("--console-socket is for --detach")
    asked = _common(options)
    for name in ("tcp_close",):
        if getattr(options, name):
            asked[name] = True
    for name in ("lsm_profile", "lsm_mount_context", "console_socket"):
        if getattr(options, name):
            asked[name] = getattr(options, name)

    async def work(runtime: Runtime) -> int:
        container = await runtime.restore(
            call.operands[0], options.bundle or ".", images=options.image_path or _IMAGES, **asked
        )
        return await _serve(container, options)

    return drive(call.program, work, lifetime="detached" if options.detach else "owner")


async def _serve(container: Container, options: Namespace) -> int:
    keep = False
    try:
        if options.detach and container.console is not None:
            raise UsageError("a terminal needs --console-socket here, because nobody stays to serve it")
        if options.pid_file:
            write_pid_file(options.pid_file, container.pid)
        if options.detach:
            keep = True
            return 0
        signals = catch_signals(terminal=container.console is not None)
        if not options.no_subreaper:
            await adopt_its_orphans(container)
        return await stand_in(signals, container.wait, container.kill, container.console)
    finally:
        if not keep:
            await container.delete(force=True)


def _common(options: Namespace) -> dict[str, Any]:
    """Return what both commands know."""
    asked: dict[str, Any] = {name: True for name in _SWITCHES if getattr(options, name)}
    if options.work_path:
        asked["work"] = options.work_path
    if options.manage_cgroups_mode:
        asked["manage_cgroups"] = options.manage_cgroups_mode
    if options.network_lock:
        asked["network_lock"] = options.network_lock
    if options.empty_ns:
        if options.empty_ns != ["network"]:
            raise UsageError("--empty-ns: only 'network' can be saved without its content")
        asked["empty_network"] = True
    return asked


def _server(text: str) -> tuple[str, int]:
    address, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal():
        raise UsageError(f"--page-server {text!r}: give ADDRESS:PORT")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _descriptor(text: str) -> int:
    if text == "-1":
        return -1
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--status-fd: {text!r} is not a number")
    try:
        os.fstat(int(text))
    except (OSError, OverflowError):
        raise UsageError(f"--status-fd: descriptor {text} is not open") from None
    return int(text)
