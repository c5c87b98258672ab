"""The helper's plan decoder, called through the library: what it takes, what it refuses."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import Fields, Raw, program, step

from aiocontainer import native
from aiocontainer.native import wire
from aiocontainer.native._lib import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Sequence

FDS = 4
EXEC = step("EXEC", a=1, strings=("true",))
CREATED = step("PAUSE", a=lib.PAUSE_CREATED)
GATE = step("GATE", fd=0)
SOME = [step("SETSID"), step("HOSTNAME", strings=("box",)), *program("/bin/true", "x", env=["A=B"])]


def check(plan: bytes, fds: int = FDS) -> tuple[int, int]:
    """The decoder's verdict and the step it complains of."""
    at = ffi.new("uint32_t *")
    return lib.plan_check(plan, len(plan), fds, at), at[0]


def encode(steps: Sequence[Raw], fds: int = FDS) -> bytes:
    return native.encode_plan(steps, fds)


def accepts(plan: bytes, fds: int = FDS) -> bool:
    result, _ = check(plan, fds)
    assert result in (0, -errno.EBADMSG, -errno.EPROTONOSUPPORT)
    return result == 0


def decode(plan: bytes) -> list[Raw]:
    """A second decoder, in the simplest words: what an accepted plan says."""
    *_, count, _fds, _ = wire.PLAN.unpack_from(plan)
    steps, record = [], wire.PLAN.size
    for _ in range(count):
        op, size, fd, strings, a, b, c, data_size, _ = wire.STEP.unpack_from(plan, record)
        at = record + wire.STEP.size
        texts = []
        for _ in range(strings):
            (length,) = struct.unpack_from("=I", plan, at)
            texts.append(plan[at + 4 : at + 4 + length].decode("utf-8", "surrogateescape"))
            at += 4 + length + 1
        steps.append(Raw(op, Fields(fd, a, b, c, tuple(texts), plan[at : at + data_size])))
        record += size
    return steps


def test_a_plain_plan_is_accepted() -> None:
    assert check(encode(SOME)) == (0, 2**32 - 1)
    assert decode(encode(SOME)) == SOME


def test_the_offending_step_is_named() -> None:
    assert check(encode([step("SETSID"), step("SETSID", a=1), EXEC])) == (-errno.EBADMSG, 1)


PATH = ("/x",)
# One good record per opcode.
GOOD = [
    step("PAUSE", a=lib.PAUSE_MAPS, b=1),
    step("FORK", a=0x20000000),
    step("JOIN_CGROUP", fd=3),
    step("JOIN_NS", fd=0, a=0x40000000),
    step("VERIFY_NS", a=0x20000, b=2**63),
    step("UNSHARE", a=0x20000),
    step("TIME_NS", strings=("",)),
    step("NS_ROOT", a=1),
    step("OOM_SCORE", a=-1000),
    step("LOOPBACK"),
    step("HOSTNAME", strings=("x",)),
    step("DOMAINNAME", strings=("x",)),
    step("SETSID"),
    step("KEYRING", strings=("_ses.x",)),
    step("RESET", a=31),
    step("SYSCTL", strings=("net/ipv4/ip_forward", "1")),
    step("PROPAGATION", a=1 << 18 | 16384),
    step("PROCFS"),
    step("ROOTFS", strings=PATH),
    step("ROOTFS", fd=1, strings=PATH),
    step("ROOTFS", a=3, strings=("/x", "source", "", "", "/layer", "/other")),
    step("MOUNT", a=1, b=1 << 18, c=1, strings=("tmpfs", "tmpfs", "/x", "size=1k", "ro")),
    step("BIND", fd=1, a=1 << 32 | 1, c=4, strings=("src", "/x")),
    step("BIND", c=lib.MOUNT_DEVICE_NODE, strings=("src", "/x"), data=bytes(8)),
    step("SETATTR", a=1, strings=PATH),
    step("DEVICE", a=0o020666, b=1 << 32 | 3, c=5 << 32 | 5, strings=PATH),
    step("SYMLINK", strings=("text", "/x")),
    step("MASK", strings=PATH),
    step("READONLY", strings=PATH),
    step("PIVOT", a=lib.PIVOT_CHROOT),
    step("VERIFY_MOUNTS"),
    step("CONSOLE", a=24 << 16 | 80, b=1),
    step("FD", fd=2, a=242, b=1, c=2**64 - 1),
    step("RLIMIT", a=7, b=1, c=2),
    step("UMASK", a=0o777),
    step("BOUNDING", a=2**64 - 1),
    step("CREDENTIALS", a=2**32 - 2, b=5, data=bytes(12)),
    step("CAPABILITIES", data=bytes(32)),
    step("CWD", a=1, b=1, strings=PATH),
    step("NO_NEW_PRIVS"),
    step("PROGRAM", strings=("/bin/a", "b")),
    step("SECCOMP", a=46, b=1, data=bytes(8 * 4096)),
    step("HOOK", a=2, b=1000, c=1, strings=("/hook", "/bundle", "hook", "x", "A=B"), data=b"{}"),
    step("HOOK", a=1, strings=("/hook", "", "hook")),
    step("AFFINITY", data=bytes(8)),
    step("SCHEDULER", data=struct.pack("=I52x", 56)),
    step("IO_PRIORITY", a=3 << 13 | 7),
    step("MEMORY_POLICY", a=2 | 1 << 15, data=bytes(16)),
    step("MEMORY_POLICY", a=4),
    step("PERSONALITY", a=8),
    step("LABEL", a=lib.LABEL_APPARMOR_EXEC, strings=("profile",)),
    step("LABEL", a=lib.LABEL_SELINUX_KEYS, strings=("",)),
    step("FILE_LABEL", strings=("/x", "u:r:t:s0")),
    step("MASK", strings=("/x", "u:r:t:s0")),
]


