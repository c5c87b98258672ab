"""197 invocations, good and bad, of Debian's runc and of this program: exit status, output, words of errors.

Each is carried out by both, in the same order, on containers of their own.  What differs stands in
docs/differences.md, "The command line", or the test fails.  Sentences of errors are each program's own, but
for the phrases that container engines look for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aiocontainer.cli import table as words_of

pytestmark = [
    pytest.mark.needs("root", "compiled"),
    pytest.mark.may_block("it runs other programs"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc"),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox-static"),
]

PAGE = Path(__file__).parents[2] / "docs/differences.md"
OURS = [sys.executable, "-m", "aiocontainer"]
TIMEOUT_S = 60.0

HAVE = {command.name for command in words_of.COMMANDS}
NAMES = [
    *("create", "start", "run", "exec", "kill", "delete", "list", "ps", "events", "update", "spec", "state"),
    *("pause", "resume", "features", *({"checkpoint", "restore"} & HAVE)),
]
OF_ONE = ["start", "kill", "delete", "ps", "events", "state", "pause", "resume", "exec", "update"]
NONE = "does not exist"


class Case(NamedTuple):
    """One invocation; in its words {r} is a running container, {c} a created one, {s} a stopped one."""

    words: str
    phrase: str = ""  # what the errors of both must contain
    input: str = ""
    output: str = "same"  # "same", "json" (the same keys), "any"


def cases() -> list[Case]:
    """All invocations, in order: later ones find what earlier ones have left."""
    return [
        *(Case(f"{name} --help", output="any") for name in NAMES),
        *(Case(f"{name} -h", output="any") for name in NAMES),
        *(Case(f"{name} --bogus x", output="any") for name in NAMES),
        *(Case(name, output="any") for name in OF_ONE),
        *(Case(f"{name} {{n}}" + (" true" if name == "exec" else ""), NONE) for name in OF_ONE[:8]),
        *(Case(f"{name} {{r}} x y") for name in ("start", "state", "pause", "resume", "delete")),
        *PROGRAM,
        *LOOKING,
        *EXEC,
        *CHANGING,
        *UPDATE,
        *NEW,
        *LIFE,
    ]


PROGRAM = [
    Case("--version", output="any"),
    Case("-v", output="any"),
    Case("--help", output="any"),
    Case("bogus", output="any"),
    Case("--bogus list", output="any"),
    Case("--log-format xml list"),
    Case("--log {w}/no/such/log list"),
    Case("--log {w}/log --log-format json state {n}", NONE),
    Case("--debug state {n}", NONE),
    Case("--rootless false list -q"),
    Case("--rootless maybe list -q"),
    Case("--systemd-cgroup=false list -q"),
    Case("features", output="json"),
]
LOOKING = [
    Case("list"),
    Case("list -q"),
    Case("list --quiet=true"),
    Case("list --format=json", output="json"),
    Case("list -f yaml"),
    *(Case(f"state {{{which}}}", output="json") for which in "rcs"),
    Case("state a/b"),
    Case("ps {r}", output="any"),
    Case("ps -f json {r}", output="json"),
    Case("ps -f yaml {r}"),
    Case("ps {r} -o pid,args", output="any"),
    Case("ps {r} -o args"),
    Case("ps {r} --no-such-option"),
    Case("events --stats {r}", output="json"),
    Case("events --stats {s}", "not running"),
    Case("events --interval 0s {r}"),
    Case("events --interval soon {r}", output="any"),
]
EXEC = [
    Case("exec {r} true"),
    Case("exec {r} sh -c 'exit 7'"),
    Case("exec {r} sh -c 'kill -TERM $$'"),
    Case("exec {r} /no/such/program", "no such file or directory"),
    Case("exec {r} no-such-program", "not found"),
    Case("exec {r} /etc", "permission denied"),
    Case("exec --cwd /etc {r} pwd"),
    Case("exec --cwd etc {r} pwd"),
    Case("exec -e A=1 -e B=2 {r} sh -c 'echo $A$B'"),
    Case("exec -u 5:6 -g 7 {r} id"),
    Case("exec -u root {r} id"),
    Case("exec -u 5:six {r} id"),
    Case("exec --cap CAP_BOGUS {r} true"),
    Case("exec --preserve-fds 5 {r} true"),
    Case("exec -p {w}/process.json {r}"),
    Case("exec -p {w}/none.json {r}"),
    Case("exec -p {w}/bad.json {r}"),
    Case("exec -d {r} true"),
    Case("exec -d --pid-file {w}/pid {r} true"),
    Case("exec -d -t {r} true"),
    Case("exec --console-socket {w}/none {r} true"),
    Case("exec --ignore-paused {r} true"),
    Case("exec {s} true"),
    Case("exec {c} true"),
    Case("exec --no-new-privs {r} grep NoNewPrivs /proc/self/status"),
    Case("exec {r} cat", input="in and out\n"),
]
CHANGING = [
    Case("pause {s}", "not running"),
    Case("pause {r}"),
    Case("pause {r}"),
    Case("state {r}", output="json"),
    Case("exec {r} true"),
    Case("resume {r}"),
    Case("resume {r}"),
    Case("resume {s}"),
    Case("kill {r} 0"),
    Case("kill {r} WINCH"),
    Case("kill {r} SIGWINCH"),
    Case("kill {r} winch"),
    Case("kill {r} RTMIN+1"),
    Case("kill {r} BOGUS"),
    Case("kill {r} 99"),
    Case("kill {r} -1", output="any"),
    Case("kill --all {r} 0"),
    Case("kill {r} 0 --all"),
    Case("kill {s}", "not running"),
    Case("kill --all {s}"),
]
UPDATE = [
    Case("update --memory 64M {r}"),
    Case("update --memory 67108864 {r}"),
    Case("update --memory lots {r}"),
    Case("update --pids-limit 50 {r}"),
    Case("update --pids-limit some {r}", output="any"),
    Case("update --cpu-share 512 {r}"),
    Case("update --cpu-period 100000 --cpu-quota 50000 {r}"),
    Case("update --cpu-share many {r}"),
    Case("update -r {w}/resources.json {r}"),
    Case("update -r - {r}", input='{"pids": {"limit": 60}}'),
    Case("update -r - {r}", input="no JSON"),
    Case("update -r {w}/none.json {r}", "no such file or directory"),
    Case("update --kernel-memory 1M {r}", output="any"),
    Case("update --pids-limit 70 {s}"),
]
NEW = [
    Case("spec -b {w}/new", output="any"),
    Case("spec -b {w}/new"),
    Case("spec --rootless -b {w}/rootless"),
    Case("spec -b {w}/none"),
    Case("create -b {b} {r}", "exist"),
    Case("run -b {b} {s}", "exist"),
    Case("create -b {w}/none x", "no such file or directory"),
    Case("create -b {w}/bad x"),
    Case("create -b {b} a/b"),
    Case("create -b {b} ''"),
    Case("create -b {b} --preserve-fds 5 x"),
    Case("create -b {b} --console-socket {w}/none x"),
    Case("create -b {w}/terminal x"),
    Case("run -b {w}/seven {x}"),
    Case("run -b {w}/signal {x}"),
    Case("run -b {w}/missing {x}", "no such file or directory"),
    Case("run -b {w}/hello {x}"),
    Case("run --keep -b {w}/hello {k}"),
    Case("state {k}", output="json"),
    Case("delete {k}"),
]
LIFE = [
    Case("start {r}"),
    Case("start {s}"),
    Case("start {c}"),
    Case("start {c}"),
    Case("delete {r}"),
    Case("delete {s}"),
    Case("delete {s}", NONE),
    Case("delete -f {s}"),
    Case("delete --force {r}"),
    Case("delete {c} -f"),
    Case("list -q"),
]


class Result(NamedTuple):
    """What one invocation did, with the names of containers and places as they are in the table."""

    status: int
    out: str
    err: str


class Program:
    """One program with its containers."""

    def __init__(self, name: str, command: list[str], work: Path) -> None:
        self.command = [*command, "--root", str(work / "state")]
        self.names = {each: f"aioc-test-{name}-{each}" for each in "rcsnkx"} | {
            "w": str(work),
            "b": str(work / "sleep"),
        }
        self.work = work
        write_bundles(work)
        os.mkdir(work / "state", 0o700)

    def __call__(self, case: Case) -> Result:
        words = [word.format(**self.names) for word in _split(case.words)]
        with open(self.work / "out", "w+b") as out, open(self.work / "err", "w+b") as err:
            done = subprocess.run(
                [*self.command, *words],
                input=case.input.encode(),
                stdout=out,  # not pipes: detached processes keep them
                stderr=err,
                timeout=TIMEOUT_S,
                check=False,
            )
        texts = [(self.work / name).read_text(errors="replace") for name in ("out", "err")]
        for letter, name in self.names.items():
            texts = [text.replace(name, f"{{{letter}}}") for text in texts]
        return Result(done.returncode, *texts)

    def prepare(self) -> None:
        for words in ("run -d -b {b} {r}", "create -b {b} {c}", "run --keep -b {w}/hello {s}"):
            done = self(Case(words))
            assert done.status == 0, done.err

    def end(self) -> None:
        for letter in "rcskx":
            self(Case(f"delete --force {{{letter}}}"))


def _split(words: str) -> list[str]:
    import shlex

    return shlex.split(words)


def write_bundles(work: Path) -> None:
    """Bundles of a root with busybox alone, and the files that the table names."""
    rootfs = work / "rootfs"
    for name in ("bin", "etc", "proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin/busybox")
    for name in ("sh", "true", "cat", "id", "pwd", "grep", "sleep"):
        (rootfs / "bin" / name).symlink_to("busybox")
    programs = {
        "sleep": ["sleep", "600"],
        "seven": ["sh", "-c", "exit 7"],
        "signal": ["sh", "-c", "kill -KILL $$"],
        "missing": ["/no/such/program"],
        "hello": ["sh", "-c", "echo hello"],
        "terminal": ["true"],
    }
    subprocess.run(["runc", "spec"], cwd=work, check=True)
    document = json.loads((work / "config.json").read_text())
    (work / "config.json").unlink()
    document["root"] = {"path": str(rootfs)}
    for name, args in programs.items():
        (work / name).mkdir()
        document["process"] |= {"args": args, "terminal": name == "terminal"}
        (work / name / "config.json").write_text(json.dumps(document))
    for name in ("new", "rootless", "bad"):
        (work / name).mkdir()
    (work / "bad/config.json").write_text("{")
    (work / "bad.json").write_text("{")
    process = document["process"] | {"args": ["sh", "-c", "echo $PWD; exit 3"], "terminal": False}
    (work / "process.json").write_text(json.dumps(process))
    (work / "resources.json").write_text('{"pids": {"limit": 40}}')


def shape(value: Any) -> Any:
    """Keep the keys of a JSON value; of a list its first element."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def differences(case: Case, theirs: Result, ours: Result) -> list[str]:
    """What one invocation differs in, a line each."""
    found = []
    if theirs.status != ours.status:
        found.append(f"status {theirs.status} -> {ours.status}")
    if case.output == "same" and _plain(theirs.out) != _plain(ours.out):
        found.append(f"output {theirs.out[:200]!r} -> {ours.out[:200]!r}")
    if case.output == "json":
        found += [f"json {each}" for each in json_differences(theirs.out, ours.out)]
    if bool(theirs.status) and bool(ours.status) and case.phrase:
        found += [
            f"error lacks {case.phrase!r}: {result.err.strip()!r}"
            for result in (theirs, ours)
            if case.phrase not in result.err.lower()
        ]
    if ours.status and not case.words.startswith("exec {r} sh") and not ours.err and theirs.err:
        found.append(f"error {theirs.err.strip()!r} -> nothing")
    return found


