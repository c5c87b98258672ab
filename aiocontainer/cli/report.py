"""Telling the caller what went wrong: one line on stderr, and a record in the log file.

The records are those of runc, which container engines read: ``--log-format json`` has the keys
level, msg and time.
"""

from __future__ import annotations

import os
import sys
import time

from .table import PROGRAM

__all__ = ["Report", "quoted"]


class Report:
    """Where messages go; opened before anything is done, so that a bad --log fails first."""

    def __init__(self, path: str | None = None, format: str = "text") -> None:
        self._as_json = format == "json"
        self._fd = -1
        if path is not None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)

    def error(self, text: str) -> None:
        """Say why the command failed."""
        line = "; ".join(text.splitlines())
        record = _json_record(line) if self._as_json else _text_record(line)
        if self._fd >= 0:
            os.write(self._fd, f"{record}\n".encode(errors="backslashreplace"))
        if sys.stderr is None:  # closed when we were started
            return
        if self._as_json and self._fd < 0:
            print(record, file=sys.stderr)  # as runc: without --log, the log is stderr
        else:
            print(f"{PROGRAM}: {line}", file=sys.stderr)

    def close(self) -> None:
        """Close the log file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json_record(text: str) -> str:
    return f'{{"level":"error","msg":{quoted(text)},"time":"{_now()}"}}'


def _text_record(text: str) -> str:
    return f'time="{_now()}" level=error msg={quoted(text, ascii=False)}'


def quoted(text: str, *, ascii: bool = True) -> str:
    """Write a JSON string, as `json.dumps` does, whose import takes longer than a whole `state`."""
    try:
        from _json import encode_basestring, encode_basestring_ascii
    except ImportError:  # no part of the language, but of every CPython so far
        from json.encoder import encode_basestring, encode_basestring_ascii
    return encode_basestring_ascii(text) if ascii else encode_basestring(text)
