"""The mount half of the helper, on a real kernel: what it builds."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest
from mounts_runner import (
    DEV,
    MAKE,
    MAKE_DIR,
    MAKE_FILE,
    NODEV,
    NOEXEC,
    NOSUID,
    NULL,
    PROC,
    PTS,
    RO,
    SYS,
    TTY_DATA,
    Rootfs,
    bind,
    open_tree,
    options_of,
    tmpfs,
)
from support import needs

from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("mounts_fixtures",)
pytestmark = pytest.mark.needs("root", "gcc", "compiled")


def test_default_mounts_are_what_the_specification_says(root: Rootfs) -> None:
    more = (
        steps.Mount("", "tmpfs", "shm", "/dev/shm", NOSUID | NOEXEC | NODEV, 0, MAKE_DIR, ("mode=1777",)),
        steps.Mount("", "mqueue", "mqueue", "/dev/mqueue", NOSUID | NOEXEC | NODEV, 0, MAKE_DIR),
    )
    result = root.look(PROC, DEV, PTS, SYS, *more, script="cut -d' ' -f5,6,9- /proc/self/mountinfo")
    assert result.worked, result
    lines = [line.split() for line in result.output.splitlines()]
    found = {line[0]: (line[1], line[-2]) for line in lines}
    del found["/usr"]
    assert set(found.pop("/")[0].split(",")) == options_of(root.path)
    assert found == {
        "/proc": ("rw,relatime", "proc"),
        "/dev": ("rw,nosuid", "tmpfs"),
        "/dev/pts": ("rw,nosuid,noexec,relatime", "devpts"),
        "/sys": ("ro,nosuid,nodev,noexec,relatime", "sysfs"),
        "/dev/shm": ("rw,nosuid,nodev,noexec,relatime", "shm"),
        "/dev/mqueue": ("rw,nosuid,nodev,noexec,relatime", "mqueue"),
    }


def test_missing_targets_become_what_the_source_is(root: Rootfs, canary: Path) -> None:
    binds = (bind(f"{canary}/file", "/a/b/file"), bind(f"{canary}/directory", "/c/d", MAKE_DIR))
    assert root.apply(*binds).worked
    assert stat.S_ISREG(os.stat(root.at("a/b/file")).st_mode)
    assert os.path.getsize(root.at("a/b/file")) == 0
    assert stat.S_ISDIR(os.stat(root.at("c/d")).st_mode)
    assert {stat.S_IMODE(os.stat(root.at(name)).st_mode) for name in ("a", "a/b", "c", "c/d")} == {0o755}


def test_missing_target_is_an_error_unless_it_may_be_made(root: Rootfs) -> None:
    result = root.apply(tmpfs("/none", flags=0))
    assert (result.error, result.failed) == (errno.ENOENT, 3)
    assert root.apply(tmpfs("/none", flags=flags.MOUNT_OPTIONAL)).worked


def test_tmpfs_keeps_the_mode_that_it_covers(root: Rootfs) -> None:
    root.make("scratch")
    os.chmod(root.at("scratch"), 0o1751)
    keep = tmpfs("/scratch", flags=flags.MOUNT_KEEP_MODE)
    assert root.look(keep, script="stat -c %a /scratch").output == "1751\n"


def test_read_only_superblock(root: Rootfs) -> None:
    mount = tmpfs("/t", flags=flags.MOUNT_RDONLY_SB | MAKE_DIR)
    result = root.look(PROC, mount, script="grep ' /t ' /proc/self/mountinfo")
    assert result.output.split(" - ")[1].startswith("tmpfs tmpfs ro")


def test_option_text_adds_no_option(root: Rootfs) -> None:
    result = root.apply(tmpfs("/t", "mode=755,uid=7"))
    assert (result.failed, result.error) == (3, errno.EINVAL)


def test_unknown_filesystem(root: Rootfs) -> None:
    mount = steps.Mount("", "nosuchfs", "none", "/t", flags=MAKE_DIR)
    assert root.apply(mount).error == errno.ENODEV
    optional = steps.Mount("", "nosuchfs", "none", "/t", flags=MAKE_DIR | flags.MOUNT_OPTIONAL)
    assert root.apply(optional).worked


def test_bind_attributes_reach_only_what_they_should(root: Rootfs, canary: Path) -> None:
    sub = tmpfs("/source/sub")
    once = bind(root.at("source"), "/once", flags.MOUNT_RECURSIVE | MAKE, attrs=RO | NOSUID)
    deep = flags.MOUNT_RECURSIVE | flags.MOUNT_SETATTR_RECURSIVE | MAKE
    tree = bind(root.at("source"), "/tree", deep, attrs=RO | NOEXEC)
    script = "cut -d' ' -f5,6 /proc/self/mountinfo | grep -E 'once|tree'"
    result = root.look(PROC, sub, once, tree, script=script)
    found = {line.split()[0]: set(line.split()[1].split(",")) for line in result.output.splitlines()}
    assert found == {
        "/once": options_of(root.path, "ro", "nosuid"),
        "/once/sub": {"rw", "relatime"},
        "/tree": options_of(root.path, "ro", "noexec"),
        "/tree/sub": {"ro", "noexec", "relatime"},
    }


def test_atime_mode_replaces_the_other(root: Rootfs, canary: Path) -> None:
    mode = bind(str(canary), "/b", attrs=flags.MOUNT_ATTR_NOATIME, cleared=flags.MOUNT_ATTR_ATIME)
    result = root.look(PROC, mode, script="grep ' /b ' /proc/self/mountinfo")
    assert set(result.output.split()[5].split(",")) == options_of(root.path, "noatime")


def test_propagation_of_a_bind(root: Rootfs, canary: Path) -> None:
    shared = bind(str(canary), "/shared", propagation=flags.MS_SHARED)
    private = bind(str(canary), "/private", propagation=flags.MS_PRIVATE | flags.MS_REC, attrs=RO)
    script = "grep -E ' /(shared|private) ' /proc/self/mountinfo | cut -d' ' -f5-7"
    lines = [line.split() for line in root.look(PROC, shared, private, script=script).output.splitlines()]
    assert [(line[0], line[1][:3], line[2].split(":")[0]) for line in lines] == [
        ("/shared", "rw,", "shared"),
        ("/private", "ro,", "-"),
    ]


def test_passed_tree(root: Rootfs, canary: Path) -> None:
    fd = open_tree(str(canary))
    try:
        root.fds = [fd]
        result = root.look(steps.Bind("", "", "/b", attrs=RO, flags=MAKE, fd=0), script="cat /b/file")
    finally:
        os.close(fd)
    assert result.output == "untouched"


def test_passed_root(root: Rootfs, tmp_path: Path) -> None:
    """The tree becomes the root, wherever it came from and whatever directory it is attached at."""
    root.make("usr", "passed")
    fd = open_tree(root.path)
    place = tmp_path / "place"
    place.mkdir()
    try:
        root.fds = [fd]
        begin = [*root.begin()[:2], steps.Rootfs("", str(place), 0), *root.programs(), steps.Pivot("")]
        result = root.run(*begin, steps.Exec("", ("/bin/ls", "-d", "/passed"), ()))
    finally:
        os.close(fd)
    assert result.output == "/passed\n"


def test_source_of_a_bind_may_be_absent_if_optional(root: Rootfs) -> None:
    assert root.apply(bind("/nonexistent", "/b")).error == errno.ENOENT
    assert root.apply(bind("/nonexistent", "/b", MAKE | flags.MOUNT_OPTIONAL)).worked


def test_bind_after_the_pivot_would_mean_another_path(root: Rootfs) -> None:
    result = root.look(script="", before=[bind("/usr", "/b")])
    assert result.error == errno.EXDEV


def test_device_bind_is_the_device_that_was_meant(root: Rootfs) -> None:
    node = flags.MOUNT_DEVICE_NODE | MAKE_FILE
    assert root.apply(DEV, bind("/dev/zero", "/dev/zero", node, rdev=(1, 5))).worked
    assert root.apply(DEV, bind("/dev/zero", "/dev/zero", node, rdev=(1, 3))).error == errno.EXDEV
    assert root.apply(DEV, bind("/etc/passwd", "/dev/zero", node, rdev=(1, 5))).error == errno.EXDEV


def test_mount_on_the_root_itself(root: Rootfs) -> None:
    """What comes later is in the new root, and it is the one that is pivoted to."""
    result = root.run(
        *root.begin(),
        tmpfs("/"),
        *root.programs(),
        *(steps.Symlink("", f"usr/{name}", f"/{name}") for name in ("bin", "lib", "lib64")),
        PROC,
        steps.Pivot(""),
        steps.VerifyMounts(""),
        steps.Exec("", ("/bin/sh", "-ec", "stat -f -c %T / && ls /"), ()),
    )
    assert result.output.split() == ["tmpfs", "bin", "lib", "lib64", "proc", "usr"]


def test_attributes_of_a_mount_made_before(root: Rootfs) -> None:
    late = (steps.SetAttr("", "/t", attrs=RO), steps.SetAttr("", "/", attrs=RO | NODEV))
    script = "cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^/(t|) '"
    result = root.look(PROC, tmpfs("/t"), script=script, before=late)
    first, second = (line.split() for line in result.output.splitlines())
    assert (first[0], set(first[1].split(","))) == ("/", options_of(root.path, "ro", "nodev"))
    assert second == ["/t", "ro,relatime"]


def test_attributes_only_of_a_mount_made_before(root: Rootfs) -> None:
    root.make("plain")
    assert root.apply(steps.SetAttr("", "/plain", attrs=RO)).error == errno.EXDEV
    assert root.apply(tmpfs("/plain"), steps.SetAttr("", "/plain/", attrs=RO)).worked


def test_masks_and_read_only_paths(root: Rootfs) -> None:
    root.make("secrets", "locked")
    root.write("secrets/key")
    root.write("password", "secret")
    hidden = [steps.Mask("", f"/{name}") for name in ("secrets", "password", "absent", "password/below")]
    locked = [steps.ReadOnly("", f"/{name}") for name in ("locked", "absent", "password/below")]
    script = (
        "ls -A /secrets; cat /password; stat -c %t:%T /password; stat -f -c %T /secrets\n"
        "! touch /locked/x 2>/dev/null; ! touch /secrets/x 2>/dev/null; touch /free"
    )
    for before in (False, True):
        some = (*hidden, *locked) if before else ()
        result = root.look(*some, script=script, before=() if before else (*hidden, *locked))
        assert result.worked, result
        assert result.output.split() == ["1:3", "tmpfs"]


def test_read_only_path_keeps_its_other_attributes(root: Rootfs) -> None:
    mount = steps.Mount("", "tmpfs", "tmpfs", "/t", NOSUID | NODEV | NOEXEC, flags=MAKE_DIR)
    script = "grep ' /t ' /proc/self/mountinfo | tail -n1 | cut -d' ' -f6"
    result = root.look(PROC, mount, steps.ReadOnly("", "/t"), script=script)
    assert result.output == "ro,nosuid,nodev,noexec,relatime\n"


def test_mask_that_cannot_be_looked_up_is_an_error(root: Rootfs) -> None:
    root.link("loop", "loop")
    assert root.apply(steps.Mask("", "/loop")).error == errno.ELOOP


def test_pivot_leaves_nothing_of_the_old_root(root: Rootfs) -> None:
    result = root.look(PROC, script="cut -d' ' -f5 /proc/self/mountinfo; cd ..; pwd")
    assert result.output.split() == ["/", "/usr", "/proc", "/"]


def test_moved_root_hides_the_kernel_mounts_of_the_old_one(root: Rootfs) -> None:
    """The driver's parent stays in the old root of the same mount namespace and sees what is left there."""
    root.namespaces &= ~flags.CLONE_NEWPID  # the parent has its own procfs to tell by
    plan = [*root.begin(), *root.programs(), PROC, SYS, steps.Pivot("", flags.PIVOT_MOVE)]
    stop = steps.Pause("", flags.PAUSE_CGROUP)
    with root.started(*plan, stop, steps.Exec("", ("/bin/ls", "/"), ())) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "paused\n"
        with open(f"/proc/{process.pid}/mountinfo") as file:
            left = [line.split() for line in file]
        output, _ = process.communicate("go\n", timeout=30)
    assert {"proc", "sys", "usr"} <= set(output.split())
    types = {fields[4]: fields[fields.index("-") + 1] for fields in left}
    kernel = {point for point, kind in types.items() if kind in {"proc", "sysfs"}}
    assert kernel == {"/proc", "/sys"}  # of the new root, which lies over the old one


