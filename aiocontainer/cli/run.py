"""create and run: a new container, from a bundle or from nothing but a command."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from .loop import asyncio  # isort: split

from .arguments import UsageError
from .descriptors import listen_fd_names, listen_fds, notify_address
from .drive import drive, manager
from .foreground import catch_signals, stand_in
from .handover import send_pidfd, write_pid_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiocontainer import Command, Container, Runtime, Spec

    from .arguments import Invocation, Namespace

__all__ = ["adopt_its_orphans", "create", "run"]

# Options of `run` that describe the container where no config.json does.
_OF_COMMAND = ("rootfs", "hostname", "env", "cwd", "user", "tty", "memory", "pids_limit", "cpus")


def create(call: Invocation) -> int:
    """Make a container that waits for start."""
    (id,) = call.operands

    async def work(runtime: Runtime) -> int:
        container = await _create(runtime, id, call.options.bundle or ".", call, reap=False)
        try:
            await _hand_over(container, call.options, detached=True)
        except BaseException:
            await container.delete(force=True)
            raise
        return 0

    return drive(call.program, work)


def run(call: Invocation) -> int:
    """Make a container, start it, and, unless detached, stand in for it until it ends."""
    options = call.options
    id, source = (None, "") if options.image else _what(call)
    if options.image:
        id, args = _of_image(call)
    if options.console_socket and not options.detach:
        raise UsageError("--console-socket is for --detach, or for create")

    async def work(runtime: Runtime) -> int:
        what = await _image_spec(runtime, args, options) if options.image else source
        container = await _create(runtime, id, what, call, reap=not options.detach)
        return await _run(container, options)

    return drive(call.program, work, lifetime="detached" if options.detach or options.keep else "owner")


def _what(call: Invocation) -> tuple[str | None, str | Command]:
    """Return the container's id, None to have one made up, and what it is made from."""
    if call.separator is None:
        if len(call.operands) != 1:
            raise UsageError("give an ID, or '--' and a command; see 'aiocontainer run --help'")
        for name in _OF_COMMAND:
            if getattr(call.options, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} needs '--' and a command; see 'aiocontainer run --help'"
                )
        return call.operands[0], call.options.bundle or "."
    args = call.operands[call.separator :]
    if not args:
        raise UsageError("give a command after '--'")
    for name in ("bundle", "config"):
        if getattr(call.options, name):
            raise UsageError(f"--{name} has a command of its own: leave out '--'")
    return call.operands[0] if call.separator else None, _command(args, call.options)


def _of_image(call: Invocation) -> tuple[str | None, list[str]]:
    """Return the id, and what takes the place of the image's own arguments."""
    for name in ("bundle", "config", "rootfs"):
        if getattr(call.options, name):
            raise UsageError(f"--image is a root of its own: leave out --{name}")
    if call.separator is None:
        return None, call.operands
    if call.separator > 1:
        raise UsageError("one ID at most before '--'")
    return call.operands[0] if call.separator else None, call.operands[call.separator :]


async def _image_spec(runtime: Runtime, args: list[str], options: Namespace) -> Spec:
    image = await runtime.image(options.image, cache=options.image_cache)
    spec = image.spec(
        args,
        env=_terminal_type(options) | _variables(options.env),
        cwd=options.cwd,
        user=options.user,
        hostname=options.hostname,
        tty=options.tty,
    )
    limits = (options.memory, options.pids_limit or None, _cpus(options.cpus))
    if limits == (None, None, None):
        return spec
    memory, pids, cpus = limits
    return spec.with_limits(memory=memory, pids=pids, cpus=cpus)


def _command(args: list[str], options: Namespace) -> Command:
    from aiocontainer import Command

    return Command(
        args,
        rootfs=options.rootfs,
        hostname=options.hostname,
        env=_terminal_type(options) | _variables(options.env),
        cwd=options.cwd,
        user=options.user,
        tty=options.tty,
        memory=options.memory,
        pids=options.pids_limit or None,
        cpus=_cpus(options.cpus),
    )


