"""Which test is about which attack, and what shows that the test can fail.

``python tests/security/matrix.py`` writes the table into docs/security-tests.md.  Ids are those of the
list of attacks: known faults of container runtimes.
"""

from __future__ import annotations

import os
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
DOCUMENT = os.path.join(os.path.dirname(TESTS), "docs", "security-tests.md")

IDS = tuple(f"T{n:02}" for n in (*range(1, 15), *range(20, 32), *range(40, 51), *range(60, 83)))


class Row(NamedTuple):
    """One attack."""

    id: str
    about: str
    tests: tuple[str, ...] = ()
    """Files below ``tests/security``, or with a directory in front below ``tests``; ``::name`` may follow."""
    proofs: tuple[str, ...] = ()
    """Ids of weakened builds (`support.weak`), or tests that weaken something themselves."""
    note: str = ""
    """Why a test or a proof is missing, or where it needs what not every machine has."""

    def paths(self) -> list[str]:
        return [located(test) for test in (*self.tests, *(proof for proof in self.proofs if "/" in proof))]


def located(test: str) -> str:
    """A test's path below ``tests``."""
    return test if "/" in test.partition("::")[0] else f"security/{test}"


ROWS = (
    Row("T01", "sockets and state open to other users", ("test_t01_modes.py",), ("T01",)),
    Row(
        "T02",
        "what is copied or unpacked follows links, blocks, or brings devices",
        (
            "test_t02_copy_up.py",
            "unit/images/test_images_hostile.py::test_nothing_happens_outside",
            "native/test_images_hostile_as_root.py::test_nothing_happens_outside_and_nothing_stays_half",
        ),
        ("T02",),
    ),
    Row(
        "T03",
        "annotations from an image take confinement away",
        ("test_t03_annotations.py", "test_t03_properties.py"),
        ("T03",),
    ),
    Row("T04", "code and settings are loaded from the image", ("test_t04_loaded_code.py",), ("T04",)),
    Row("T05", "ids as parts of paths", ("test_t05_ids.py",), ("T05",)),
    Row(
        "T06",
        "streams and console by the image's paths",
        ("test_t06_standard_streams.py",),
        ("T06",),
    ),
    Row("T07", "a first run leaves links where the second mounts", ("test_t07_second_run.py",), ("T07",)),
    Row("T08", "files of the kernel that reach far are writable", ("test_t08_kernel_files.py",), ("T08",)),
    Row("T09", "mounts over files of /proc", ("test_t09_below_proc.py",), ("T09",)),
    Row("T10", "a numeric user is looked up as a name", ("test_t10_numeric_user.py",), ("T10",)),
    Row("T11", "ordinary users keep capabilities", ("test_t11_ambient.py",), ("T11",)),
    Row("T12", "whoever enters a container can be looked into", ("test_t12_dumpable.py",), ("T12",)),
    Row("T13", "typing into the caller's terminal", ("test_t13_terminal.py",), ("T13",)),
    Row(
        "T14",
        "a path is another one by the time that it is used",
        ("test_t14_lookups.py", "test_t02_copy_up.py::test_race"),
        ("T14", "T02"),
    ),
    Row("T20", "the runtime's own image can be written", ("test_t20_own_image.py",), ("T20",)),
    Row("T21", "procfs is mounted where the image says", ("test_t21_procfs_target.py",), ("T21",)),
    Row(
        "T22",
        "a target becomes a link between check and mount",
        ("test_t22_target_race.py", "test_t07_second_run.py::test_target_is_exchanged_all_the_time"),
        ("native/test_mount_attacks.py::test_moved_target_passes_without_the_guard",),
    ),
    Row(
        "T23",
        "lengths wrap",
        ("test_t23_lengths.py", "native/test_decoder.py", "native/test_wire.py"),
        ("T23",),
    ),
    Row("T24", "inheritable capabilities that nobody asked for", ("test_t24_inheritable.py",), ("T24",)),
    Row("T25", "cgroups writable in a user namespace", ("test_t25_cgroups.py",), ("T25",)),
    Row("T26", "descriptors of the host; magic links", ("test_t26_descriptors.py",), ("T26", "T26_CLOSE")),
    Row("T27", "missing mount points are made on the host", ("test_t27_missing_targets.py",), ("T27",)),
    Row("T28", "masks made of the container's own /dev/null", ("test_t28_masks.py",), ("T28",)),
    Row("T29", "the console by the name of a pty", ("test_t29_console.py",), ("T29",)),
    Row("T30", "writes meant for a file of the kernel", ("test_t30_kernel_writes.py",), ("T30",)),
    Row("T31", "ptmx and links of /dev by name", ("test_t43_dev_target.py",), ("T43",)),
    Row("T40", "resolving paths of a crafted image", ("test_t40_resolver.py",), ("T40",)),
    Row(
        "T41",
        "files that the runtime makes in the image are links before",
        ("test_t06_standard_streams.py", "test_t27_missing_targets.py", "test_t43_dev_target.py"),
        ("T06", "T27", "T43"),
    ),
    Row("T42", "what is no number is a user, or root", ("test_t42_user_text.py",), ("T42",)),
    Row("T43", "/dev of the image is a link to the host's", ("test_t43_dev_target.py",), ("T43",)),
    Row("T44", "/proc and /sys of the image are links", ("test_t21_procfs_target.py",), ("T21",)),
    Row("T45", "wrong supplementary groups", ("test_t45_groups.py",), ("T45",)),
    Row("T46", "abstract sockets in the host's network", ("test_t46_sockets.py",), ("T46",)),
    Row(
        "T47",
        "links in the image of a checkpoint",
        ("unit/criu/test_what_is_asked.py::test_links_and_pipes_among_images_are_not_followed",),
        note="no proof: the test itself makes the links; what else is in the images is read by CRIU",
    ),
    Row(
        "T48",
        "text of the payload is taken for an option",
        ("test_t73_secrets.py::test_processes_of_ours", "native/test_spawner.py"),
        note="no proof: the helper takes no arguments, so there is nothing to take out",
    ),
    Row("T49", "a helper with borrowed privileges", ("test_t49_set_user_id.py",), ("T49",)),
    Row("T50", "release_agent of cgroup v1", ("test_t50_release_agent.py",), ("T50",), "needs cgroup v1"),
    Row(
        "T60",
        "chains of links overflow the resolver",
        ("test_t40_resolver.py::test_chains", "native/test_mount_links.py"),
        ("T40",),
        "and the fuzzed target `path`",
    ),
    Row("T61", "endless, blocking or broken user files", ("test_t61_passwd.py",), ("T61",)),
    Row("T62", "id maps of many entries", ("test_t62_id_maps.py",), ("T62",)),
    Row(
        "T63",
        "cgroup paths that lead upwards",
        ("integration/test_cgroups.py::test_paths_outside_the_hierarchy_are_refused",),
        note="no proof: paths are compared with the hierarchy's root in one place, tested directly",
    ),
    Row(
        "T64",
        "labels silently not applied",
        ("test_t64_labels.py", "native/test_steps_label.py", "integration/test_labels.py"),
        ("T64",),
        "profiles in force need AppArmor: in the virtual machine",
    ),
    Row("T65", "what cannot be reached is not masked", ("test_t65_unreachable_masks.py",), ("T65",)),
    Row(
        "T66",
        "a failure leaves a cgroup frozen",
        ("integration/test_cgroups.py::test_a_failing_freeze_is_undone",),
        note="no proof: the test itself injects the failure",
    ),
    Row("T67", "the first check of the working directory was wrong", ("test_t26_descriptors.py",), ("T26",)),
    Row(
        "T68",
        "text of a document becomes part of a file's name",
        ("unit/spec/test_spec_bad_files.py",),
        note="no proof: sizes of pages are an enumeration of the document's type",
    ),
    Row("T69", "NUL in strings", ("test_t69_nul.py",), ("T69",)),
    Row(
        "T70",
        "/dev/null gets another owner",
        ("test_t70_devices_as_streams.py",),
        note="no proof: pipes of our own alone are given away; that no device is comes on top of it",
    ),
    Row("T71", "one mount is made of another's source", ("test_t71_sources.py",), ("T71",)),
    Row(
        "T72",
        "mounts leak to the host",
        ("conformance/test_propagation.py::test_volumes", "conformance/test_oci_mounts.py"),
        note="no proof: every test compares the mounts of the host before and after",
    ),
    Row("T73", "secrets in errors, logs and process lists", ("test_t73_secrets.py",), ("T73",)),
    Row("T74", "a unit that exists already is joined", note="among the tests of the systemd driver"),
    Row(
        "T75",
        "seals that old kernels get wrong",
        ("native/test_spawner.py", "test_t20_own_image.py"),
        ("T20",),
    ),
    Row(
        "T76",
        "a killed create cannot be deleted",
        ("integration/test_store_processes.py", "stress/test_cancel.py"),
        note="no proof: the tests end the creating process at every step",
    ),
    Row(
        "T77",
        "start hangs when the program ends at once",
        ("stress/test_many.py",),
        note="no proof: waiting is by pidfd, which stays readable; there is no moment to miss",
    ),
    Row("T78", "each failure leaves a descriptor open", ("test_t78_failures.py",), ("T78",)),
    Row("T79", "an unset bounding set keeps all; long device names", ("test_t79_bounding.py",), ("T79",)),
    Row("T80", "closed streams, ignored SIGCHLD", ("test_t80_closed_streams.py",), ("T80", "T80_WAIT")),
    Row("T81", "attributes of the caller are inherited", ("test_t81_inherited.py",), ("T81",)),
    Row("T82", "limits come too late", note="among the tests of limits"),
)

OLDK = Row("OLDK", "system calls that are missing", ("test_oldk_blocked_calls.py",), ("OLDK",))

HEAD = """\
# Security tests

Each attack was a fault of some container runtime once.  For each there are tests; and for each test a
build from which the guard was taken out, on which it fails (`tests/security/test_proof.py`), unless it says
why there is none.  This table is made by `python tests/security/matrix.py` and checked by the unit tests.

| attack | what goes wrong | tests | fails without | |
|---|---|---|---|---|
"""


def table() -> str:
    """The document."""
    lines = []
    for row in (*ROWS, OLDK):
        tests = ", ".join(f"`{located(test)}`" for test in row.tests)
        proofs = ", ".join(f"`{proof}`" for proof in row.proofs)
        lines.append(f"| {row.id} | {row.about} | {tests} | {proofs} | {row.note} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    with open(DOCUMENT, "w") as file:
        file.write(table())
