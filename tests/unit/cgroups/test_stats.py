"""From the text of accounting files to values: exact for what is known, indifferent to what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cgroup_files import SIZES, dump, names
from hypothesis import given
from hypothesis import strategies as st

from aiocontainer.cgroups.stats import text, v1, v2
from aiocontainer.cgroups.stats.reading import collect
from aiocontainer.cgroups.stats.text import MalformedError
from aiocontainer.cgroups.stats.values import (
    CgroupStats,
    Counter,
    DeviceIo,
    IoEntry,
    MemoryEvents,
    Pressure,
    PressureLine,
    RdmaStats,
    StatsMask,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

U64 = 2**64 - 1


class Files:
    """A reading without any kernel."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def __call__(self, file: str) -> bytes | None:
        return self._files.get(file)

    def path(self, file: str) -> str:
        return f"/cgroup/{file}"

    def finish(self) -> None:
        """Nothing goes away meanwhile."""


def parsed(files: Mapping[str, bytes], version: int, mask: StatsMask = StatsMask.ALL) -> CgroupStats:
    layout = (v1 if version == 1 else v2).parts(SIZES)
    fields: dict[str, Any] = collect([(layout, Files(files))], mask)  # type: ignore[list-item]
    return CgroupStats(version=version, **fields)


def of(name: str, **changes: bytes) -> CgroupStats:
    files = {**dump(name), **{key.replace("__", "."): value for key, value in changes.items()}}
    return parsed(files, 1 if name.startswith("v1") else 2)


# What kernels say


def test_v1_of_today() -> None:
    stats = of("v1-linux-6.18")
    cpu, memory = stats.cpu, stats.memory
    assert (cpu.total_ns, cpu.user_ns, cpu.kernel_ns) == (422736883, 410_000_000, 10_000_000)
    assert (cpu.per_cpu_ns, sum(cpu.per_cpu_ns)) == ((120538802, 302198081), cpu.total_ns)
    assert (cpu.per_cpu_user_ns, cpu.per_cpu_kernel_ns) == ((136000000, 308000000), (0, 12000000))
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled_ns) == (22, 21, 1112063820)
    line = PressureLine(avg10=7.97, avg60=1.43, avg300=0.3, total_us=957400)
    assert cpu.pressure == Pressure(some=line, full=line)
    assert (memory.max_usage_bytes, memory.limit_bytes, memory.failcnt) == (22282240, 64 << 20, 0)
    assert memory.with_swap == Counter(usage_bytes=22282240, max_usage_bytes=22282240)
    assert memory.kernel == Counter(usage_bytes=57344, max_usage_bytes=57344)
    assert (memory.cache_bytes, memory.anon_bytes, memory.raw["rss"]) == (1052672, 20996096, 20996096)
    assert (stats.pids.current, stats.pids.limit, stats.pids.peak) == (1, 50, 1)
    assert stats.io.devices == (
        DeviceIo(major=254, minor=0, read_bytes=4096, write_bytes=8 << 20, read_ios=1, write_ios=8),
    )
    assert stats.io.tables.service_bytes[-1] == IoEntry(254, 0, "Total", 8392704)
    assert (stats.cpuset.cpus, stats.cpuset.mems) == ((0, 1), (0,))
    assert stats.cpuset.flags["sched_relax_domain_level"] == -1
    absent = StatsMask.HUGETLB | StatsMask.RDMA | StatsMask.MISC | StatsMask.NET | StatsMask.RDT
    assert stats.parts == StatsMask.ALL & ~absent
    assert (stats.hugetlb, stats.rdma, stats.misc) == ({}, {}, {})


def test_v1_of_old_with_a_vendors_additions() -> None:
    stats = of("v1-linux-3.10-vendor")
    assert (stats.cpu.total_ns, sum(stats.cpu.per_cpu_ns)) == (1680000001234, 1680000001234)
    assert (stats.cpu.throttled_ns, stats.cpu.pressure) == (456789012345, None)
    assert stats.memory.failcnt == U64
    assert stats.memory.limit_bytes is None
    assert stats.memory.with_swap.limit_bytes == 2 << 30
    assert stats.memory.swap.usage_bytes == 12288
    assert "vendor_pages" not in stats.memory.raw
    assert stats.io.devices == (
        DeviceIo(major=8, minor=0, read_bytes=100, write_bytes=200, read_ios=3, write_ios=4),
        DeviceIo(major=8, minor=16, read_bytes=7),
    )
    tables = stats.io.tables
    assert tables.sectors == (IoEntry(8, 0, "", 6792),)
    assert [table[0].value for table in (tables.service_time_ns, tables.wait_time_ns, tables.merged)] == [
        1111,
        5,
        1,
    ]
    assert tables.time_ms == (IoEntry(8, 0, "", 19),)
    assert stats.hugetlb["2MB"].limit_bytes is None
    assert (stats.hugetlb["2MB"].usage_bytes, stats.hugetlb["2MB"].failcnt) == (2 << 20, 2)
    assert stats.rdma == {
        "mlx4_0": RdmaStats(hca_handles=2, hca_objects=2000, hca_handles_limit=3),
        "ocrdma1": RdmaStats(hca_handles=3),
    }
    assert stats.cpuset.cpus == (0, 1, 2, 7)


