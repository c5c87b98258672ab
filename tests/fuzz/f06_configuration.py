"""F6: documents to specification to plan: bytes as they are, and values made from the model."""

from __future__ import annotations

import functools
from typing import Any

from msgspec import NODEFAULT, inspect
from msgspec.structs import replace
from plan_hosts import HOSTS, options, spec

from aiocontainer import ContainerError, Spec, SpecError, UnsupportedError, native
from aiocontainer.native import wire
from aiocontainer.native._lib import ffi, lib
from aiocontainer.plan.compile import compile_plan
from aiocontainer.plan.steps import Seccomp
from aiocontainer.spec import check, decode_spec, encode, verify

from .source import Source

WORDS = (
    *("", "/", "/proc", "/dev/null", "a", "b=c", "../..", "/v/d/x", "tmpfs", "proc", "bind", "ro", "cgroup"),
    *(
        "idmap",
        "size=1m",
        "net.ipv4.ip_forward",
        "kernel.msgmax",
        "eth0",
        "1",
        "/proc/self/ns/net",
        "\0",
        "\ud800",
    ),
    *("0-3", "0,2", "sh", "PATH=/bin", "unconfined", "1KB", "MB:0=20", "\u0661", "x" * 300, "tmpcopyup"),
)


@functools.cache
def known(model: type) -> inspect.Type:
    return inspect.type_info(model)


def value(source: Source, kind: inspect.Type, depth: int = 0) -> Any:
    """A value of a type of the model, sometimes just outside of it."""
    match kind:
        case inspect.StructType():
            return kind.cls(
                **{f.name: value(source, f.type, depth + 1) for f in kind.fields if wanted(source, f, depth)}
            )
        case inspect.UnionType():
            return value(source, source.pick(kind.types), depth)
        case inspect.BoolType():
            return source.flag()
        case inspect.LiteralType():
            return source.pick(kind.values)
        case inspect.IntType():
            return source.number() * (-1 if source.integer(1) > 250 else 1)
        case inspect.StrType():
            return source.pick(WORDS) if source.integer(1) < 220 else source.text(12)
        case inspect.VarTupleType():
            return tuple(value(source, kind.item_type, depth + 1) for _ in range(source.below(3)))
        case inspect.DictType():
            return {
                source.pick(WORDS): value(source, kind.value_type, depth + 1) for _ in range(source.below(3))
            }
    return None


def wanted(source: Source, field: inspect.Field, depth: int) -> bool:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return True
    return depth < 5 and source.integer(1) < 64


def changed(source: Source, part: Any) -> Any:
    """The value with some of its fields made anew."""
    fields = [each for each in known(type(part)).fields if each.name not in ("linux", "process")]  # type: ignore[attr-defined]
    for _ in range(source.below(4)):
        field = source.pick(fields)
        part = replace(part, **{field.name: value(source, field.type, 1)})
    return part


def made(source: Source) -> Spec:
    """The default specification with some of it made anew."""
    whole = spec()
    linux, process = changed(source, whole.linux), changed(source, whole.process)
    found: Spec = changed(source, replace(whole, linux=linux, process=process))
    return found


def one(data: bytes) -> None:
    source = Source(data)
    if data[:1] == b"{":
        try:
            asked = decode_spec(data)
        except SpecError as exc:
            assert exc.origin.startswith("$"), exc
            return
    else:
        asked = made(source)
        try:
            verify(asked)
        except SpecError as exc:
            assert exc.origin.startswith("$"), exc
            return
    encoded = encode(asked)
    again = decode_spec(encoded)
    assert again == asked
    assert encode(again) == encoded
    try:
        check(asked)
    except SpecError as exc:
        assert exc.origin.startswith("$"), exc
        return
    planned(asked, HOSTS[source.pick(sorted(HOSTS))])


def planned(asked: Spec, host: Any) -> None:
    """What can be compiled can be encoded, and the helper's decoder takes it."""
    terminal = asked.process is not None and asked.process.terminal
    try:
        plan = compile_plan(asked, host, options(console=terminal))
        # Only libseccomp makes programs of filters: anything stands in for one here.
        steps = [
            replace(each, program=bytes(8)) if isinstance(each, Seccomp) else each for each in plan.steps
        ]
        encoded = native.encode_plan(steps, len(plan.fds))
    except (SpecError, UnsupportedError):
        return
    except ContainerError as exc:
        raise AssertionError("a plan raises SpecError or UnsupportedError") from exc
    plan.listing()
    at = ffi.new("uint32_t *")
    fds = wire.PLAN.unpack_from(encoded)[4]
    assert lib.plan_check(encoded, len(encoded), fds, at) == 0, plan.steps[at[0]]