@pytest.mark.parametrize("good", GOOD, ids=str)
def test_good_records_are_accepted(good: Raw) -> None:
    assert accepts(encode([good, EXEC]))


def test_every_opcode_has_a_good_record() -> None:
    known = {raw.op for raw in [*GOOD, EXEC, GATE]}
    assert known == set(ffi.typeof("enum wire_op").elements)


def spoiled() -> list[Raw]:
    """Each good record with one thing that its opcode does not take."""
    extra = {"fd": 0, "a": 2**63, "b": 2**63, "c": 2**63, "data": bytes(3)}
    takes_fd = {lib.STEP_JOIN_CGROUP, lib.STEP_JOIN_NS, lib.STEP_ROOTFS, lib.STEP_BIND, lib.STEP_FD}
    takes_all = {
        "a": {lib.STEP_BIND, lib.STEP_SETATTR, lib.STEP_BOUNDING},
        "b": {lib.STEP_VERIFY_NS, lib.STEP_DEVICE},
        "c": {lib.STEP_DEVICE, lib.STEP_CONSOLE, lib.STEP_FD, lib.STEP_RLIMIT},
        "data": {lib.STEP_HOOK},
    }
    found = []
    for good in GOOD:
        for name, value in extra.items():
            taken = takes_fd if name == "fd" else takes_all.get(name, set())
            if good.op not in taken:
                found.append(good._replace(fields=good.fields._replace(**{name: value})))
    return found


@pytest.mark.parametrize("bad", spoiled(), ids=str)
def test_fields_that_an_opcode_does_not_take_are_refused(bad: Raw) -> None:
    assert check(encode([bad, EXEC]))[1] == 0
    assert not accepts(encode([bad, EXEC]))


