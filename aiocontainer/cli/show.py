"""state and list: what there is, as JSON or as a table, in runc's shape."""

from __future__ import annotations

import json
import pwd
from typing import TYPE_CHECKING, Any

from .drive import drive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiocontainer import ContainerState, Runtime

    from .arguments import Invocation

__all__ = ["document", "list_", "state", "table"]

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")

_WIDTH = 12  # of the narrowest column
_GAP = 3  # between columns, at least


def state(call: Invocation) -> int:
    """Print one container."""

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        print(json.dumps(document(await container.state()), indent=2))
        return 0

    return drive(call.program, work)


def list_(call: Invocation) -> int:
    """Print all containers."""

    async def work(runtime: Runtime) -> int:
        containers = [container async for container in runtime.list()]
        if call.options.quiet:
            for container in containers:
                print(container.id)
            return 0
        documents = [document(await container.state()) for container in containers]
        if call.options.format == "json":
            print(json.dumps(documents or None, separators=(",", ":")))  # null, as runc has it
        else:
            print(*table(documents), sep="\n")
        return 0

    return drive(call.program, work)


def table(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lay out the documents in columns, under a line of titles."""
    titles = [name.upper() for name in COLUMNS]
    rows = [titles, *([str(each[name]) for name in COLUMNS] for each in documents)]
    widths = [max(_WIDTH, *(len(row[i]) + _GAP for row in rows)) for i in range(len(COLUMNS) - 1)]
    for row in rows:
        yield "".join((*map(str.ljust, row, widths), row[-1]))


def document(state: ContainerState) -> dict[str, Any]:
    """Return the state as a JSON object with runc's keys, in runc's order."""
    annotations = {"annotations": dict(state.annotations)} if state.annotations else {}
    return {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status.value,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        **annotations,
        "owner": _user_name(state.owner),
    }


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
