"""What a newcomer sees: the README's two commands on a fresh Debian root.

    python -m tests.newcomer.run [--suite bookworm|trixie] [--first]

The root holds python3, venv, pip, gcc and git, a clean checkout, and the machine's way to the
network.  It is entered by pivot_root in mount and pid namespaces of its own: the kernel refuses
user namespaces to a chrooted process (clone(2), EPERM).  Root is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.vm import debian

__all__ = ["commands", "fresh_root", "run"]

TREE = Path(__file__).resolve().parents[2]
SUITES = ("bookworm", "trixie")
PACKAGES = ("python3", "python3-venv", "python3-pip", "gcc", "git", "ca-certificates")
CHECKOUT = "root/aiocontainer"

# How this machine reaches the network, if at all.
NETWORK_FILES = ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt")
NETWORK_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

# The shell is this machine's until pivot_root has given it the new root.
ENTER = """
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
pivot_root . mnt
cd /root/aiocontainer
umount -l /mnt
exec /bin/sh -c "$1"
"""


def commands() -> list[str]:
    """The first two shell blocks of the README."""
    blocks: list[str] = re.findall(
        r"^```sh\n(.*?)^```", (TREE / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return [block.strip() for block in blocks[:2]]


def fresh_root(suite: str, target: Path) -> None:
    """A copy of the suite's root, which is built once, with a clean checkout in it."""
    kept = debian.cache() / "newcomer" / suite
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        debian.bootstrap(suite, kept, PACKAGES)
    subprocess.run(["cp", "-a", "--reflink=auto", kept, target], check=True)
    for name in NETWORK_FILES:
        if Path("/", name).exists():
            shutil.copy(Path("/", name), target / name)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", TREE, target / CHECKOUT], check=True)


def environment() -> dict[str, str]:
    """A login shell's, and the way to the network."""
    found = {name: os.environ[name] for name in NETWORK_VARIABLES if name in os.environ}
    return found | {
        "HOME": "/root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "AIOCONTAINER_NO_VM": "it is the same virtual machine as outside of this root",
    }


def run(root: Path, command: str) -> int:
    """Run *command* in the checkout inside *root*; everything it started is gone afterwards."""
    enter = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    return subprocess.run(
        [*enter, "sh", "-ec", ENTER, root, command], env=environment(), check=False
    ).returncode


def visit(suite: str, first_only: bool) -> int:
    """Both commands, one after the other, as a transcript; the status of the one that failed."""
    with tempfile.TemporaryDirectory(prefix=f"visit-{suite}-", dir=debian.cache()) as work:
        root = Path(work, "root")
        fresh_root(suite, root)
        print(f"# a fresh Debian root ({suite}), in a clean checkout", flush=True)
        for command in commands()[: 1 if first_only else 2]:
            print(f"$ {command}", flush=True)
            status = run(root, command)
            if status != 0:
                print(f"# status {status}", flush=True)
                return status
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the README's two commands on fresh Debian roots.")
    parser.add_argument(
        "--suite", choices=SUITES, action="append", help="may be repeated; the default is both"
    )
    parser.add_argument("--first", action="store_true", help="only the first command")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the root goes, too
    return max(visit(suite, options.first) for suite in options.suite or SUITES)


if __name__ == "__main__":
    sys.exit(main())
