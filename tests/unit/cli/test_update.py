"""update: from options and documents to one mapping; what it then does is tested on the real kernel."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer.cli import update
from aiocontainer.cli.arguments import UsageError, parse
from aiocontainer.errors import SpecError
from aiocontainer.spec import IntelRdt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def updated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Any, IntelRdt | None]]:
    """Carry out the command on a container that tells what it was given."""

    def carry_out(*words: str) -> tuple[str, Any, IntelRdt | None]:
        given: list[Any] = []

        class Container:
            async def update(self, resources: Any, *, intel_rdt: IntelRdt | None) -> None:
                given.extend((resources, intel_rdt))

        class Runtime:
            async def load(self, id: str) -> Container:
                given.append(id)
                return Container()

        def drive(program: object, work: Callable[[Any], Any]) -> int:
            with pytest.raises(StopIteration) as ended:
                work(Runtime()).send(None)
            code: int = ended.value.value
            return code

        monkeypatch.setattr(update, "drive", drive)
        assert update.update(parse(["update", *words, "c"])) == 0
        return given[0], given[1], given[2]

    return carry_out


def test_each_option(updated: Callable[..., Any]) -> None:
    id, resources, rdt = updated(
        *("--blkio-weight", "500", "--cpu-period", "100000", "--cpu-quota", "-1", "--cpu-burst", "7"),
        *("--cpu-share", "1024", "--cpu-rt-period", "8", "--cpu-rt-runtime", "9", "--cpu-idle", "1"),
        *("--cpuset-cpus", "0-1", "--cpuset-mems", "0", "--memory", "1g", "--memory-reservation", "512M"),
        *("--memory-swap", "-1", "--pids-limit", "-1", "--kernel-memory", "1k", "--kernel-memory-tcp", "2"),
    )
    assert id == "c"
    assert rdt is None
    assert resources == {
        "blockIO": {"weight": 500},
        "cpu": {
            "period": 100000,
            "quota": -1,
            "burst": 7,
            "shares": 1024,
            "realtimePeriod": 8,
            "realtimeRuntime": 9,
            "idle": 1,
            "cpus": "0-1",
            "mems": "0",
        },
        "memory": {"limit": 2**30, "reservation": 2**29, "swap": -1, "kernel": 1024, "kernelTCP": 2},
        "pids": {"limit": -1},
    }


def test_shares_of_the_cache(updated: Callable[..., Any]) -> None:
    _, resources, rdt = updated("--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=50")
    assert resources == {}
    assert rdt == IntelRdt(l3_cache_schema="L3:0=f", mem_bw_schema="MB:0=50")


def test_options_change_a_document(
    updated: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"pids": {"limit": 3}, "memory": {"limit": 5, "disableOOMKiller": True}}
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(document))
    expected = {"pids": {"limit": 4}, "memory": {"limit": 5, "disableOOMKiller": True}}
    assert updated("-r", str(path), "--pids-limit", "4")[1] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(document).encode())))
    assert updated("--resources", "-")[1] == document


@pytest.mark.parametrize(
    "words",
    [
        ("--memory", "lots"),
        ("--memory-swap", "-2"),
        ("--cpu-quota", "1_000"),
        ("--pids-limit", ""),
        ("--cpuset-cpus", ""),
    ],
)
def test_what_cannot_be_read(updated: Callable[..., Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=words[0]):
        updated(*words)


def test_a_document_is_read_strictly(updated: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text('{"pids": {"limit": 3}, "pids": {"limit": 4}}')
    with pytest.raises(SpecError):
        updated("-r", str(path))
