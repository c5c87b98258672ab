"""Running one test in a container: what it is given, what it tells, and what is said where it cannot."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pickle
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from aiocontainer import Command, ContainerError, ExitStatus, NotRunningError, Runtime
from aiocontainer.spec import Mount

from . import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aiocontainer import Container

__all__ = ["reports"]

_BLOCKED: Final = ("terminal", "xdist", "pytest_cov")
"""Plugins that have nothing to do in there: their part is done outside."""
_RESET: Final[Mapping[str, Any]] = {
    "basetemp": None,
    "capture": "no",  # its output goes to files of ours, which outlive it
    "collectonly": False,
    "deselect": None,
    "failedfirst": False,
    "keyword": "",
    "lf": False,
    "log_file": None,
    "markexpr": "",
    "maxfail": 0,
    "newfirst": False,
    "numprocesses": None,
    "pastebin": None,
    "plugins": [],
    "pyargs": False,
    "trace": False,
    "usepdb": False,
    "xmlpath": None,
}
"""Options that choose tests, or write files: for the one test that is left they say nothing."""
_PRIVATE: Final = ("/tmp", "/run")
"""What a container has of its own: directories below it have to be shown."""
_OURS: Final = ("TMPDIR", "PYTEST_DEBUG_TEMPROOT")
"""Variables with directories that a container does not have."""
_START_S: Final = 120.0
"""To import pytest and collect the test anew, at most."""
_GRACE_S: Final = 3.0
"""To say where it hangs, after its deadline."""
_NEXT: Final[Mapping[str | None, str]] = {None: "setup", "setup": "call", "call": "teardown"}


def reports(
    item: pytest.Item, nextitem: pytest.Item | None, limits: Mapping[str, Any]
) -> Iterator[pytest.TestReport]:
    """Do the test, and yield its reports as they would have come here."""
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            told = runner.run(_Told.of(item, **limits))
    except pytest.fail.Exception as exc:  # by a signal handler, as that of pytest-timeout
        told = _Told(problem=str(exc))
    except (ContainerError, OSError) as exc:
        told = _Told(problem=f"the container could not be made: {exc}")
    yield from _as_reports(item, told, limits)
    call = pytest.CallInfo.from_call(
        lambda: item.session._setupstate.teardown_exact(nextitem),  # noqa: SLF001 - as its own hook does
        when="teardown",
    )
    if call.excinfo is not None:  # of what tests before it have set up, and those after it do not use
        yield item.ihook.pytest_runtest_makereport(item=item, call=call)


# The container ------------------------------------------------------------------------------------------


class _Told(NamedTuple):
    """What became of a test."""

    messages: tuple[dict[str, Any], ...] = ()
    outputs: tuple[bytes, bytes] | None = None
    """Standard output and error; None where they were not kept."""
    exit: ExitStatus | None = None
    timed_out: bool = False
    problem: str = ""

    @classmethod
    async def of(cls, item: pytest.Item, *, timeout_s: float | None = None, **limits: Any) -> _Told:
        """Run *item* in a container with these limits."""
        ours, theirs = socket.socketpair()
        kept = item.config.option.capture != "no"
        files = [_output(name) for name in ("stdout", "stderr")] if kept else []
        try:
            stdio: dict[str, Any] = dict(zip(("stdout", "stderr"), files, strict=False))
            async with (
                Runtime() as runtime,
                runtime.container(_command(item, **limits), stdin=theirs.fileno(), **stdio) as container,
            ):
                theirs.close()
                messages, timed_out = await _talk(container, ours, _job(item), timeout_s)
                exit = await container.wait()
            outputs = (_content(files[0]), _content(files[1])) if kept else None
            return cls(tuple(messages), outputs, exit, timed_out)
        finally:
            theirs.close()
            ours.close()
            for fd in files:
                os.close(fd)


def _output(name: str) -> int:
    """Return a file that is whole whatever ends its writer, and that counts as the writer's memory."""
    fd = os.memfd_create(name)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _command(item: pytest.Item, **limits: Any) -> Command:
    """Return pytest over a throw-away layer over this machine's root, as the same user."""
    places = (item.config.rootpath, item.path.parent, item.config.invocation_params.dir)
    shown = _hidden([*map(str, places), sys.prefix, sys.base_prefix, *sys.path, inside.__file__])
    return Command(
        (sys.executable, "-u", "-P", inside.__file__),
        rootfs="/",
        env={name: value for name, value in os.environ.items() if name not in _OURS},
        cwd=str(item.config.invocation_params.dir),
        mounts=[Mount.bind(path, path, read_only=True) for path in shown],
        **limits,
    )


