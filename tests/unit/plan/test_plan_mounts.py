"""Mounts and the root file system: one rule per test, each with its address."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from plan_hosts import V2, compiled, names, namespaces, spec, steps, with_mount

from aiocontainer.errors import BootstrapError, SpecError, UnsupportedError
from aiocontainer.plan.flags import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_COPY_LINK,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_KEEP_OWNER,
    MOUNT_MAKE_DIR,
    MOUNT_PROCFS,
    MOUNT_RDONLY_SB,
    MOUNT_RECURSIVE,
    MOUNT_SETATTR_RECURSIVE,
    MOUNT_SOURCE_NOFOLLOW,
    MOUNT_TARGET_NOFOLLOW,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    PIVOT_MOVE,
    PIVOT_ROOT,
)
from aiocontainer.plan.mounts import UNDER_PROC
from aiocontainer.plan.plan import Overlay
from aiocontainer.plan.steps import (
    Bind,
    Console,
    Mask,
    Mount,
    Pause,
    Pivot,
    Propagation,
    ReadOnly,
    Rootfs,
    SetAttr,
    Sysctl,
)
from aiocontainer.spec import ConsoleSize, IDMapping, Root
from aiocontainer.spec import Mount as SpecMount

if TYPE_CHECKING:
    from aiocontainer.plan.host import Host


def mount(destination: str = "/m", type: str = "", source: str = "", *options: str) -> SpecMount:
    return SpecMount(destination=destination, type=type, source=source, options=options)


def the_mount(value: SpecMount) -> Any:
    return steps(compiled(with_mount(value)), Mount, Bind)[0]


def refused(value: SpecMount, **changes: Any) -> str:
    with pytest.raises((SpecError, UnsupportedError)) as caught:
        compiled(with_mount(value, **changes))
    return caught.value.origin


# Binds.


def test_a_relative_source_is_in_the_bundle() -> None:
    assert the_mount(mount("/m", "bind", "data", "rbind")).source == "/bundles/web/data"
    assert the_mount(mount("/m", "bind", "/data", "bind")).source == "/data"


def test_the_option_makes_the_bind_whatever_the_type() -> None:
    assert the_mount(mount("/m", "ext4", "/data", "rbind")).flags & MOUNT_RECURSIVE
    assert not the_mount(mount("/m", "bind", "/data")).flags & MOUNT_RECURSIVE


def test_a_bind_has_no_file_system_to_give_options_to() -> None:
    assert refused(mount("/m", "bind", "/data", "bind", "ro", "size=1m")) == "$.mounts[0].options[2]"
    assert refused(mount("/m", "none", "/data", "rbind,x")) == "$.mounts[0].options[0]"
    assert refused(mount("/m", "none", "/data", "rbind", 'context="a,b"')) == "$.mounts[0].options[1]"


def test_superblock_flags_do_nothing_on_a_bind_and_say_so() -> None:
    plan = compiled(with_mount(mount("/m", "bind", "/data", "bind", "sync")))

    assert plan.warnings == ("$.mounts[0].options: sync: no effect on a bind",)


def test_a_bind_without_a_source_is_refused() -> None:
    assert refused(mount("/m", "none", "", "rbind,ro")) == "$.mounts[0].source"


def test_recursive_attributes_alone_are_set_on_the_way() -> None:
    bind = the_mount(mount("/m", "bind", "/data", "rbind", "rro"))

    assert (bind.attrs, bind.flags & MOUNT_SETATTR_RECURSIVE) == (MOUNT_ATTR_RDONLY, MOUNT_SETATTR_RECURSIVE)


def test_recursive_attributes_beside_others_are_set_afterwards() -> None:
    plan = compiled(with_mount(mount("/m", "bind", "/data", "rbind", "rro", "nosuid", "noatime")))

    (bind,) = steps(plan, Bind)
    assert bind.attrs == MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME
    assert not bind.flags & MOUNT_SETATTR_RECURSIVE
    after = plan.steps[plan.steps.index(bind) + 1]
    assert after == SetAttr("$.mounts[0]", "/m", MOUNT_ATTR_RDONLY, flags=MOUNT_SETATTR_RECURSIVE)


def test_each_propagation_is_set_in_order() -> None:
    plan = compiled(with_mount(mount("/m", "bind", "/data", "rbind", "rslave", "shared")))

    (bind,) = steps(plan, Bind)
    assert bind.propagation == MS_SLAVE | MS_REC
    assert steps(plan, SetAttr)[0].propagation == MS_SHARED


# /proc and /sys.


@pytest.mark.parametrize("type", ["proc", "sysfs"])
def test_kernel_file_systems_go_on_real_directories_alone(type: str) -> None:
    assert the_mount(mount(f"/{type}", type, type)).flags & MOUNT_PROCFS


@pytest.mark.parametrize(
    "destination",
    [
        "/proc/self/attr",
        "/proc/thread-self",
        "/proc/sys/x",
        "/proc/../proc/self",
        "/proc/self/",
        "//proc//net/dev",
        "proc/self",
        "/x/../proc/1",
        "/proc/cpuinfo/..//stat/x",
    ],
)
@pytest.mark.parametrize(("type", "options"), [("tmpfs", ()), ("none", ("bind",)), ("proc", ())])
def test_nothing_is_mounted_below_proc(destination: str, type: str, options: tuple[str, ...]) -> None:
    """CVE-2019-16884: T09."""
    assert refused(mount(destination, type, "/data", *options)) == "$.mounts[0].destination"


@pytest.mark.parametrize("destination", sorted(UNDER_PROC))
def test_but_what_lxcfs_answers_for(destination: str) -> None:
    assert the_mount(mount(destination, "bind", "/lxcfs", "bind")).target == destination


def test_only_procfs_belongs_on_proc() -> None:
    assert refused(mount("/proc", "tmpfs", "tmpfs")) == "$.mounts[0].type"
    assert the_mount(mount("/proc", "bind", "/proc", "rbind")).flags & MOUNT_PROCFS


# New file systems.


def test_a_missing_type_is_refused() -> None:
    assert refused(mount("/m", "", "x")) == "$.mounts[0].type"
    assert refused(mount("/m", "none", "x", "ro")) == "$.mounts[0].type"


def test_a_relative_destination_starts_at_the_root_and_warns() -> None:
    plan = compiled(with_mount(mount("m", "tmpfs", "tmpfs")))

    assert steps(plan, Mount)[0].target == "/m"
    assert len(plan.warnings) == 1


def test_a_tmpfs_keeps_the_mode_of_what_it_covers_unless_told() -> None:
    assert the_mount(mount("/m", "tmpfs", "tmpfs")).flags == MOUNT_MAKE_DIR | MOUNT_KEEP_MODE
    assert the_mount(mount("/m", "tmpfs", "tmpfs", "mode=700")).flags == MOUNT_MAKE_DIR


def test_a_tmpfs_becomes_read_only_when_everything_is_in_it() -> None:
    plan = compiled(with_mount(mount("/m", "tmpfs", "tmpfs", "ro"), mount("/m/n", "tmpfs", "tmpfs")))

    assert not steps(plan, Mount)[0].attrs & MOUNT_ATTR_RDONLY
    assert names(plan).index("SetAttr") > names(plan).index("Pivot")


def test_a_read_only_disk_is_read_only_to_the_kernel_too() -> None:
    assert the_mount(mount("/m", "ext4", "/dev/vdb", "ro")).flags & MOUNT_RDONLY_SB
    assert not the_mount(mount("/sys", "sysfs", "sysfs", "ro")).flags & MOUNT_RDONLY_SB


def test_superblock_flags_are_parameters_of_a_new_file_system() -> None:
    assert the_mount(mount("/m", "ext4", "/dev/vdb", "sync", "data=journal")).data == ("sync", "data=journal")


@pytest.mark.parametrize(
    ("type", "option"), [("tmpfs", "uid=70000"), ("tmpfs", "gid=70000"), ("devpts", "uid=70000")]
)
def test_ids_of_a_file_system_have_to_be_mapped(type: str, option: str) -> None:
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    types = namespaces("pid", "mount", "uts", "user")

    origin = refused(mount("/m", type, type, option), uid_mappings=maps, gid_mappings=maps, namespaces=types)
    assert origin == "$.mounts[0].options"


def test_devpts_does_without_a_group_that_is_not_mapped() -> None:
    maps = (IDMapping(container_id=0, host_id=1000, size=1),)
    types = namespaces("pid", "mount", "uts", "user")
    value = mount("/dev/pts", "devpts", "devpts", "gid=5", "mode=620")
    plan = compiled(with_mount(value, uid_mappings=maps, gid_mappings=maps, namespaces=types))

    assert steps(plan, Mount)[0].data == ("mode=620",)


def test_remount_changes_a_mount_made_before() -> None:
    plan = compiled(
        with_mount(mount("/m", "tmpfs", "tmpfs"), mount("/m", "tmpfs", "tmpfs", "remount", "noexec"))
    )

    assert steps(plan, SetAttr)[0].target == "/m"


def test_remount_changes_the_options_of_a_file_system_made_before() -> None:
    made = mount("/m", "tmpfs", "tmpfs", "size=1m")
    plan = compiled(with_mount(made, mount("/m/", "tmpfs", "tmpfs", "remount", "size=2m", "sync", "ro")))

    assert steps(plan, SetAttr)[0] == SetAttr(
        "$.mounts[1]", "/m/", MOUNT_ATTR_RDONLY, data=("sync", "size=2m")
    )
    assert refused(mount("/m", "tmpfs", "tmpfs", "remount", "size=1m")) == "$.mounts[0].options"


def test_remount_never_changes_a_file_system_of_the_host() -> None:
    bound = mount("/m", "bind", "/data", "bind")
    with pytest.raises(SpecError) as caught:
        compiled(with_mount(bound, mount("/m", "", "", "remount", "sync")))
    assert caught.value.origin == "$.mounts[1].options"


# Options that are too long.

LONG = [f"/{letter * 99}" for letter in "abcd"]


def layers(text: str, host: Host = V2) -> tuple[str, ...]:
    plan = compiled(with_mount(mount("/m", "overlay", "overlay", f"lowerdir={text}", "userxattr")), host)
    data: tuple[str, ...] = steps(plan, Mount)[0].data
    return data


def test_layers_that_are_too_long_together_are_given_one_by_one() -> None:
    newer = replace(V2, kernel=(6, 7))
    assert layers(":".join(LONG), newer) == (*(f"lowerdir+={each}" for each in LONG), "userxattr")
    escaped = "\\:".join(LONG[:2])
    assert layers(f"{escaped}:{LONG[2]}::{LONG[3]}", newer)[:3] == (
        f"lowerdir+={LONG[0]}:{LONG[1]}",
        f"lowerdir+={LONG[2]}",
        f"datadir+={LONG[3]}",
    )
    assert layers(":".join(LONG[:2]))[0] == f"lowerdir={LONG[0]}:{LONG[1]}"


def test_older_kernels_cannot_take_them() -> None:
    with pytest.raises(UnsupportedError, match=r"Linux 6\.7"):
        layers(":".join(LONG))


@pytest.mark.parametrize("option", [f"upperdir=/{'x' * 300}", f"lowerdir=/{'x' * 300}:/y", "x" * 300])
def test_one_value_is_too_long(option: str) -> None:
    with pytest.raises(SpecError, match="longer than 255 bytes") as caught:
        compiled(with_mount(mount("/m", "overlay", "overlay", option)), replace(V2, kernel=(6, 7)))
    assert caught.value.origin == "$.mounts[0].options"


def test_too_many_mounts_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="at most 1024") as caught:
        compiled(with_mount(*(mount(f"/{number}", "tmpfs", "tmpfs") for number in range(1024))))
    assert caught.value.origin == "$.mounts"


# What a user namespace may not do.


def test_what_is_locked_is_told() -> None:
    bind = the_mount(mount("/m", "bind", "/data", "rbind", "rw", "exec"))
    assert "leave out rw, exec to keep it" in str(BootstrapError(bind, errno.EPERM, call="mount_setattr"))
    assert BootstrapError(bind, errno.ENOENT).advice == ""
    assert BootstrapError(the_mount(mount("/m", "bind", "/data", "ro")), errno.EPERM).advice == ""


@pytest.mark.parametrize("source", ["/sys", "/sys/fs/cgroup/"])
def test_cgroups_that_a_bind_brings_along_are_read_only_too(source: str) -> None:
    """CVE-2023-25809: root of a user namespace may own some of them."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    types = namespaces("mount", "pid", "uts", "ipc", "user")
    bound = mount("/sys", "none", source, "rbind", "nosuid", "ro")
    inside = compiled(with_mount(bound, namespaces=types, uid_mappings=maps, gid_mappings=maps))
    outside = compiled(with_mount(bound))

    sealed = SetAttr("$.mounts[0]", "/sys", MOUNT_ATTR_RDONLY, flags=MOUNT_SETATTR_RECURSIVE)
    assert sealed in steps(inside, SetAttr)
    assert sealed not in steps(outside, SetAttr)


