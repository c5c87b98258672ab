"""What the caller reads when something went wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from aiocontainer.cli.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_one_plain_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Report().error("container 'x' does not exist")
    assert capsys.readouterr().err == "aiocontainer: container 'x' does not exist\n"


def test_several_lines_become_one(capsys: pytest.CaptureFixture[str]) -> None:
    Report().error("dump: failed\nError (a.c:1): no\n")
    assert capsys.readouterr().err == "aiocontainer: dump: failed; Error (a.c:1): no\n"


def test_json_in_the_log_and_text_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.json"
    report = Report(str(log), "json")
    report.error('say "no"')
    report.close()
    record = json.loads(log.read_text())
    assert list(record) == ["level", "msg", "time"]
    assert (record["level"], record["msg"]) == ("error", 'say "no"')
    assert re.fullmatch(RFC3339, record["time"])
    assert capsys.readouterr().err.splitlines() == ['aiocontainer: say "no"']


def test_text_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("kept\n")
    report = Report(str(log))
    report.error('say "no"')
    report.close()
    kept, line = log.read_text().splitlines()
    assert kept == "kept"
    assert re.fullmatch(rf'time="{RFC3339}" level=error msg="say \\"no\\""', line)


def test_without_a_file_json_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Report(format="json").error("no")
    assert json.loads(capsys.readouterr().err)["msg"] == "no"
