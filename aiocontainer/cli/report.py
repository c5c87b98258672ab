"""Telling the caller what went wrong: one line on stderr, and a record in the log.

The records are those of runc, which container engines read: ``--log-format json`` has the keys
level, msg and time.  As with crun, the log can be the journal or the system's log, too.
"""

from __future__ import annotations

import os
import sys
import time

from .table import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Report", "quoted"]

_PRIORITIES = {"error": 3, "warning": 4, "debug": 7}
"""Of syslog(3); what is said is of one of these levels."""

_USER = 1 << 3  # syslog(3): LOG_USER

_JOURNAL = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"


class Report:
    """Where messages go; opened before anything is done, so that a bad --log fails first."""

    def __init__(self, path: str | None = None, format: str = "text", level: str = "warning") -> None:
        """Open the log at *path*, or the service that it names; from *level* on messages count."""
        self._as_json: bool = format == "json"
        self._least: int = _PRIORITIES[level]
        self._log: Callable[[str, str], None] | None = None
        self._close: Callable[[], None] | None = None
        if path is not None:
            self._open(path)

    def _open(self, path: str) -> None:
        kind, colon, rest = path.partition(":")
        if colon and kind in _SERVICES:
            from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket  # the C half of `socket`

            place, write = _SERVICES[kind]
            service = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
            self._close = service.close
            try:
                service.connect(place())
            except OSError:
                self.close()
                raise
            name = " ".join(rest.split()) or PROGRAM
            self._log = lambda level, text: _try_send(service, write(name, level, text))
            return
        if colon and kind == "file":
            path = rest
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC | os.O_CLOEXEC, 0o644)
        self._close = lambda: os.close(fd)
        self._log = lambda level, text: _write(fd, self._record(level, text))

    def error(self, text: str) -> None:
        """Say why the command failed."""
        self.tell("error", text)

    def tell(self, level: str, text: str) -> None:
        """Say something in one line, if its level counts."""
        if _PRIORITIES[level] > self._least:
            return
        line = "; ".join(text.splitlines())
        if self._log is not None:
            self._log(level, line)
        if sys.stderr is None:  # closed when we were started
            return
        if self._as_json and self._log is None:
            print(self._record(level, line), file=sys.stderr)  # as runc: without --log, the log is stderr
        else:
            said = line if level == "error" else f"{level}: {line}"
            print(f"{PROGRAM}: {said}", file=sys.stderr)

    def _record(self, level: str, text: str) -> str:
        return _json_record(level, text) if self._as_json else _text_record(level, text)

    def close(self) -> None:
        """Close the log."""
        self._log = None
        if self._close is not None:
            close, self._close = self._close, None
            close()


def _write(fd: int, record: str) -> None:
    os.write(fd, f"{record}\n".encode(errors="backslashreplace"))


def _try_send(service: object, message: bytes) -> None:
    """Send it, unless the service has gone meanwhile: it is on stderr, too."""
    try:
        service.send(message)  # type: ignore[attr-defined]
    except OSError:
        return


def _to_journal(name: str, level: str, text: str) -> bytes:
    """Write an entry in the journal's native protocol: each field is a line of its own, and *text* is one."""
    fields = (("MESSAGE", text), ("PRIORITY", str(_PRIORITIES[level])), ("SYSLOG_IDENTIFIER", name))
    return "".join(f"{key}={value}\n" for key, value in fields).encode(errors="backslashreplace")


def _to_syslog(name: str, level: str, text: str) -> bytes:
    """Write a message as syslog(3) does, RFC 3164; NUL would end it."""
    when = time.strftime("%b %e %H:%M:%S")
    message = f"<{_USER | _PRIORITIES[level]}>{when} {name}[{os.getpid()}]: {text}"
    return message.replace("\0", "\\0").encode(errors="backslashreplace")


_SERVICES: dict[str, tuple[Callable[[], str], Callable[[str, str, str], bytes]]] = {
    "journald": (lambda: _JOURNAL, _to_journal),
    "syslog": (lambda: _SYSLOG, _to_syslog),
}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json_record(level: str, text: str) -> str:
    return f'{{"level":"{level}","msg":{quoted(text)},"time":"{_now()}"}}'


def _text_record(level: str, text: str) -> str:
    return f'time="{_now()}" level={level} msg={quoted(text, ascii=False)}'


def quoted(text: str, *, ascii: bool = True) -> str:
    """Write a JSON string, as `json.dumps` does, whose import takes longer than a whole `state`."""
    try:
        from _json import encode_basestring, encode_basestring_ascii
    except ImportError:  # no part of the language, but of every CPython so far
        from json.encoder import encode_basestring, encode_basestring_ascii
    return encode_basestring_ascii(text) if ascii else encode_basestring(text)
