"""Groups of resctrl, on a directory that behaves like it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from aiocontainer import ExistsError, ResctrlError, SpecError, resctrl
from aiocontainer.plan.mountinfo import Mount
from aiocontainer.plan.resctrl import ResctrlGroup
from aiocontainer.probe import find_resctrl

if TYPE_CHECKING:
    from support.resctrl import FakeResctrl


def group(fake: FakeResctrl, **changes: Any) -> ResctrlGroup:
    return ResctrlGroup(**{"root": fake.root, "name": "web", "named": False, **changes})


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is written, in order."""
    lines: list[tuple[str, str]] = []

    def write(path: str, line: str, group: ResctrlGroup) -> None:
        lines.append((os.path.relpath(path, group.root), line))

    monkeypatch.setattr(resctrl, "_write", write)
    return lines


def test_a_group_of_ones_own(fake_resctrl: FakeResctrl, written: list[tuple[str, str]]) -> None:
    asked = group(fake_resctrl, lines=("L3:0=f", "MB:0=20", "L2:0=3"), monitor="web")
    found = resctrl.survey(asked)
    assert found.made
    resctrl.create(found)
    assert written == [("web/schemata", line) for line in asked.lines]
    assert os.path.isdir(f"{fake_resctrl.root}/web/mon_groups/web")
    assert found.task_files == (
        f"{fake_resctrl.root}/web/tasks",
        f"{fake_resctrl.root}/web/mon_groups/web/tasks",
    )
    resctrl.remove(found)
    assert not os.path.exists(f"{fake_resctrl.root}/web")
    resctrl.remove(found)


def test_lines_reach_the_file(fake_resctrl: FakeResctrl) -> None:
    found = resctrl.survey(group(fake_resctrl, lines=("L3:0=1;1=1",)))
    resctrl.create(found)
    assert fake_resctrl.read("web/schemata").startswith("L3:0=1;1=1\n")


def test_a_group_by_name_that_is_there(fake_resctrl: FakeResctrl, written: list[tuple[str, str]]) -> None:
    """S193, S195: compared, shared, and left alone."""
    fake_resctrl.group("gold")
    for lines in ((), ("L3:0=FFFFF",), ("MB: 1=100 ; 0=100", "L3:1=0fffff;0=fffff")):
        found = resctrl.survey(group(fake_resctrl, name="gold", named=True, lines=lines, monitor="web"))
        assert not found.made
        resctrl.create(found)
        resctrl.remove(found)
        assert written == []
        assert os.listdir(f"{fake_resctrl.root}/gold/mon_groups") == []


@pytest.mark.parametrize(
    "line", ["L3:0=f", "L3:2=fffff", "L2:0=f", "MB:0=0x100", "MB:0=10", "L3:0=xyz", "L3:0"]
)
def test_a_group_by_name_with_another_share(fake_resctrl: FakeResctrl, line: str) -> None:
    fake_resctrl.group("gold")
    with pytest.raises(SpecError) as caught:
        resctrl.survey(group(fake_resctrl, name="gold", named=True, lines=("L3:0=fffff", line)))
    assert caught.value.origin == "$.linux.intelRdt"


def test_the_root_group(fake_resctrl: FakeResctrl) -> None:
    found = resctrl.survey(group(fake_resctrl, name="", named=True, monitor="web"))
    resctrl.create(found)
    assert found.task_files == (f"{fake_resctrl.root}/tasks", f"{fake_resctrl.root}/mon_groups/web/tasks")
    resctrl.remove(found)
    assert os.path.exists(f"{fake_resctrl.root}/tasks")
    with pytest.raises(SpecError):
        resctrl.survey(group(fake_resctrl, name="", named=True, lines=("L3:0=1",)))


def test_a_group_by_name_that_is_not_there(fake_resctrl: FakeResctrl) -> None:
    with pytest.raises(SpecError) as caught:
        resctrl.survey(group(fake_resctrl, name="gold", named=True))
    assert caught.value.origin == "$.linux.intelRdt.closID"


def test_a_group_that_others_are_in_stays(fake_resctrl: FakeResctrl, written: list[tuple[str, str]]) -> None:
    found = resctrl.survey(group(fake_resctrl, name="gold", named=True, lines=("L3:0=1",)))
    resctrl.create(found)
    with open(found.task_files[0], "w") as file:
        file.write("1234\n")
    resctrl.remove(found)
    assert os.path.isdir(found.directory)
    os.truncate(found.task_files[0], 0)
    resctrl.remove(found)
    assert not os.path.exists(found.directory)