# Copies and links.


def test_a_tmpfs_takes_mode_and_owner_of_what_it_covers_unless_told_others() -> None:
    copied = the_mount(mount("/m", "tmpfs", "tmpfs", "tmpcopyup"))
    assert copied.flags == MOUNT_MAKE_DIR | MOUNT_COPY_UP | MOUNT_KEEP_MODE | MOUNT_KEEP_OWNER
    assert "with what it covers" in str(copied)
    copied = the_mount(mount("/m", "tmpfs", "tmpfs", "tmpcopyup", "mode=1777", "gid=5"))
    assert copied.flags == MOUNT_MAKE_DIR | MOUNT_COPY_UP


@pytest.mark.parametrize(
    "value",
    [
        mount("/m", "ramfs", "x", "tmpcopyup"),
        mount("/m", "bind", "/x", "bind", "tmpcopyup"),
        mount("/m", "tmpfs", "tmpfs", "remount", "tmpcopyup"),
        mount("/m", "tmpfs", "x", "src-nofollow"),
        mount("/m", "tmpfs", "x", "copy-symlink"),
    ],
)
def test_options_of_another_kind_of_mount_are_refused(value: SpecMount) -> None:
    assert refused(value) == "$.mounts[0].options"


def test_links_may_be_source_and_target_themselves() -> None:
    bind = the_mount(mount("/m", "bind", "/l", "bind", "src-nofollow", "dest-nofollow"))
    assert bind.flags & MOUNT_SOURCE_NOFOLLOW
    assert bind.flags & MOUNT_TARGET_NOFOLLOW
    assert str(bind) == "bind link /l on /m itself"
    copied = the_mount(mount("/m", "bind", "/l", "bind", "copy-symlink"))
    assert copied.flags & MOUNT_COPY_LINK
    assert copied.flags & MOUNT_SOURCE_NOFOLLOW


