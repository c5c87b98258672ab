"""Build the virtual machine's disk image, or find the one built before.

    python -m tests.vm.build_image [--suite trixie|bookworm]

Prints the directory that holds `disk.img`, `vmlinuz` and `initrd.img`.  Its name is a digest of
everything that goes into it, so a changed recipe makes a new image.  Root is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.vm import debian

__all__ = ["SUITES", "image"]

SUITES = ("bookworm", "trixie")

PACKAGES = Path(__file__).parent / "packages.txt"
GUEST = Path(__file__).parent / "guest"
SIZE = "6G"
UNUSED_S = 12 * 3600


def packages() -> list[str]:
    """What the image installs."""
    lines = PACKAGES.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def key(suite: str) -> str:
    """Digest of all that decides what the image holds."""
    digest = hashlib.sha256(repr((suite, packages())).encode())
    for file in (Path(__file__), *sorted(GUEST.iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def hooks() -> list[str]:
    """mmdebstrap options that put `guest/` in its places.

    The initramfs hook must be there before the kernel package is, hence the essential stage.
    """
    initramfs = "$1/etc/initramfs-tools/hooks"
    return [
        f'--essential-hook=mkdir -p "{initramfs}" "$1/etc/initramfs-tools/conf.d"',
        f'--essential-hook=cp "{GUEST}/initramfs.conf" "$1/etc/initramfs-tools/conf.d/vm"',
        f'--essential-hook=install "{GUEST}/initramfs-hook" "{initramfs}/vm"',
        f'--customize-hook=install -m644 "{GUEST}/payload.service" "$1/etc/systemd/system/"',
        f'--customize-hook=install "{GUEST}/payload" "$1/usr/local/sbin/"',
        '--customize-hook=chroot "$1" sh -e < "%s"' % (GUEST / "setup"),
    ]


def build(suite: str, target: Path) -> None:
    """Fill *target*; it appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as work:
        root, out = Path(work, "root"), Path(work, "out")
        out.mkdir()
        debian.bootstrap(suite, root, packages(), hooks())
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(root / name, out / name)
        command = ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,root_owner=0:0"]
        subprocess.run([*command, "-d", root, out / "disk.img", SIZE], stdout=sys.stderr, check=True)
        out.rename(target)


def drop_others(target: Path, suite: str) -> None:
    """Images that nobody has used for a while: another checkout may have another recipe."""
    for other in target.parent.glob(f"{suite}-*"):
        if other != target and time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other)


def image(suite: str) -> Path:
    """Directory of the image, built now if it is not there."""
    target = debian.cache() / "vm" / f"{suite}-{key(suite)}"
    if not target.is_dir():
        print(f"building the {suite} image", file=sys.stderr)
        build(suite, target)
        drop_others(target, suite)
    os.utime(target)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the virtual machine's disk image.")
    parser.add_argument("--suite", choices=SUITES, default="trixie")
    print(image(parser.parse_args().suite))