def test_chroot_alone(root: Rootfs) -> None:
    """Only the working directory and the root change."""
    root.programs()
    root.make("usr", "inside")
    plan = [*root.begin(), *root.programs(), steps.Pivot("", flags.PIVOT_CHROOT)]
    result = root.run(*plan, steps.Exec("", ("/bin/sh", "-c", "pwd; ls -d /inside"), ()))
    assert result.output.split() == ["/", "/inside"]


def test_shared_root_gets_nothing_of_the_container(root: Rootfs) -> None:
    """Even where the plan leaves "/" shared with the outside, the container's mounts stay inside."""
    plan = [steps.Propagation("", flags.MS_SHARED | flags.MS_REC), *root.begin()[1:], PROC, tmpfs("/t")]
    script = (
        "mount --make-rshared / && cut -d' ' -f5 /proc/self/mountinfo >$0.before\n"
        "\"$@\" || exit; cut -d' ' -f5 /proc/self/mountinfo | diff $0.before -"
    )
    name = root.at("mounts")
    root.wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, name)
    result = root.run(*plan, steps.Pivot(""), steps.Exec("", ("",), ()))
    assert result.worked, result


def test_covered_mounts_raise_no_alarm(root: Rootfs) -> None:
    root.link("inner", "outer")
    root.make("inner")
    covered = (
        tmpfs("/a"),
        tmpfs("/a"),  # the same place
        tmpfs("/b/c/d"),
        tmpfs("/b"),  # a directory above
        tmpfs("/outer/x"),
        tmpfs("/inner"),  # a directory above by another name
    )
    assert root.look(*covered, script="").worked


