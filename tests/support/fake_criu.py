"""A CRIU that does nothing but talk: ``python fake_criu.py SCENARIO swrk FD``.

SCENARIO is a JSON file: by kind of request, the actions that follow one.  Every request is appended to
SCENARIO.requests, decoded by the few lines here, which share nothing with the package under test.
Imported, it makes such a program: `fake_criu`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import time
from typing import Any

__all__ = ["DUMP", "FEATURE_CHECK", "PRE_DUMP", "RESTORE", "VERSION", "fake_criu", "encode", "requests"]

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10

KNOWN = {
    VERSION: [{"answer": {"10": {"1": 4, "2": 1, "4": 1}}}],
    FEATURE_CHECK: [{"answer": {"8": {"1": 1, "2": 1, "3": 1}}}],
}
"""What every scenario begins with, unless it says otherwise."""


def fake_criu(directory: str, scenario: dict[int, list[dict[str, Any]]]) -> str:
    """Write a program into *directory* that acts out *scenario*; its path."""
    script, program = os.path.join(directory, "scenario"), os.path.join(directory, "criu")
    with open(script, "w") as file:
        json.dump({str(kind): actions for kind, actions in (KNOWN | scenario).items()}, file)
    command = shlex.join([sys.executable, "-I", "-S", os.path.abspath(__file__), script])
    with open(program, "w") as file:
        file.write(f'#!/bin/sh\nexec {command} "$@"\n')
    os.chmod(program, 0o755)
    return program


def requests(directory: str) -> list[dict[str, Any]]:
    """Everything that the program in *directory* was asked: by number of field, the values."""
    with open(os.path.join(directory, "scenario.requests")) as file:
        return [json.loads(line) for line in file]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def encode(fields: dict[Any, Any]) -> bytes:
    """Write a message: numbers, texts, and messages by number of field."""
    out = b""
    for number, value in fields.items():
        if isinstance(value, int):
            out += varint(int(number) << 3) + varint(value)
        else:
            data = encode(value) if isinstance(value, dict) else value.encode()
            out += varint(int(number) << 3 | 2) + varint(len(data)) + data
    return out


def take_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def decode(data: bytes, *, nested: bool = True) -> dict[int, list[Any]]:
    """Read a message: what is no number is a text, or the options of a request."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        tag, at = take_varint(data, at)
        if tag & 7 == 0:
            value: Any
            value, at = take_varint(data, at)
        else:
            size, at = take_varint(data, at)
            value, at = data[at : at + size], at + size
            value = decode(value, nested=False) if nested else value.decode(errors="backslashreplace")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def act(sock: socket.socket, kind: int, action: dict[str, Any], request: dict[int, list[Any]]) -> Any:
    """Do one thing; what came back, if it had to be waited for."""
    if "answer" in action:
        sock.send(encode({1: kind, 2: 1} | {int(k): v for k, v in action["answer"].items()}))
    elif "raw" in action:
        sock.send(bytes.fromhex(action["raw"]))
    elif "notify" in action:
        message = encode({1: NOTIFY, 2: 1, 5: {1: action["notify"], 2: action.get("pid", 0)}})
        if "fd" in action:
            fds = [os.open(action["fd"], os.O_RDWR)] * action.get("times", 1)
            socket.send_fds(sock, [message], fds)
        else:
            sock.send(message)
        return receive(sock)
    elif "file" in action:
        number = request[2][0][17][0]  # work_dir_fd
        with open(f"/proc/{os.getppid()}/fd/{number}/{action['file']}", "wb") as file:
            file.write(bytes.fromhex(action["hex"]) if "hex" in action else action["text"].encode())
    elif "say" in action:
        os.write(2, action["say"].encode())
    elif "sleep" in action:
        time.sleep(action["sleep"])
    elif "kill" in action:
        os.kill(os.getpid(), action["kill"])
    elif "exit" in action:
        os._exit(action["exit"])
    return None


def receive(sock: socket.socket) -> dict[int, list[Any]] | None:
    data = sock.recv(1 << 20)
    if not data:
        return None
    request = decode(data)
    with open(f"{sys.argv[1]}.requests", "a") as file:
        file.write(json.dumps(request) + "\n")
    return request


def main() -> int:
    with open(sys.argv[1]) as file:
        scenario = json.load(file)
    assert sys.argv[2] == "swrk"
    sock = socket.socket(fileno=int(sys.argv[3]))
    while (request := receive(sock)) is not None:
        kind = request[1][0]
        for action in scenario.get(str(kind), []):
            reply = act(sock, kind, action, request)
            if reply is not None and reply.get(3) != [1]:  # notify_success
                sock.send(encode({1: kind, 2: 0}))
                break
        if not request.get(4):  # keep_open
            return 0
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
