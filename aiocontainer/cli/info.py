"""info: what this machine has of what containers are made of, and what we may use of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .version import version_text

if TYPE_CHECKING:
    from .arguments import Invocation

__all__ = ["info"]


def info(call: Invocation) -> int:
    """Print what is there."""
    from aiocontainer import Runtime

    found = Runtime.machine()
    if call.options.format == "json":
        import json

        print(json.dumps(found, indent=2))
        return 0
    print(version_text())
    width = max(map(len, found)) + 2
    for name, value in found.items():
        print(f"{name + ':':{width}}{_text(value)}".rstrip())
    return 0


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(value) or "-"
    return str(value)