def test_copied_along_by_a_recursive_bind(root: Rootfs) -> None:
    """What was mounted below moves into the new tree as a copy, with another id."""
    assert root.look(tmpfs("/a"), tmpfs("/a/b"), steps.ReadOnly("", "/a"), script="").worked


def test_covered_by_a_mask(root: Rootfs) -> None:
    assert root.look(tmpfs("/a/b"), steps.Mask("", "/a"), script="").worked


@pytest.mark.needs("userns")
def test_user_namespace(userns: Rootfs) -> None:
    devices = [
        bind(f"/dev/{name}", f"/dev/{name}", flags.MOUNT_DEVICE_NODE | MAKE_FILE, rdev=(1, minor))
        for name, minor in (("null", 3), ("zero", 5))
    ]
    pts = steps.Mount("", "devpts", "devpts", "/dev/pts", flags=MAKE_DIR, data=TTY_DATA[:3])
    hide = [steps.Mask("", "/proc/keys"), steps.Mask("", "/sys/firmware"), steps.ReadOnly("", "/proc/sys")]
    tty = steps.Console("", 0, 0, True, 0, 0)
    script = "echo >/dev/null; stat -c %t:%T /proc/keys; ls -A /sys/firmware; ! touch /usr/x 2>&1"
    result = userns.look(PROC, SYS, DEV, *devices, pts, tty, script=script, before=hide)
    assert result.worked, result
    assert result.output.splitlines() == ["1:3", "touch: cannot touch '/usr/x': Read-only file system"]


