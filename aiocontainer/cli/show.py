"""state and list: what there is, as JSON or as a table, in runc's shape."""

from __future__ import annotations

from aiocontainer.glance import Glance, Unusual, ids

from .report import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from aiocontainer import ContainerState, Runtime

    from .arguments import Invocation

    Document = dict[str, Any]

__all__ = ["compact", "document", "list_", "pretty", "state", "table"]

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")

_WIDTH = 12  # of the narrowest column
_GAP = 3  # between columns, at least


def state(call: Invocation) -> int:
    """Print one container."""
    try:
        with Glance(call.program.root, call.operands[0]) as glance:
            found = _glanced(glance)
    except Unusual:
        found = _look_longer(call)
    print(pretty(found))
    return 0


def _look_longer(call: Invocation) -> Document:
    from .drive import drive

    found: list[Document] = []

    async def work(runtime: Runtime) -> int:
        container = await runtime.load(call.operands[0])
        found.append(document(await container.state()))
        return 0

    drive(call.program, work)
    return found[0]


def list_(call: Invocation) -> int:
    """Print all containers."""
    try:
        names = ids(call.program.root)
        documents = [{"id": id} for id in names] if call.options.quiet else _glance_at_all(call, names)
    except Unusual:
        documents = _look_at_all(call)
    if call.options.quiet:
        for each in documents:
            print(each["id"])
    elif call.options.format == "json":
        print(compact(documents) if documents else "null")  # as runc has it
    else:
        print(*table(documents), sep="\n")
    return 0


def _glance_at_all(call: Invocation, names: Sequence[str]) -> list[Document]:
    documents = []
    for id in names:
        try:
            with Glance(call.program.root, id) as glance:
                documents.append(_glanced(glance))
        except LookupError:  # gone meanwhile
            continue
    return documents


def _look_at_all(call: Invocation) -> list[Document]:
    from .drive import drive

    documents: list[Document] = []

    async def work(runtime: Runtime) -> int:
        documents.extend([document(await container.state()) async for container in runtime.list()])
        return 0

    drive(call.program, work)
    return documents


def table(documents: Sequence[Document]) -> Iterator[str]:
    """Lay out the documents in columns, under a line of titles."""
    titles = [name.upper() for name in COLUMNS]
    rows = [titles, *([str(each[name]) for name in COLUMNS] for each in documents)]
    widths = [max(_WIDTH, *(len(row[i]) + _GAP for row in rows)) for i in range(len(COLUMNS) - 1)]
    for row in rows:
        yield "".join((*map(str.ljust, row, widths), row[-1]))


def document(state: ContainerState) -> Document:
    """Return the state as a JSON object with runc's keys, in runc's order."""
    return _document(
        (state.oci_version, state.id, state.pid, state.status.value, state.bundle, state.rootfs),
        state.created,
        dict(state.annotations),
        state.owner,
    )


def _glanced(glance: Glance) -> Document:
    facts, status = glance.facts, glance.status
    pid = 0 if status == "stopped" else facts["pid"]
    rootfs = str(facts["facts"].get("rootfs", ""))
    return _document(
        (facts["oci_version"], glance.id, pid, status, facts["bundle"], rootfs),
        facts["created"],
        facts.get("annotations", {}),
        facts["owner"],
    )


def _document(values: tuple[object, ...], created: str, annotations: dict[str, str], owner: int) -> Document:
    return {
        **dict(zip(("ociVersion", "id", "pid", "status", "bundle", "rootfs"), values, strict=True)),
        "created": created,
        **({"annotations": annotations} if annotations else {}),
        "owner": _user_name(owner),
    }


def _user_name(uid: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def pretty(value: object, indent: str = "\n") -> str:
    """Write it as `json.dumps` does with an indent of two, whose import takes longer than a whole `state`."""
    if not isinstance(value, dict) or not value:
        return compact(value)
    inner = indent + "  "
    members = [f"{quoted(key)}: {pretty(each, inner)}" for key, each in value.items()]
    return "{" + inner + f",{inner}".join(members) + indent + "}"


def compact(value: object) -> str:
    """Write a state, or a list of states, in one line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(key)}:{compact(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return str(value) if isinstance(value, int) else quoted(str(value))