def _cpus(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--cpus: {text!r} is not a number") from None


def _terminal_type(options: Namespace) -> dict[str, str]:
    """Return TERM for a terminal that is joined to ours."""
    return {"TERM": os.environ["TERM"]} if options.tty and "TERM" in os.environ else {}


def _variables(words: list[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        name, equals, variables[name] = word.partition("=")
        if not name or not equals:
            raise UsageError(f"--env {word!r}: give NAME=VALUE")
    return variables


async def _create(
    runtime: Runtime, id: str | None, source: str | Command | Spec, call: Invocation, *, reap: bool
) -> Container:
    """Create; what outlives us is our caller's to *reap*, even if it has ended already."""
    options = call.options
    container = await runtime.create(
        id,
        source,
        config=options.config,
        console_socket=options.console_socket,
        preserve_fds=options.preserve_fds,
        listen_fds=listen_fds(),
        listen_fd_names=listen_fd_names(),
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        notify_socket=notify_address() is not None,
        reap=reap,
        property_policy=options.property_policy,
        verify_properties=options.verify_properties,
    )
    try:
        await _check_cgroup(container, call.program)
    except BaseException:
        await container.delete(force=True)
        raise
    return container


async def _check_cgroup(container: Container, program: Namespace) -> None:
    """Refuse, with --rootless false, that missing rights to make a cgroup were forgiven."""
    if program.rootless != "false" or manager(program) == "none":
        return
    if not (await container.state()).cgroup_paths:
        raise UsageError("--rootless false: no cgroup could be made for the container")


async def _run(container: Container, options: Namespace) -> int:
    keep = False
    try:
        await _hand_over(container, options, detached=options.detach)
        if options.detach:
            await _start(container)
            keep = True
            return 0
        signals = catch_signals(terminal=container.console is not None)
        if not options.no_subreaper:
            await adopt_its_orphans(container)
        async with _starting(container):
            keep = options.keep
            return await stand_in(signals, container.wait, container.kill, container.console)
    finally:
        if not keep:
            await container.delete(force=True)


async def _start(container: Container) -> None:
    """Start it, and with a service manager wait until that knows that it is ready."""
    address = notify_address()
    if address is None:
        await container.start()
        return
    from .notify import start_and_tell  # only those who use it pay for it

    await start_and_tell(container, address)


@contextlib.asynccontextmanager
async def _starting(container: Container) -> AsyncIterator[None]:
    """Start it; what it says of its readiness is passed on for the length of the block.

    We stay the main process, whose exit status the service manager sees.
    """
    address = notify_address()
    if address is None:
        await container.start()
        yield
        return
    from .notify import listening

    async with listening(container, address) as pass_on:
        await container.start()
        passing = asyncio.ensure_future(pass_on(os.getpid()))
        try:
            yield
        finally:
            passing.cancel()
            await asyncio.wait([passing])


async def adopt_its_orphans(container: Container) -> None:
    """Be there for what the container may leave: nothing, where it has a pid namespace of its own."""
    linux = (await container.config()).linux
    if linux is None or linux.namespace("pid") is None:
        from .orphans import adopt_orphans

        adopt_orphans(container.pid)


async def _hand_over(container: Container, options: Namespace, *, detached: bool) -> None:
    """Check that the terminal has somebody to talk to, and tell the caller which process it is."""
    if detached and container.console is not None:
        raise UsageError("a terminal needs --console-socket here, because nobody stays to serve it")
    if options.console_socket and not await _has_terminal(container):
        raise UsageError("--console-socket needs a process with a terminal")
    assert container.process is not None
    if options.pid_file:
        write_pid_file(options.pid_file, container.process.pid)
    if options.pidfd_socket:
        send_pidfd(options.pidfd_socket, container.process.fileno(), "standard")


async def _has_terminal(container: Container) -> bool:
    process = (await container.config()).process
    return process is not None and process.terminal