def test_the_order_of_the_list_is_kept() -> None:
    plan = compiled(
        with_mount(mount("/b", "tmpfs", "x"), mount("/a", "bind", "/x", "bind"), mount("/b", "tmpfs", "y"))
    )

    assert [step.origin for step in steps(plan, Mount, Bind)][:3] == [f"$.mounts[{i}]" for i in range(3)]


def test_more_than_the_helper_takes_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="steps"):
        compiled(with_mount(*[mount("/m", "tmpfs", "tmpfs")] * 4096))
    with pytest.raises(UnsupportedError, match="descriptors"):
        compiled(spec(), V2, preserve_fds=240)


# The root.


def test_the_root_is_in_the_bundle() -> None:
    assert steps(compiled(spec()), Rootfs)[0].path == "/bundles/web/rootfs"
    assert steps(compiled(spec(root=Root(path="/srv/r"))), Rootfs)[0].path == "/srv/r"


def test_the_root_becomes_read_only_after_the_working_directory_was_made() -> None:
    plan = compiled(spec())

    assert plan.steps[names(plan).index("Cwd") + 1] == SetAttr("$.root.readonly", "/", MOUNT_ATTR_RDONLY)
    assert not steps(compiled(spec(root=Root(path="r"), mounts=())), SetAttr)