def _hidden(paths: Iterable[str]) -> list[str]:
    """Return those that would be hidden by directories of the container's own, the outermost of each."""
    real = sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})
    below = [path for path in real if path.startswith(tuple(f"{each}/" for each in _PRIVATE))]
    return [path for path in below if not any(path.startswith(f"{other}/") for other in below)]


def _job(item: pytest.Item) -> bytes:
    """Return how to find this test, and only this, with the options of this pytest."""
    config = item.config
    place = f"{item.path}::{item.nodeid.partition('::')[2]}"
    plugins = [*config.option.plugins, *(f"no:{name}" for name in _BLOCKED)]
    args = [word for name in plugins for word in ("-p", name)]
    if config.inipath is not None:
        args += ["-c", str(config.inipath)]
    if config.pluginmanager.has_plugin("cacheprovider"):
        args += ["-o", "cache_dir=/tmp/.pytest_cache"]
    args += ["--rootdir", str(config.rootpath), place]
    options = {}
    values = {**vars(config.option), **_RESET}
    values.pop("file_or_dir", None)  # is for the arguments, which are others
    for name, value in values.items():
        with suppress(Exception):  # what is only of use here
            options[name] = pickle.dumps(value)
    return pickle.dumps({"path": list(sys.path), "options": options, "args": args})


async def _talk(
    container: Container, ours: socket.socket, job: bytes, timeout_s: float | None
) -> tuple[list[dict[str, Any]], bool]:
    """Send the job and take down what is told, until nobody is left who could tell anything."""
    messages: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(job)
    try:
        async with asyncio.timeout(_START_S) as deadline:
            async for message in _lines(reader):
                messages.append(message)
                if "begun" in message:
                    deadline.reschedule(None if timeout_s is None else loop.time() + timeout_s)
    except TimeoutError:
        await _end(container)
        return messages, True
    finally:
        writer.close()
    return messages, False


async def _lines(reader: asyncio.StreamReader) -> Any:
    rest = b""
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