@pytest.mark.needs("userns")
def test_node_in_a_user_namespace_is_not_permitted(userns: Rootfs) -> None:
    assert userns.apply(DEV, NULL).error == errno.EPERM


@pytest.mark.needs("userns")
def test_procfs_handle_without_a_pid_namespace(userns: Rootfs) -> None:
    userns.namespaces &= ~flags.CLONE_NEWPID
    assert userns.apply(tmpfs("/t")).worked


@pytest.mark.needs("userns")
def test_locked_attribute_stays_set(userns: Rootfs, canary: Path) -> None:
    """S74: only who asks for it to be cleared hears of the lock."""
    script = (
        'mount --bind -o ro,nosuid "$0" "$0" && mount -o remount,bind,ro,nosuid "$0" && exec unshare -Ur "$@"'
    )
    userns.wrapper = ("unshare", "--mount", "sh", "-c", script, str(canary))
    kept = bind(str(canary), "/b", attrs=NODEV)
    result = userns.look(PROC, kept, script="grep ' /b ' /proc/self/mountinfo | cut -d' ' -f6")
    assert set(result.output.strip().split(",")) == options_of(userns.path, "ro", "nosuid", "nodev")
    assert userns.apply(bind(str(canary), "/b", cleared=RO)).error == errno.EPERM