def test_an_id_that_is_taken(fake_resctrl: FakeResctrl) -> None:
    fake_resctrl.group("web")
    with pytest.raises(ExistsError):
        resctrl.survey(group(fake_resctrl))


def test_what_fails_leaves_nothing_and_says_why(
    fake_resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resctrl.survey(group(fake_resctrl, lines=("L3:0=1",), monitor="web"))
    fake_resctrl.status("no such domain")
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid")))
    with pytest.raises(ResctrlError, match=r"writing 'L3:0=1'.*: no such domain"):
        resctrl.create(found)
    assert not os.path.exists(found.directory)


def test_what_another_has_made_meanwhile_is_not_removed(fake_resctrl: FakeResctrl) -> None:
    found = resctrl.survey(group(fake_resctrl, name="gold", named=True, lines=("L3:0=1",)))
    fake_resctrl.group("gold")
    with pytest.raises(ResctrlError) as caught:
        resctrl.create(found)
    assert caught.value.errno == errno.EEXIST
    assert os.path.isdir(found.directory)


def test_another_share(fake_resctrl: FakeResctrl, written: list[tuple[str, str]]) -> None:
    fake_resctrl.group("web", schemata="    L3:0=f;1=f\n    MB:0=100;1=100\n")
    undo = resctrl.change(group(fake_resctrl), ("L3:0=1",))
    assert written == [("web/schemata", "L3:0=1")]
    undo()
    assert written[1:] == [("web/schemata", "L3:0=f;1=f")]


def test_another_share_that_is_refused(fake_resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_resctrl.group("web", schemata="L3:0=f\nMB:0=100\n")
    fake_resctrl.status("no such domain")
    lines: list[bytes] = []

    def write(_: int, data: bytes) -> int:
        lines.append(data)
        if data == b"MB:7=1\n":
            raise OSError(errno.EINVAL, "Invalid")
        return len(data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ResctrlError, match=r"writing 'MB:7=1'.*: no such domain"):
        resctrl.change(group(fake_resctrl), ("L3:0=1", "MB:7=1"))
    assert lines == [b"L3:0=1\n", b"MB:7=1\n", b"L3:0=f\n", b"MB:0=100\n"]
    with pytest.raises(ResctrlError):
        resctrl.change(group(fake_resctrl, name="gone"), ("L3:0=1",))


# The machine.


def mount(point: str, **changes: Any) -> Mount:
    base = Mount(1, 1, 0, "/", point, "rw", (), "resctrl", "resctrl", "rw")
    return base._replace(**changes)


def test_it_is_found_by_its_type(fake_resctrl: FakeResctrl) -> None:
    mounts = [mount("/x", type="tmpfs"), mount("/y", root="/web"), mount(fake_resctrl.root)]
    found = find_resctrl(mounts)
    assert found is not None
    assert (found.root, found.resources, found.monitoring) == (fake_resctrl.root, {"L3", "MB"}, True)
    assert find_resctrl(mounts[:2]) is None


# What a group has used.


def test_what_a_group_has_used(fake_resctrl: FakeResctrl) -> None:
    """Of its own monitoring group; a domain that the hardware cannot tell of now is left out."""
    found = resctrl.survey(group(fake_resctrl, name="gold", named=True, lines=("L3:0=1",), monitor="web"))
    resctrl.create(found)
    for place, values in (
        ("mon_L3_00", {"llc_occupancy": "4096", "mbm_total_bytes": "18446744073709551615"}),
        ("mon_L3_01", {"llc_occupancy": "Unavailable", "mbm_local_bytes": "7"}),
        ("mon_MB_00", {"llc_occupancy": "1"}),
    ):
        os.makedirs(f"{found.monitor_directory}/mon_data/{place}")
        for name, text in values.items():
            with open(f"{found.monitor_directory}/mon_data/{place}/{name}", "w") as file:
                file.write(f"{text}\n")
    with open(f"{fake_resctrl.root}/info/L3/cbm_mask", "w") as file:
        file.write("fffff\n")
    stats = resctrl.stats(found)
    assert stats.llc_occupancy_bytes == {0: 4096}
    assert stats.mbm_total_bytes == {0: 2**64 - 1}
    assert stats.mbm_local_bytes == {1: 7}
    assert stats.schemata[0].startswith("L3:0=1")
    assert stats.root_schemata == ("L3:0=fffff;1=fffff", "MB:0= 100;1= 100")
    assert stats.info == {"L3": {"cbm_mask": "fffff"}}
    assert resctrl.stats(group(fake_resctrl, name="gone")).schemata == ()