async def _end(container: Container) -> None:
    """Have faulthandler say where it hangs, for which SIGABRT is the word; then kill what is left."""
    with suppress(NotRunningError):
        await container.kill("ABRT", all=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await container.wait()
        await container.kill("KILL")


# Reports ------------------------------------------------------------------------------------------------


def _as_reports(item: pytest.Item, told: _Told, limits: Mapping[str, Any]) -> Iterator[pytest.TestReport]:
    phase: str | None = None
    sections: list[tuple[str, str]] = []
    before: tuple[int, ...] = (0, 0)
    for message in told.messages:
        if "warning" in message:
            _warn(item, message)
        if "begun" in message:
            before = tuple(message["sizes"])
        if "report" not in message:
            continue
        report = _report_of(item, message["report"])
        phase = "call" if report.when == "setup" and not report.passed else report.when
        sections += _sections(told, report.when, before, message["sizes"])
        before = tuple(message["sizes"])
        report.sections[:0] = sections
        if report.when == "teardown":
            report.sections += _kills(told, limits)
        yield report
    if phase == "teardown":
        return
    sections += _sections(told, _NEXT[phase], before, None)
    yield _report(item, _NEXT[phase], "failed", _problem(told, limits), sections)
    if _NEXT[phase] != "teardown":  # which is what a test ends with
        yield _report(item, "teardown", "passed", None, sections)


def _report_of(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    """Read a report; JSON knows lists only."""
    report: pytest.TestReport = item.config.hook.pytest_report_from_serializable(
        config=item.config, data=data
    )
    for name in ("location", "longrepr"):
        if isinstance(value := getattr(report, name), list):
            setattr(report, name, tuple(value))
    for name in ("sections", "user_properties"):
        setattr(report, name, [tuple(pair) for pair in getattr(report, name)])
    return report


def _report(
    item: pytest.Item, when: Any, outcome: Any, longrepr: str | None, sections: list[tuple[str, str]]
) -> pytest.TestReport:
    keywords: Any = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, outcome, longrepr, when, sections)


def _sections(
    told: _Told, when: str, before: tuple[int, ...], sizes: list[int] | None
) -> Iterator[tuple[str, str]]:
    """Return what was written between two sizes of the outputs, titled as pytest does it."""
    for i, output in enumerate(told.outputs or ()):
        text = output[before[i] : None if sizes is None else sizes[i]].decode(errors="backslashreplace")
        if text:
            yield f"Captured {('stdout', 'stderr')[i]} {when}", text


def _problem(told: _Told, limits: Mapping[str, Any]) -> str:
    """Return why there is no report of its end."""
    failures = [message["failure"] for message in told.messages if "failure" in message]
    if told.problem:
        return told.problem
    if told.timed_out and any("begun" in message for message in told.messages):
        return f"timed out: it had not ended after {limits['timeout_s']:g} s, and was killed"
    if told.timed_out:
        return f"timed out: it had not begun in the container after {_START_S:g} s"
    assert told.exit is not None
    if told.exit.oom is not None:
        return "\n".join(text for _, text in _kills(told, limits))
    if failures:
        return "pytest failed in the container:\n" + "\n".join(failures)
    if (
        not any("begun" in message for message in told.messages)
        and told.exit.known
        and told.exit.code in (4, 5)
    ):
        return "it is not found when it is collected again, in the container"
    return f"the process ended before its test: {_how(told.exit)}"


def _how(exit: ExitStatus) -> str:
    """Say how the process ended that the init has waited for."""
    if exit.code is None or exit.code <= 128:
        return str(exit)
    return str(ExitStatus(signal=_signal(exit.code - 128)))


def _signal(number: int) -> Any:
    import signal

    try:
        return signal.Signals(number)
    except ValueError:
        return number


def _kills(told: _Told, limits: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell of kills for want of memory, whether or not the test has survived them."""
    oom = None if told.exit is None else told.exit.oom
    if oom is None:
        return
    what = "1 process was" if oom.kills == 1 else f"{oom.kills} processes were"
    whose = {"container": f"the limit of {limits.get('memory')}", "host": "the machine's memory"}
    peak = "" if oom.peak_bytes is None else f"; at most {oom.peak_bytes / 2**20:.1f} MiB were in use"
    yield (
        "Container",
        f"out of memory: {what} killed, by {whose.get(oom.limit, 'a limit above the container')}{peak}",
    )


def _warn(item: pytest.Item, message: Mapping[str, Any]) -> None:
    """Record a warning here that was recorded there."""
    import importlib
    import warnings

    category: Any = UserWarning
    with suppress(Exception):
        module, name = message["category"]
        category = getattr(importlib.import_module(module), name)
    file, line = message["file"]
    try:
        warning = category(message["warning"])
    except Exception:  # noqa: BLE001 - it wants other arguments
        category, warning = UserWarning, UserWarning(message["warning"])
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": warnings.WarningMessage(warning, category, file, line),
            "nodeid": message["nodeid"],
            "when": message["when"],
            "location": message["location"],
        }
    )