def test_v2_of_today() -> None:
    stats = of("v2-linux-6.12")
    assert (stats.cpu.total_ns, stats.cpu.user_ns, stats.cpu.kernel_ns) == (
        2869129000,
        1782993000,
        1086136000,
    )
    assert (stats.cpu.periods, stats.cpu.throttled_ns) == (146, 10888805000)
    memory = stats.memory
    assert (memory.usage_bytes, memory.max_usage_bytes, memory.limit_bytes) == (626688, 24657920, 64 << 20)
    assert (memory.cache_bytes, memory.kernel.usage_bytes, memory.slab_bytes) == (602112, 24576, 14528)
    assert memory.swap == Counter(max_usage_bytes=0)
    assert memory.with_swap == Counter(usage_bytes=626688)
    assert (stats.pids.current, stats.pids.limit, stats.pids.peak) == (0, 50, 2)
    assert [(device.minor, device.read_bytes, device.write_ios) for device in stats.io.devices] == [
        (16, 8192, 0),
        (0, 20254720, 100),
    ]
    assert list(stats.hugetlb) == ["2MB", "1GB"]
    assert stats.cpuset.cpus == (0, 1)
    assert stats.parts == StatsMask.ALL & ~(StatsMask.NET | StatsMask.RDT)


def test_v2_of_old_with_a_vendors_additions() -> None:
    """Numbers that no float can hold stay what they are."""
    stats = of("v2-linux-5.4-vendor")
    assert stats.cpu.total_ns == 18014398509481985 * 1000
    assert stats.cpu.pressure == Pressure(
        some=PressureLine(avg10=1.25, avg60=100.0, avg300=0.07, total_us=U64), full=None
    )
    memory = stats.memory
    assert (memory.usage_bytes, memory.anon_bytes) == (2**53 + 1, 2**53 + 1)
    assert (memory.limit_bytes, memory.max_usage_bytes, memory.slab_bytes) == (None, None, 40)
    assert memory.with_swap == Counter(usage_bytes=2**53 + 1)
    assert memory.events == MemoryEvents(low=1, high=2, max=3, oom=4, oom_kill=5)
    assert memory.raw["future_key"] == U64
    assert (stats.pids.current, stats.pids.peak, stats.pids.failcnt) == (7, None, 8)
    # The devices before the numbers have none: Linux 5.4 leaves out the end of their lines.
    assert stats.io.devices == (
        DeviceIo(
            major=8,
            minor=16,
            read_bytes=1459200,
            write_bytes=314773504,
            read_ios=192,
            write_ios=353,
            discard_bytes=3,
            discard_ios=1,
        ),
        DeviceIo(
            major=8,
            minor=0,
            read_bytes=90430464,
            write_bytes=299008000,
            read_ios=8950,
            write_ios=1252,
            discard_bytes=50331648,
            discard_ios=3021,
        ),
    )
    assert (stats.misc["sev"].usage, stats.misc["sev"].limit) == (3, None)
    assert (stats.misc["sev_es"].limit, stats.misc["sev_es"].failcnt) == (10, 2)
    assert (stats.cpuset.cpus, stats.cpuset.mems) == ((0, 1, 4), ())


def test_swap_is_alone_in_v2_and_combined_for_those_who_know_v1() -> None:
    stats = of(
        "v2-linux-5.4-vendor",
        memory__max=b"1000\n",
        memory__current=b"600\n",
        memory__swap__current=b"50\n",
        memory__swap__max=b"200\n",
        memory__swap__peak=b"70\n",
        memory__swap__events=b"high 0\nmax 3\nfail 4\n",
        memory__peak=b"900\n",
    )
    memory = stats.memory
    assert memory.swap == Counter(usage_bytes=50, max_usage_bytes=70, limit_bytes=200, failcnt=3)
    assert memory.with_swap == Counter(usage_bytes=650, limit_bytes=1200, failcnt=3)
    assert (memory.max_usage_bytes, memory.limit_bytes) == (900, 1000)


