"""Small changes to specifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from aiocontainer import Spec
from aiocontainer.spec import Namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiocontainer import Mount

__all__ = ["shell", "with_linux", "with_namespaces", "with_process", "without_mounts"]


def shell(script: str, rootfs: str) -> Spec:
    """The default specification, with a shell script as its program."""
    return Spec.default(["sh", "-c", script], rootfs=rootfs)


def without_mounts(spec: Spec, *below: str, add: Sequence[Mount] = ()) -> Spec:
    """Leave out the mounts on and below these paths, and add others."""
    kept = (m for m in spec.mounts if not any(f"{m.destination}/".startswith(f"{path}/") for path in below))
    return replace(spec, mounts=(*kept, *add))


def with_process(spec: Spec, **changes: Any) -> Spec:
    """Change fields of the process."""
    assert spec.process is not None
    return replace(spec, process=replace(spec.process, **changes))


def with_linux(spec: Spec, **changes: Any) -> Spec:
    """Change fields of `linux`."""
    assert spec.linux is not None
    return replace(spec, linux=replace(spec.linux, **changes))


def with_namespaces(spec: Spec, *types: str | tuple[str, str]) -> Spec:
    """Have these namespaces and no others; a pair is a type and the path of one to join."""
    pairs = [(each, "") if isinstance(each, str) else each for each in types]
    return with_linux(spec, namespaces=tuple(Namespace(type=type, path=path) for type, path in pairs))  # type: ignore[arg-type]
