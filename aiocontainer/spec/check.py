"""All rules that need only the document.

What needs the machine (does the path exist, is the id mapped outside) is asked when the plan is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SpecError
from .document import verify
from .rules.devices import device_problems
from .rules.idmaps import user_namespace_problems
from .rules.namespaces import namespace_problems
from .rules.paths import path_problems
from .rules.process import process_problems, process_warnings
from .rules.resources import resource_problems, resource_warnings, tuning_problems
from .rules.root import root_problems, root_warnings
from .rules.seccomp import listener_problems, seccomp_problems, seccomp_warnings
from .rules.sysctl import sysctl_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Spec
    from .process import Process
    from .resources import Resources
    from .rules.shared import Problems

__all__ = ["check", "check_process", "check_resources", "problems"]

_RULES = (
    root_problems,
    namespace_problems,
    user_namespace_problems,
    device_problems,
    path_problems,
    sysctl_problems,
    tuning_problems,
    seccomp_problems,
)


def check(spec: Spec, *, seccomp_listener: bool = False) -> list[str]:
    """Raise the first problem; return warnings, each with its address.

    With *seccomp_listener* the application answers what a filter asks, and no `listenerPath` is needed.
    """
    verify(spec)
    for problem in _problems(spec, seccomp_listener=seccomp_listener):
        raise problem
    return list(_warnings(spec))


def problems(spec: Spec) -> list[SpecError]:
    """Return everything wrong with a specification; what no document could say comes alone."""
    try:
        verify(spec)
    except SpecError as exc:
        return [exc]
    return list(_problems(spec))


def check_process(process: Process, origin: str = "$") -> list[str]:
    """Raise the first problem of a process for exec; return warnings."""
    verify(process)
    for problem in process_problems(process, origin):
        raise problem
    return list(process_warnings(process, origin))


def check_resources(resources: Resources, origin: str = "$") -> list[str]:
    """Raise the first problem of limits for an update; return warnings."""
    verify(resources)
    for problem in resource_problems(resources, origin):
        raise problem
    return list(resource_warnings(resources, origin))


def _problems(spec: Spec, *, seccomp_listener: bool = False) -> Problems:
    if spec.process is None:
        yield SpecError("required, and missing", origin="$.process")
    else:
        yield from process_problems(spec.process, "$.process")
    for rule in _RULES:
        yield from rule(spec)
    if not seccomp_listener:
        yield from listener_problems(spec)


def _warnings(spec: Spec) -> Iterator[str]:
    yield from root_warnings(spec)
    if spec.process:
        yield from process_warnings(spec.process, "$.process")
    if spec.linux and spec.linux.resources:
        yield from resource_warnings(spec.linux.resources, "$.linux.resources")
    yield from seccomp_warnings(spec)
