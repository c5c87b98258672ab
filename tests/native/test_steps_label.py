"""Labels of security modules, on a kernel that need not have any; and of file systems."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import needs
from talk import Raw, program, run, step

from aiocontainer.native._lib import lib

if TYPE_CHECKING:
    from aiocontainer import native

DRIVER = Path(__file__).parent / "label_driver.c"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
without_modules = pytest.mark.skipif(
    needs.has_lsm("apparmor") or needs.has_lsm("selinux"), reason="needs a kernel without security modules"
)


def failure(spawner: native.Spawner, *steps: Raw) -> tuple[int, str]:
    done = run(spawner, [step("UNSHARE", a=0x20000), *steps, *program("/bin/true")])
    done.exits()
    assert done.failure is not None, done.replies
    return done.failure.error, done.failure.call


def test_a_label_needs_a_procfs_of_our_own(spawner: native.Spawner) -> None:
    label = step("LABEL", a=lib.LABEL_SELINUX_EXEC, strings=("x",))
    assert failure(spawner, label) == (errno.EPROTO, "verify")


@without_modules
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (lib.LABEL_APPARMOR_EXEC, (errno.ENOENT, "openat2")),
        (lib.LABEL_SELINUX_EXEC, (errno.EINVAL, "write")),
        (lib.LABEL_SELINUX_KEYS, (errno.EINVAL, "write")),
    ],
)
def test_no_module_takes_it(spawner: native.Spawner, kind: int, expected: tuple[int, str]) -> None:
    for label in ("x", ""):
        assert failure(spawner, step("PROCFS"), step("LABEL", a=kind, strings=(label,))) == expected


@pytest.mark.parametrize("kind", [lib.LABEL_APPARMOR_EXEC, lib.LABEL_SELINUX_EXEC])
def test_a_label_that_no_page_holds(spawner: native.Spawner, kind: int) -> None:
    error, _ = failure(spawner, step("PROCFS"), step("LABEL", a=kind, strings=("x" * 5000,)))
    assert error in (errno.ENAMETOOLONG, errno.ENOENT)


def test_an_unknown_kind_is_refused_before_anything(spawner: native.Spawner) -> None:
    for kind in (0, 4):
        assert failure(spawner, step("LABEL", a=kind, strings=("x",)))[1] == "decode"


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    if needs.missing("gcc"):
        pytest.skip("needs gcc")
    target = str(tmp_path_factory.mktemp("label") / "driver")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", target, str(DRIVER)], check=True)
    return target


LABEL = "system_u:system_r:container_t:s0:c1,c2"
SAME = [
    ("docker-default", b"docker-default (enforce)\n"),
    ("docker-default", b"docker-default (complain)\n"),
    ("a//&:ns:b", b"a//&:ns:b (mixed)\n"),
    ("with blank", b"with blank (enforce)\n"),
    ("unconfined", b"unconfined\n"),
    (LABEL, LABEL.encode() + b"\0"),
    ("", b""),
    ("", b"\n"),
]
OTHER = [
    ("unconfined", b"unconfined_foo (enforce)\n"),
    ("docker-default", b"docker-default2 (enforce)\n"),
    ("docker-default", b"unconfined\n"),
    ("docker-default", b"docker-defaul (enforce)\n"),
    ("docker-default", b"docker-default (enforce) (enforce)\n"),
    ("docker-default", b"docker-default ()\n"),
    ("docker-default", b"docker-default x\n"),
    ("docker-default", b""),
    (LABEL, LABEL.encode() + b":c3\0"),
    ("", b"docker-default (enforce)\n"),
    ("", b" (enforce)\n"),
]


@pytest.mark.parametrize(("label", "text"), SAME)
def test_this_is_the_label(driver: str, label: str, text: bytes) -> None:
    assert subprocess.run([driver, label], input=text, check=False).returncode == 0


@pytest.mark.parametrize(("label", "text"), OTHER)
def test_this_is_another(driver: str, label: str, text: bytes) -> None:
    """T64: crun took "unconfined_foo" for unconfined."""
    assert subprocess.run([driver, label], input=text, check=False).returncode == 1
