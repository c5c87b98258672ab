"""Options, hooks and fixtures of all tests: needs, coroutine tests, leaks."""

from __future__ import annotations

import inspect
import os
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, settings
from support import leaks, loops, needs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Iterator


pytest_plugins = ["support.cgroups", "support.containers", "support.guest", "support.resctrl"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aiocontainer")
    group.addoption("--require", default="", help="comma-separated needs that this machine must meet")
    group.addoption("--loop", choices=loops.KINDS, default="asyncio", help="event loop of the tests")
    group.addoption("--blocked-ms", type=float, default=50, help="how long a callback may block the loop")
    race_s = float(os.environ.get("AIOCONTAINER_RACE_S", "3"))
    group.addoption("--race-s", type=float, default=race_s, help="how long each race goes on")
    group.addoption("--many", type=int, default=300, help="containers that live at once, where many have to")
    group.addoption("--kills", type=int, default=6, help="how many owners of containers are killed")
    every_way = "interrupt every coroutine in all ways, not in two of them each"
    group.addoption("--every-way", action="store_true", help=every_way)
    group.addoption("--patience-s", type=float, default=10, help="how long leftovers may take to go away")


def pytest_configure(config: pytest.Config) -> None:
    # A shell lets what it starts in the background ignore these, and children inherit that.
    for number, handle in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handle)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) would have the programs under test ignore it
    # The same examples every time, however busy the machine: searching for new ones is for who asks.
    slow = [HealthCheck.too_slow]
    settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=slow)
    settings.register_profile("new", deadline=None, suppress_health_check=slow)
    settings.load_profile(os.environ.get("AIOCONTAINER_EXAMPLES", "same"))
    config.addinivalue_line("markers", "race: an attack that takes its chances, for --race-s seconds")
    config.addinivalue_line("markers", "may_block(reason): the test itself blocks the event loop")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """A coroutine test gets its loop before any other fixture."""
    if collector.istestfunction(obj, name) and inspect.iscoroutinefunction(obj):
        pytest.mark.usefixtures("loop_runner")(obj)


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs.check_needs(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None]:
    """Let a fixture be asynchronous."""
    function = fixturedef.func
    if not loops.is_async(function):
        return (yield)
    loop = request.getfixturevalue("loop_runner")
    fixturedef.func = loops.adapt(loop, function)  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test, and fail it if it blocked its loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    runner = cast("asyncio.Runner", pyfuncitem.funcargs["loop_runner"])
    excused = pyfuncitem.get_closest_marker("may_block") is not None
    limit_ms = float("inf") if excused else pyfuncitem.config.getoption("--blocked-ms")
    with loops.watch(limit_ms / 1000):
        runner.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Which loop the test runs on; parametrize it to run on several."""
    kind: str = request.config.getoption("--loop")
    return kind


@pytest.fixture
def loop_runner(loop_kind: str) -> Iterator[asyncio.Runner]:
    """The loop of a coroutine test and of its fixtures."""
    with loops.runner(loop_kind) as runner:
        runner.get_loop()  # its descriptors are open before anything is counted
        yield runner


@pytest.fixture
def snap(request: pytest.FixtureRequest) -> Iterator[leaks.Leaks]:
    """Fail the test if it leaves mounts, cgroups, processes, descriptors, keys or state behind."""
    watched = leaks.Leaks(patience_s=request.config.getoption("--patience-s"))
    yield watched
    watched.check()


@pytest.fixture(autouse=True, scope="session")
def _standard_streams() -> None:
    """Descriptors 0-2 are open, so that nothing opened by a test lands there."""
    for number in range(3):
        os.fstat(number)
