"""Bundles by chance: documents that any runtime should understand in the same way.

A number gives a document, always the same.  Only what OCI 1.0 and its first runtimes know is used.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DATA", "LOOK_AT", "document", "owner_of", "write_root"]

Json = dict[str, Any]

CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE"),
    *("CAP_SETFCAP", "CAP_SETPCAP", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"),
)
RLIMITS = {
    "RLIMIT_AS": (1 << 32, 1 << 34),
    "RLIMIT_CORE": (0, 1 << 20),
    "RLIMIT_CPU": (600, 6000),
    "RLIMIT_DATA": (1 << 30, 1 << 31),
    "RLIMIT_FSIZE": (1 << 24, 1 << 30),
    "RLIMIT_LOCKS": (100, 1000),
    "RLIMIT_MEMLOCK": (1 << 16, 1 << 20),
    "RLIMIT_MSGQUEUE": (4096, 819200),
    "RLIMIT_NICE": (0, 0),  # more takes a capability that a machine may not have
    "RLIMIT_NOFILE": (256, 4096),
    "RLIMIT_NPROC": (500, 5000),
    "RLIMIT_RSS": (1 << 20, 1 << 30),
    "RLIMIT_RTPRIO": (0, 0),
    "RLIMIT_RTTIME": (10**6, 10**7),
    "RLIMIT_SIGPENDING": (50, 500),
    "RLIMIT_STACK": (1 << 20, 1 << 23),
}
FLAGS = (
    *(("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")),
    *(("noatime", "relatime", "strictatime"), ("nodiratime", "diratime")),
)
PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
MASKED = ("/proc/acpi", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/etc/secret", "/srv/hidden")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/srv", "/etc/passwd", "/missing")
NODES = (
    {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
    {"type": "c", "path": "/dev/extra/null", "major": 1, "minor": 3},
    {"type": "b", "path": "/dev/loop7", "major": 7, "minor": 7},
    {"type": "p", "path": "/dev/pipe"},
    {"type": "u", "path": "/srv/zero", "major": 1, "minor": 5},
)
CALLS = ("mkdir", "mount", "unshare", "bpf", "ptrace", "keyctl", "kexec_load", "swapon", "getppid")
SYSCTLS = {
    "network": {"net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "0"},
    "ipc": {"kernel.shm_rmid_forced": "1", "fs.mqueue.queues_max": "77", "kernel.msgmax": "4096"},
}
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var", "srv/hidden", "mnt")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n",
    "etc/group": "root:x:0:\nuser:x:1000:\n",
    "etc/secret": "secret\n",
}
DATA = ("data/inner/file", "data/file", "file")
"""Beside the root, for mounts."""

LOOK_AT = (
    *("/", "/etc/passwd", "/etc/secret", "/srv", "/srv/hidden", "/srv/zero", "/dev/extra/null", "/dev/pipe"),
    *("/mnt/0", "/mnt/0/file", "/mnt/0/inner/file", "/mnt/1", "/mnt/2", "/tmp", "/dev/shm", "/dev/mqueue"),
    *("/proc/acpi", "/proc/keys", "/proc/timer_list", "/proc/sys/kernel/hostname"),
    *(f"/proc/sys/{name.replace('.', '/')}" for names in SYSCTLS.values() for name in names),
)


def write_root(bundle: str, guest: str, owner: int) -> None:
    """Make a fresh root of *owner*, who is root inside, and the data beside it."""
    root = f"{bundle}/rootfs"
    for name in DIRECTORIES:
        os.makedirs(f"{root}/{name}")
    os.chmod(f"{root}/tmp", 0o1777)
    os.link(guest, f"{root}/bin/guest")
    texts = {
        **{f"rootfs/{name}": text for name, text in FILES.items()},
        **{name: f"{name}\n" for name in DATA},
    }
    for name, text in texts.items():
        os.makedirs(os.path.dirname(f"{bundle}/{name}"), exist_ok=True)
        with open(f"{bundle}/{name}", "w") as file:
            file.write(text)
    for directory, directories, _ in os.walk(bundle):
        for name in directories:
            os.chown(f"{directory}/{name}", owner, owner)


def owner_of(document: Json) -> int:
    """Return who is root inside."""
    maps = document["linux"].get("uidMappings")
    return int(maps[0]["hostID"]) if maps else 0


def document(seed: int) -> Json:
    """Return the `config.json` of this number."""
    chance = random.Random(seed)
    types = ["mount", "pid", *_some(chance, ("uts", "ipc", "network", "cgroup"), often=0.7)]
    user = chance.random() < 0.2
    linux: Json = {
        "namespaces": [{"type": each} for each in [*types, *(["user"] if user else [])]],
        "maskedPaths": _some(chance, MASKED, often=0.5),
        "readonlyPaths": _some(chance, READ_ONLY, often=0.4),
    }
    if user:
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    if chance.random() < 0.4:
        # In a user namespace nodes are the host's own, which has some of these.
        nodes = [each for each in NODES if not user or each["type"] == "p" or os.path.exists(each["path"])]
        linux["devices"] = [_node(chance, each) for each in _some(chance, nodes, often=0.4)]
    sysctls = {k: v for type in types for k, v in SYSCTLS.get(type, {}).items() if chance.random() < 0.3}
    if sysctls:
        linux["sysctl"] = sysctls
    if chance.random() < 0.3:
        linux["seccomp"] = _seccomp(chance)
    if chance.random() < 0.3:
        linux["rootfsPropagation"] = chance.choice(
            ("private", "rprivate", "slave", "rslave", "shared", "rshared")
        )
    return {
        "ociVersion": "1.0.2",
        "process": _process(chance),
        "root": {"path": "rootfs", "readonly": chance.random() < 0.4},
        **({"hostname": f"host-{seed}"} if "uts" in types and chance.random() < 0.8 else {}),
        "mounts": _mounts(chance, types, user=user),
        "linux": linux,
    }


def _some(chance: random.Random, values: Sequence[Any], *, often: float) -> list[Any]:
    chosen = [each for each in values if chance.random() < often]
    chance.shuffle(chosen)
    return chosen


def _process(chance: random.Random) -> Json:
    uid, gid = chance.choice(((0, 0), (0, 0), (1000, 1000), (1, 0), (65534, 65534), (0, 5)))
    user: Json = {"uid": uid, "gid": gid}
    if chance.random() < 0.4:
        user["additionalGids"] = chance.sample((1, 5, 10, 1000, 2000), chance.randint(1, 3))
    if chance.random() < 0.3:
        user["umask"] = chance.choice((0, 0o22, 0o27, 0o77))
    process: Json = {
        "user": user,
        "args": ["/bin/guest", "all", *LOOK_AT],
        "env": ["PATH=/bin", *_some(chance, ("A=1", "B=two words", "EMPTY=", "HOME=/x", "C==="), often=0.3)],
        "cwd": chance.choice(("/", "/", "/tmp", "/home", "/srv")),
        "noNewPrivileges": chance.random() < 0.5,
    }
    if chance.random() < 0.95:
        process["capabilities"] = _capabilities(chance)
    if chance.random() < 0.5:
        process["rlimits"] = [
            {"type": name, "soft": chance.choice(RLIMITS[name]), "hard": RLIMITS[name][1]}
            for name in _some(chance, tuple(RLIMITS), often=0.25)
        ]
    if chance.random() < 0.4:
        process["oomScoreAdj"] = chance.choice((0, 100, 500, 1000))
    return process


def _capabilities(chance: random.Random) -> Json:
    """Sets that contain one another as the kernel wants it."""
    bounding = _some(chance, CAPABILITIES, often=0.5)
    permitted = [each for each in bounding if chance.random() < 0.8]
    inheritable = [each for each in permitted if chance.random() < 0.3]
    return {
        "bounding": bounding,
        "permitted": permitted,
        "effective": [each for each in permitted if chance.random() < 0.8],
        "inheritable": inheritable,
        "ambient": [each for each in inheritable if chance.random() < 0.5],
    }


def _node(chance: random.Random, node: Json) -> Json:
    more: Json = {}
    if chance.random() < 0.6:
        more["fileMode"] = chance.choice((0o600, 0o644, 0o666, 0o620))
    if chance.random() < 0.4:
        more |= {"uid": 1000, "gid": 5}
    return {**node, **more}


def _seccomp(chance: random.Random) -> Json:
    rules = []
    for name in _some(chance, CALLS, often=0.4):
        rule: Json = {"names": [name], "action": "SCMP_ACT_ERRNO"}
        if chance.random() < 0.5:
            rule["errnoRet"] = chance.choice((1, 38, 13))
        rules.append(rule)
    rules.append({"names": ["reboot"], "action": "SCMP_ACT_KILL"})
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}


def _flags(chance: random.Random) -> list[str]:
    return [chance.choice(words) for words in FLAGS if chance.random() < 0.35]


def _mounts(chance: random.Random, types: Sequence[str], *, user: bool) -> list[Json]:
    own = ["nosuid", "noexec", "nodev"]
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if user else ["gid=5"])]
    mounts = [
        _mount("/proc", "proc", _some(chance, own, often=0.5)),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", devpts),
        _mount("/dev/shm", "tmpfs", [*own, "mode=1777", "size=65536k"], "shm"),
    ]
    if "ipc" in types and chance.random() < 0.7:
        mounts.append(_mount("/dev/mqueue", "mqueue", own))
    if "network" in types and chance.random() < 0.8:
        mounts.append(_mount("/sys", "sysfs", [*own, "ro"]))
        if "cgroup" in types and chance.random() < 0.5:
            mounts.append(_mount("/sys/fs/cgroup", "cgroup", [*own, "relatime", "ro"]))
    return [*mounts, *(_extra(chance, f"/mnt/{index}") for index in range(chance.randint(0, 3)))]


def _mount(destination: str, type: str, options: list[str], source: str = "") -> Json:
    return {"destination": destination, "type": type, "source": source or type, "options": options}


def _extra(chance: random.Random, target: str) -> Json:
    flags = _flags(chance)
    if chance.random() < 0.3:
        flags += _some(chance, PROPAGATION, often=0.15)
    kind = chance.random()
    if kind < 0.4:
        size = _some(chance, ("size=1m", "mode=700", "nr_inodes=100"), often=0.4)
        return _mount(target, "tmpfs", [*flags, *size])
    source, word = chance.choice(
        (("data", "rbind"), ("data", "bind"), ("file", "bind"), ("data/inner", "rbind"))
    )
    return _mount(target, "bind", [word, *flags], source)
