"""The mount, device and path half of the helper, on a real kernel: what it builds and what it withstands."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from mounts_runner import (
    KERNEL_FS,
    MAKE,
    MAKE_DIR,
    MAKE_FILE,
    Outcome,
    Rootfs,
    compile_driver,
    exchange,
    manifest,
    open_tree,
)

from aiocontainer.plan import flags, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "gcc")

RO, NOSUID, NODEV, NOEXEC = (
    flags.MOUNT_ATTR_RDONLY,
    flags.MOUNT_ATTR_NOSUID,
    flags.MOUNT_ATTR_NODEV,
    flags.MOUNT_ATTR_NOEXEC,
)
STRICT = flags.MOUNT_ATTR_STRICTATIME
TTY_DATA = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")

PROC = steps.Mount("", "proc", "proc", "/proc", flags=KERNEL_FS)
DEV = steps.Mount("", "tmpfs", "tmpfs", "/dev", NOSUID | STRICT, 0, MAKE_DIR, ("mode=755", "size=65536k"))
PTS = steps.Mount("", "devpts", "devpts", "/dev/pts", NOSUID | NOEXEC, 0, MAKE_DIR, TTY_DATA)
SYS = steps.Mount("", "sysfs", "sysfs", "/sys", NOSUID | NOEXEC | NODEV | RO, 0, KERNEL_FS)
NULL = steps.Device("", "/dev/null", stat.S_IFCHR | 0o666, 1, 3)


def tmpfs(target: str, *data: str, flags: int = MAKE_DIR) -> steps.Mount:
    return steps.Mount("", "tmpfs", "tmpfs", target, flags=flags, data=data)


def bind(source: str, target: str, flags: int = MAKE, **rest: object) -> steps.Bind:
    return steps.Bind("", source, target, flags=flags, **rest)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Compile a driver at its first use."""
    directory = str(tmp_path_factory.mktemp("drivers"))
    compiled: dict[tuple[str, ...], str] = {}

    def driver(*weaknesses: str) -> str:
        if weaknesses not in compiled:
            compiled[weaknesses] = compile_driver(directory, *weaknesses)
        return compiled[weaknesses]

    return driver


@pytest.fixture
def root(drivers: Callable[..., str], tmp_path: Path) -> Iterator[Rootfs]:
    """An empty rootfs; afterwards the host's mounts are what they were."""
    before = host_mounts()
    path = tmp_path / "rootfs"
    path.mkdir()
    yield Rootfs(drivers(), str(path))
    assert host_mounts() == before