def test_huge_pages_of_v2() -> None:
    files = {
        "hugetlb.2MB.current": b"2097152\n",
        "hugetlb.2MB.max": b"4194304\n",
        "hugetlb.2MB.events": b"max 9\n",
        "hugetlb.2MB.rsvd.current": b"1\n",
        "hugetlb.2MB.rsvd.max": b"max\n",
    }
    huge = parsed(files, 2).hugetlb
    assert list(huge) == ["2MB"]
    assert (huge["2MB"].usage_bytes, huge["2MB"].limit_bytes, huge["2MB"].failcnt) == (2 << 20, 4 << 20, 9)
    assert huge["2MB"].reserved == Counter(usage_bytes=1)


@pytest.mark.parametrize("name", names())
def test_line_ends_of_another_system(name: str) -> None:
    files = dump(name)
    returned = {file: content.replace(b"\n", b"\r\n") for file, content in files.items()}
    version = int(name[1])
    assert parsed(returned, version) == parsed(files, version)


@pytest.mark.parametrize("name", names())
def test_a_part_that_is_not_asked_for_is_not_read(name: str) -> None:
    files, asked = dump(name), set[str]()

    class Watched(dict[str, bytes]):
        def get(self, file: str, default: Any = None) -> Any:
            asked.add(file)
            return files.get(file, default)

    stats = parsed(Watched(), int(name[1]), StatsMask.PIDS)
    assert stats.parts == StatsMask.PIDS
    assert asked
    assert {file.split(".")[0] for file in asked} == {"pids"}
    assert stats.memory == CgroupStats().memory


@pytest.mark.parametrize("version", [1, 2])
def test_without_any_controller(version: int) -> None:
    assert parsed({}, version) == CgroupStats(version=version)


# What makes no sense

ONLY_LOOKED_FOR = ("blkio.throttle.io_serviced", "cpuset.cpus")


@pytest.mark.parametrize("name", names())
def test_what_is_cut_off_is_refused(name: str) -> None:
    """Whatever file ends in the middle of a line; a reading of it would look as good as any."""
    files = dump(name)
    for file, content in files.items():
        if len(content) < 2 or not is_read(name, file) or file in ONLY_LOOKED_FOR:
            continue
        with pytest.raises(OSError, match="Bad message"):
            parsed({**files, file: content[:-1]}, int(name[1]))


