"""Linux containers as awaitables: create, start, enter, watch and remove them on one event loop.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than most commands run
if TYPE_CHECKING:
    from typing import Final

    from ._features import features
    from .cgroups.stats.values import StatsMask
    from .console import Pty
    from .container import Completed, Container, Process, Status
    from .container.observed import ContainerState
    from .container.rates import Rates
    from .container.source import Command
    from .container.stats import Stats
    from .container.sweeping import Leftover
    from .criu.messages import DumpStats
    from .criu.options import CheckpointOptions, Progress, RestoreOptions
    from .criu.probing import Criu
    from .errors import (
        BootstrapError,
        CgroupError,
        ContainerError,
        ContainerExited,
        CriuError,
        ExistsError,
        GVariantError,
        HelperError,
        HookError,
        ImageError,
        NetworkError,
        NotFoundError,
        NotRunningError,
        OutOfMemoryError,
        PausedError,
        RequestGoneError,
        ResctrlError,
        SpecError,
        StateCorruptError,
        StateError,
        SystemdError,
        UnitExistsError,
        UnsupportedError,
        WorkerLostError,
    )
    from .events import (
        Created,
        Deleted,
        Empty,
        Event,
        Events,
        ExecExited,
        Exited,
        ExitStatus,
        Frozen,
        LimitHit,
        Lost,
        Oom,
        OomVerdict,
        Pressure,
        SeccompNotifications,
        SeccompRequest,
        Started,
        Thawed,
        Updated,
    )
    from .farm import Farm, FarmMetrics, Job, JobResult, WarmPool
    from .farm.dask import DaskFarm
    from .hooks import Callbacks
    from .images import Image, ImageLimits
    from .oneshot import run
    from .plan.plan import Plan
    from .plan.unit_differences import PropertyDifference
    from .runtime import Runtime
    from .spec import (
        BlockIO,
        Cpu,
        DeviceRule,
        HugepageLimit,
        InterfacePriority,
        Memory,
        Mount,
        Network,
        Pids,
        Rdma,
        Resources,
        Spec,
        ThrottleDevice,
        WeightDevice,
    )

__all__ = [
    "Runtime",
    "run",
    "features",
    "Container",
    "ContainerState",
    "Process",
    "Pty",
    "Status",
    "ExitStatus",
    "OomVerdict",
    "Completed",
    "Stats",
    "StatsMask",
    "CheckpointOptions",
    "RestoreOptions",
    "DumpStats",
    "Criu",
    "Progress",
    "Rates",
    "Events",
    "Event",
    "Created",
    "Started",
    "Oom",
    "LimitHit",
    "Pressure",
    "Frozen",
    "Thawed",
    "Empty",
    "Updated",
    "ExecExited",
    "Exited",
    "Deleted",
    "Lost",
    "Command",
    "Image",
    "ImageLimits",
    "Leftover",
    "Callbacks",
    "Farm",
    "FarmMetrics",
    "Job",
    "JobResult",
    "WarmPool",
    "DaskFarm",
    "Plan",
    "PropertyDifference",
    "SeccompNotifications",
    "SeccompRequest",
    "Spec",
    "Mount",
    "Resources",
    "Memory",
    "Cpu",
    "Pids",
    "BlockIO",
    "WeightDevice",
    "ThrottleDevice",
    "HugepageLimit",
    "Network",
    "InterfacePriority",
    "Rdma",
    "DeviceRule",
    "ContainerError",
    "BootstrapError",
    "CgroupError",
    "ContainerExited",
    "CriuError",
    "ExistsError",
    "GVariantError",
    "HelperError",
    "HookError",
    "ImageError",
    "NetworkError",
    "NotFoundError",
    "NotRunningError",
    "OutOfMemoryError",
    "PausedError",
    "ResctrlError",
    "RequestGoneError",
    "SpecError",
    "StateCorruptError",
    "StateError",
    "SystemdError",
    "UnitExistsError",
    "UnsupportedError",
    "WorkerLostError",
]

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Runtime": "runtime",
    "run": "oneshot",
    "Container": "container",
    "ContainerState": "container.observed",
    "Process": "container",
    "Pty": "console",
    "Status": "container",
    "ExitStatus": "events",
    "OomVerdict": "events",
    "Completed": "container",
    "Stats": "container.stats",
    "Rates": "container.rates",
    "StatsMask": "cgroups.stats.values",
    "Command": "container.source",
    "Image": "images",
    "ImageLimits": "images",
    "Leftover": "container.sweeping",
    "Callbacks": "hooks",
    "Farm": "farm",
    "FarmMetrics": "farm",
    "Job": "farm",
    "JobResult": "farm",
    "WarmPool": "farm",
    "CheckpointOptions": "criu.options",
    "RestoreOptions": "criu.options",
    "Progress": "criu.options",
    "DumpStats": "criu.messages",
    "Criu": "criu.probing",
    "DaskFarm": "farm.dask",
    "Plan": "plan.plan",
    "PropertyDifference": "plan.unit_differences",
    "Events": "events",
    "Event": "events",
    "Created": "events",
    "Started": "events",
    "Oom": "events",
    "LimitHit": "events",
    "Pressure": "events",
    "Frozen": "events",
    "Thawed": "events",
    "Empty": "events",
    "Updated": "events",
    "ExecExited": "events",
    "Exited": "events",
    "Deleted": "events",
    "Lost": "events",
    "SeccompNotifications": "events",
    "SeccompRequest": "events",
    "features": "_features",
    "Spec": "spec",
    "Mount": "spec",
    "Resources": "spec",
    "Memory": "spec",
    "Cpu": "spec",
    "Pids": "spec",
    "BlockIO": "spec",
    "WeightDevice": "spec",
    "ThrottleDevice": "spec",
    "HugepageLimit": "spec",
    "Network": "spec",
    "InterfacePriority": "spec",
    "Rdma": "spec",
    "DeviceRule": "spec",
}
"""Name to module; what is not here lives in `errors`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
