"""What two runtimes make of one bundle, and in what that differs."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from support.bundles import document, owner_of, write_root

from aiocontainer import ContainerError, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["compare"]

Found = dict[str, Any]

ID = "aioc-test-differential"
STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"),
    *("Seccomp", "Seccomp_filters", "Speculation_Store_Bypass", "SigBlk", "SigIgn", "SigCgt", "NSpid"),
    *("Cpus_allowed_list", "Mems_allowed_list", "Threads", "CoreDumping"),
)
SAME = (
    *("args", "env", "uids", "gids", "capabilities", "blocked", "ignored", "rlimits", "cpus", "nice"),
    *("policy", "schedule", "ioprio", "mempolicy", "nodes", "keyring", "cwd", "hostname", "domainname"),
    *("umask", "pid", "ppid", "sid", "pgid", "has_terminal", "no_new_privs", "dumpable", "securebits"),
    *("keepcaps", "subreaper", "death_signal", "timer_slack", "personality", "oom_score_adj", "setgroups"),
    *("uid_map", "gid_map", "cgroup", "timens_offsets"),
)
CHANGING = ("/proc/keys", "/proc/timer_list")
"""What is in them is new each time."""


async def compare(peer: str, guest: str, first: int, count: int) -> dict[str, list[int]]:
    """Run bundles *first* and after by *peer* and by us; return the differences, and in which bundles."""
    differences: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="aioc-test-") as work:
        os.chmod(work, 0o755)
        async with Runtime(root=f"{work}/ours") as runtime:
            for seed in range(first, first + count):
                theirs = _by_peer(peer, work, guest, seed)
                ours = await _by_us(runtime, work, guest, seed)
                for each in _differences(theirs, ours):
                    differences.setdefault(each, []).append(seed)
    return differences


def _bundle(work: str, guest: str, seed: int) -> str:
    bundle = f"{work}/bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    os.mkdir(bundle)
    config = document(seed)
    write_root(bundle, guest, owner_of(config))
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    return bundle


def _by_peer(peer: str, work: str, guest: str, seed: int) -> Found:
    bundle = _bundle(work, guest, seed)
    command = [peer, "--root", f"{work}/{peer}", "run", "--bundle", bundle, ID]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    if done.returncode != 0:
        subprocess.run(
            [peer, "--root", f"{work}/{peer}", "delete", "--force", ID], capture_output=True, check=False
        )
        return {"run": _failure(done.stderr.decode())}
    return {**_plain(json.loads(done.stdout), work), "left": _left(bundle)}


async def _by_us(runtime: Runtime, work: str, guest: str, seed: int) -> Found:
    bundle = _bundle(work, guest, seed)
    try:
        done = await runtime.run(bundle, id=ID, input=b"")
    except ContainerError as exc:
        return {"run": _failure(str(exc))}
    if not done.exit.clean:
        return {"run": str(done.exit)}
    return {**_plain(json.loads(done.stdout or b""), work), "left": _left(bundle)}


def _failure(text: str) -> str:
    """Return the last line, without what a log puts before it."""
    panic = re.search(r"^panic: .*", text, re.MULTILINE)
    line = panic[0] if panic else (text.strip().splitlines() or ["failed"])[-1]
    return re.sub(r'^time="[^"]*" level=\w+ msg=', "", line)


def _left(bundle: str) -> Found:
    """Return what is in the root afterwards."""
    root = f"{bundle}/rootfs"
    found = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            status = os.lstat(f"{directory}/{name}")
            place = os.path.relpath(f"{directory}/{name}", root)
            found[place] = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    return found


def _plain(found: Found, work: str) -> Found:
    """Return what can be compared: without numbers that are new each time."""
    plain = {name: found[name] for name in SAME}
    plain["groups"] = sorted(found["groups"])
    plain["fds"] = {
        number: f"{stat.filemode(each['mode'])[0]} {each['uid']}:{each['gid']}"
        for number, each in found["fds"].items()
    }
    status = dict(line.split(":\t", 1) for line in found["status"] if ":\t" in line)
    plain["status"] = {name: status.get(name) for name in STATUS}
    plain["namespaces"] = {
        os.path.basename(path): "ours" if os.readlink(path) == each["content"] else "new"
        for path, each in found["namespaces"].items()
        if os.path.lexists(path) and not path.endswith("_for_children")
    }
    for name in ("dev", "paths"):
        plain[name] = {path: _at(path, each, work) for path, each in found[name].items()}
    plain["mounts"] = {}
    for line in found["mountinfo"]:
        place, fields = _mount(line, work)
        plain["mounts"][place] = fields  # of several at one place the last counts
    return plain


def _at(path: str, each: Found, work: str) -> str:
    if "error" in each:
        return os.strerror(each["error"])
    content = "" if path in CHANGING else each["content"].replace(work, "")
    numbers = f"{each['uid']}:{each['gid']} {each['rdev'][0]}:{each['rdev'][1]}"
    words = (stat.filemode(each["mode"]), numbers, "writable" if each["writable"] else "", content)
    return " ".join(word for word in words if word)


def _mount(line: str, work: str) -> tuple[str, Found]:
    left, _, right = line.partition(" - ")
    fields, rest = left.split(" "), right.split(" ")
    return fields[4], {
        "root": fields[3].replace(work, ""),
        "options": sorted(fields[5].split(",")),
        "propagation": sorted(each.partition(":")[0] for each in fields[6:]),
        "type": rest[0],
        "source": rest[1],
        "superblock": sorted(rest[2].split(",")),
    }


def _differences(theirs: Any, ours: Any, place: str = "") -> Iterator[str]:
    """Yield each, as "place: theirs -> ours"; of lists of words only those that differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and ("run" in theirs) != ("run" in ours):
        yield f"run: {theirs.get('run', 'works')} -> {ours.get('run', 'works')}"
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys((*theirs, *ours)):
            if theirs.get(key) != ours.get(key):
                yield from _differences(theirs.get(key), ours.get(key), f"{place} {key}".strip())
    elif place == "run":
        yield f"run refused by both: {theirs} / {ours}"
    elif isinstance(theirs, list) and isinstance(ours, list) and place.startswith(("mounts", "env")):
        less, more = [e for e in theirs if e not in ours], [e for e in ours if e not in theirs]
        yield f"{place}: {','.join(less) or '-'} -> {','.join(more) or '-'}"
    else:
        yield f"{place}: {json.dumps(theirs)} -> {json.dumps(ours)}"
