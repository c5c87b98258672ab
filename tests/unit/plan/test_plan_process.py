"""The process: environment, program, descriptors, credentials, capabilities; for init and exec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import ROOTLESS, V1, V2, compiled, names, rootless, spec, steps

from aiocontainer.errors import SpecError, UnsupportedError
from aiocontainer.plan.exec import compile_exec
from aiocontainer.plan.flags import CAPABILITIES, NAMESPACES
from aiocontainer.plan.options import ExecOptions
from aiocontainer.plan.plan import InitPidfd, Plan, Preserved, Stdio
from aiocontainer.plan.steps import (
    Bounding,
    Capabilities,
    Console,
    Credentials,
    Cwd,
    Exec,
    JoinCgroup,
    JoinNamespace,
    Keyring,
    OomScore,
    PassFd,
    Program,
    Rlimit,
    Umask,
    VerifyNamespace,
)
from aiocontainer.spec import Capabilities as SpecCapabilities
from aiocontainer.spec import Process, Spec, User
from aiocontainer.spec import Rlimit as SpecRlimit

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host


OPTIONS = ExecOptions(id="web", namespaces={"mount": 5, "pid": 4, "user": 3}, keyring=True)


def executed(process: Process, host: Host = V2, of: Spec | None = None, **changes: Any) -> Plan:
    return compile_exec(process, of or spec(), host, replace(OPTIONS, **changes))


def environment(plan: Plan) -> tuple[str, ...]:
    env: tuple[str, ...] = steps(plan, Exec)[0].env
    return env


def mask(*names: str) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def process(**changes: Any) -> Process:
    return Process(args=("id",), cwd="/", **changes)


# Environment and program.


def test_the_last_of_equal_names_counts() -> None:
    assert environment(compiled(spec(env=("A=1", "B=2", "A=3", "HOME=/x")))) == ("B=2", "A=3", "HOME=/x")


def test_home_is_filled_in() -> None:
    assert environment(compiled(spec(env=()), V2, home="/root")) == ("HOME=/root",)
    assert environment(compiled(spec(env=()))) == ("HOME=/",)
    assert environment(compiled(spec(env=("HOME=",)), V2, home="/root")) == ("HOME=",)


def test_sockets_are_announced_as_systemd_would() -> None:
    plan = compiled(spec(env=()), V2, listen_fds=2, listen_fd_names=("a", "b"), preserve_fds=1)

    assert environment(plan)[1:] == ("LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b")
    assert [fd.number for fd in plan.fds if isinstance(fd, Preserved)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("program", "env", "candidates"),
    [
        ("true", ("PATH=/a:/b",), ("/a/true", "/b/true")),
        ("true", ("PATH=:/b:",), ("./true", "/b/true")),
        ("true", (), ("/usr/bin/true", "/bin/true")),
        ("/x/true", ("PATH=/a",), ("/x/true",)),
        ("./true", ("PATH=/a",), ("./true",)),
    ],
)
def test_where_the_program_is_looked_for(
    program: str, env: tuple[str, ...], candidates: tuple[str, ...]
) -> None:
    assert steps(compiled(spec(args=(program,), env=env)), Program)[0].candidates == candidates


def test_the_program_is_found_before_the_container_counts_as_created() -> None:
    order = names(compiled(spec()))

    assert order[-4:] == ["Program", "Pause", "Gate", "Exec"]


# Descriptors and terminals.


def test_stdio_and_who_owns_it() -> None:
    user = User(uid=7, gid=8)
    assert [step.owner for step in steps(compiled(spec(user=user)), PassFd)] == [None] * 3
    plan = compiled(spec(user=user), V2, stdio_owner=True)
    assert [step.owner for step in steps(plan, PassFd)] == [(7, 8)] * 3
    assert [fd.number for fd in plan.fds if isinstance(fd, Stdio)] == [0, 1, 2]


def test_a_terminal_and_a_console_go_together() -> None:
    for terminal, console in ((True, False), (False, True)):
        with pytest.raises(SpecError) as caught:
            compiled(spec(terminal=terminal), V2, console=console)
        assert caught.value.origin == "$.process.terminal"
        with pytest.raises(SpecError) as caught:
            executed(process(terminal=terminal), console=console)
        assert caught.value.origin == "$.terminal"


# Credentials.


def test_the_order_in_which_privilege_goes() -> None:
    order = names(compiled(spec()))
    wanted = [
        "VerifyMounts",
        "Hostname",
        "Rlimit",
        "PassFd",
        "Umask",
        "NoNewPrivs",
        "Bounding",
        "Cwd",
        "Credentials",
        "Capabilities",
    ]

    assert [order.index(each) for each in wanted] == sorted(order.index(each) for each in wanted)


def test_groups_are_exactly_those_given() -> None:
    user = User(uid=1, gid=2, additional_gids=(3, 4))

    assert steps(compiled(spec(user=user)), Credentials)[0].groups == (3, 4)
    assert steps(compiled(spec()), Credentials)[0].groups == ()


def test_the_umask() -> None:
    assert steps(compiled(spec()), Umask)[0].mask == 0o022
    assert steps(compiled(spec(user=User(umask=0))), Umask)[0].mask == 0


def test_the_directory_is_tried_as_root_and_proven_as_the_user() -> None:
    first, last = steps(compiled(spec(cwd="/srv")), Cwd)

    assert (first.make, first.lenient) == (True, True)
    assert (last.make, last.lenient) == (False, False)


def test_no_new_privs_only_if_asked_for() -> None:
    assert "NoNewPrivs" not in names(compiled(spec(no_new_privileges=None)))
    assert "NoNewPrivs" not in names(compiled(spec(no_new_privileges=False)))


def test_limits_in_the_kernels_numbers() -> None:
    plan = compiled(spec(rlimits=(SpecRlimit(type="RLIMIT_CORE", soft=0, hard=2**64 - 1),)))

    assert steps(plan, Rlimit) == [Rlimit("$.process.rlimits[0]", 4, "RLIMIT_CORE", 0, 2**64 - 1)]


@pytest.mark.parametrize("sets", [None, SpecCapabilities()])
def test_capabilities_absent_or_empty_are_dropped(sets: SpecCapabilities | None) -> None:
    plan = compiled(spec(capabilities=sets))
    assert steps(plan, Bounding)[0].mask == 0
    assert steps(plan, Capabilities)[0].permitted == 0


def test_capabilities_are_exact() -> None:
    sets = SpecCapabilities(
        bounding=("CAP_KILL", "CAP_CHOWN"), permitted=("CAP_KILL",), effective=("CAP_KILL",)
    )
    plan = compiled(spec(capabilities=sets))

    assert steps(plan, Bounding)[0].mask == mask("CAP_KILL", "CAP_CHOWN")
    kept = steps(plan, Capabilities)[0]
    assert (kept.permitted, kept.effective) == (mask("CAP_KILL"), mask("CAP_KILL"))
    assert (kept.inheritable, kept.ambient) == (0, 0)


def test_ambient_needs_permitted_and_inheritable() -> None:
    """T11: what execve(2) would hand to an ordinary user is never more than both."""
    sets = SpecCapabilities(permitted=("CAP_KILL",), ambient=("CAP_KILL", "CAP_CHOWN"))
    plan = compiled(spec(capabilities=sets))

    assert steps(plan, Capabilities)[0].ambient == 0
    assert any("ambient" in each for each in plan.warnings)


@pytest.mark.parametrize("changes", [{"last_cap": 37}, {"capabilities": mask("CAP_KILL")}])
def test_capabilities_that_we_do_not_have_are_left_out_with_a_warning(changes: dict[str, int]) -> None:
    sets = SpecCapabilities(bounding=("CAP_KILL", "CAP_BPF"), permitted=("CAP_KILL", "CAP_BPF"))
    plan = compiled(spec(capabilities=sets), replace(V2, **changes))

    assert steps(plan, Bounding)[0].mask == mask("CAP_KILL")
    assert plan.warnings == ("$.process.capabilities: left out, as we do not have them: bpf",)


def test_in_its_own_user_namespace_a_container_can_have_them_all() -> None:
    value = rootless()
    assert value.process is not None
    sets = SpecCapabilities(bounding=("CAP_BPF",), permitted=("CAP_BPF",))
    plan = compiled(replace(value, process=replace(value.process, capabilities=sets)), ROOTLESS)

    assert steps(plan, Capabilities)[0].permitted == mask("CAP_BPF")


def test_the_session_keyring() -> None:
    assert steps(compiled(spec()), Keyring)[0].name == "_ses.web"
    assert not steps(compiled(spec(), V2, no_new_keyring=True), Keyring)


# Exec.


def test_exec_joins_everything_at_once_and_proves_it() -> None:
    plan = executed(process())

    join = steps(plan, JoinNamespace)[0]
    assert isinstance(plan.fds[join.fd], InitPidfd)
    assert join.flags == NAMESPACES["mount"] | NAMESPACES["pid"] | NAMESPACES["user"]
    assert {step.flag: step.inode for step in steps(plan, VerifyNamespace)} == {
        NAMESPACES["mount"]: 5,
        NAMESPACES["pid"]: 4,
        NAMESPACES["user"]: 3,
    }
    order = names(plan)
    assert order.index("VerifyNamespace") < order.index("NamespaceRoot") < order.index("Fork")
    assert order.index("Fork") < order.index("SetSid")


def test_exec_has_no_gate_and_makes_no_mounts() -> None:
    assert not {"Gate", "Pause", "Mount", "Bind", "Pivot"} & set(names(executed(process())))


def test_exec_enters_v1_cgroups_and_is_born_into_v2() -> None:
    paths = {"memory": "/sys/fs/cgroup/memory/web", "pids": "/sys/fs/cgroup/pids/web"}

    assert [step.hierarchy for step in steps(executed(process(), V1, cgroup_paths=paths), JoinCgroup)] == [
        *paths
    ]
    assert not steps(executed(process(), V2, cgroup_paths={"": "/sys/fs/cgroup/web"}), JoinCgroup)


def test_exec_takes_the_containers_score_unless_it_has_one() -> None:
    assert steps(executed(process(), of=spec(oom_score_adj=9)), OomScore)[0].score == 9
    assert steps(executed(process(oom_score_adj=1), of=spec(oom_score_adj=9)), OomScore)[0].score == 1
    assert not steps(executed(process()), OomScore)


def test_exec_inherits_what_it_leaves_open() -> None:
    plan = executed(process(), of=spec())

    assert "NoNewPrivs" in names(plan)
    assert steps(plan, Bounding)[0].mask == mask("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
    assert steps(plan, Rlimit)[0].hard == 1024
    assert "NoNewPrivs" not in names(executed(process(no_new_privileges=False)))
    assert steps(executed(process(capabilities=SpecCapabilities())), Bounding)[0].mask == 0


def test_exec_never_adds_inheritable_capabilities() -> None:
    """T24."""
    sets = SpecCapabilities(bounding=("CAP_NET_RAW",), permitted=("CAP_NET_RAW",), effective=("CAP_NET_RAW",))
    plan = executed(process(capabilities=sets))

    assert steps(plan, Capabilities)[0].inheritable == 0
    assert steps(plan, Capabilities)[0].ambient == 0


def test_exec_has_its_own_process_object() -> None:
    plan = executed(
        process(
            user=User(uid=5, gid=6, additional_gids=(7,), umask=0o77), env=("A=1",), no_new_privileges=True
        ),
        home="/h",
        preserve_fds=1,
        stdio_owner=True,
    )

    assert steps(plan, Credentials)[0] == Credentials("$.user", 5, 6, (7,))
    assert environment(plan) == ("A=1", "HOME=/h")
    assert steps(plan, Umask)[0].mask == 0o77
    assert [step.number for step in steps(plan, PassFd)] == [0, 1, 2, 3]
    assert [step.make for step in steps(plan, Cwd)] == [False, False]


def test_exec_on_a_terminal_leaves_the_containers_console_alone() -> None:
    plan = executed(process(terminal=True), console=True)

    assert not steps(plan, Console)[0].bind


def test_exec_keeps_groups_where_they_cannot_be_set() -> None:
    value = rootless()
    assert steps(executed(process(), ROOTLESS, value), Credentials)[0].groups is None
    with pytest.raises(UnsupportedError) as caught:
        executed(process(user=User(additional_gids=(5,))), ROOTLESS, value)
    assert caught.value.origin == "$.user.additionalGids"


def test_exec_raises_limits_before_it_loses_the_right_to() -> None:
    limit = (SpecRlimit(type="RLIMIT_NOFILE", soft=1, hard=9999),)
    plan = executed(process(rlimits=limit))

    order = names(plan)
    assert order.index("Rlimit") < order.index("JoinNamespace")
    assert [step.soft for step in steps(plan, Rlimit)] == [9999, 1]


@pytest.mark.parametrize(
    ("changes", "origin"),
    [({"apparmor_profile": "x"}, "$.apparmorProfile"), ({"selinux_label": "x"}, "$.selinuxLabel")],
)
def test_exec_refuses_what_is_not_implemented(changes: dict[str, Any], origin: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        executed(process(**changes))

    assert caught.value.origin == origin