def test_a_throw_away_root_is_an_overlay() -> None:
    plan = compiled(spec(), overlay=True)

    assert plan.fds[steps(plan, Rootfs)[0].fd] == Overlay("/bundles/web/rootfs", "$.root.path", (0, 0))


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        (None, MS_SLAVE | MS_REC, None),
        ("slave", MS_SLAVE | MS_REC, None),
        ("private", MS_PRIVATE | MS_REC, None),
        ("shared", MS_SHARED | MS_REC, MS_SHARED),
        ("rshared", MS_SHARED | MS_REC, MS_SHARED | MS_REC),
        ("unbindable", MS_PRIVATE | MS_REC, MS_UNBINDABLE),
    ],
)
def test_propagation_of_the_root(word: str | None, first: int, last: int | None) -> None:
    plan = compiled(spec(rootfs_propagation=word))

    assert [step.flags for step in steps(plan, Propagation)] == [first, *([] if last is None else [last])]
    assert names(plan).index("Propagation") < names(plan).index("Rootfs")


def test_without_pivot_root() -> None:
    assert steps(compiled(spec()), Pivot)[0].how == PIVOT_ROOT
    assert steps(compiled(spec(), no_pivot=True), Pivot)[0].how == PIVOT_MOVE
    with pytest.raises(SpecError) as caught:
        compiled(spec(rootfs_propagation="rprivate"), no_pivot=True)
    assert caught.value.origin == "$.linux.rootfsPropagation"