def is_read(name: str, file: str) -> bool:
    files, asked = dump(name), set[str]()

    class Watched(dict[str, bytes]):
        def get(self, file: str, default: Any = None) -> Any:
            asked.add(file)
            return files.get(file, default)

    parsed(Watched(), int(name[1]))
    return file in asked


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("v2-linux-5.4-vendor", "cpu.stat", b"usage_usec many\n"),
        ("v2-linux-5.4-vendor", "cpu.stat", b"usage_usec\n"),
        ("v2-linux-5.4-vendor", "memory.current", b"\n"),
        ("v2-linux-5.4-vendor", "memory.current", b""),
        ("v2-linux-5.4-vendor", "memory.current", b"-1\n"),
        ("v2-linux-5.4-vendor", "memory.current", b"1 2\n"),
        ("v2-linux-5.4-vendor", "memory.current", b"1_0\n"),
        ("v2-linux-5.4-vendor", "memory.current", b"18446744073709551616\n"),
        ("v2-linux-5.4-vendor", "memory.max", b"most\n"),
        ("v2-linux-5.4-vendor", "memory.stat", b"anon x\n"),
        ("v2-linux-5.4-vendor", "memory.pressure", b""),
        ("v2-linux-5.4-vendor", "memory.pressure", b"some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n"),
        ("v2-linux-5.4-vendor", "memory.pressure", b"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("v2-linux-5.4-vendor", "io.stat", b"8:0 rbytes=many\n"),
        ("v2-linux-5.4-vendor", "io.stat", b"rbytes=1\n"),
        ("v2-linux-5.4-vendor", "cpuset.cpus.effective", b"3-1\n"),
        ("v2-linux-5.4-vendor", "cpuset.cpus.effective", b"0-4294967295\n"),
        ("v2-linux-5.4-vendor", "misc.max", b"sev some\n"),
        ("v1-linux-6.18", "cpuacct.usage_all", b"cpu user system\n0 1\n"),
        ("v1-linux-6.18", "cpuacct.usage_percpu", b"1 x\n"),
        ("v1-linux-6.18", "blkio.throttle.io_serviced_recursive", b"8:0 Read\n"),
        ("v1-linux-6.18", "blkio.throttle.io_serviced_recursive", b"8:0 Read 1 2\n"),
        ("v1-linux-6.18", "cpuset.sched_relax_domain_level", b"--1\n"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_path(name: str, file: str, content: bytes) -> None:
    with pytest.raises(OSError, match="Bad message") as caught:
        parsed({**dump(name), file: content}, int(name[1]))
    assert caught.value.filename == f"/cgroup/{file}"
    assert isinstance(caught.value.__cause__, MalformedError)
    assert caught.value.__cause__.file == file


@pytest.mark.parametrize(
    ("name", "file"),
    [("v2-linux-5.4-vendor", "memory.stat"), ("v1-linux-6.18", "memory.stat")],
)
def test_what_every_controller_has_must_be_there(name: str, file: str) -> None:
    files = dump(name)
    del files[file]
    with pytest.raises(OSError, match="Bad message") as caught:
        parsed(files, int(name[1]))
    assert "missing" in str(caught.value.__cause__)


# Whatever comes: fuzz target F10

PARSERS: list[Callable[[bytes], object]] = [
    text.number,
    text.limit,
    text.signed,
    text.keyed,
    lambda content: text.keyed(content, frozenset({"max", "usage_usec"})),
    text.limits,
    lambda content: text.nested(content, frozenset({"rbytes", "hca_handle"})),
    text.device_table,
    text.columns,
    text.row,
    text.cpu_list,
    text.pressure,
]

WORDS = [
    *(
        b"max",
        b"usage_usec",
        b"rbytes=",
        b"hca_handle=max",
        b"8:0",
        b"some",
        b"full",
        b"avg10=0.00",
        b"total=",
    ),
    *(
        b"-",
        b",",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b"=",
        b":",
        b"0",
        b"18446744073709551616",
        b"1.5",
        b"\xff",
    ),
]


@pytest.mark.parametrize("parser", PARSERS)
@given(content=st.one_of(st.binary(), st.lists(st.sampled_from(WORDS)).map(b"".join)))
def test_anything_is_understood_or_refused(parser: Callable[[bytes], object], content: bytes) -> None:
    try:
        parser(content)
    except MalformedError:
        return
    assert not content or content.endswith(b"\n")


@given(
    name=st.sampled_from(names()),
    pick=st.randoms(use_true_random=False),
    junk=st.sampled_from(WORDS),
    how=st.sampled_from(["cut", "insert", "repeat"]),
)
def test_a_damaged_file_is_understood_or_refused(name: str, pick: Any, junk: bytes, how: str) -> None:
    files = dump(name)
    file = pick.choice(sorted(files))
    content = files[file]
    place = pick.randint(0, len(content))
    files[file] = {
        "cut": content[:place],
        "insert": content[:place] + junk + content[place:],
        "repeat": content + content[place:],
    }[how]
    try:
        parsed(files, int(name[1]))
    except OSError as exc:
        assert exc.filename == f"/cgroup/{file}"  # noqa: PT017 - most damage does no harm


keys = st.text("abcdefghijklmnopqrstuvwxyz_.0123456789", min_size=1, max_size=12)
counts = st.integers(0, U64)


@given(values=st.dictionaries(keys, counts), junk=st.lists(keys))
def test_keyed_lines_are_exact(values: dict[str, int], junk: list[str]) -> None:
    lines = [f"{key} {value}" for key, value in values.items()] + [f"{word} {word} x" for word in junk]
    content = "".join(f"{line}\n" for line in lines).encode()
    assert text.keyed(content) == values


@given(value=st.integers(0, text.NO_LIMIT - 1))
def test_limits_are_exact(value: int) -> None:
    assert text.limit(b"%d\n" % value) == text.number(b"%d\n" % value) == value


@given(numbers=st.sets(st.integers(0, 300)))
def test_lists_of_cpus(numbers: set[int]) -> None:
    content = ",".join(map(str, sorted(numbers))).encode() + b"\n"
    assert text.cpu_list(content) == tuple(sorted(numbers))


def test_averages_survive_as_they_are_written() -> None:
    for hundredths in range(10001):
        written = f"{hundredths // 100}.{hundredths % 100:02}"
        line = f"some avg10={written} avg60=0.00 avg300=0.00 total=0\n".encode()
        assert f"{text.pressure(line).some.avg10:.2f}" == written


@pytest.mark.parametrize(
    ("directories", "sizes"),
    [
        (["hugepages-1048576kB", "hugepages-2048kB"], ("2MB", "1GB")),
        (["hugepages-64kB", "hugepages-16777216kB"], ("64KB", "16GB")),
        ([], ()),
    ],
)
def test_sizes_of_huge_pages(directories: list[str], sizes: tuple[str, ...], tmp_path: Any) -> None:
    for name in directories:
        (tmp_path / name).mkdir()
    assert v2.huge_page_sizes(str(tmp_path)) == sizes
    assert v2.huge_page_sizes(str(tmp_path / "none")) == ()
