"""OCI config.md "User": ids, groups and umask; "Linux Process": capabilities."""

from __future__ import annotations

import pytest
from msgspec import json
from support.guest import look, look_by_exec, status_ids
from support.specs import shell, with_linux, with_process

from aiocontainer import Runtime, Spec, SpecError
from aiocontainer.spec import CAPABILITIES, Capabilities, Capability, IDMapping, Namespace, User

pytestmark = pytest.mark.needs("root", "gcc", "busybox")

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@pytest.mark.proves("$.process.user.uid", "$.process.user.gid")
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 1000), (1, 0), (0, 1), (65534, 65534), (2**31, 7)])
async def test_ids(runtime: Runtime, guestfs: str, uid: int, gid: int) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=guestfs).with_user(uid, gid)
    found = await look(runtime, spec)
    assert (found["uids"], found["gids"]) == ([uid] * 3, [gid] * 3)
    async with runtime.container(spec) as container:
        ids = status_ids(container.pid)
        assert (ids["Uid"], ids["Gid"], ids["Groups"]) == ([uid] * 4, [gid] * 4, [])
        found = await look_by_exec(container)
        assert (found["uids"], found["gids"]) == ([uid] * 3, [gid] * 3)


@pytest.mark.proves("$.process.user.additionalGids[]")
@pytest.mark.parametrize("groups", [(), (5,), (1, 2, 3, 70000), tuple(range(100, 200))], ids=len)
async def test_groups(runtime: Runtime, guestfs: str, groups: tuple[int, ...]) -> None:
    spec = Spec.default(["sleep", "60"], rootfs=guestfs).with_user(1000, 1000, additional_gids=groups)
    assert sorted((await look(runtime, spec))["groups"]) == sorted(groups)
    async with runtime.container(spec) as container:
        assert status_ids(container.pid)["Groups"] == sorted(groups)


async def test_id_that_is_not_mapped(runtime: Runtime, guestfs: str) -> None:
    base = Spec.default([], rootfs=guestfs).with_user(20, 0)
    assert base.linux is not None
    maps = (IDMapping(container_id=0, host_id=100000, size=10),)
    namespaces = (*base.linux.namespaces, Namespace(type="user"))
    spec = with_linux(base, namespaces=namespaces, uid_mappings=maps, gid_mappings=maps)
    with pytest.raises(SpecError) as caught:
        await look(runtime, spec)
    assert caught.value.origin == "$.process.user.uid"


@pytest.mark.proves("$.process.user.umask")
@pytest.mark.parametrize(("umask", "mode"), [(None, "644"), (0, "666"), (0o077, "600"), (0o027, "640")])
async def test_umask(runtime: Runtime, guestfs: str, umask: int | None, mode: str) -> None:
    spec = with_process(
        shell("umask; touch /dev/shm/made; stat -c %a /dev/shm/made", guestfs), user=User(umask=umask)
    )
    done = await runtime.run(spec)
    expected = 0o022 if umask is None else umask
    assert done.stdout == f"{expected:04o}\n{mode}\n".encode()
    async with runtime.container(with_process(spec, args=("sleep", "60"))) as container:
        assert (await look_by_exec(container))["umask"] == expected


@pytest.mark.parametrize("umask", [-1, 0o1000])
async def test_umask_out_of_range(runtime: Runtime, guestfs: str, umask: int) -> None:
    with pytest.raises(SpecError) as caught:
        await look(runtime, with_process(Spec.default([], rootfs=guestfs), user=User(umask=umask)))
    assert caught.value.origin == "$.process.user.umask"


def mask(*names: Capability) -> int:
    return sum(1 << CAPABILITIES.index(name) for name in names)


