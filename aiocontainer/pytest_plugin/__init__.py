"""The pytest plugin: tests that run in a container of their own, and fixtures that make containers.

Nothing but pytest is imported until a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiocontainer import Runtime

    from .containers import Containers

__all__ = ["INSIDE", "MARKER", "container_runtime", "containers"]

MARKER: Final = "in_container"
INSIDE: Final = "aiocontainer-inside"
"""Name of the plugin by which pytest knows that it is in the container."""

_ARGUMENTS: Final = frozenset({"memory", "pids", "cpus", "timeout_s"})


def pytest_configure(config: pytest.Config) -> None:
    """Explain the marker in ``pytest --markers``."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*, memory=None, pids=None, cpus=None, timeout_s=None): run this test, and the fixtures "
        "that it uses, in a process in a container of its own (aiocontainer)",
    )


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Refuse what the marker does not know, before anything runs."""
    for item in items:
        mark = item.get_closest_marker(MARKER)
        if mark is not None and (mark.args or not mark.kwargs.keys() <= _ARGUMENTS):
            known = ", ".join(sorted(_ARGUMENTS))
            raise pytest.UsageError(f"{item.nodeid}: {MARKER} takes only these, by name: {known}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Have a marked test done in a container, and report what is told of it there."""
    mark = item.get_closest_marker(MARKER)
    if mark is None or item.config.pluginmanager.has_plugin(INSIDE):
        return None
    from .outside import reports

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports(item, nextitem, mark.kwargs):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
def container_runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Return a `Runtime` with a state directory of the test's own, to be used by ``async with``."""
    from aiocontainer import Runtime

    return Runtime(root=tmp_path_factory.mktemp("aiocontainer"))


@pytest.fixture
def containers(container_runtime: Runtime) -> Iterator[Containers]:
    """Run containers from a test that is no coroutine; nothing of them is left after it."""
    from .containers import Containers

    with Containers(container_runtime) as found:
        yield found


def __getattr__(name: str) -> Any:
    if name == "Containers":  # for annotations
        from .containers import Containers

        return Containers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
