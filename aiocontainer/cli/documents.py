"""spec, plan and features: what needs neither privilege nor a running container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .arguments import UsageError

if TYPE_CHECKING:
    from .arguments import Invocation

__all__ = ["features", "plan", "spec"]


def spec(call: Invocation) -> int:
    """Write a default config.json, never over another."""
    from aiocontainer.spec import default_spec, encode_pretty, rootless

    document = default_spec()
    data = encode_pretty(
        rootless(document, os.geteuid(), os.getegid()) if call.options.rootless else document
    )
    path = os.path.join(call.options.bundle or "", call.options.config or "config.json")
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{path} exists; remove it first") from None
    return 0


def plan(call: Invocation) -> int:
    """Print the plan for a bundle as this machine would carry it out."""
    from aiocontainer import Runtime

    from .drive import manager

    cgroups = "systemd" if call.options.systemd_cgroup else manager(call.program)
    lenient = call.program.lenient_cgroups_path
    runtime = Runtime(root=call.program.root, cgroups=cgroups, lenient_paths=lenient)
    print(runtime.plan(call.operands[0], property_policy=call.options.property_policy).listing())
    return 0


def features(call: Invocation) -> int:  # noqa: ARG001 - every command has it
    """Print what can be asked of this program."""
    from aiocontainer import features as document
    from aiocontainer.spec import encode_pretty

    print(encode_pretty(document()).decode(), end="")
    return 0