def _plain(text: str) -> str:
    """Take out what differs from container to container: numbers, dates, spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[0-9]{4}-[0-9T:.Z-]+|\b[0-9]{2,}\b", "N", text))


def json_differences(theirs: str, ours: str) -> list[str]:
    one, other = (shape(json.loads(text)) if text.strip() else None for text in (theirs, ours))
    return sorted(_keys(one, other, ""))


def _keys(one: Any, other: Any, place: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{place}.{key} missing" for key in one.keys() - other.keys()]
        added = [f"{place}.{key} added" for key in other.keys() - one.keys()]
        below = [_keys(one[key], other[key], f"{place}.{key}") for key in one.keys() & other.keys()]
        return [*missing, *added, *(each for found in below for each in found)]
    if isinstance(one, list) and isinstance(other, list) and one and other:
        return _keys(one[0], other[0], f"{place}[]")
    return [] if one == other or not (one and other) else [f"{place} {one} -> {other}"]


def explained() -> list[re.Pattern[str]]:
    """Patterns of the page, over "words: difference"."""
    text = PAGE.read_text().partition("## The command line")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in text.splitlines()]
    return [re.compile(row[0].strip("`").replace("\\|", "|")) for row in rows if row[0].startswith("`")]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Case, Result, Result]]:
    """Every invocation by both, each program in a thread of its own."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "bytecode"))
    table = cases()
    results: dict[str, list[Result]] = {}

    def play(name: str, command: list[str]) -> None:
        (tmp_path / name).mkdir()
        program = Program(name, command, tmp_path / name)
        try:
            program.prepare()
            results[name] = [program(case) for case in table]
        finally:
            program.end()

    threads = [threading.Thread(target=play, args=each) for each in (("runc", ["runc"]), ("ours", OURS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(zip(table, results["runc"], results["ours"], strict=True))


def test_as_runc(played: list[tuple[Case, Result, Result]]) -> None:
    assert len(played) >= 150
    patterns = explained()
    lines = [f"{case.words}: {each}" for case, *results in played for each in differences(case, *results)]
    print(f"{len(played)} invocations, {len(lines)} differences")
    unexplained = [line for line in lines if not any(pattern.fullmatch(line) for pattern in patterns)]
    print(*unexplained, sep="\n")
    assert unexplained == []


def test_the_page_says_how_many() -> None:
    assert f"\n{len(cases())} invocations of runc" in PAGE.read_text()
