"""The default profile says what moby's says, for every system call, machine and capability."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiocontainer.plan.seccomp import compile_filter
from aiocontainer.spec import Seccomp, Spec
from aiocontainer.spec.default_seccomp import default_seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocontainer.plan.filter import Filter

MOBY = Path(__file__).parents[4] / "shared" / "data" / "moby-default-seccomp.json"
MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64el": "mipsel64",
    "loongarch64": "loong64",
}
CONDITIONAL = {"personality", "socket", "clone", "ioctl"}
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
TYPING = {"ioctl": {TIOCSTI, TIOCLINUX}}
"""The one difference: docs/security.md."""


@pytest.fixture(scope="module")
def moby() -> dict[str, Any]:
    if not MOBY.is_file():
        pytest.skip("moby's profile is not beside the tree")
    document: dict[str, Any] = json.loads(MOBY.read_text())
    return document


def for_machine(moby: dict[str, Any], arch: str, capabilities: frozenset[str]) -> Filter:
    """Moby's profile as moby makes the OCI's of it."""

    def applies(rule: dict[str, Any]) -> bool:
        includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
        return (
            ("arches" not in includes or arch in includes["arches"])
            and arch not in excludes.get("arches", ())
            and set(includes.get("caps", ())) <= capabilities
            and not set(excludes.get("caps", ())) & capabilities
        )

    keys = ("names", "action", "args", "errnoRet")
    syscalls = [{key: rule[key] for key in keys if key in rule} for rule in moby["syscalls"] if applies(rule)]
    document = {"defaultAction": moby["defaultAction"], "defaultErrnoRet": 1, "syscalls": syscalls}
    return compile_filter(msgspec.convert(document, Seccomp))


def capability_sets(moby: dict[str, Any], *, each: bool) -> Iterator[frozenset[str]]:
    names = sorted({cap for rule in moby["syscalls"] for cap in rule.get("includes", {}).get("caps", ())})
    yield frozenset()
    if each:
        yield from (frozenset({name}) for name in names)
    yield frozenset(names)


def samples(name: str) -> list[tuple[int, ...]]:
    if name not in CONDITIONAL:
        return [(0, 0, 0), (2**64 - 1,) * 3]
    values = {0, 8, 1 << 17, 0x20008, 2**32 - 1, 2**64 - 1, *range(36, 44), *range(0x5400, 0x5420)}
    values |= {1 << bit for bit in range(64)}
    return [*itertools.product(sorted(values), (0, 1 << 17)), *((0, value) for value in values)]


@pytest.mark.parametrize("machine", MACHINES)
def test_it_covers_what_mobys_covers(moby: dict[str, Any], machine: str) -> None:
    for capabilities in capability_sets(moby, each=machine == "x86_64"):
        theirs = for_machine(moby, MACHINES[machine], capabilities)
        ours = compile_filter(default_seccomp(capabilities, machine=machine))
        assert ours.default == theirs.default
        for name in {rule.name for rule in (*ours.rules, *theirs.rules)}:
            for args in samples(name):
                if args[1] not in TYPING.get(name, ()):
                    assert ours.actions(name, args) == theirs.actions(name, args), (name, args, capabilities)


def test_architectures_are_mobys(moby: dict[str, Any]) -> None:
    for entry in moby["archMap"]:
        expected = [entry["architecture"], *(entry["subArchitectures"] or ())]
        found = {machine: default_seccomp(machine=machine).architectures for machine in MACHINES}
        if entry["architecture"] in {each[0] for each in found.values() if each}:
            assert tuple(expected) in found.values()


@pytest.mark.parametrize("upper", [0, 1 << 32, 1 << 63])
def test_nobody_types_for_the_user(upper: int) -> None:
    """T13, also with bits that the kernel does not look at."""
    filter = compile_filter(default_seccomp(machine="x86_64"))
    answers = {request: filter.actions("ioctl", (0, upper | request)) for request in range(0x5400, 0x5480)}
    assert [request for request, actions in answers.items() if filter.default in actions] == [
        TIOCSTI,
        TIOCLINUX,
    ]


def test_no_name_is_there_twice() -> None:
    names = [
        name for rule in default_seccomp(machine="x86_64").syscalls if not rule.args for name in rule.names
    ]
    assert len(names) == len(set(names))
    assert len(names) > 330


def test_a_specification_with_it() -> None:
    spec = Spec.default(["true"], rootfs="/r").with_default_seccomp(machine="x86_64")
    assert spec.linux is not None
    assert spec.linux.seccomp == default_seccomp(("CAP_KILL",), machine="x86_64")
    assert Spec.decode(spec.encode()) == spec
