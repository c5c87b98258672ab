"""Hooks: where in the plan they stand, what they are given, and that nobody else pays for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from plan_hosts import ROOTLESS, V2, compiled, options, rootless, spec

from aiocontainer.errors import UnsupportedError
from aiocontainer.plan.compile import renamed
from aiocontainer.plan.flags import PAUSE_HOOKS
from aiocontainer.plan.hooks import outside_hooks
from aiocontainer.plan.steps import Exec, Gate, Hook, Pause, Pivot
from aiocontainer.spec import Hook as HookSpec
from aiocontainer.spec import Hooks

if TYPE_CHECKING:
    from aiocontainer.plan.plan import Plan

KINDS = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")


def hooks(*kinds: str, **fields: Any) -> Hooks:
    return Hooks(**{kind: (HookSpec(path=f"/{kind}", **fields),) for kind in kinds})


def shape(plan: Plan) -> list[str]:
    """The steps that matter here, in order."""
    words = {Pivot: "pivot", Gate: "gate", Exec: "exec"}
    found = []
    for step in plan.steps:
        if isinstance(step, Pause) and step.kind == PAUSE_HOOKS:
            found.append("pause")
        elif isinstance(step, Hook):
            found.append(step.path)
        elif type(step) in words:
            found.append(words[type(step)])
    return found


def test_places() -> None:
    value = spec(hooks=hooks(*KINDS))
    assert shape(compiled(value)) == [
        *("pause", "/create_container", "pivot", "gate", "/start_container", "exec")
    ]
    assert [str(each) for each in compiled(value).hooks] == [
        *("prestart: run /prestart", "createRuntime: run /create_runtime"),
        *("poststart: run /poststart", "poststop: run /poststop"),
    ]


@pytest.mark.parametrize("kind", [None, "start_container", "poststart", "poststop"])
def test_nobody_waits_who_does_not_have_to(kind: str | None) -> None:
    plan = compiled(spec(hooks=hooks(kind) if kind else None))
    assert "pause" not in shape(plan)


@pytest.mark.parametrize("kind", ["prestart", "create_runtime", "create_container"])
def test_one_pause_for_what_runs_before_the_pivot(kind: str) -> None:
    assert shape(compiled(spec(hooks=hooks(kind)))).count("pause") == 1


def test_a_callback_is_waited_for() -> None:
    assert shape(compiled(spec(), awaited=True)) == ["pause", "pivot", "gate", "exec"]


def test_an_ordinary_user_may_look_at_the_paused_process() -> None:
    def pauses(plan: Plan) -> list[bool]:
        return [s.dumpable for s in plan.steps if isinstance(s, Pause) and s.kind == PAUSE_HOOKS]

    assert pauses(compiled(rootless(), ROOTLESS, awaited=True)) == [True]
    assert pauses(compiled(spec(), V2, awaited=True)) == [False]


def steps(plan: Plan) -> dict[str, Hook]:
    return {step.path: step for step in plan.steps if isinstance(step, Hook)}


def test_environments() -> None:
    kinds = ("create_container", "start_container")
    outer = {"environment": ("OUTER=1",)}
    inherited = steps(compiled(spec(hooks=hooks(*kinds), env=("INNER=1",)), **outer))
    assert inherited["/create_container"].env == ("OUTER=1",)
    assert inherited["/start_container"].env == ("INNER=1", "HOME=/")
    for env in ((), ("A=1",)):
        given = steps(compiled(spec(hooks=hooks(*kinds, env=env), env=("INNER=1",)), **outer))
        assert {step.env for step in given.values()} == {env}


def test_what_else_they_are_given() -> None:
    kinds = ("create_container", "start_container")
    value = spec(hooks=hooks(*kinds), annotations={"pid": '"pid":0', "a": "b"})
    bare = steps(compiled(value))
    assert {step.args for step in bare.values()} == {("/create_container",), ("/start_container",)}
    assert [step.directory for step in bare.values()] == ["/bundles/web", ""]
    assert [step.document.status for step in bare.values()] == ["creating", "created"]
    record = bare["/create_container"].record()
    state = json.loads(record.data[: record.c] + b"77" + record.data[record.c :])
    assert state == {
        "ociVersion": value.oci_version,
        "id": "web",
        "status": "creating",
        "pid": 77,
        "bundle": "/bundles/web",
        "annotations": value.annotations,
    }


@pytest.mark.parametrize(("timeout", "ms"), [(None, 0), (1, 1000), (10**9, 2**32 - 1)])
def test_timeouts(timeout: int | None, ms: int) -> None:
    step = steps(compiled(spec(hooks=hooks("create_container", timeout=timeout))))["/create_container"]
    assert step.timeout_ms == step.record().b == ms


def test_renaming_reaches_the_state() -> None:
    value = spec(hooks=hooks("create_container", "start_container"))
    other = renamed(compiled(value), value, V2, options(id="other"))
    assert {step.document.id for step in steps(other).values()} == {"other"}


def test_order_of_one_kind() -> None:
    value = spec(hooks=Hooks(poststop=tuple(HookSpec(path=f"/{n}") for n in range(3))))
    assert [each.origin for each in outside_hooks(value)] == [f"$.hooks.poststop[{n}]" for n in range(3)]
    assert outside_hooks(value, "prestart") == ()
    assert outside_hooks(spec()) == ()


def test_output_by_annotation() -> None:
    """For hooks outside; those inside would have to be given a descriptor of the machine's."""
    files = {"run.oci.hooks.stdout": "/log/out", "run.oci.hooks.stderr": "err"}
    outside = Hooks(prestart=(HookSpec(path="/a"),), poststop=(HookSpec(path="/b"),))
    plan = compiled(spec(annotations=files, hooks=outside))
    assert [each.outputs for each in plan.hooks] == [("/log/out", "err")] * 2
    assert "prestart: run /a, stdout to /log/out, stderr to err" in plan.listing()
    for kind in ("create_container", "start_container"):
        with pytest.raises(UnsupportedError) as caught:
            compiled(spec(annotations=files, hooks=Hooks(**{kind: (HookSpec(path="/a"),)})))
        assert caught.value.origin == '$.annotations["run.oci.hooks.stdout"]'
