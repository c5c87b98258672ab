"""The program in the container: pytest for one test, which tells what happens by a socket.

It is run as a file, with that socket as standard input: nothing of this package has to be imported, and
the module path is that of the pytest outside.  What comes by the socket is one pickle, from our own side;
what goes is a line of JSON for each thing that has happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import warnings
    from typing import NoReturn

    import pytest

__all__ = ["main"]

NAME = "aiocontainer-inside"


def main() -> NoReturn:
    """Be the init that reaps, and in a child of it, run the test."""
    channel = socket.socket(fileno=os.dup(0))  # close-on-exec: what the test starts does not have it
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    child = os.fork()
    if child:
        channel.close()
        _reap(child)
    status = 3
    try:
        status = _test(channel)
    except BaseException:  # noqa: BLE001 - told outside; nothing is above us
        import traceback

        _send(channel, {"failure": traceback.format_exc()})
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # whatever threads the test has left


def _reap(child: int) -> NoReturn:
    """Wait for every orphan, and end as *child* does; somebody must.  pid_namespaces(7)."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _test(channel: socket.socket) -> int:
    with channel.makefile("rb") as file:
        job = pickle.load(file)
    sys.path[:] = job["path"]

    from _pytest.config import Config

    config = Config.fromdictargs(dict(_loaded(job["options"])), job["args"])
    config.pluginmanager.register(_Teller(config, channel), NAME)
    return int(config.hook.pytest_cmdline_main(config=config))


def _loaded(options: dict[str, bytes]) -> list[tuple[str, Any]]:
    """Return options whose values can be had here, too."""
    found = []
    for name, value in options.items():
        with contextlib.suppress(Exception):
            found.append((name, pickle.loads(value)))
    return found


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message, default=repr).encode() + b"\n")


class _Teller:
    """Tells of the test; sizes say how much of the output was there by then."""

    def __init__(self, config: pytest.Config, channel: socket.socket) -> None:
        self._config = config
        self._channel = channel

    def _tell(self, **message: Any) -> None:
        _send(self._channel, message)

    @staticmethod
    def _sizes() -> list[int]:
        sys.stdout.flush()
        sys.stderr.flush()
        return [os.fstat(fd).st_size for fd in (1, 2)]

    def pytest_runtest_logstart(self) -> None:
        self._tell(begun=True, sizes=self._sizes())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._tell(report=data, sizes=self._sizes())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell(failure=str(report.longrepr))

    def pytest_internalerror(self, excrepr: object) -> None:
        self._tell(failure=str(excrepr))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: object
    ) -> None:
        category = warning_message.category
        self._tell(
            warning=str(warning_message.message),
            category=[category.__module__, category.__qualname__],
            file=[warning_message.filename, warning_message.lineno],
            when=when,
            nodeid=nodeid,
            location=location,
        )


if __name__ == "__main__":
    main()