BAD = {
    "unknown opcode": step("SETSID")._replace(op=4),
    "opcode 0": step("SETSID")._replace(op=0),
    "huge opcode": step("SETSID")._replace(op=2**32 - 1),
    "descriptor missing": step("JOIN_CGROUP"),
    "descriptor out of range": step("JOIN_CGROUP", fd=FDS),
    "descriptor negative": step("JOIN_CGROUP", fd=-2),
    "relative path": step("MASK", strings=("x",)),
    "empty path": step("MASK", strings=("",)),
    "no string": step("HOSTNAME"),
    "two strings": step("HOSTNAME", strings=("a", "b")),
    "no such pause": step("PAUSE", a=8),
    "pause 0": step("PAUSE"),
    "two namespaces to verify": step("VERIFY_NS", a=0x20000 | 0x40000000),
    "no namespace": step("UNSHARE"),
    "not a namespace": step("UNSHARE", a=0x100),
    "sysctl climbing": step("SYSCTL", strings=("net/../kernel/core_pattern", "x")),
    "sysctl absolute": step("SYSCTL", strings=("/kernel/x", "x")),
    "sysctl empty part": step("SYSCTL", strings=("net//x", "x")),
    "sysctl dot": step("SYSCTL", strings=("net/.", "x")),
    "oom score": step("OOM_SCORE", a=1001),
    "uid -1": step("CREDENTIALS", a=2**32 - 1),
    "gid -1": step("CREDENTIALS", b=2**32 - 1),
    "groups cut": step("CREDENTIALS", data=bytes(5)),
    "capabilities cut": step("CAPABILITIES", data=bytes(24)),
    "capabilities missing": step("CAPABILITIES"),
    "directory as device": step("DEVICE", a=0o040755, strings=PATH),
    "socket as device": step("DEVICE", a=0o140755, strings=PATH),
    "number of descriptor": step("FD", fd=0, a=243),
    "limit above hard": step("RLIMIT", a=7, b=2, c=1),
    "no such limit": step("RLIMIT", a=16),
    "device without number": step("BIND", c=lib.MOUNT_DEVICE_NODE, strings=("s", "/x")),
    "number without device": step("BIND", strings=("s", "/x"), data=bytes(8)),
    "umask": step("UMASK", a=0o1000),
    "pivot": step("PIVOT", a=3),
    "hook without arguments": step("HOOK", strings=("/hook", "", "hook")),
    "hook with more arguments than strings": step("HOOK", a=2, strings=("/hook", "", "hook")),
    "hook without directory": step("HOOK", a=1, strings=("/hook", "hook")),
    "hook by a relative path": step("HOOK", a=1, strings=("hook", "", "hook")),
    "pid behind the state": step("HOOK", a=1, c=3, strings=("/hook", "", "hook"), data=b"{}"),
    "exec in the middle": EXEC,
    "gate without created": GATE,
    "created without gate": CREATED,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_records_are_refused(bad: Raw) -> None:
    assert check(encode([bad, EXEC]))[0] == -errno.EBADMSG


ORDERS = {
    "nothing": ([], False),
    "exec alone": ([EXEC], True),
    "no exec": ([step("SETSID")], False),
    "created, gate": ([CREATED, GATE, EXEC], True),
    "something between": ([CREATED, step("SETSID"), GATE, EXEC], False),
    "two gates": ([CREATED, GATE, CREATED, GATE, EXEC], False),
    "created last": ([EXEC, CREATED], False),
    "step after the gate": ([CREATED, GATE, step("NO_NEW_PRIVS"), EXEC], True),
    "argc above strings": ([step("EXEC", a=2, strings=("a",))], False),
    "argc 0": ([step("EXEC", a=0, strings=("a",))], False),
}


@pytest.mark.parametrize(("steps", "good"), ORDERS.values(), ids=ORDERS)
def test_order(steps: list[Raw], good: bool) -> None:
    assert accepts(encode(steps)) == good


def patched(plan: bytes, offset: int, layout: str, value: int) -> bytes:
    out = bytearray(plan)
    struct.pack_into(layout, out, offset, value)
    return bytes(out)


FIRST = wire.PLAN.size
TEXT = FIRST + wire.STEP.size  # of the first step
PLAN = encode([step("HOSTNAME", strings=("box",)), EXEC])
BYTES = {
    "magic": patched(PLAN, 0, "=I", 1),
    "version": patched(PLAN, 4, "=I", 2),
    "size too small": patched(PLAN, 8, "=I", len(PLAN) - 8),
    "size too large": patched(PLAN, 8, "=I", len(PLAN) + 8),
    "steps too many": patched(PLAN, 12, "=I", 3),
    "steps too few": patched(PLAN, 12, "=I", 1),
    "descriptors": patched(PLAN, 16, "=I", FDS + 1),
    "reserved": patched(PLAN, 20, "=I", 1),
    "trailing bytes": patched(PLAN + bytes(8), 8, "=I", len(PLAN) + 8),
    "cut": PLAN[:-1],
    "record size 0": patched(PLAN, FIRST + 4, "=I", 0),
    "record size odd": patched(PLAN, FIRST + 4, "=I", 57),
    "record size huge": patched(PLAN, FIRST + 4, "=I", 2**32 - 8),
    "record reserved": patched(PLAN, FIRST + 44, "=I", 1),
    "string length huge": patched(PLAN, TEXT, "=I", 2**32 - 1),
    "string length short": patched(PLAN, TEXT, "=I", 2),
    "string length long": patched(PLAN, TEXT, "=I", 4),
    "string unterminated": patched(PLAN, TEXT + 7, "=B", 1),
    "string with NUL": patched(PLAN, TEXT + 4, "=B", 0),
    "data huge": patched(PLAN, FIRST + 40, "=I", 2**32 - 1),
    "nothing": b"",
}


@pytest.mark.parametrize("plan", BYTES.values(), ids=BYTES)
def test_bad_bytes_are_refused(plan: bytes) -> None:
    assert accepts(PLAN)
    assert not accepts(plan)


def test_padding_must_be_zero_and_no_more_than_needed() -> None:
    plan = encode([step("HOSTNAME", strings=("boxes",)), EXEC])  # 48 + 4 + 6, then 6 of padding
    (size,) = struct.unpack_from("=I", plan, FIRST + 4)
    assert not accepts(patched(plan, FIRST + size - 1, "=B", 1))
    longer = plan[: FIRST + size] + bytes(8) + plan[FIRST + size :]
    longer = patched(patched(longer, FIRST + 4, "=I", size + 8), 8, "=I", len(longer))
    assert not accepts(longer)


@pytest.mark.parametrize("length", [0, 65534, 65535, 65536, 65537])
def test_long_strings_stay_data(length: int) -> None:
    """T23: no length wraps."""
    inner = encode([EXEC]).decode("latin-1").replace("\0", "x")
    steps = [step("HOSTNAME", strings=((inner * (length // len(inner) + 1))[:length],)), EXEC]
    assert decode(encode(steps)) == steps
    assert accepts(encode(steps))


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
STEPS = st.one_of(
    st.sampled_from(GOOD),
    st.builds(lambda text: step("HOSTNAME", strings=(text,)), TEXTS),
    st.builds(lambda texts: step("PROGRAM", strings=tuple(texts)), st.lists(TEXTS, min_size=1, max_size=5)),
    st.builds(lambda text: step("MASK", strings=("/" + text,)), TEXTS),
    st.builds(lambda groups: step("CREDENTIALS", data=bytes(4 * groups)), st.integers(0, 40)),
)
PLANS = st.lists(STEPS, max_size=8).map(lambda steps: [*steps, EXEC])


@given(PLANS)
def test_round_trip(steps: list[Raw]) -> None:
    plan = encode(steps)
    assert accepts(plan)
    assert encode(decode(plan)) == plan


@given(PLANS, st.data())
def test_what_is_accepted_after_mutation_is_canonical(steps: list[Raw], data: st.DataObject) -> None:
    plan = bytearray(encode(steps))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(plan) - 1))
        plan[at] = data.draw(st.integers(0, 255))
    if accepts(bytes(plan)):
        assert encode(decode(bytes(plan))) == bytes(plan)


@given(PLANS, st.integers(0, 400))
def test_every_cut_is_refused(steps: list[Raw], cut: int) -> None:
    plan = encode(steps)
    assert not accepts(plan[: min(cut, len(plan) - 1)])


CORPUS = Path(__file__).parents[2] / "_native" / "fuzz" / "corpus" / "decode"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.plan")), ids=lambda path: path.stem)
def test_golden_plans_are_accepted(path: Path) -> None:
    """The fuzzer starts from them, so they must get somewhere."""
    plan = path.read_bytes()
    fds = wire.PLAN.unpack_from(plan)[4]
    assert accepts(plan, fds)
    assert native.encode_plan(decode(plan), fds) == plan
