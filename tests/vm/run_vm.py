"""Run the integration tests as root of a virtual machine: systemd, pure cgroup v2, an own kernel.

    python -m tests.vm.run_vm [--suite trixie|bookworm] [--junit FILE] [-- PYTEST-ARGUMENT...]

Boots a throw-away snapshot of the image under software emulation (guests hang under nested KVM),
with the tests on a second disk and the results on a third.  Ends with pytest's closing line and
its exit status.  The serial log and the results are kept when anything failed.
AIOCONTAINER_NO_VM=REASON skips it all, for where the machine has been booted already.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.vm import build_image, debian, payload

__all__ = ["run"]

PYTHON = {"trixie": "3.13", "bookworm": "3.11"}

# What this machine has: a test that is skipped for one of these failed.
REQUIRED = "root,userns,cgroup2,systemd,kernel,overlay,timens,busybox,user,compiled,runc,crun,apparmor"
OF_SUITE = {"trixie": "criu,criu-tracks,criu-tcp"}

DEFAULT_TESTS = ("tests/integration",)

# Python runs ten times slower here than on the host, and the machine is not to blame.
SLOWNESS = ("--blocked-ms=2000", "--patience-s=10", "-o", "timeout=240", "--durations=10")

RUN = """\
set -u
echo /payload/site > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/payload.pth"
printf '%s\\n' '#!/bin/sh' 'exec python3 -m aiocontainer "$@"' > /usr/local/bin/aiocontainer
chmod 755 /usr/local/bin/aiocontainer
export LANG=C.UTF-8 HOME=/root
cd /payload/tree
# A quota of CPU time and an event of perf from beginning to end: for the first and the last one the kernel
# patches its scheduler, which the emulator does not always survive.  CRIU's breakpoints are events of perf.
echo +cpu > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/quota && echo "100000 100000" > /sys/fs/cgroup/quota/cpu.max
python3 tests/vm/hold_event.py &
# The second serial port tells at once what the third disk would lose if the machine hung.
stty -F /dev/ttyS1 raw
mkfifo /tmp/output
tee /dev/ttyS1 < /tmp/output & tee=$!
{{
{command}
}} > /tmp/output 2>&1
status=$?
wait $tee
exit $status
"""


class Outcome(NamedTuple):
    """What came back on the third disk."""

    status: int  # of the payload; 125 if it did not come to its end
    output: str


def make_disk(path: Path, size_mib: int, content: Path | None = None) -> None:
    """An ext4 image, filled from a directory."""
    fill = ["-d", str(content)] if content is not None else []
    command = ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", *fill, str(path), f"{size_mib}M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # it names the file even with -q


def size_mib(directory: Path) -> int:
    """Room that *directory* takes on a file system, with slack for what is compiled there."""
    used = sum(max(file.lstat().st_size, 4096) for file in directory.rglob("*"))
    return 2 * used // 2**20 + 64


def boot(image: Path, work: Path, timeout_s: float) -> None:
    """Run the machine until it powers itself off; TimeoutExpired kills it."""
    disks = [f"file={image}/disk.img,format=raw,if=virtio,snapshot=on"]
    disks += [f"file={work}/{name}.img,format=raw,if=virtio" for name in ("payload", "results")]
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]
    command += ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd.img", "-no-reboot", "-net", "none"]
    command += ["-append", "console=ttyS0 root=/dev/vda rw quiet panic=-1 fsck.mode=skip"]
    command += ["-display", "none", "-monitor", "none", "-serial", f"file:{work}/serial.log"]
    command += ["-serial", f"file:{work}/output.log"]
    for disk in disks:
        command += ["-drive", disk]
    # The snapshot grows in TMPDIR.  qemu(1) -snapshot
    environment = os.environ | {"TMPDIR": str(work)}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, timeout=timeout_s, check=True)


def read_results(work: Path) -> Outcome:
    """Take the third disk apart."""
    results = work / "results"
    results.mkdir()
    dump = ["debugfs", "-R", f"rdump / {results}", str(work / "results.img")]
    subprocess.run(dump, check=True, capture_output=True)
    output, status = work / "output.log", results / "status"
    text = output.read_text(errors="replace") if output.exists() else ""
    return Outcome(int(status.read_text()) if status.exists() else 125, text)


def run(suite: str, command: str, package: Path | None, work: Path, timeout_s: float) -> Outcome:
    """Run the shell *command* in the tree, inside the machine; *work* keeps the logs."""
    image = build_image.image(suite)
    content = work / "payload"
    content.mkdir()
    payload.fill(content, package or payload.wheel(work), PYTHON[suite])
    (content / "run").write_text(RUN.format(command=command))
    make_disk(work / "payload.img", size_mib(content), content)
    for again in (False, True):
        (work / "results.img").unlink(missing_ok=True)
        make_disk(work / "results.img", 64)
        try:
            boot(image, work, timeout_s)
        except subprocess.TimeoutExpired:
            print(f"the machine did not end within {timeout_s:.0f} s", file=sys.stderr)
        if again or not was_patched_badly(work):
            break
        print("the emulator ran code while its kernel patched it: once more", file=sys.stderr)
    return read_results(work)


def was_patched_badly(work: Path) -> bool:
    """Whether the kernel died of a breakpoint that it had set itself.

    It patches its own code where a feature is used for the first time; now and then the other emulated
    processor sees that half done.
    """
    log = work / "serial.log"
    return log.exists() and "Oops: int3" in log.read_text(errors="replace")


def pytest_command(arguments: list[str], suite: str) -> str:
    """The command line in the guest."""
    tests = arguments or DEFAULT_TESTS
    required = ",".join((REQUIRED, *filter(None, [OF_SUITE.get(suite)])))
    options = ["--require", required, *SLOWNESS, "--junit-xml=/results/junit.xml"]
    return shlex.join(["python3", "-m", "pytest", "-p", "no:cacheprovider", *options, *tests])


def built_by_tox() -> Path | None:
    """The wheel that tox has just made of this tree."""
    path = os.environ.get("TOX_PACKAGE", "")
    return Path(path) if path.endswith(".whl") else None


def skip(reason: str, junit: Path | None) -> None:
    """Say that the lane did not run: one skipped test."""
    print(f"skipped: {reason}")
    if junit is not None:
        suite = ElementTree.Element("testsuite", name="vm", tests="1", skipped="1")
        case = ElementTree.SubElement(suite, "testcase", name="virtual machine")
        ElementTree.SubElement(case, "skipped", message=reason)
        junit.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(junit)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the integration tests in the virtual machine.")
    parser.add_argument("--suite", choices=sorted(PYTHON), default="trixie")
    parser.add_argument("--wheel", type=Path, default=built_by_tox(), help="the package; built if not given")
    parser.add_argument("--junit", type=Path, help="where the results go as XML")
    parser.add_argument("--timeout-s", type=float, default=3600)
    parser.add_argument("--command", help="run this shell command instead of pytest")
    parser.add_argument("pytest", nargs="*", help="its arguments; the default is the integration lane")
    options = parser.parse_args()
    if reason := os.environ.get("AIOCONTAINER_NO_VM"):
        skip(reason, options.junit)
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the machine goes, too
    work = Path(tempfile.mkdtemp(prefix="run-", dir=debian.cache()))
    command = options.command or pytest_command(options.pytest, options.suite)
    try:
        outcome = run(options.suite, command, options.wheel, work, options.timeout_s)
    except BaseException:
        shutil.rmtree(work)
        raise
    print(outcome.output, end="")
    junit = work / "results" / "junit.xml"
    if options.junit is not None and junit.exists():
        options.junit.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(junit, options.junit)
    if outcome.status == 0:
        shutil.rmtree(work)
    else:
        for image in work.glob("*.img"):
            image.unlink()
        print(f"status {outcome.status}; serial log and results: {work}", file=sys.stderr)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