@pytest.mark.needs("userns")
def test_ordinary_user_sees_the_own_root_read_only(userns: Rootfs) -> None:
    """The whole "/" with all its mounts becomes the root, attached where it came from."""
    userns.user = 65534
    deep = flags.MOUNT_SETATTR_RECURSIVE
    plan = [*userns.begin()[:2], steps.Rootfs("", "/"), steps.SetAttr("", "/", attrs=RO, flags=deep)]
    plan += [PROC, DEV, tmpfs("/tmp"), steps.Pivot(""), steps.Mask("", "/proc/keys"), steps.VerifyMounts("")]
    script = "touch /tmp/x && ! touch /x 2>&1; ls -A /tmp; stat -c %t:%T /proc/keys; id -u"
    result = userns.run(*plan, steps.Exec("", ("/bin/sh", "-ec", script), ()))
    assert result.output.splitlines() == [
        *("touch: cannot touch '/x': Read-only file system", "x", "1:3", "0"),
    ]


@pytest.mark.needs("userns")
def test_passed_root_that_the_user_has_no_way_to(userns: Rootfs, canary: Path) -> None:
    userns.user = 65534
    os.chmod(userns.path, 0o755)
    os.chmod(os.path.dirname(userns.path), 0o700)
    userns.make("proc", "usr", "b")
    programs = userns.programs()
    fds = [open_tree(userns.path), open_tree(str(canary))]
    try:
        userns.fds = fds
        plan = [*userns.begin()[:2], steps.Rootfs("", userns.path, 0), *programs, PROC]
        plan += [steps.Bind("", "", "/b", fd=1), steps.Pivot(""), steps.VerifyMounts("")]
        result = userns.run(*plan, steps.Exec("", ("/bin/cat", "/b/file"), ()))
    finally:
        for fd in fds:
            os.close(fd)
    assert result.output == "untouched"


def test_a_file_system_is_labelled_afterwards(root: Rootfs) -> None:
    """Without the module the kernel keeps a label as any other attribute that root sets."""
    if needs.has_lsm("selinux"):
        pytest.skip("needs a kernel that takes any label")
    look = "python3 -c \"import os; print(os.getxattr('/x', 'security.selinux'))\""
    result = root.look(tmpfs("/x"), steps.FileLabel("", "/x", "u:r:t:s0:c1,c2"), script=look)
    assert result.output == "b'u:r:t:s0:c1,c2\\x00'\n"


def test_only_what_was_mounted_is_labelled(root: Rootfs) -> None:
    root.make("plain")
    result = root.apply(steps.FileLabel("", "/plain", "u:r:t:s0"))
    assert result.error == errno.EXDEV
