"""Setting limits: their order, second tries and undoing, on files that refuse as the kernel's do."""

from __future__ import annotations

import errno
import logging

import pytest

from aiocontainer.cgroups.limits import Limits
from aiocontainer.errors import CgroupError, SpecError, UnsupportedError
from aiocontainer.plan.plan import CgroupWrite


class Files:
    """A directory: files that hold values, and what they refuse."""

    path = "/sys/fs/cgroup/x"
    made = 1

    def __init__(self, **held: int) -> None:
        self.held = {name.replace("_", "."): str(value) for name, value in held.items()}
        self.log: list[str] = []
        self.broken: dict[str, int] = {}

    def read(self, file: str) -> bytes:
        if file not in self.held:
            raise CgroupError(file, errno.ENOENT)
        return f"{self.held[file]}\n".encode()

    def write(self, file: str, value: str) -> None:
        if file not in self.held:
            raise CgroupError(file, errno.ENOENT)
        if file in self.broken:
            raise CgroupError(file, self.broken[file], value=value)
        # As v1 has it of memory and memory with swap, and both of quota and burst.
        after = {**self.held, file: value}
        if "low" in after and int(after["low"]) > int(after["high"]):
            raise CgroupError(file, errno.EINVAL, value=value)
        self.held = after
        self.log.append(f"{file}={value}")


@pytest.mark.parametrize(
    ("file", "value", "needs"),
    [
        ("io.bfq.weight", "8:0 200", "a device whose I/O scheduler is BFQ"),
        ("io.bfq.weight", "200", "a kernel that has this file"),
        ("io.max", "8:0 rbps=1", "a kernel that has this file"),
    ],
)
def test_what_is_not_supported_says_what_it_needs(file: str, value: str, needs: str) -> None:
    files = Files()
    files.held[file] = ""
    files.broken[file] = errno.EOPNOTSUPP
    with pytest.raises(UnsupportedError, match=needs):
        limits(files).set([CgroupWrite("$", "io", file, value)], fresh=True)


def limits(files: Files) -> Limits:
    return Limits(lambda _: files, lambda *_: False)  # type: ignore[arg-type,return-value]


def write(file: str, value: object, **more: object) -> CgroupWrite:
    return CgroupWrite(f"$.{file}", "x", file, str(value), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "order"),
    [
        (15, 30, ["low=15", "high=30"]),
        (30, 40, ["high=40", "low=30"]),
        (5, 7, ["low=5", "high=7"]),
    ],
)
def test_a_group_finds_its_own_order(low: int, high: int, order: list[str]) -> None:
    files = Files(low=10, high=20)
    limits(files).set([write("low", low, group="g"), write("high", high, group="g")], fresh=True)
    assert files.log == order


def test_a_group_that_never_fits_says_first_why_and_is_undone() -> None:
    files = Files(low=10, high=20, a=1)
    writes = [write("a", 2), write("low", 40, group="g"), write("high", 30, group="g")]
    with pytest.raises(CgroupError) as caught:
        limits(files).set(writes, fresh=False)
    assert caught.value.origin == "$.low"
    assert files.held == {"low": "10", "high": "20", "a": "1"}


def test_without_a_group_order_is_as_given() -> None:
    files = Files(low=10, high=20)
    with pytest.raises(CgroupError):
        limits(files).set([write("low", 30), write("high", 40)], fresh=True)


def test_other_errors_are_not_tried_again() -> None:
    files = Files(a=1, b=2)
    files.broken["a"] = errno.EBUSY
    with pytest.raises(CgroupError) as caught:
        limits(files).set([write("a", 2, group="g"), write("b", 3, group="g")], fresh=True)
    assert (caught.value.errno, caught.value.value) == (errno.EBUSY, "2")
    assert files.log == []


def test_the_last_is_undone_first() -> None:
    files = Files(a=1, b=2, c=3)
    files.broken["c"] = errno.EIO
    with pytest.raises(CgroupError):
        limits(files).set([write("a", 7), write("b", 8), write("a", 9), write("c", 1)], fresh=False)
    assert files.log == ["a=7", "b=8", "a=9", "a=7", "b=2", "a=1"]


def test_what_goes_away_anyway_is_not_undone() -> None:
    files = Files(a=1, b=2)
    files.broken["b"] = errno.EIO
    with pytest.raises(CgroupError):
        limits(files).set([write("a", 7), write("b", 8)], fresh=True)
    assert files.log == ["a=7"]
    files.made = 0  # but what was there before us does not
    with pytest.raises(CgroupError):
        limits(files).set([write("a", 9), write("b", 8)], fresh=True)
    assert files.log == ["a=7", "a=9", "a=7"]


def test_what_cannot_be_undone_is_told_and_the_first_error_raised(caplog: pytest.LogCaptureFixture) -> None:
    files = Files(a=1, b=2)

    def fail(file: str, value: str) -> None:
        if (file, value) != ("a", "7"):
            raise CgroupError(file, errno.EIO, value=value)

    files.write = fail  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING), pytest.raises(CgroupError) as caught:
        limits(files).set([write("a", 7), write("b", 8)], fresh=False)
    assert caught.value.value == "8"
    assert "could not be set back: a: " in caplog.text


def test_a_number_that_is_changed_silently_is_set_back() -> None:
    files = Files(a=1024)
    files.write = lambda file, value: files.held.update({file: str(max(2, int(value)))})  # type: ignore[method-assign]
    with pytest.raises(SpecError, match="2 at least, not 1"):
        limits(files).set([write("a", 1, exact=True)], fresh=False)
    assert files.held == {"a": "1024"}


def test_a_controller_is_passed_on_when_its_file_is_missing() -> None:
    files = Files()
    asked = []

    def enable(directory: object, controller: str) -> bool:
        asked.append((directory, controller))
        files.held["x.max"] = "max"
        return True

    Limits(lambda _: files, enable).set([write("x.max", 3)], fresh=True)  # type: ignore[arg-type,return-value]
    assert files.held == {"x.max": "3"}
    assert asked == [(files, "x")]


def test_nothing_stands_in_for_a_controller() -> None:
    nowhere = Limits(lambda _: None, lambda *_: False)
    nowhere.set([write("a", 1, optional=True)], fresh=True)
    with pytest.raises(UnsupportedError, match="the x controller"):
        nowhere.set([write("a", 1)], fresh=True)