@pytest.fixture
def weak(drivers: Callable[..., str], root: Rootfs) -> Callable[[str], Rootfs]:
    """The same rootfs under a helper without one of its guards."""
    return lambda name: Rootfs(drivers(name), root.path)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that no container may touch."""
    path = tmp_path / "canary"
    path.mkdir()
    (path / "file").write_text("untouched")
    (path / "directory").mkdir()
    return path


@pytest.fixture
def untouched(canary: Path) -> Iterator[Path]:
    """The same, and it is not touched."""
    before = manifest(str(canary))
    yield canary
    assert manifest(str(canary)) == before


def host_mounts() -> str:
    with open("/proc/self/mountinfo") as file:
        return file.read()


# What is built.


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
    assert found.pop("/")[0] == "rw,relatime"
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
    assert result.output.split() == [
        *("/once", "ro,nosuid,relatime"),
        *("/once/sub", "rw,relatime"),
        *("/tree", "ro,noexec,relatime"),
        *("/tree/sub", "ro,noexec,relatime"),
    ]


def test_atime_mode_replaces_the_other(root: Rootfs, canary: Path) -> None:
    mode = bind(str(canary), "/b", attrs=flags.MOUNT_ATTR_NOATIME, cleared=flags.MOUNT_ATTR_ATIME)
    result = root.look(PROC, mode, script="grep ' /b ' /proc/self/mountinfo")
    assert result.output.split()[5] == "rw,noatime"


def test_propagation_of_a_bind(root: Rootfs, canary: Path) -> None:
    shared = bind(str(canary), "/shared", propagation=flags.MS_SHARED)
    private = bind(str(canary), "/private", propagation=flags.MS_PRIVATE | flags.MS_REC, attrs=RO)
    script = "grep -E ' /(shared|private) ' /proc/self/mountinfo | cut -d' ' -f5-7"
    lines = root.look(PROC, shared, private, script=script).output.splitlines()
    assert lines[0].startswith("/shared rw,relatime shared:")
    assert lines[1] == "/private ro,relatime -"


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
    assert result.output.split() == ["/", "ro,nodev,relatime", "/t", "ro,relatime"]


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


# Paths.


@pytest.mark.parametrize("text", ["/inner", "inner", "../../../inner", "./deeper/../inner/."])
def test_links_lead_where_they_would_inside(root: Rootfs, text: str) -> None:
    root.make("inner", "deeper")
    root.link(text, "outer")
    assert root.apply(tmpfs("/outer/new/../made/./x")).worked
    assert os.path.isdir(root.at("inner/made/x"))


@pytest.mark.parametrize("target", ["/../../../up/x", "//up///x/", "/up/../up/x", "/./up/x"])
def test_odd_spellings_stay_inside(root: Rootfs, target: str) -> None:
    root.make("up")
    assert root.apply(tmpfs(target)).worked
    assert os.listdir(root.path) == ["up"]
    assert os.listdir(root.at("up")) == ["x"]


def test_dangling_link_is_made_inside(root: Rootfs, untouched: Path) -> None:
    root.link(f"{untouched}/new/deep", "absolute")
    root.link("../../../../../../relative/deep", "relative-link")
    assert root.apply(tmpfs("/absolute"), tmpfs("/relative-link")).worked
    assert os.path.isdir(root.at(f"{untouched}/new/deep"))
    assert os.path.isdir(root.at("relative/deep"))


def test_dangling_link_as_a_file(root: Rootfs, untouched: Path) -> None:
    root.link(f"{untouched}/new", "config")
    assert root.apply(bind("/etc/passwd", "/config")).worked
    assert os.path.isfile(root.at(f"{untouched}/new"))


@pytest.mark.parametrize(("links", "error"), [(39, 0), (41, errno.ELOOP)])
def test_chain_of_links(root: Rootfs, links: int, error: int) -> None:
    for number in range(links):
        root.link(f"/l{number + 1}", f"l{number}")
    assert root.apply(tmpfs("/l0/x")).error == error


def test_part_and_path_at_their_limits(root: Rootfs) -> None:
    assert root.apply(tmpfs("/" + "n" * 255)).worked
    assert root.apply(tmpfs("/" + "n" * 256)).error == errno.ENAMETOOLONG
    assert os.listdir(root.path) == ["n" * 255]
    longest = f"/{'n' * 255}" * 15 + f"/{'n' * 254}"
    assert root.apply(tmpfs(longest)).worked
    assert root.apply(tmpfs(longest + "n")).error == errno.ENAMETOOLONG


def test_part_that_is_no_directory(root: Rootfs) -> None:
    root.write("file")
    assert root.apply(tmpfs("/file/x")).error == errno.ENOTDIR
    assert root.apply(tmpfs("/file/x", flags=MAKE_DIR | flags.MOUNT_OPTIONAL)).worked


def test_names_of_any_bytes(root: Rootfs) -> None:
    name = "".join(map(chr, range(1, 128))).replace("/", "")
    assert root.apply(tmpfs(f"/x/{name}")).worked
    assert os.listdir(root.at("x")) == [name]


def test_parallel_creates_share_a_rootfs(root: Rootfs) -> None:
    """Several make the same directories at once; none may see EEXIST (runc's regression)."""
    for turn in range(5):
        failed: list[object] = []

        def create(turn: int = turn, failed: list[object] = failed) -> None:
            result = root.apply(*(tmpfs(f"/t{turn}/{n}/a/b/c") for n in range(20)))
            if not result.worked:
                failed.append(result)

        threads = [threading.Thread(target=create) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


# Attacks.


class Racer:
    """Another container that exchanges two names of a shared volume as fast as it can."""

    def __init__(self, one: str, other: str) -> None:
        self._names = (one, other)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._race)

    def _race(self) -> None:
        while not self._stop.is_set():
            exchange(*self._names)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def attack_by_link(root: Rootfs, canary: Path) -> None:
    """T27 without a race: the link is there from the start."""
    root.link(str(canary), "volume")
    root.apply(tmpfs("/volume/made"), bind("/etc/passwd", "/volume/file-made"))


def test_link_to_the_host_makes_nothing_there(root: Rootfs, untouched: Path) -> None:
    attack_by_link(root, untouched)
    assert os.path.isdir(root.at(f"{untouched}/made"))


def test_link_to_the_host_is_noticed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    attack_by_link(weak("WEAK_T27"), canary)
    assert (canary / "made").is_dir()


def race_directory(root: Rootfs, canary: Path, turns: int) -> None:
    """T27: a directory on the way becomes a link to the host and back all the time."""
    root.make("volume")
    root.link(str(canary), "trap")
    with Racer(root.at("volume"), root.at("trap")):
        for turn in range(turns):
            root.apply(*(tmpfs(f"/volume/{turn}-{n}/x/y") for n in range(4)))


def test_raced_directory_makes_nothing_on_the_host(root: Rootfs, untouched: Path) -> None:
    race_directory(root, untouched, 30)


def test_raced_directory_is_noticed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    race_directory(weak("WEAK_T27"), canary, 30)
    assert len(list(canary.iterdir())) > 2


def test_raced_target_is_never_elsewhere(root: Rootfs, canary: Path) -> None:
    """T22: either the mount is where the plan says or the container is refused."""
    root.make("volume/real", "elsewhere/inner")
    root.link("/elsewhere", "volume/trap")
    mount = tmpfs("/volume/real/inner")
    seen = set()
    with Racer(root.at("volume/real"), root.at("volume/trap")):
        for _ in range(40):
            result = root.apply(mount)
            seen.add(result.error)
    assert seen <= {0, errno.EXDEV, errno.ENOENT, errno.EAGAIN}


def swap_after(root: Rootfs, step: steps.Step) -> Outcome:
    """T22: somebody swaps the directory after the mount was made."""
    root.make("v/d", "v/other")
    plan = [*root.begin(), step, steps.VerifyMounts(""), steps.Exec("", ("",), ())]
    return root.swapped(*plan, pause=4, swap=lambda: exchange(root.at("v/d"), root.at("v/other")))


@pytest.mark.parametrize("step", [tmpfs("/v/d"), steps.ReadOnly("", "/v/d"), steps.Mask("", "/v/d")])
def test_target_moved_after_the_mount(root: Rootfs, step: steps.Step) -> None:
    result = swap_after(root, step)
    assert (result.failed, result.error) == (5, errno.EXDEV)


def test_moved_target_passes_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    assert swap_after(weak("WEAK_T22"), tmpfs("/v/d")).worked


def make_proc(root: Rootfs, kind: str, canary: Path) -> None:
    """Put something else where /proc has to be."""
    root.make("volume", "real")
    links = {
        "absolute": "/volume",
        "relative": "volume",
        "dangling": "/nowhere",
        "host": str(canary),
        "self": "proc",
    }
    if kind in links:
        root.link(links[kind], "proc")
    elif kind == "chained":
        root.link("/volume", "second")
        root.link("second", "proc")
    elif kind == "file":
        root.write("proc")
    elif kind == "fifo":
        os.mkfifo(root.at("proc"))


KINDS = ("absolute", "relative", "dangling", "host", "self", "chained", "file", "fifo")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["mount", "bind"])
def test_proc_is_no_link(root: Rootfs, untouched: Path, kind: str, source: str) -> None:
    """T21: procfs goes to a real directory or nowhere."""
    make_proc(root, kind, untouched)
    step = PROC if source == "mount" else bind("/proc", "/proc", KERNEL_FS)
    result = root.apply(step)
    assert result.failed == 3
    assert result.error in {errno.ELOOP, errno.ENOTDIR}
    assert os.listdir(root.at("volume")) == []


