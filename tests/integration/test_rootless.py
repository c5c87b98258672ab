"""The tests of an ordinary user, run by one."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TREE = Path(__file__).parents[2]
LEAST = 20
"""Tests that have to pass; more may be skipped where the machine has less."""


@pytest.mark.needs("root", "user", "busybox", "compiled")
def test_all_that_an_ordinary_user_does(public_tmp: str) -> None:
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid >= 1000 and entry.pw_name != "nobody")
    os.chown(public_tmp, user.pw_uid, user.pw_gid)
    become = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": public_tmp,
        "TMPDIR": public_tmp,
        "USER": user.pw_name,
        "PYTHONSAFEPATH": os.environ.get("PYTHONSAFEPATH", ""),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    import_it = [*become, sys.executable, "-c", "import aiocontainer, pytest"]
    if subprocess.run(import_it, cwd=TREE, env=environment, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a package that every user can read")
    report = f"{public_tmp}/report.xml"
    done = subprocess.run(
        [
            *(*become, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}"),
            *("--blocked-ms=5000", f"--basetemp={public_tmp}/base", "tests/rootless"),
        ],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    passed = [case for case in cases if case.find("skipped") is None]
    assert len(passed) >= LEAST, [case.get("name") for case in cases if case not in passed]
