"""kill and delete of all whose ids match."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiocontainer import NotFoundError, NotRunningError, StateError
from aiocontainer.cli import drive as module
from aiocontainer.cli import execute

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WEB = ["web-1", "web-2", "web-3"]


class Fake:
    """A runtime that writes down what is done, and fails where it is told so."""

    def __init__(self, root: Path, failures: dict[str, Exception]) -> None:
        self.root = str(root)
        self.done: list[tuple[Any, ...]] = []
        self.failures = failures

    async def load(self, id: str) -> Fake:
        self.id = id
        return self

    async def kill(self, name: str, *, all: bool) -> None:
        self._do("kill", self.id, name, all)

    async def delete(self, id: str, *, force: bool) -> None:
        self._do("delete", id, force)

    def _do(self, *what: Any) -> None:
        if what[1] in self.failures:
            raise self.failures[what[1]]
        self.done.append(what)


def run(monkeypatch: pytest.MonkeyPatch, root: Path, words: str, **failures: Exception) -> tuple[int, Fake]:
    for name in (*WEB, "db", ".creating-web"):
        (root / name).mkdir()
    fake = Fake(root, {name.replace("_", "-"): failure for name, failure in failures.items()})
    monkeypatch.setattr(module, "drive", lambda _, work, **__: asyncio.run(work(fake)))
    return execute(words.split()), fake


def test_all_that_match_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, fake = run(monkeypatch, tmp_path, "delete -f --regex ^web-")
    assert (status, fake.done) == (0, [("delete", id, True) for id in WEB])


def test_it_is_found_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, fake = run(monkeypatch, tmp_path, "delete -r [23b]$")
    assert (status, [each[1] for each in fake.done]) == (0, ["db", "web-2", "web-3"])


def test_all_that_match_get_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = NotRunningError("kill", status="stopped", id="web-2")
    status, fake = run(monkeypatch, tmp_path, "kill -r -a web USR1", web_2=stopped)
    assert (status, fake.done) == (0, [("kill", id, "USR1", True) for id in ("web-1", "web-3")])


def test_one_that_fails_keeps_none_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, running = NotFoundError("web-1"), StateError("delete", status="running", id="web-2")
    status, fake = run(monkeypatch, tmp_path, "delete -r web", web_1=gone, web_2=running)
    assert (status, fake.done) == (1, [("delete", "web-3", False)])
    message = capsys.readouterr().err
    assert "web-2" in message
    assert "web-1" not in message


def test_nothing_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, tmp_path, "kill -r nothing")[0] == 0


def test_no_expression(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["delete", "--regex", "web("]) == 1
    assert "no regular expression" in capsys.readouterr().err