def test_proc_link_is_followed_without_the_guard(weak: Callable[[str], Rootfs], canary: Path) -> None:
    root = weak("WEAK_T21")
    make_proc(root, "absolute", canary)
    assert root.apply(PROC).worked


def test_proc_below_a_link(root: Rootfs) -> None:
    root.make("volume/proc")
    root.link("volume", "alias")
    step = steps.Mount("", "proc", "proc", "/alias/proc", flags=KERNEL_FS)
    assert root.apply(step).error == errno.ELOOP


def test_only_the_whole_procfs_counts_as_procfs(root: Rootfs) -> None:
    assert root.apply(bind("/proc", "/proc", KERNEL_FS)).worked
    assert root.apply(bind("/proc/sys", "/proc", KERNEL_FS)).error == errno.EXDEV
    assert root.apply(bind("/tmp", "/proc", KERNEL_FS)).error == errno.EXDEV


@pytest.mark.parametrize("link", ["/proc/self", "/proc/thread-self"])
def test_no_link_leads_a_mount_into_procfs(root: Rootfs, link: str) -> None:
    """T09: the plan refuses such names, the helper the links to them."""
    root.link(link, "lnk")
    root.make("empty")
    result = root.apply(PROC, bind(root.at("empty"), "/lnk/attr", 0))
    assert (result.failed, result.error) == (4, errno.ELOOP)


