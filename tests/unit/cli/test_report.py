"""What the caller reads when something went wrong."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from aiocontainer.cli import report as module
from aiocontainer.cli.report import Report

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    ("level", "told"),
    [("error", ["no"]), ("warning", ["no", "warning: hm"]), ("debug", ["no", "warning: hm", "debug: so"])],
)
def test_what_counts(level: str, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    report = Report(f"file:{log}", "json", level)
    report.error("no")
    report.tell("warning", "hm")
    report.tell("debug", "so")
    report.close()
    assert capsys.readouterr().err.splitlines() == [f"aiocontainer: {each}" for each in told]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["level"], each["msg"]) for each in records] == [
        ("error", "no"),
        ("warning", "hm"),
        ("debug", "so"),
    ][: len(told)]


@pytest.mark.parametrize(
    ("prefix", "place", "form"),
    [
        ("journald:web\n1", "_JOURNAL", r"MESSAGE=no; MESSAGE=x\nPRIORITY=3\nSYSLOG_IDENTIFIER=web 1\n"),
        ("journald:", "_JOURNAL", r"MESSAGE=no; MESSAGE=x\nPRIORITY=3\nSYSLOG_IDENTIFIER=aiocontainer\n"),
        ("syslog:web", "_SYSLOG", r"<11>\w{3} [ \d]\d \d\d:\d\d:\d\d web\[\d+\]: no; MESSAGE=x"),
    ],
)
def test_services_that_keep_logs(
    prefix: str, place: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "service")
    monkeypatch.setattr(module, place, path)
    with pytest.raises(FileNotFoundError):
        Report(prefix)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(path)
        report = Report(prefix)
        report.error("no\nMESSAGE=x")
        assert re.fullmatch(form, service.recv(4096).decode())
    report.error("gone")  # no failure of its own
    report.close()
    report.close()
