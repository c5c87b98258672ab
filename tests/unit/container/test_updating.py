"""An update: from what holds to what is asked, all or nothing, remembered."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec.structs import replace

from aiocontainer.cgroups.fake import FakeCgroup
from aiocontainer.container.updating import Update, current_resources, read_resources
from aiocontainer.errors import CgroupError, SpecError, StateCorruptError, UnsupportedError
from aiocontainer.plan.host import CgroupMode, Host
from aiocontainer.spec import Cpu, DeviceRule, IntelRdt, Memory, Pids, Resources, Spec
from aiocontainer.store import State

if TYPE_CHECKING:
    from aiocontainer.container.environment import Environment
    from aiocontainer.store import Lock

HOST = Host(
    kernel=(6, 1),
    euid=0,
    egid=0,
    capabilities=(1 << 41) - 1,
    cgroup_mode=CgroupMode.V2,
    cgroup_hierarchies={"": "/sys/fs/cgroup"},
    cgroup_delegated=True,
    cgroup_controllers=frozenset({"memory", "pids", "cpu", "cpuset"}),
    systemd=252,
)
SPEC = Spec.default(["true"], rootfs="/r").with_limits(memory=100, cpus=0.5)
LOCK = cast("Lock", None)


class Memo:
    """A store of one container, in memory."""

    def __init__(self) -> None:
        self.state = State(
            id="c",
            bundle="/b",
            oci_version="1.3.0",
            created="",
            owner=0,
            boot_id="",
            pid=1,
            starttime=1,
            facts={"hooks": ["poststop"]},
        )
        self.broken = False

    def load(self, id: str, *, lock: Lock | None = None) -> State:
        assert id == "c"
        return self.state

    def load_config(self, id: str) -> bytes:
        assert id == "c"
        return SPEC.encode()

    def save(self, id: str, state: State) -> None:
        assert id == "c"
        if self.broken:
            raise OSError(errno.ENOSPC, "full")
        self.state = state


class World:
    """What an update needs."""

    def __init__(self, host: Host = HOST) -> None:
        self.store = Memo()
        self.host = host
        self.cgroup = FakeCgroup()

    def update(self, asked: Resources, rdt: IntelRdt | None = None) -> Update:
        return Update(cast("Environment", self), self.cgroup, "c", asked, rdt)

    def done(self, asked: Resources, *, by_manager: bool = False) -> Update:
        update = self.update(asked)
        update.begin(LOCK, by_manager=by_manager)
        update.save()
        return update


def test_what_holds_is_what_create_said_and_then_what_updates_said() -> None:
    world = World()
    assert current_resources(world.store.state, SPEC.encode()).memory == Memory(limit=100)
    world.done(Resources(memory=Memory(swap=300), cpu=Cpu(period=50_000)))
    assert world.cgroup.files == {"memory.swap.max": "200", "cpu.max": "50000 50000"}
    now = current_resources(world.store.state, SPEC.encode())
    assert now.memory == Memory(limit=100, swap=300)
    assert now.cpu == Cpu(quota=50_000, period=50_000)
    assert now.devices
    assert world.store.state.facts["hooks"] == ["poststop"]
    world.done(Resources(memory=Memory(limit=250)))
    assert world.cgroup.files["memory.swap.max"] == "50"


def test_a_container_without_limits_has_none_to_begin_with() -> None:
    bare = replace(SPEC, linux=None)
    assert current_resources(Memo().state, bare.encode()) == Resources()
    broken = replace(Memo().state, facts={"resources": {"memory": 5}})
    with pytest.raises(StateCorruptError, match=r"facts\.resources"):
        current_resources(broken, bare.encode())


def test_what_is_refused_is_not_remembered() -> None:
    world = World()
    world.cgroup.refused.add("pids.max")
    update = world.update(Resources(pids=Pids(limit=5), memory=Memory(limit=90)))
    with pytest.raises(CgroupError):
        update.begin(LOCK, by_manager=False)
    assert world.cgroup.files == {}
    assert "resources" not in world.store.state.facts


def test_what_cannot_be_remembered_is_undone() -> None:
    world = World()
    world.store.broken = True
    update = world.update(Resources(memory=Memory(limit=90), devices=(DeviceRule(allow=True, access="rwm"),)))
    update.begin(LOCK, by_manager=False)
    assert world.cgroup.files
    changed = world.cgroup.devices
    with pytest.raises(OSError, match="full"):
        update.save()
    assert world.cgroup.files == {}
    assert world.cgroup.devices != changed


def test_rules_that_are_refused_undo_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    rules = (DeviceRule(allow=True, access="rwm"),)
    calls: list[Any] = []

    def fail_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise CgroupError("/x", errno.EPERM)

    monkeypatch.setattr(world.cgroup, "set_devices", fail_once)
    with pytest.raises(CgroupError):
        world.update(Resources(memory=Memory(limit=90), devices=rules)).begin(LOCK, by_manager=False)
    assert world.cgroup.files == {}
    assert len(calls) == 2  # the former rules once more: nobody knows how far the new ones came


def test_devices_are_left_alone_unless_there_are_rules() -> None:
    world = World()
    world.cgroup.devices = before = ()
    world.done(Resources(pids=Pids(limit=3)))
    assert world.cgroup.devices is before
    world.done(Resources(devices=()))
    assert world.cgroup.devices


def test_device_rules_are_refused_where_the_document_has_them() -> None:
    rules = (DeviceRule(allow=True, access="rwm"), DeviceRule(allow=True, type="c"))
    with pytest.raises(SpecError) as caught:
        World().update(Resources(devices=rules)).begin(LOCK, by_manager=False)
    assert caught.value.origin == "$.devices[1].access"


def test_properties_for_devices_say_where_they_come_from() -> None:
    old = replace(HOST, systemd=239)
    rules = (DeviceRule(allow=False, access="rwm"), DeviceRule(allow=True, type="c", minor=3, access="r"))
    update = World(old).done(Resources(devices=rules), by_manager=True)
    assert {each.origin for each in update.properties} == {"$.devices"}
    assert [each for each in update.warnings if each.startswith("$.devices: ")] == list(update.warnings)


RULES = (DeviceRule(allow=False, access="rwm"), DeviceRule(allow=True, type="c", major=3, access="r"))


@pytest.mark.parametrize("frozen", [False, True])
def test_nobody_runs_while_the_manager_of_v1_writes_its_list(*, frozen: bool) -> None:
    """features.md D59: who is paused stays so, and in the end the list is ours."""
    world = World(replace(HOST, cgroup_mode=CgroupMode.V1, cgroup_hierarchies={"devices": "/d"}))
    world.cgroup.mode = CgroupMode.V1
    world.cgroup.create()
    world.cgroup.members.append(7)
    world.cgroup.frozen = frozen
    update = world.update(Resources(devices=RULES))
    update.begin(LOCK, by_manager=True)
    ours = world.cgroup.devices
    update.hold()
    assert world.cgroup.frozen
    world.cgroup.devices = ()
    update.release()
    assert (world.cgroup.frozen, world.cgroup.devices) == (frozen, ours)


def test_what_the_manager_sets_back_is_written_again() -> None:
    world = World()
    world.done(Resources(unified={"memory.oom.group": "1"}), by_manager=True)
    update = world.update(Resources(memory=Memory(limit=90)))
    update.begin(LOCK, by_manager=True)
    update.hold()
    world.cgroup.files = {**world.cgroup.files, "memory.oom.group": "0"}
    update.release()
    assert world.cgroup.files["memory.oom.group"] == "1"


def test_where_nobody_can_be_frozen_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(replace(HOST, cgroup_mode=CgroupMode.V1, cgroup_hierarchies={"devices": "/d"}))
    world.cgroup.mode = CgroupMode.V1
    world.cgroup.create()
    world.cgroup.members.append(7)

    def fail() -> None:
        raise UnsupportedError("freezing a cgroup", needs="the freezer controller")

    monkeypatch.setattr(world.cgroup, "freeze", fail)
    update = world.update(Resources(devices=RULES))
    update.begin(LOCK, by_manager=True)
    update.hold()
    assert "the freezer controller" in update.warnings[-1]
    update.release()


@pytest.mark.parametrize("asked", [Resources(pids=Pids(limit=3)), Resources(devices=RULES)])
def test_nobody_is_held_up_where_nothing_is_taken_away(asked: Resources) -> None:
    """Neither without device rules nor in v2, where filters are programs."""
    world = World()
    world.cgroup.create()
    world.cgroup.members.append(7)
    update = world.update(asked)
    update.begin(LOCK, by_manager=True)
    update.hold()
    assert not world.cgroup.frozen
    update.release()


def test_an_ordinary_user_has_no_say_over_devices() -> None:
    world = World(replace(HOST, euid=1000))
    with pytest.raises(UnsupportedError) as caught:
        world.update(Resources(pids=Pids(limit=1), devices=())).begin(LOCK, by_manager=False)
    assert caught.value.origin == "$.devices"
    assert world.cgroup.files == {}


def test_the_manager_is_told_the_same() -> None:
    world = World()
    update = world.done(Resources(memory=Memory(limit=2**20), pids=Pids(limit=7)), by_manager=True)
    told = {each.name: each.value for each in update.properties}
    assert (told["MemoryMax"], told["TasksMax"]) == (2**20, 7)
    assert not world.done(Resources(memory=Memory(limit=2**21))).properties


def test_warnings() -> None:
    world = World()
    update = world.done(Resources(memory=Memory(kernel=1), cpu=Cpu(idle=1, shares=5)))
    assert [text.partition(":")[0] for text in update.warnings] == ["$.memory.kernel", "$.cpu.shares"]


def test_a_share_of_the_cache_needs_one_from_create_on() -> None:
    world = World()
    with pytest.raises(UnsupportedError, match="create"):
        world.update(Resources(), IntelRdt(mem_bw_schema="MB:0=50")).begin(LOCK, by_manager=False)


@pytest.mark.parametrize(
    "source",
    [
        Resources(pids=Pids(limit=3)),
        {"pids": {"limit": 3}},
        b'{"pids": {"limit": 3}}',
        '{"pids": {"limit": 3}}',
        {"pids": Pids(limit=3)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_forms(source: Any) -> None:
    assert read_resources(source) == Resources(pids=Pids(limit=3))


@pytest.mark.parametrize(
    "source", [b"", b"[]", {"pids": 3}, {"pids": {"limit": "3"}}, Resources(memory=Memory(limit=-5))], ids=str
)
def test_no_forms(source: Any) -> None:
    with pytest.raises(SpecError):
        read_resources(source)
