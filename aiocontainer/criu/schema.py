"""What CRIU is asked and answers, as protobuf messages: their fields, and the only use of `protobuf`.

Numbers, types and names are those of CRIU's service protocol (``criu swrk``), as far as we use it; a
field that a newer CRIU adds is skipped by whoever does not know it.  criu(8), Protocol Buffers "proto2".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MESSAGES", "OPTIONS", "Field", "message_class"]


class Field(NamedTuple):
    """One field of a message."""

    number: int
    type: str
    """A scalar of protobuf, or the name of another message."""
    label: str = "optional"


_R: Final = "required"
_MANY: Final = "repeated"

OPTIONS: Final[Mapping[str, Field]] = {
    "images_dir_fd": Field(1, "int32", _R),
    "pid": Field(2, "int32"),
    "leave_running": Field(3, "bool"),
    "ext_unix_sk": Field(4, "bool"),
    "tcp_established": Field(5, "bool"),
    "evasive_devices": Field(6, "bool"),
    "shell_job": Field(7, "bool"),
    "file_locks": Field(8, "bool"),
    "log_level": Field(9, "int32"),
    "log_file": Field(10, "string"),
    "ps": Field(11, "PageServer"),
    "notify_scripts": Field(12, "bool"),
    "root": Field(13, "string"),
    "parent_img": Field(14, "string"),
    "track_mem": Field(15, "bool"),
    "auto_dedup": Field(16, "bool"),
    "work_dir_fd": Field(17, "int32"),
    "link_remap": Field(18, "bool"),
    "veths": Field(19, "VethPair", _MANY),
    "cpu_cap": Field(20, "uint32"),
    "force_irmap": Field(21, "bool"),
    "manage_cgroups": Field(24, "bool"),
    "cg_root": Field(25, "CgroupRoot", _MANY),
    "rst_sibling": Field(26, "bool"),
    "inherit_fd": Field(27, "InheritFd", _MANY),
    "auto_ext_mnt": Field(28, "bool"),
    "ext_sharing": Field(29, "bool"),
    "ext_masters": Field(30, "bool"),
    "skip_mnt": Field(31, "string", _MANY),
    "enable_fs": Field(32, "string", _MANY),
    "manage_cgroups_mode": Field(34, "int32"),
    "ghost_limit": Field(35, "uint32"),
    "irmap_scan_paths": Field(36, "string", _MANY),
    "external": Field(37, "string", _MANY),
    "empty_ns": Field(38, "uint32"),
    "join_ns": Field(39, "JoinNamespace", _MANY),
    "cgroup_props": Field(41, "string"),
    "cgroup_props_file": Field(42, "string"),
    "cgroup_dump_controller": Field(43, "string", _MANY),
    "freeze_cgroup": Field(44, "string"),
    "timeout": Field(45, "uint32"),
    "tcp_skip_in_flight": Field(46, "bool"),
    "weak_sysctls": Field(47, "bool"),
    "lazy_pages": Field(48, "bool"),
    "status_fd": Field(49, "int32"),
    "orphan_pts_master": Field(50, "bool"),
    "config_file": Field(51, "string"),
    "tcp_close": Field(52, "bool"),
    "lsm_profile": Field(53, "string"),
    "tls_cacert": Field(54, "string"),
    "tls_cacrl": Field(55, "string"),
    "tls_cert": Field(56, "string"),
    "tls_key": Field(57, "string"),
    "tls": Field(58, "bool"),
    "tls_no_cn_verify": Field(59, "bool"),
    "cgroup_yard": Field(60, "string"),
    "pre_dump_mode": Field(61, "int32"),
    "lsm_mount_context": Field(63, "string"),
    "network_lock": Field(64, "int32"),
    "mntns_compat_mode": Field(65, "bool"),
    "skip_file_rwx_check": Field(66, "bool"),
    "unprivileged": Field(67, "bool"),
    "leave_stopped": Field(69, "bool"),
    "display_stats": Field(70, "bool"),
}
"""What a request says of how to save or restore.  Enumerations are numbers here, as on the wire."""

MESSAGES: Final[Mapping[str, Mapping[str, Field]]] = {
    "PageServer": {
        "address": Field(1, "string"),
        "port": Field(2, "int32"),
        "pid": Field(3, "int32"),
        "fd": Field(4, "int32"),
    },
    "VethPair": {"if_in": Field(1, "string", _R), "if_out": Field(2, "string", _R)},
    "JoinNamespace": {"ns": Field(1, "string", _R), "ns_file": Field(2, "string", _R)},
    "InheritFd": {"key": Field(1, "string", _R), "fd": Field(2, "int32", _R)},
    "CgroupRoot": {"ctrl": Field(1, "string"), "path": Field(2, "string", _R)},
    "Options": OPTIONS,
    "FeatureSet": {
        "mem_track": Field(1, "bool"),
        "lazy_pages": Field(2, "bool"),
        "pidfd_store": Field(3, "bool"),
    },
    "Request": {
        "type": Field(1, "int32", _R),
        "opts": Field(2, "Options"),
        "notify_success": Field(3, "bool"),
        "keep_open": Field(4, "bool"),
        "features": Field(5, "FeatureSet"),
    },
    "Dumped": {"restored": Field(1, "bool")},
    "Restored": {"pid": Field(1, "int32", _R)},
    "Notify": {"script": Field(1, "string"), "pid": Field(2, "int32")},
    "Version": {
        "major_number": Field(1, "int32", _R),
        "minor_number": Field(2, "int32", _R),
        "gitid": Field(3, "string"),
        "sublevel": Field(4, "int32"),
    },
    "Response": {
        "type": Field(1, "int32", _R),
        "success": Field(2, "bool", _R),
        "dump": Field(3, "Dumped"),
        "restore": Field(4, "Restored"),
        "notify": Field(5, "Notify"),
        "ps": Field(6, "PageServer"),
        "cr_errno": Field(7, "int32"),
        "features": Field(8, "FeatureSet"),
        "cr_errmsg": Field(9, "string"),
        "version": Field(10, "Version"),
    },
    # What it writes to stats-dump and stats-restore.  Times are in microseconds.
    "DumpTally": {
        "freezing_time": Field(1, "uint32", _R),
        "frozen_time": Field(2, "uint32", _R),
        "memdump_time": Field(3, "uint32", _R),
        "memwrite_time": Field(4, "uint32", _R),
        "pages_scanned": Field(5, "uint64", _R),
        "pages_skipped_parent": Field(6, "uint64", _R),
        "pages_written": Field(7, "uint64", _R),
        "irmap_resolve": Field(8, "uint32"),
        "pages_lazy": Field(9, "uint64"),
    },
    "RestoreTally": {
        "pages_compared": Field(1, "uint64", _R),
        "pages_skipped_cow": Field(2, "uint64", _R),
        "forking_time": Field(3, "uint32", _R),
        "restore_time": Field(4, "uint32", _R),
        "pages_restored": Field(5, "uint64"),
    },
    "Tally": {"dump": Field(1, "DumpTally"), "restore": Field(2, "RestoreTally")},
}

_PACKAGE: Final = "aiocontainer.criu"
_classes: dict[str, Any] = {}


def message_class(name: str) -> Any:
    """Return the class of a message; ImportError without protobuf, or with one that is too old."""
    if not _classes:
        _classes.update(_build())
    return _classes[name]


def _build() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    # A pool of our own: nothing of it can clash with what an application describes.
    file = descriptor_pb2.FileDescriptorProto(
        name="aiocontainer/criu.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for key, field in fields.items():
            label = getattr(field_type, f"LABEL_{field.label.upper()}")
            added = message.field.add(name=key, number=field.number, label=label)
            if field.type in MESSAGES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".{_PACKAGE}.{field.type}"
            else:
                added.type = getattr(field_type, f"TYPE_{field.type.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}
