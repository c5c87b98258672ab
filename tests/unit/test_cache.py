"""A cache that trusts nothing: whatever is wrong with an entry, it is not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aiocontainer.store import Cache, cache, default_cache

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(64))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file of the entry "name"."""
    Cache(str(tmp_path / "a" / "cache")).put("name", DATA)
    return tmp_path / "a" / "cache" / "name"


def get(kept: Path, name: str = "name", limit_bytes: int = 100) -> bytes | None:
    return Cache(str(kept.parent)).get(name, limit_bytes)


def test_what_was_put_is_there(kept: Path) -> None:
    assert get(kept) == DATA
    assert get(kept, "other") is None
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in kept.parent.iterdir()] == ["name"]


def test_the_latest_counts(kept: Path) -> None:
    Cache(str(kept.parent)).put("name", b"new")
    assert get(kept) == b"new"


DAMAGES = {
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\0",
    "other": lambda data: data[:-1] + b"x",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage(kept: Path, kind: str) -> None:
    kept.write_bytes(DAMAGES[kind](kept.read_bytes()))
    assert get(kept) is None


def test_another_name(kept: Path) -> None:
    kept.rename(kept.with_name("other"))
    assert get(kept, "other") is None


def test_too_large(kept: Path) -> None:
    assert get(kept, limit_bytes=63) is None


def test_others_may_write(kept: Path) -> None:
    kept.chmod(0o620)
    assert get(kept) is None
    kept.chmod(0o600)
    kept.parent.chmod(0o770)
    assert get(kept) is None


def test_a_link(kept: Path) -> None:
    kept.rename(kept.with_name("target"))
    kept.symlink_to("target")
    assert get(kept) is None


@pytest.mark.needs("root")
def test_somebody_elses(kept: Path) -> None:
    os.chown(kept, 1000, 1000)
    assert get(kept) is None


def test_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = Cache(str(tmp_path / "file" / "cache"))
    broken.put("name", DATA)
    assert broken.get("name", 100) is None


def test_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST", 3)
    full = Cache(str(tmp_path / "cache"))
    for number in range(5):
        full.put(str(number), DATA)
        os.utime(tmp_path / "cache" / str(number), (number, number))
    assert sorted(os.listdir(tmp_path / "cache")) == ["2", "3", "4"]


def test_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_cache() == "/somewhere/aiocontainer"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache() == "/home/me/.cache/aiocontainer"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_cache() == "/run/aiocontainer-cache"