def test_paths_are_hidden_once_and_after_the_pivot() -> None:
    plan = compiled(spec(masked_paths=("/a", "/b", "/a"), readonly_paths=("/c",)))

    assert [(step.target, step.origin) for step in steps(plan, Mask)] == [
        ("/a", "$.linux.maskedPaths[0]"),
        ("/b", "$.linux.maskedPaths[1]"),
    ]
    order = names(plan)
    assert order.index("Pivot") < order.index("ReadOnly") < order.index("Mask") < order.index("VerifyMounts")
    assert steps(plan, ReadOnly)[0].target == "/c"


def test_a_hidden_path_is_absolute() -> None:
    with pytest.raises(SpecError) as caught:
        compiled(spec(masked_paths=("/a", "b")))

    assert caught.value.origin == "$.linux.maskedPaths[1]"


def test_kernel_parameters_are_written_by_path() -> None:
    plan = compiled(spec(sysctl={"net.ipv4.conf.eth0/1.x": "1"}))

    assert steps(plan, Sysctl) == [
        Sysctl('$.linux.sysctl["net.ipv4.conf.eth0/1.x"]', "net/ipv4/conf/eth0.1/x", "1")
    ]
    assert names(plan).index("Sysctl") > names(plan).index("VerifyMounts")


def test_a_terminal_is_made_before_the_pivot() -> None:
    plan = compiled(spec(terminal=True, console_size=ConsoleSize(height=24, width=80)), V2, console=True)

    (console,) = steps(plan, Console)
    assert (console.rows, console.columns, console.bind) == (24, 80, True)
    assert isinstance(plan.steps[plan.steps.index(console) + 1], Pause)
    assert names(plan).index("Console") < names(plan).index("Pivot")
    assert "PassFd" not in names(plan)
