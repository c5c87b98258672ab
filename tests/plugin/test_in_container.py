"""The marker: a test in a container tells what it would have told here, and what killed it if it cannot."""

from __future__ import annotations

import importlib.metadata
import os

import pytest

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.needs("root", "compiled", "overlay"), pytest.mark.usefixtures("snap")]

INSTALLED = any(point.name == "aiocontainer" for point in importlib.metadata.entry_points(group="pytest11"))
LOAD = () if INSTALLED else ("-p", "aiocontainer.pytest_plugin")
"""A checkout has no entry points."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory for tests, where this package can be imported."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.getenv("PYTHONPATH"), *ROOT))))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


ROOT = () if INSTALLED else (os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),)


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    return suite.runpytest_subprocess(*LOAD, "-p", "no:cacheprovider", *options, timeout=90)


EVERYTHING = """
import os, warnings
import pytest

pytestmark = pytest.mark.in_container(memory="256M", pids=64)

@pytest.fixture(scope="module")
def number():
    print("before")
    yield os.getpid()
    print("after")

def test_passes(number, tmp_path, capsys, record_property):
    print("seen by capsys")
    assert "seen" in capsys.readouterr().out
    (tmp_path / "file").write_text("x")
    record_property("color", "blue")
    assert number == os.getpid() == 2
    assert sorted(os.listdir("/sys/class/net")) == ["lo"]

def test_fails(number):
    print("from Python")
    os.system("echo from a shell >&2")
    warnings.warn("be careful", DeprecationWarning)
    assert [1, number] == [1, 3]

def test_skips():
    pytest.skip("no reason")

@pytest.mark.xfail(reason="known")
def test_expected():
    assert 0

@pytest.mark.xfail(strict=True)
def test_unexpected():
    pass

@pytest.fixture
def broken():
    raise LookupError("in the fixture")

def test_error(broken):
    pass

@pytest.fixture
def untidy():
    yield
    raise LookupError("in the end")

def test_teardown(untidy):
    pass

class TestClass:
    @pytest.mark.parametrize("word", ["a", "b::c", "d/e"])
    def test_method(self, word):
        assert word

def test_here_in_another(request):
    assert request.config.option.verbose == 0
"""


def test_every_outcome_comes_back(suite: pytest.Pytester) -> None:
    suite.makepyfile(EVERYTHING)
    result = run(suite, "-rA", "--junitxml=report.xml")
    result.assert_outcomes(passed=6, failed=2, skipped=1, xfailed=1, errors=2, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of test_error _*",
            "E*LookupError: in the fixture",
            "*_ ERROR at teardown of test_teardown _*",
            "E*LookupError: in the end",
            "*_ test_fails _*",
            "E*assert [[]1, 2] == [[]1, 3]",
            "E*At index 1 diff: 2 != 3",
            "*Captured stdout setup*",
            "before",
            "*Captured stdout call*",
            "from Python",
            "*Captured stderr call*",
            "from a shell",
            "*Captured stdout teardown*",
            "after",
            "*_ test_unexpected _*",
            "*XPASS(strict)*",
            "*DeprecationWarning: be careful",
            "SKIPPED*no reason",
            "XFAIL*test_expected - known",
        ]
    )
    assert 'name="color" value="blue"' in (suite.path / "report.xml").read_text()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_kills_it_is_told(suite: pytest.Pytester, workers: str) -> None:
    suite.makepyfile(
        """
        import os, time
        import pytest

        @pytest.mark.in_container(memory="64M", timeout_s=60)
        def test_eats():
            print("hungry")
            bytearray(400 << 20)

        @pytest.mark.in_container(timeout_s=1)
        def test_hangs():
            print("tired")
            time.sleep(1000)

        @pytest.mark.in_container()
        def test_leaves():
            os._exit(7)

        @pytest.mark.in_container
        def test_falls():
            os.kill(os.getpid(), 11)

        @pytest.mark.in_container(memory="64M")
        def test_survives():
            assert os.waitstatus_to_exitcode(os.system("python3 -c 'bytearray(400 << 20)'")) == 137

        def test_is_not_concerned():
            assert os.getpid() > 2
        """
    )
    result = run(suite, "-n", workers, "-rA")
    result.assert_outcomes(failed=4, passed=2)
    result.stdout.fnmatch_lines_random(
        [
            "out of memory: 1 process was killed, by the limit of 64M*",
            "hungry",
            "timed out: it had not ended after 1 s, and was killed",
            "tired",
            "*line * in test_hangs",
            "the process ended before its test: ended with status 7",
            "the process ended before its test: killed by SIGSEGV",
            "PASSED *test_survives",
            "FAILED *test_eats - out of memory*",
            "FAILED *test_hangs - timed out*",
        ]
    )


def test_neighbours_outside_keep_their_fixtures(suite: pytest.Pytester) -> None:
    """What the tests around it have set up ends when the last who needs it has ended, as always."""
    suite.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def log():
            words = []
            yield words
            print("END", *words)

        @pytest.fixture(scope="module", autouse=True)
        def of_module(request, log):
            log.append("+" + request.node.name)
            yield
            log.append("-" + request.node.name)
        """
    )
    inside = "import pytest\n@pytest.mark.in_container\ndef test_inside(): pass\n"
    suite.makepyfile(test_a="def test_a(): pass\n" + inside, test_b=inside, test_c="def test_c(): pass")
    result = run(suite, "-s")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*END +test_a.py -test_a.py +test_c.py -test_c.py"])


def test_only_its_own_arguments(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.in_container(memroy=1)\ndef test_it(): pass")
    result = run(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_it: in_container takes only*cpus, memory, pids, timeout_s"])


def test_a_container_that_cannot_be_made_is_an_error(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.in_container(memory='lots')\ndef test_it(): pass")
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the container could not be made: *lots*"])


def test_who_is_another_one_inside_is_not_found(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.in_container
        @pytest.mark.parametrize("pid", [os.getpid()])
        def test_it(pid): pass
        """
    )
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*not found*"])


def test_fixtures(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import asyncio
        import os
        from asyncio.subprocess import PIPE

        def test_without_a_coroutine(containers):
            assert containers.run(["sh", "-c", "exit 3"]).exit.code == 3
            container = containers.start(["sleep", "1000"])
            process = containers.call(container.exec, ["echo", "hello"], stdout=PIPE)
            assert containers.call(process.communicate) == (b"hello\\n", None)
            open("pid", "w").write(str(container.pid))

        def test_is_gone():
            assert not os.path.exists("/proc/" + open("pid").read())

        def test_with_one(container_runtime):
            async def run():
                async with container_runtime as runtime:
                    return await runtime.run(["echo", "hello"])
            assert asyncio.run(run()).stdout == b"hello\\n"
        """
    )
    run(suite).assert_outcomes(passed=3)


def test_nothing_is_imported_until_it_is_used(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.hasplugin("aiocontainer.pytest_plugin") or "aiocontainer" in (
                name for name, _ in pytestconfig.pluginmanager.list_name_plugin()
            )
            heavy = {"anyio", "asyncio", "cffi", "msgspec"}
            assert not heavy & {name.partition(".")[0] for name in sys.modules}
            ours = {name for name in sys.modules if name.startswith("aiocontainer")}
            assert ours == {"aiocontainer", "aiocontainer.pytest_plugin"}
        """
    )
    bare = ("-p", "aiocontainer.pytest_plugin", "-p", "no:cacheprovider")
    suite._monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    suite.runpytest_subprocess(*bare).assert_outcomes(passed=1)