async def test_default_capabilities(runtime: Runtime, guestfs: str) -> None:
    held = mask("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
    found = await look(runtime, Spec.default([], rootfs=guestfs))
    assert found["capabilities"] == {
        "bounding": held,
        "effective": held,
        "permitted": held,
        "inheritable": 0,
        "ambient": 0,
    }


@pytest.mark.proves(
    "$.process.capabilities.bounding[]",
    "$.process.capabilities.inheritable[]",
    "$.process.capabilities.ambient[]",
)
async def test_each_set_is_exact(runtime: Runtime, guestfs: str) -> None:
    """For a user whom exec(2) gives nothing: what is ambient is what is left."""
    sets = Capabilities(
        bounding=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_CHROOT"),
        permitted=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
        effective=("CAP_CHOWN",),
        inheritable=("CAP_KILL", "CAP_NET_RAW"),
        ambient=("CAP_KILL",),
    )
    spec = with_process(
        Spec.default(["sleep", "60"], rootfs=guestfs).with_user(1000, 1000),
        capabilities=sets,
        no_new_privileges=False,
    )
    expected = {
        "bounding": mask(*sets.bounding),
        "inheritable": mask(*sets.inheritable),
        "permitted": mask("CAP_KILL"),
        "effective": mask("CAP_KILL"),
        "ambient": mask("CAP_KILL"),
    }
    assert (await look(runtime, spec))["capabilities"] == expected
    async with runtime.container(spec) as container:
        assert (await look_by_exec(container))["capabilities"] == expected


@pytest.mark.proves("$.process.capabilities.permitted[]", "$.process.capabilities.effective[]")
async def test_sets_before_the_program_is_executed(runtime: Runtime, guestfs: str) -> None:
    """exec(2) makes new permitted and effective sets; until then they are those of the document."""
    sets = Capabilities(
        bounding=("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"),
        permitted=("CAP_CHOWN", "CAP_KILL"),
        effective=("CAP_CHOWN",),
    )
    spec = with_process(Spec.default(["true"], rootfs=guestfs).with_user(1000, 1000), capabilities=sets)
    container = await runtime.create(None, spec)
    with open(f"/proc/{container.pid}/status") as file:
        found = dict(line.rstrip("\n").split(":\t") for line in file if line.startswith("Cap"))
    await container.delete(force=True)
    assert {name: int(text, 16) for name, text in found.items()} == {
        "CapBnd": mask(*sets.bounding),
        "CapPrm": mask(*sets.permitted),
        "CapEff": mask(*sets.effective),
        "CapInh": 0,
        "CapAmb": 0,
    }


async def test_all_capabilities(runtime: Runtime, guestfs: str) -> None:
    sets = Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)
    found = await look(runtime, with_process(Spec.default([], rootfs=guestfs), capabilities=sets))
    with open("/proc/self/status") as file:
        ours = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm"))
    assert found["capabilities"]["permitted"] == found["capabilities"]["bounding"] == ours


async def test_no_capabilities(runtime: Runtime, guestfs: str) -> None:
    found = await look(runtime, with_process(Spec.default([], rootfs=guestfs), capabilities=Capabilities()))
    assert set(found["capabilities"].values()) == {0}


@pytest.mark.parametrize("set", SETS)
async def test_unknown_capability(runtime: Runtime, guestfs: str, set: str) -> None:
    document = json.decode(Spec.default(["guest"], rootfs=guestfs).encode())
    document["process"]["capabilities"][set] = ["CAP_EVERYTHING"]
    with pytest.raises(SpecError) as caught:
        await runtime.create(None, json.encode(document))
    assert caught.value.origin == f"$.process.capabilities.{set}[0]"


async def test_exec_adds_capabilities(runtime: Runtime, guestfs: str) -> None:
    async with runtime.container(Spec.default(["sleep", "60"], rootfs=guestfs)) as container:
        found = await look_by_exec(container, capabilities=["CAP_SYS_CHROOT"])
        held = mask("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT")
        assert found["capabilities"]["effective"] == found["capabilities"]["bounding"] == held
        assert found["capabilities"]["inheritable"] == 0
