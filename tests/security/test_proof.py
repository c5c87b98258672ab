"""Each security test can fail: run without the guard that it is about, it does.

For each id a helper is built without one guard (``-DWEAK_T21``), or the guard in Python is replaced
(`support.weak`); then pytest runs the tests of that id in a process of its own, told by the variables
AIOCONTAINER_WEAKEN and AIOCONTAINER_WEAK_HELPER.  An ordinary container has to work there, and a test
of the attack has to fail.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from support import weak

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.needs("root", "gcc", "busybox"),
    pytest.mark.skipif(weak.VARIABLE in os.environ, reason="one proof at a time"),
    pytest.mark.timeout(300),
]

HERE = os.path.dirname(__file__)
CONTROL = os.path.join(HERE, "test_control.py")
IDS = sorted({*weak.HELPER_GUARDS, *weak.PYTHON_GUARDS})
RACES_S = {"T12": "6"}
"""How long where a second is too short."""
NEEDS = {"T80_WAIT": pytest.mark.needs("kernel>=6.15")}


@pytest.mark.parametrize("id", [pytest.param(id, marks=NEEDS.get(id, ())) for id in IDS])
def test_fails_without_its_guard(id: str, tmp_path: Path, public_tmp: str) -> None:
    environment = {**os.environ, weak.VARIABLE: id, "AIOCONTAINER_RACE_S": RACES_S.get(id, "1")}
    if id in weak.HELPER_GUARDS:
        environment[weak.HELPER_VARIABLE] = f"{public_tmp}/helper"  # an ordinary user runs it, too
        weak.build_helper(id, environment[weak.HELPER_VARIABLE])
    results = str(tmp_path / "results.xml")
    attacks = glob.glob(os.path.join(HERE, f"test_{id.lower().partition('_')[0]}_*.py"))
    assert attacks
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/run", f"--junit-xml={results}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--patience-s=0.3", CONTROL, *attacks],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    ended = outcomes(results)
    assert ended["test_ordinary_container"] == "passed", done.stdout
    noticed = [name for name, end in ended.items() if end == "failed"]
    assert noticed, done.stdout
    print(f"{id} is noticed by", *noticed)


def outcomes(results: str) -> dict[str, str]:
    """How each test ended, by its name; one that changed the canary has failed."""
    ended: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        name, words = case.get("name", ""), [part.tag for part in case]
        if "failure" in words or any("CanaryError" in part.get("message", "") for part in case):
            ended[name] = "failed"
        elif ended.get(name) != "failed":  # one that fails and then leaves something is there twice
            ended[name] = next((word for word in words if word in ("error", "skipped")), "passed")
    return ended
