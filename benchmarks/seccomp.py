"""What a filter of system calls costs a start: the same container with and without, turn by turn.

    python benchmarks/seccomp.py [--pairs N] [--profile FILE] [--every-time]

FILE is a profile as moby writes it, or the `linux.seccomp` of a config.json; without one it is our own
default.  The first of both is not counted: from then on the program of the filter is in memory.  With
--every-time each container has a specification of its own, as after a restart of the application:
then the program comes from the cache by the digest of its profile.  Root is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import floor
import view
from msgspec.structs import replace

from aiocontainer import Runtime, Spec
from aiocontainer.plan.seccomp import compile_filter
from aiocontainer.spec import Seccomp, decode_spec

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
LIMIT_MS = 0.3


def chosen(entry: dict[str, Any], capabilities: frozenset[str]) -> bool:
    """Whether an entry of moby's profile counts on this machine, for these capabilities."""
    only, but = entry.get("includes", {}), entry.get("excludes", {})
    machine = MACHINES.get(os.uname().machine, os.uname().machine)
    return (
        (not only.get("arches") or machine in only["arches"])
        and machine not in but.get("arches", ())
        and set(only.get("caps", ())) <= capabilities
        and not set(but.get("caps", ())) & capabilities
    )


def profile_of(path: str, capabilities: frozenset[str]) -> Seccomp:
    """Read a profile; every name a rule of its own, as moby hands it to runtimes."""
    document = json.loads(Path(path).read_text())
    entries = [entry for entry in document["syscalls"] if chosen(entry, capabilities)]
    members = ("action", "args", "errnoRet")
    rules = [
        {"names": [name], **{key: entry[key] for key in members if entry.get(key) is not None}}
        for entry in entries
        for name in entry["names"]
    ]
    own = f"SCMP_ARCH_{os.uname().machine.upper()}"
    architectures = document.get("architectures") or [
        each
        for entry in document.get("archMap", ())
        if entry["architecture"] == own
        for each in (own, *(entry["subArchitectures"] or ()))
    ]
    seccomp = {"defaultAction": document["defaultAction"], "architectures": architectures, "syscalls": rules}
    if "defaultErrnoRet" in document:
        seccomp["defaultErrnoRet"] = document["defaultErrnoRet"]
    spec = decode_spec(json.dumps({"ociVersion": "1.2.0", "linux": {"seccomp": seccomp}}))
    assert spec.linux is not None
    assert spec.linux.seccomp is not None
    return spec.linux.seccomp


async def once(runtime: Runtime, spec: Spec) -> int:
    """Nanoseconds of create and start."""
    begin = time.monotonic_ns()
    container = await runtime.create(None, spec, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    await container.start()
    end = time.monotonic_ns()
    await container.wait()
    await container.delete()
    return end - begin


async def measure(options: argparse.Namespace) -> float:
    with floor.compiled() as program, tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        plain = Spec.default(["/true"], rootfs=program.rootfs)
        assert plain.linux is not None
        assert plain.process is not None
        assert plain.process.capabilities is not None
        held = frozenset(plain.process.capabilities.bounding)
        filtered = plain.with_default_seccomp()
        if options.profile:
            seccomp = profile_of(options.profile, held)
            filtered = replace(plain, linux=replace(plain.linux, seccomp=seccomp))
        assert filtered.linux is not None
        assert filtered.linux.seccomp is not None
        rules = len(compile_filter(filtered.linux.seccomp).rules)

        def given(spec: Spec) -> Spec:
            return decode_spec(spec.encode()) if options.every_time else spec

        async with Runtime(root=f"{work}/state") as runtime:
            for spec in (plain, filtered) * 3:
                await once(runtime, spec)
            pairs = []
            for number in range(options.pairs):
                order = (plain, filtered) if number % 2 else (filtered, plain)
                took = {id(spec): await once(runtime, given(spec)) for spec in order}
                pairs.append((took[id(plain)] / 1e6, took[id(filtered)] / 1e6))
    added = statistics.median(two - one for one, two in pairs)
    without, with_it = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors, {options.pairs} pairs, {rules} rules")
    print(f"create and start: {without:.3f} ms without, {with_it:.3f} ms with the filter (medians)")
    print(f"added: {added:.3f} ms (median of the differences; promised is less than {LIMIT_MS})")
    return added


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a filter of system calls costs a start.")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--profile", help="a profile as moby writes it, or as in config.json")
    parser.add_argument(
        "--every-time", action="store_true", help="a specification of its own for each container"
    )
    options = parser.parse_args()
    if not view.is_pure():
        command = view.wrap([sys.executable, *sys.argv])
        os.execvp(command[0], command)
    return int(asyncio.run(measure(options)) >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
