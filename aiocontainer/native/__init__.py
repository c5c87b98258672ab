"""The compiled library and the helper, behind typed functions; nobody else imports `_lib`."""

from __future__ import annotations

from .calls import (
    Exit,
    attach_device_filter,
    is_in_memory,
    load_device_filter,
    map_mount,
    netlink_socket,
    open_in_root,
    open_tree,
    openat2,
    overlay,
    start_program,
    user_namespace,
    user_namespace_maps,
    wait_pidfd,
)
from .seccomp import Libseccomp, build_filter, call_name, knows_filter_flags, libseccomp
from .spawner import Spawner
from .wire import (
    PROCEED,
    REPLY_FAILED,
    REPLY_PAUSED,
    REPLY_SPACE,
    REPLY_SPAWNED,
    Reply,
    assemble_plan,
    decode_reply,
    encode_plan,
    encode_step,
    sealed_plan,
)

__all__ = [
    "PROCEED",
    "REPLY_FAILED",
    "REPLY_PAUSED",
    "REPLY_SPACE",
    "REPLY_SPAWNED",
    "Exit",
    "Libseccomp",
    "Reply",
    "Spawner",
    "assemble_plan",
    "attach_device_filter",
    "is_in_memory",
    "load_device_filter",
    "build_filter",
    "call_name",
    "decode_reply",
    "encode_plan",
    "encode_step",
    "knows_filter_flags",
    "libseccomp",
    "map_mount",
    "netlink_socket",
    "open_in_root",
    "open_tree",
    "openat2",
    "overlay",
    "sealed_plan",
    "start_program",
    "user_namespace",
    "user_namespace_maps",
    "wait_pidfd",
]