def test_allowed_name_in_procfs(root: Rootfs) -> None:
    root.write("uptime", "1.00 1.00\n")
    result = root.look(PROC, bind(root.at("uptime"), "/proc/uptime", 0), script="cat /proc/uptime")
    assert result.output == "1.00 1.00\n"


NULLS = ("link", "dangling", "missing", "file", "fifo", "zero", "block")


def make_null(root: Rootfs, kind: str) -> None:
    """A volume for /dev in which null is not what it should be."""
    root.make("volume")
    root.write("secret", "secret")
    root.write("decoy", "decoy")
    null = root.at("volume/null")
    if kind in {"link", "dangling"}:
        root.link("/decoy" if kind == "link" else "/nowhere", "volume/null")
    elif kind == "file":
        root.write("volume/null", "decoy")
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "zero":
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "block":
        os.mknod(null, stat.S_IFBLK | 0o666, os.makedev(1, 3))


@pytest.mark.parametrize("kind", NULLS)
def test_mask_is_the_real_null(root: Rootfs, kind: str) -> None:
    """T28: what the container has at /dev/null does not matter."""
    make_null(root, kind)
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    masks = [steps.Mask("", "/secret"), steps.Mask("", "/decoy")]
    result = root.look(volume, script="stat -c %t:%T /secret /decoy; cat /secret", before=masks)
    assert result.output.split() == ["1:3", "1:3"]


def test_mask_is_the_decoy_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    root = weak("WEAK_T28")
    make_null(root, "link")
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    result = root.look(volume, script="cat /secret", before=[steps.Mask("", "/secret")])
    assert result.output == "decoy"


def make_fake_pts(root: Rootfs) -> list[steps.Step]:
    """A volume at /dev/pts whose names lead to a real pty here and to a file there."""
    root.make("volume")
    root.write("decoy", "decoy")
    root.link("../real/ptmx", "volume/ptmx")
    root.link("/decoy", "volume/0")
    real = steps.Mount("", "devpts", "devpts", "/dev/real", flags=MAKE_DIR, data=TTY_DATA)
    return [DEV, real, bind(root.at("volume"), "/dev/pts", MAKE_DIR), console()]


def console(rows: int = 24, columns: int = 80) -> steps.Console:
    return steps.Console("", rows, columns, True, 7, 5)


def test_console_of_a_fake_devpts(root: Rootfs) -> None:
    """T29: the container's names for terminals prove nothing."""
    result = root.apply(*make_fake_pts(root))
    assert (result.failed, result.error) == (6, errno.EXDEV)


def test_console_is_the_decoy_without_the_guard(weak: Callable[[str], Rootfs]) -> None:
    root = weak("WEAK_T29")
    assert root.look(*make_fake_pts(root), script="cat /dev/console").output == "decoy"


def test_console(root: Rootfs) -> None:
    script = (
        "stty size <&4; tty <&4; stat -c '%t:%T %u:%g' /dev/console; echo up >/dev/console\n"
        "head -n1 <&3 | tr -d '\\r'; ps -o tty= -p $$"
    )
    result = root.look(PROC, DEV, PTS, console(), script=script)
    assert result.output.split() == ["24", "80", "/dev/pts/0", "88:0", "7:5", "up", "pts/0"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("none", 0), ("file", 0), ("node", 0), ("link", 17), ("directory", 17), ("fifo", 17)],
)
def test_what_may_be_at_dev_console(root: Rootfs, untouched: Path, kind: str, error: int) -> None:
    root.make("dev/pts")
    if kind == "file":
        root.write("dev/console", "old")
    elif kind == "node":
        os.mknod(root.at("dev/console"), stat.S_IFCHR | 0o600, os.makedev(5, 1))
    elif kind == "link":
        root.link(f"{untouched}/file", "dev/console")
    elif kind == "directory":
        root.make("dev/console")
    elif kind == "fifo":
        os.mkfifo(root.at("dev/console"))
    result = root.look(PTS, console(), script="stat -c %t:%T /dev/console")
    assert result.error == error
    assert error or result.output == "88:0\n"


