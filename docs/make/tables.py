"""The words that the parsers know, from the tables that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocontainer import features
from aiocontainer.plan.flags import (
    ATTR_WORDS,
    CAPABILITIES,
    NAMESPACES,
    PROPAGATION,
    RLIMITS,
    SECCOMP_ACTIONS,
    SECCOMP_FLAGS,
)
from aiocontainer.plan.mount_options import MOUNT_OPTIONS, Option
from aiocontainer.plan.tuning_tables import (
    IO_CLASSES,
    MEMORY_FLAGS,
    MEMORY_MODES,
    PERSONALITIES,
    POLICIES,
    SCHEDULER_FLAGS,
)
from aiocontainer.plan.unit_properties import refusal
from aiocontainer.spec import ANNOTATIONS, UNIT_PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["tables"]

_KERNEL_WORDS = {
    "mount": "mnt",
    "network": "net",
}


def tables() -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Return each table: title, heads of its columns, rows."""
    yield (
        "Mount options",
        ("option", "what it does"),
        [_row(word, _option(option)) for word, option in sorted(MOUNT_OPTIONS.items())],
    )
    yield (
        "Annotations that can weaken isolation",
        ("annotation", "what it does"),
        [_row(f"{name}*" if name.endswith(".") else name, text) for name, text in ANNOTATIONS.items()],
    )
    yield (
        "Properties of units",
        ("property", "type", "from annotations"),
        [(f"`{name}`", f"`{type}`", _taken(name)) for name, type in sorted(UNIT_PROPERTIES.items())],
    )
    yield (
        "Namespaces",
        ("type", "flag of clone(2)", "file in /proc/PID/ns"),
        [
            (f"`{name}`", f"`{flag:#x}`", f"`{_KERNEL_WORDS.get(name, name)}`")
            for name, flag in NAMESPACES.items()
        ],
    )
    yield "Capabilities", ("capability", "number"), _numbers(CAPABILITIES)
    yield "Limits of a process", ("limit", "number"), _numbers(RLIMITS)
    yield (
        "Actions of filters",
        ("action", "value"),
        [(f"`{name}`", f"`{value:#010x}`") for name, value in SECCOMP_ACTIONS.items()],
    )
    yield "Flags of filters", ("flag", "value"), _numbers(SECCOMP_FLAGS)
    yield "Operators of filters", ("operator",), [(f"`{name}`",) for name in _seccomp_words("operators")]
    yield "Architectures of filters", ("architecture",), [(f"`{name}`",) for name in _seccomp_words("archs")]
    yield "Scheduling policies", ("policy", "number"), _numbers(POLICIES)
    yield "Scheduling flags", ("flag", "value"), _numbers(SCHEDULER_FLAGS)
    yield "Classes of disk access", ("class", "number"), _numbers(IO_CLASSES)
    yield "Memory policies", ("mode", "number"), _numbers(MEMORY_MODES)
    yield "Flags of memory policies", ("flag", "value"), _numbers(MEMORY_FLAGS)
    yield "Personalities", ("domain", "value"), _numbers(PERSONALITIES)


def _taken(name: str) -> str:
    """Tell whose annotations for a unit are taken."""
    if not refusal(name, "untrusted"):
        return "taken, also of untrusted bundles"
    if name == "Delegate":
        return "true is taken; false, unless all are taken, is refused: it would leave the cgroup to others"
    reason = refusal(name, "careful")
    if not reason:
        return "taken"
    return f"refused{'' if refusal(name, 'any') else ', unless all are taken'}: {reason}"


def _seccomp_words(name: str) -> Iterable[str]:
    linux = features().linux
    assert linux is not None
    words: Iterable[str] = getattr(linux.seccomp, name)
    return words


def _row(word: str, text: str) -> tuple[str, str]:
    return f"`{word}`", text


def _numbers(table: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [(f"`{name}`", str(number)) for name, number in table.items()]


def _option(option: Option) -> str:
    if option.needs:
        return f"refused: needs {option.needs}"
    return "; ".join(_effects(option)) or "nothing"


def _effects(option: Option) -> Iterator[str]:
    tree = " on the mount and all below it" if option.recursive else ""
    attribute = next(
        (on for flag, on, _ in ATTR_WORDS if flag & (option.attrs | option.cleared)), "mode of atime"
    )
    if option.attrs:
        yield f"sets {attribute}{tree}"
    elif option.cleared:
        yield f"clears {attribute}{tree}"
    if option.bind:
        yield "shows a directory or file" + (" with what is mounted below it" if option.recursive else "")
    if option.propagation:
        names = [name for name, flags in PROPAGATION.items() if flags == option.propagation]
        yield f"propagation, set after mounting: {names[0]}"
    if option.superblock:
        yield f"`{option.superblock}` of the whole file system; nothing on a bind"
    if option.idmap:
        yield "owners as the id maps have them" + (", also below it" if option.recursive else "")
    if option.remount:
        yield "changes a mount made before"
    if option.does:
        yield option.does
