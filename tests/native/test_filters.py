"""Filters: what libseccomp and the stub make of a profile, against the model, the kernel and the disk."""

from __future__ import annotations

import errno
import os
import struct
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bpf import INSTRUCTION, run_filter, seccomp_data
from support.seccomp_model import Model, check
from talk import output, program, run, send, stdio, step

from aiocontainer import native
from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.native import seccomp
from aiocontainer.plan.bpf import enosys_stub
from aiocontainer.plan.filter import Condition, Filter, Rule
from aiocontainer.plan.flags import (
    SECCOMP_ACTIONS,
    SECCOMP_FLAG_NEW_LISTENER,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_LOG,
    SECCOMP_RET_NOTIFY,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
)
from aiocontainer.plan.seccomp import compile_filter
from aiocontainer.spec import Seccomp, Syscall, SyscallArg
from aiocontainer.spec.default_seccomp import default_seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

X86_64, X32, I386 = 0xC000003E, 0x4000003E, 0x40000003
X32_BIT = 1 << 30
ENOSYS = SECCOMP_RET_ERRNO | errno.ENOSYS

on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86-64")

# Not those that i386 has as parts of socketcall and ipc: their arguments are elsewhere.
NAMES = (
    "read",
    "write",
    "openat",
    "mkdir",
    "clone",
    "personality",
    "prctl",
    "chown32",
    "mmap2",
    "no_such_call",
)
SPECIAL = (0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**53 + 1, 2**63, 2**64 - 1)
ERRNO = "SCMP_ACT_ERRNO"
ALLOW = "SCMP_ACT_ALLOW"

