"""Add up what all lanes said: `N passed, N failed, N skipped`, alone on the last line.

    python -m tests.support.tally RESULTS STATUS

RESULTS holds pytest's XML files and tox's JSON file, STATUS is tox's exit status, and becomes ours
unless a failure says otherwise.  A lane that failed without a failed test counts as one failure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

__all__ = ["Counts", "tally"]


class Counts(NamedTuple):
    """Tests by how they ended; an error outside a test counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: object) -> Counts:
        assert isinstance(other, Counts)
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def count(path: Path) -> Counts:
    """What one XML file tells."""
    total = Counts()
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        tests, failures, errors, skipped = (
            int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
        )
        total += Counts(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def failed_lanes(results: Path) -> list[str]:
    """Lanes of which a command failed."""
    report = results / "tox.json"
    if not report.exists():
        return ["tox"]
    environments = json.loads(report.read_text()).get("testenvs", {})
    return [name for name, lane in environments.items() if not lane.get("result", {}).get("success", True)]


def tally(results: Path) -> Counts:
    """The sum over all lanes, printing one line for each."""
    total = Counts()
    by_lane = {path.stem: count(path) for path in sorted(results.glob("*.xml"))}
    for lane, counts in by_lane.items():
        print(f"{lane}: {counts}")
        total += counts
    for lane in failed_lanes(results):
        if not any(name.startswith(lane) and counts.failed for name, counts in by_lane.items()):
            print(f"{lane}: failed")
            total += Counts(failed=1)
    return total


def main() -> int:
    results, status = Path(sys.argv[1]), int(sys.argv[2])
    total = tally(results)
    print(total)
    return status or int(total.failed > 0 or total.passed == 0)


if __name__ == "__main__":
    sys.exit(main())