def test_console_in_a_root_that_was_joined(root: Rootfs) -> None:
    """exec has no root to build: the terminal comes from the devpts at "/" as it is."""
    script = "stty size <&4; stat -L -c %t /proc/self/fd/4"
    result = root.run(steps.Console("", 5, 6, False, 0, 5), steps.Exec("", ("/bin/sh", "-c", script), ()))
    assert result.output.split() == ["5", "6", "88"]


def test_console_in_a_read_only_dev(root: Rootfs) -> None:
    root.make("dev/pts")
    read_only = bind(root.at("dev"), "/dev", 0, attrs=RO)
    assert root.apply(read_only, PTS, console()).error == errno.EROFS


# Device nodes and links.


def test_node_has_its_owner_and_mode(root: Rootfs) -> None:
    nodes = (
        steps.Device("", "/dev/a", stat.S_IFCHR | 0o640, 1, 7, 7, 8),
        steps.Device("", "/dev/sub/b", stat.S_IFBLK | 0o600, 7, 300),
        steps.Device("", "/dev/c", stat.S_IFIFO | 0o622, 0, 0, 0, 9),
        steps.Device("", "/dev/d", stat.S_IFIFO | 0o6711, 0, 0, 7, 9),  # chown(2) alone would clear bits
    )
    result = root.look(DEV, *nodes, script="cd dev; stat -c '%F %a %t:%T %u:%g' a sub/b c d")
    assert result.output.splitlines() == [
        "character special file 640 1:7 7:8",
        "block special file 600 7:12c 0:0",
        "fifo 622 0:0 0:9",
        "fifo 6711 0:0 7:9",
    ]


def test_owner_in_a_setgid_directory(root: Rootfs) -> None:
    """A setgid directory gives the node its group; the plan's group wins."""
    root.make("dev")
    os.chown(root.at("dev"), 0, 50)
    os.chmod(root.at("dev"), 0o2755)
    assert root.apply(NULL).worked
    assert os.stat(root.at("dev/null")).st_gid == 0


def test_node_that_is_there_is_fine_if_it_is_the_same(root: Rootfs) -> None:
    root.make("dev")
    os.mknod(root.at("dev/null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert root.apply(NULL).worked
    assert stat.S_IMODE(os.stat(root.at("dev/null")).st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo", "zero", "block"])
def test_something_else_is_in_the_way_of_a_node(root: Rootfs, kind: str) -> None:
    make_null(root, kind)
    volume = bind(root.at("volume"), "/dev", MAKE_DIR)
    result = root.apply(volume, NULL)
    assert (result.failed, result.error) == (4, errno.EEXIST)


@pytest.mark.parametrize("target", ["/dev/", "/dev/.", "/dev/..", "/"])
def test_node_needs_a_name(root: Rootfs, target: str) -> None:
    assert root.apply(steps.Device("", target, stat.S_IFCHR | 0o600, 1, 3)).error == errno.EINVAL


def test_link_that_is_there(root: Rootfs) -> None:
    root.make("dev/fd")
    root.link("same", "dev/a")
    root.link("other", "dev/b")
    assert root.apply(steps.Symlink("", "same", "/dev/a")).worked
    assert root.apply(steps.Symlink("", "same", "/dev/b")).error == errno.EEXIST
    assert root.apply(steps.Symlink("", "/proc/self/fd", "/dev/fd")).error == errno.EEXIST
    assert root.apply(steps.Symlink("", "/proc/self/fd", "/dev/fd", optional=True)).worked


@pytest.mark.parametrize("name", ["dev", "dev/pts", "dev/shm"])
def test_dev_that_leads_to_the_host(root: Rootfs, untouched: Path, name: str) -> None:
    """T43, T31: nodes, links and mount points go where the link leads inside the rootfs."""
    root.make(os.path.dirname(name))
    root.link(f"{untouched}/directory", name)
    made = (NULL, steps.Symlink("", "pts/ptmx", "/dev/ptmx"), PTS, tmpfs("/dev/shm"))
    assert root.apply(*made).worked
    assert os.path.isdir(root.at(f"{untouched}/directory"))


# An ordinary user's namespaces.


@pytest.fixture
def userns(root: Rootfs) -> Rootfs:
    """The same in a user namespace, where all mounts of the host are locked."""
    root.wrapper = ("unshare", "--user", "--map-root-user")
    return root


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
    assert result.output == "ro,nosuid,nodev,relatime\n"
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