values = st.sampled_from(SPECIAL) | st.integers(0, 2**64 - 1) | st.integers(0, 3)
operators = st.sampled_from(
    [f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")]
)
args = st.builds(SyscallArg, index=st.integers(0, 5), value=values, value_two=values, op=operators)
actions = st.sampled_from([name for name in SECCOMP_ACTIONS if name != "SCMP_ACT_NOTIFY"])


@st.composite
def profiles(draw: Callable[..., Any]) -> Seccomp:
    """Profiles without rules that contradict each other: each call has one action."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    syscalls = []
    for name in names:
        action = draw(actions)
        errno_ret = draw(st.none() | st.integers(0, 4094)) if action in (ERRNO, "SCMP_ACT_TRACE") else None
        for _ in range(draw(st.integers(1, 3))):
            conditions = tuple(draw(st.lists(args, max_size=3)))
            syscalls.append(Syscall(names=(name,), action=action, errno_ret=errno_ret, args=conditions))
    return Seccomp(
        default_action=draw(actions),
        architectures=draw(st.sampled_from([(), ("SCMP_ARCH_X86",), ("SCMP_ARCH_X86", "SCMP_ARCH_X32")])),
        syscalls=tuple(syscalls),
    )


@on_x86_64
@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
@given(profile=profiles(), seed=st.integers(0, 2**32))
def test_the_filter_does_what_the_profile_says(profile: Seccomp, seed: int) -> None:
    """F5: the program, run by an interpreter, against a direct reading of the document."""
    check(profile, Random(seed))


@on_x86_64
def test_what_libseccomp_gets_wrong() -> None:
    """Found by the test above: after the third comparison it takes `third <= 0` for `first <= 0`."""
    not_zero = tuple(SyscallArg(index=i, value=0, op="SCMP_CMP_NE") for i in range(3))
    low = SyscallArg(index=0, value=0, op="SCMP_CMP_LE")
    rules = [Syscall(names=("mkdir",), action="SCMP_ACT_TRAP", args=args) for args in (not_zero, (low,))]
    profile = Seccomp(default_action="SCMP_ACT_KILL_PROCESS", syscalls=tuple(rules))
    check(profile, Random(1))


@on_x86_64
def test_what_libseccomp_compares_by_halves() -> None:
    """Found by fuzzing: the lower half of an argument is compared with the upper one of its limit."""
    conditions = ((4, "GT", 2**47), (5, "LE", 2**46 + 5), (5, "LT", 64))
    args = tuple(SyscallArg(index=i, value=value, op=f"SCMP_CMP_{op}") for i, op, value in conditions)  # type: ignore[arg-type]
    rules = (Syscall(names=("mkdir",), action="SCMP_ACT_KILL_PROCESS", args=args),)
    built = native.build_filter(compile_filter(Seccomp(default_action=ALLOW, syscalls=rules)))
    data = seccomp_data(seccomp.call_number("mkdir", X86_64), X86_64, (0, 0, 0, 0, 0, 59745))
    assert run_filter(built, data) == SECCOMP_RET_KILL_PROCESS


@on_x86_64
@pytest.mark.parametrize(("errno", "found"), [((1, None), 1), ((None, 1), None), ((2, 1), 2)])
def test_of_several_actions_the_first_counts(errno: tuple[int | None, ...], found: int | None) -> None:
    """podman's own profile allows setns(2), and further down has it fail."""
    rules = [
        Syscall(names=("mkdir",), action=ALLOW)
        if each is None
        else Syscall(names=("mkdir",), action="SCMP_ACT_ERRNO", errno_ret=each)
        for each in errno
    ]
    profile = Seccomp(default_action="SCMP_ACT_KILL", syscalls=tuple(rules))
    built = native.build_filter(compile_filter(profile))
    data = seccomp_data(seccomp.call_number("mkdir", X86_64), X86_64, (0,) * 6)
    expected = SECCOMP_RET_ALLOW if found is None else SECCOMP_RET_ERRNO | found
    assert run_filter(built, data) == expected


@on_x86_64
@pytest.mark.timeout(30)
def test_what_libseccomp_never_ends() -> None:
    """Found by fuzzing: it goes on for ever over these three rules."""
    rules = (((0, "NE", 0), (2, "NE", 0)), ((0, "EQ", 2**32 - 1),), ((4, "NE", 0), (0, "NE", 0)))
    syscalls = []
    for rule in rules:
        args = tuple(SyscallArg(index=i, value=value, op=f"SCMP_CMP_{op}") for i, op, value in rule)  # type: ignore[arg-type]
        syscalls.append(Syscall(names=("openat2",), action=ALLOW, args=args))
    check(Seccomp(default_action="SCMP_ACT_KILL", syscalls=tuple(syscalls)), Random(1))


@on_x86_64
def test_what_libseccomp_forgets() -> None:
    """Found by the test above too: it compares the architecture with numbers."""
    not_zero = (SyscallArg(index=0, value=0, op="SCMP_CMP_NE"),)
    rules = (
        Syscall(names=("read",), action="SCMP_ACT_KILL_PROCESS", args=not_zero),
        Syscall(names=("chown32",), action="SCMP_ACT_KILL_PROCESS"),
    )
    architectures = ("SCMP_ARCH_X86", "SCMP_ARCH_X32")
    check(Seccomp(default_action="SCMP_ACT_KILL", architectures=architectures, syscalls=rules), Random(1))


@on_x86_64
def test_what_is_right_is_left_alone() -> None:
    """Also calls that i386 has both as parts of another and, since Linux 4.3, on their own."""
    filter = compile_filter(default_seccomp(machine="x86_64"))
    tokens = seccomp.architectures(filter.architectures)
    body = seccomp._export(filter, tokens)
    assert [*seccomp._own_decisions(body, filter, tokens)] == []
    built = native.build_filter(filter)
    assert run_filter(built, seccomp_data(361, I386)) == SECCOMP_RET_ALLOW  # bind
    assert run_filter(built, seccomp_data(102, I386, (2,))) == SECCOMP_RET_ALLOW  # the same


@on_x86_64
def test_the_default_profile_word_by_word() -> None:
    profile = default_seccomp(("CAP_SYS_ADMIN", "CAP_SYS_TIME"), machine="x86_64")
    built = native.build_filter(compile_filter(profile))
    for token, arch, bit in ((X86_64, X86_64, 0), (X32, X86_64, X32_BIT)):
        model = Model(profile, token)
        for number in range(500):
            for arguments in ((0,) * 6, (40, 0x5412, 0, 0, 0, 0), (1 << 17, 0x5413, 0, 0, 0, 0)):
                found = run_filter(built, seccomp_data(number | bit, arch, arguments))
                assert found == model.action(number | bit, arguments), (hex(token), number, arguments)


@on_x86_64
class TestStub:
    """S178: calls that the author of the profile could not know look as on an older kernel."""

    ARCHITECTURES = ("SCMP_ARCH_X86", "SCMP_ARCH_X32")

    @staticmethod
    def built(**members: Any) -> bytes:
        return native.build_filter(compile_filter(Seccomp(**{"default_action": ERRNO, **members})))

    def test_above_the_last_mentioned(self) -> None:
        rules = (Syscall(names=("close_range",), action=ALLOW), Syscall(names=("openat2",), action=ERRNO))
        built = self.built(architectures=self.ARCHITECTURES, syscalls=rules)
        for arch, bit in ((X86_64, 0), (X86_64, X32_BIT), (I386, 0)):
            answers = {n: run_filter(built, seccomp_data(n | bit, arch)) for n in (5, 436, 437, 438, 9999)}
            denied = SECCOMP_RET_ERRNO | errno.EPERM
            assert answers == {5: denied, 436: SECCOMP_RET_ALLOW, 437: denied, 438: ENOSYS, 9999: ENOSYS}

    def test_each_architecture_has_its_own_last(self) -> None:
        built = self.built(
            architectures=self.ARCHITECTURES, syscalls=(Syscall(names=("chown32", "read"), action=ALLOW),)
        )
        assert run_filter(built, seccomp_data(1, X86_64)) == ENOSYS
        assert run_filter(built, seccomp_data(1 | X32_BIT, X86_64)) == ENOSYS
        assert run_filter(built, seccomp_data(211, I386)) == SECCOMP_RET_ERRNO | errno.EPERM
        assert run_filter(built, seccomp_data(213, I386)) == ENOSYS

    def test_a_multiplexed_call_counts_as_the_whole(self) -> None:
        built = self.built(
            architectures=("SCMP_ARCH_X86",), syscalls=(Syscall(names=("shmget",), action=ALLOW),)
        )
        assert run_filter(built, seccomp_data(117, I386, (23,))) == SECCOMP_RET_ALLOW

    def test_what_is_not_among_the_architectures_is_left_alone(self) -> None:
        built = self.built(syscalls=(Syscall(names=("read",), action=ALLOW),))
        for number, arch in ((9999, I386), (9999 | X32_BIT, X86_64), (9999, 0xC00000B7)):
            assert run_filter(built, seccomp_data(number, arch)) == 0  # kill

    @pytest.mark.parametrize("default", [ALLOW, "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
    def test_not_where_unknown_calls_pass(self, default: str) -> None:
        rules = (Syscall(names=("read",), action="SCMP_ACT_TRAP"),)
        built = self.built(default_action=default, syscalls=rules)
        assert run_filter(built, seccomp_data(9999, X86_64)) & 0x7FFF0000 == SECCOMP_ACTIONS[default]
        assert run_filter(built, seccomp_data(0, X86_64)) == SECCOMP_RET_TRAP

    def test_nothing_mentioned(self) -> None:
        assert enosys_stub({}, errno.ENOSYS) == b""
        built = self.built()
        assert run_filter(built, seccomp_data(9999, X86_64)) == SECCOMP_RET_ERRNO | errno.EPERM


class TestNormalForm:
    @staticmethod
    def filter(*rules: Syscall, **members: Any) -> Filter:
        return compile_filter(Seccomp(**{"default_action": ERRNO, "syscalls": rules, **members}))

    def test_rules_of_the_default_are_only_remembered(self) -> None:
        found = self.filter(
            Syscall(names=("a",), action=ERRNO), Syscall(names=("b",), action=ERRNO, errno_ret=2)
        )
        assert found.rules == (Rule("b", SECCOMP_RET_ERRNO | 2),)
        assert found.others == ("a",)

    def test_a_rule_without_conditions_is_alone(self) -> None:
        arg = SyscallArg(index=0, value=1, op="SCMP_CMP_EQ")
        found = self.filter(
            Syscall(names=("a",), action="SCMP_ACT_LOG", args=(arg,)), Syscall(names=("a", "a"), action=ALLOW)
        )
        assert found.rules == (Rule("a", SECCOMP_RET_ALLOW),)

    def test_of_contradictions_the_first_counts(self) -> None:
        found = self.filter(Syscall(names=("a",), action="SCMP_ACT_LOG"), Syscall(names=("a",), action=ALLOW))
        assert found.rules == (Rule("a", SECCOMP_RET_LOG),)

    def test_an_argument_with_several_conditions(self) -> None:
        low = SyscallArg(index=1, value=1, op="SCMP_CMP_LT")
        high = SyscallArg(index=1, value=2**64 - 1, op="SCMP_CMP_GT")
        other = SyscallArg(index=0, value=2**53 + 1, value_two=7, op="SCMP_CMP_MASKED_EQ")
        found = self.filter(Syscall(names=("a",), action=ALLOW, args=(low, high, other)))
        assert [rule.conditions for rule in found.rules] == [
            (Condition(1, 2, 1),),
            (Condition(1, 6, 2**64 - 1),),
            (Condition(0, 7, 2**53 + 1, 7),),
        ]

    def test_equal_profiles_are_equal(self) -> None:
        one = self.filter(Syscall(names=("a", "b"), action="SCMP_ACT_KILL"), architectures=("SCMP_ARCH_X86",))
        two = self.filter(
            Syscall(names=("a",), action="SCMP_ACT_KILL_THREAD"),
            Syscall(names=("b",), action="SCMP_ACT_KILL"),
            default_errno_ret=1,
            architectures=("SCMP_ARCH_X86", "SCMP_ARCH_X86"),
        )
        assert one == two
        assert hash(one) == hash(two)

    def test_unknown_arguments_leave_all_open(self) -> None:
        arg = SyscallArg(index=1, value=5, op="SCMP_CMP_EQ")
        found = self.filter(Syscall(names=("a",), action=ALLOW, args=(arg,)))
        denied = SECCOMP_RET_ERRNO | 1
        assert found.actions("a", (None, 5)) == {SECCOMP_RET_ALLOW}
        assert found.actions("a", (None, 6)) == {denied}
        assert found.actions("a") == {SECCOMP_RET_ALLOW, denied}
        assert found.actions("b") == {denied}


class TestLibseccomp:
    def test_an_architecture_that_cannot_be_combined(self) -> None:
        with pytest.raises(SpecError, match="s390x"):
            native.build_filter(Filter(SECCOMP_RET_ALLOW, ("s390x",), ()))

    def test_an_architecture_that_is_none(self) -> None:
        with pytest.raises(UnsupportedError, match="vax"):
            native.build_filter(Filter(SECCOMP_RET_ALLOW, ("vax",), ()))

    def test_a_filter_that_is_too_long(self) -> None:
        rules = tuple(Rule("ioctl", SECCOMP_RET_ALLOW, (Condition(1, 4, 3 * n),)) for n in range(5000))
        with pytest.raises((UnsupportedError, SpecError)):
            native.build_filter(Filter(SECCOMP_RET_ERRNO | 1, (), rules))

    def test_unknown_names_are_left_out(self) -> None:
        alone = native.build_filter(Filter(SECCOMP_RET_ALLOW, (), (Rule("mkdir", SECCOMP_RET_TRAP),)))
        rules = (Rule("no_such", SECCOMP_RET_TRAP), Rule("mkdir", SECCOMP_RET_TRAP))
        assert native.build_filter(Filter(SECCOMP_RET_ALLOW, (), rules)) == alone

    def test_names(self) -> None:
        token = native.libseccomp().native
        assert native.call_name(seccomp.call_number("execve"), token) == "execve"
        assert native.call_name(100_000, token) is None

    def test_flags(self) -> None:
        assert native.knows_filter_flags(SECCOMP_FLAG_NEW_LISTENER)
        assert not native.knows_filter_flags(1 << 20)


# The helper's step, on the kernel.

PASS_ALL = INSTRUCTION.pack(0x06, 0, 0, SECCOMP_RET_ALLOW)
STATUS = ("/bin/sh", "-c", "grep -E '^(Seccomp|Seccomp_filters):' /proc/self/status")


def seccomp_step(data: bytes = PASS_ALL, *, late: bool = False, flags: int = 0) -> Any:
    return step("SECCOMP", a=flags, b=int(late), data=data)


@pytest.mark.needs("root", "compiled")
@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
class TestStep:
    def test_a_filter_is_loaded(self, spawner: native.Spawner, late: bool) -> None:
        text = output(spawner, [seccomp_step(late=late), *program(*STATUS)])
        assert text.split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]

    def test_the_kernel_refuses(self, spawner: native.Spawner, late: bool) -> None:
        nonsense = INSTRUCTION.pack(0x99, 0, 0, 0)
        talk = run(spawner, [seccomp_step(nonsense, late=late), *program("/bin/true")])
        talk.exits()
        assert talk.failure is not None
        assert (talk.failure.call, talk.failure.error) == ("seccomp", errno.EINVAL)

    def test_only_one(self, spawner: native.Spawner, late: bool) -> None:
        talk = run(spawner, [seccomp_step(), seccomp_step(late=late), *program("/bin/true")])
        talk.exits()
        assert talk.failure is not None
        assert (talk.failure.step, talk.failure.error) == (1, errno.EEXIST)

    def test_the_listener_is_handed_over(self, spawner: native.Spawner, late: bool) -> None:
        talk = send(
            spawner, [seccomp_step(late=late, flags=SECCOMP_FLAG_NEW_LISTENER), *program("/bin/true")]
        )
        paused = talk.until(native.REPLY_PAUSED)
        assert paused.step == 0
        (listener,) = paused.fds
        assert os.readlink(f"/proc/self/fd/{listener}") == "anon_inode:seccomp notify"
        os.close(listener)
        talk.proceed()
        talk.to_end()
        talk.close()
        assert talk.failure is None
        assert [exit.code for exit in talk.exits()] == [0]

    def test_nobody_takes_the_listener(self, spawner: native.Spawner, late: bool) -> None:
        talk = send(
            spawner, [seccomp_step(late=late, flags=SECCOMP_FLAG_NEW_LISTENER), *program("/bin/true")]
        )
        (listener,) = talk.until(native.REPLY_PAUSED).fds
        os.close(listener)
        while not talk.processes:
            talk.next()
        talk.close()
        assert [exit.code for exit in talk.exits()] == [1]


@pytest.mark.needs("root", "compiled")
class TestThread:
    """A late filter with a listener is loaded by a thread, which then becomes the process."""

    LISTENER = SECCOMP_FLAG_NEW_LISTENER

    def test_the_process_is_the_same(self, spawner: native.Spawner) -> None:
        steps = [
            seccomp_step(late=True, flags=self.LISTENER),
            *program("/bin/sh", "-c", "echo $$; ls /proc/$$/task"),
        ]
        ours, theirs = os.pipe()
        talk = send(spawner, [*stdio(), *steps], [theirs, theirs, theirs])
        os.close(theirs)
        for reply in talk.to_end():
            for fd in reply.fds if reply.kind == native.REPLY_PAUSED else ():
                os.close(fd)
        talk.close()
        with open(ours, "rb") as reader:
            text = reader.read().split()
        pid = talk.processes[0].value
        assert text == [b"%d" % pid] * 2
        assert [exit.code for exit in talk.exits()] == [0]

    def test_a_program_that_cannot_be_run(self, spawner: native.Spawner, tmp_path: Any) -> None:
        broken = tmp_path / "broken"
        broken.write_text("#!/no/such/interpreter\n")
        broken.chmod(0o755)
        # Nothing but execve(2) is allowed: the failure comes from the thread that has no filter.
        number = seccomp.call_number("execve")
        only = b"".join(
            INSTRUCTION.pack(*each)
            for each in (
                (0x20, 0, 0, 0),
                (0x15, 0, 1, number),
                (0x06, 0, 0, SECCOMP_RET_ALLOW),
                (0x06, 0, 0, SECCOMP_RET_KILL_PROCESS),
            )
        )
        talk = send(spawner, [seccomp_step(only, late=True, flags=self.LISTENER), *program(str(broken))])
        (listener,) = talk.until(native.REPLY_PAUSED).fds
        os.close(listener)
        talk.proceed()
        talk.to_end()
        talk.close()
        assert talk.failure is not None
        assert (talk.failure.call, talk.failure.error) == ("execve", errno.ENOENT)
        assert [exit.code for exit in talk.exits()] == [1]


def test_all_actions_are_those_of_the_kernel() -> None:
    with open("/proc/sys/kernel/seccomp/actions_avail") as file:
        available = file.read().split()
    assert "user_notif" in available
    order = [SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_NOTIFY, SECCOMP_RET_TRACE, SECCOMP_RET_LOG]
    assert order == sorted(order)
    assert struct.calcsize("=HBBI") == seccomp.INSTRUCTION_SIZE
