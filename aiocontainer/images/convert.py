"""What an image says of itself into a specification.  OCI image-spec conversion.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ..errors import SpecError
from ..plan.user import ResolvedUser, resolve_user
from ..spec import (
    DEFAULT_ENV,
    UNSAFE_ANNOTATIONS,
    Capabilities,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Root,
    User,
    default_spec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..spec import Capability, Process, Spec
    from .documents import Config, ImageConfig

__all__ = ["annotations_of", "image_spec", "overlay_mount", "unsafe_labels"]

# What programs in images expect of root: to take other ids, and files in spite of their owners.
_CAPABILITIES: Final[tuple[Capability, ...]] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
_PATH: Final = DEFAULT_ENV[0]
_PREFIX: Final = "org.opencontainers.image."

# Labels that some runtime or engine takes for orders: T03.
_ORDERS: Final = (
    *UNSAFE_ANNOTATIONS,
    "run.oci.",
    "org.criu.",
    "org.systemd.",
    "io.kubernetes.",
    "io.podman.",
)


def unsafe_labels(config: ImageConfig) -> tuple[str, ...]:
    """Return the names of labels that do not become annotations: they are not the image's business."""
    labels = config.config.labels if config.config is not None else None
    return tuple(sorted(name for name in labels or {} if _is_order(name)))


def _is_order(name: str) -> bool:
    return any(name == each or (each.endswith(".") and name.startswith(each)) for each in _ORDERS)


def annotations_of(config: ImageConfig) -> dict[str, str]:
    """Return what the image says of itself, and its labels, which win; but none that is an order."""
    settings = config.config
    said = {
        "os": config.os,
        "architecture": config.architecture,
        "variant": config.variant,
        "author": config.author,
        "created": config.created,
        "stopSignal": settings.stop_signal if settings is not None else None,
        "exposedPorts": ",".join(sorted(settings.exposed_ports or ())) if settings is not None else None,
    }
    found = {f"{_PREFIX}{key}": value for key, value in said.items() if value}
    labels = settings.labels if settings is not None else None
    return found | {name: value for name, value in (labels or {}).items() if name and not _is_order(name)}


def overlay_mount(layers: Sequence[str], source: str, upper: tuple[str, str] | None) -> Mount:
    """Return the mount that makes a root of *layers*, the topmost first."""
    kept = () if upper is None else (f"upperdir={upper[0]}", f"workdir={upper[1]}")
    options = (*(f"lowerdir+={layer}" for layer in layers), *kept)
    return Mount(destination="/", type="overlay", source=source, options=options)


def image_spec(
    config: ImageConfig,
    root: Mount,
    args: Sequence[str],
    *,
    passwd: bytes,
    group: bytes,
    ids: tuple[int, int] | None,
    entrypoint: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    user: str | None = None,
    hostname: str | None = None,
    tty: bool = False,
    read_only: bool = False,
) -> Spec:
    """Return the specification of a container of the image; *ids* are our own, where we are not root.

    *args* come after the entry point, in the place of the image's own.  `SpecError` where there is nothing
    to run, or a user whom the image does not know.
    """
    settings = config.config or _empty()
    words = _command(settings, args, entrypoint)
    base = default_spec(words, rootfs=f"{root.source}/rootfs", terminal=tty)
    assert base.process is not None
    found = resolve_user(user if user is not None else settings.user or "", passwd, group, origin="user")
    return replace(
        base,
        process=_process(base.process, settings, found, env or {}, cwd, tty=tty),
        root=Root(path=f"{root.source}/rootfs", readonly=read_only),
        hostname=hostname or base.hostname,
        mounts=(root, *(mount for mount in base.mounts if mount.type != "cgroup")),
        annotations=annotations_of(config) or None,
        linux=_linux(base.linux or Linux(), ids),
    ).with_default_seccomp()


def _empty() -> Config:
    from .documents import Config

    return Config()


def _command(settings: Config, args: Sequence[str], entrypoint: Sequence[str] | None) -> tuple[str, ...]:
    """Return entry point and arguments: who gives another entry point wants none of the image's arguments."""
    first = settings.entrypoint if entrypoint is None else entrypoint
    rest = args or (() if entrypoint is not None else settings.cmd or ())
    words = (*(first or ()), *rest)
    if not words:
        raise SpecError("the image has no command of its own: give one", origin="args")
    return words


def _process(
    process: Process,
    settings: Config,
    user: ResolvedUser,
    env: Mapping[str, str],
    cwd: str | None,
    *,
    tty: bool,
) -> Process:
    own = dict(entry.partition("=")[::2] for entry in (_PATH, *(("TERM=xterm",) if tty else ())))
    for entry in settings.env or ():
        name, equals, value = entry.partition("=")
        if not name or not equals:
            raise SpecError(f"the image has the variable {entry!r}", origin="env")
        own[name] = value
    variables = {"HOME": user.home, **own, **env}
    return replace(
        process,
        user=User(uid=user.uid, gid=user.gid, additional_gids=user.groups),
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        cwd=cwd or settings.working_dir or "/",
        capabilities=Capabilities(bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES),
        rlimits=(),
    )


def _linux(linux: Linux, ids: tuple[int, int] | None) -> Linux:
    if ids is None:
        return linux
    uid, gid = ids
    return replace(
        linux,
        namespaces=(*linux.namespaces, Namespace(type="user")),
        uid_mappings=(IDMapping(container_id=0, host_id=uid, size=1),),
        gid_mappings=(IDMapping(container_id=0, host_id=gid, size=1),),
        resources=None,
    )
