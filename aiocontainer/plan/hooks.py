"""Hooks: which run where and when, and what they read.  OCI config.md "POSIX-platform Hooks".

Those of the container's namespaces are steps; those of the runtime's are run by the parent, the first
two kinds while the plan pauses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct

from ..errors import UnsupportedError
from ..spec import HOOK_STDERR, HOOK_STDOUT, State, at
from .flags import PAUSE_HOOKS
from .steps import Hook, Pause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..spec import Hook as HookSpec
    from ..spec import Spec, Status
    from .draft import Draft
    from .steps import Step

__all__ = ["HookKind", "OutsideHook", "create_steps", "hook_state", "outside_hooks", "start_steps"]

HookKind: TypeAlias = Literal[
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"
]

_ATTRIBUTES: Final[Mapping[HookKind, str]] = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}
_OUTSIDE: Final[tuple[HookKind, ...]] = ("prestart", "createRuntime", "poststart", "poststop")
_MAX_TIMEOUT_MS: Final = 2**32 - 1


class OutsideHook(Struct, frozen=True):
    """A hook that the parent runs."""

    kind: HookKind
    origin: str
    hook: HookSpec
    outputs: tuple[str, str] = ("", "")
    """Files to which it appends stdout and stderr, below the bundle if relative; "" is none."""

    def __str__(self) -> str:
        limit = f", at most {self.hook.timeout} s" if self.hook.timeout else ""
        named = zip(("stdout", "stderr"), self.outputs, strict=True)
        files = "".join(f", {name} to {path}" for name, path in named if path)
        return f"{self.kind}: run {self.hook.path}{limit}{files}"


def outside_hooks(spec: Spec, *kinds: HookKind) -> tuple[OutsideHook, ...]:
    """Return the hooks of these kinds, or of all kinds, that the parent runs, in order."""
    outputs = spec.annotations.get(HOOK_STDOUT, ""), spec.annotations.get(HOOK_STDERR, "")
    return tuple(
        OutsideHook(kind, origin, hook, outputs)
        for kind in kinds or _OUTSIDE
        for origin, hook in _hooks(spec, kind)
    )


def _hooks(spec: Spec, kind: HookKind) -> Iterator[tuple[str, HookSpec]]:
    listed: tuple[HookSpec, ...] = getattr(spec.hooks, _ATTRIBUTES[kind]) if spec.hooks is not None else ()
    for index, hook in enumerate(listed):
        yield f"$.hooks.{kind}[{index}]", hook


def hook_state(spec: Spec, id: str, bundle: str, status: Status, pid: int | None) -> State:
    """Return the document that a hook reads.  OCI runtime.md "State"."""
    return State(
        oci_version=spec.oci_version,
        id=id,
        status=status,
        pid=pid,
        bundle=bundle,
        annotations=spec.annotations,
    )


def create_steps(draft: Draft) -> Iterator[Step]:
    """Yield what hooks need between the last mount and the pivot.

    The pause is there for those in the container too, so that nobody's thread waits for them.
    """
    inside = tuple(_inside(draft, "createContainer", draft.options.environment, draft.options.bundle))
    if inside or draft.options.awaited or outside_hooks(draft.spec, "prestart", "createRuntime"):
        yield Pause("$.hooks", PAUSE_HOOKS, dumpable=draft.may_be_seen)
    yield from inside


def start_steps(draft: Draft, environment: tuple[str, ...]) -> Iterator[Step]:
    """Yield the last steps before the program; *environment* is the program's."""
    yield from _inside(draft, "startContainer", environment, "")


def _inside(draft: Draft, kind: HookKind, environment: tuple[str, ...], directory: str) -> Iterator[Step]:
    for name in (HOOK_STDOUT, HOOK_STDERR):
        if draft.spec.annotations.get(name) and any(_hooks(draft.spec, kind)):
            # They would keep a descriptor of the machine's where nothing but the payload's may be open.
            raise UnsupportedError(
                f"{name} with {kind} hooks", needs="hooks that run outside", origin=at("$.annotations", name)
            )
    status: Status = "created" if kind == "startContainer" else "creating"
    document = hook_state(draft.spec, draft.options.id, draft.options.bundle, status, 0)
    for origin, hook in _hooks(draft.spec, kind):
        yield Hook(
            origin,
            hook.path,
            hook.args or (hook.path,),
            environment if hook.env is None else hook.env,
            document,
            directory,
            min((hook.timeout or 0) * 1000, _MAX_TIMEOUT_MS),
        )
