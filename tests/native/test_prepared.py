"""A network namespace made before it is asked for: used once, whole, and never by who wants the host's."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

import pytest
from talk import output, program, send, shell, step

from aiocontainer import native
from aiocontainer.native._lib import lib

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NEWNET, NEWUTS = 0x40000000, 0x4000000
KEPT_S = 2.0


def prepared(spawner: native.Spawner) -> list[str]:
    """The network namespaces that the spawner holds, besides the one that it is in."""
    directory = f"/proc/{spawner.pid}/fd"
    links = set()
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):  # closed meanwhile
            links.add(os.readlink(f"{directory}/{name}"))
    own = os.readlink(f"/proc/{spawner.pid}/ns/net")
    return [link for link in links if re.match(r"net:", link) and link != own]


def wait_until_prepared(spawner: native.Spawner) -> str:
    deadline = time.monotonic() + 5
    while not (found := prepared(spawner)):
        assert time.monotonic() < deadline, "none was made"
        time.sleep(0.001)
    (one,) = found
    return one


def networked(spawner: native.Spawner, **how: bool) -> list[str]:
    """Network namespace, interface lines and namespace descriptors of a process in a new namespace."""
    script = "readlink /proc/self/ns/net; wc -l < /proc/net/dev; ls -l /proc/self/fd | grep -c net: || true"
    steps = [step("UNSHARE", a=NEWNET | NEWUTS), step("LOOPBACK"), *shell(script)]
    return output(spawner, steps, own_network=True, **how).split()


def test_each_has_lo_alone(spawner: native.Spawner) -> None:
    host = os.readlink("/proc/self/ns/net")
    assert prepared(spawner) == []  # nobody has asked for one yet
    for number in range(5):
        waiting = wait_until_prepared(spawner) if number else None
        link, lines, descriptors = networked(spawner)
        assert link != host
        assert waiting in (None, link)
        assert (lines, descriptors) == ("3", "0")  # two of headings
    assert os.readlink(f"/proc/{spawner.pid}/ns/net") == host


def test_each_is_used_once(spawner: native.Spawner) -> None:
    steps = [step("UNSHARE", a=NEWNET), step("PAUSE", a=lib.PAUSE_MAPS), *program("/bin/true")]
    conversations = []
    for _ in range(4):
        conversations.append(send(spawner, steps, own_network=True))
        conversations[-1].until(native.REPLY_PAUSED)
        wait_until_prepared(spawner)
    for conversation in conversations:
        if not conversation.processes:
            conversation.until(native.REPLY_SPAWNED)
    links = [os.readlink(f"/proc/{each.processes[0].value}/ns/net") for each in conversations]
    for conversation in conversations:
        conversation.proceed()
        conversation.to_end()
        conversation.close()
        assert conversation.exits()[0].code == 0
    assert len({*links, *prepared(spawner), os.readlink("/proc/self/ns/net")}) == 4 + 1 + 1


def test_lo_is_up(spawner: native.Spawner) -> None:
    """What is made beforehand has its addresses before the plan says so, too."""
    for steps in ([step("LOOPBACK")], []):
        plan = [step("UNSHARE", a=NEWNET), *steps, *shell("cat /proc/net/fib_trie")]
        assert "127.0.0.1" in output(spawner, plan, own_network=True)
        wait_until_prepared(spawner)


def test_who_shares_the_network_gets_the_hosts(spawner: native.Spawner) -> None:
    networked(spawner)
    waiting = wait_until_prepared(spawner)
    host = os.readlink("/proc/self/ns/net")
    assert output(spawner, shell("readlink /proc/self/ns/net")).strip() == host
    assert prepared(spawner) == [waiting]


def test_who_does_not_say_that_it_may_makes_its_own(spawner: native.Spawner) -> None:
    """As one whose network belongs to a user namespace of its own."""
    networked(spawner)
    waiting = wait_until_prepared(spawner)
    link = output(spawner, [step("UNSHARE", a=NEWNET), *shell("readlink /proc/self/ns/net")]).strip()
    assert link not in (waiting, os.readlink("/proc/self/ns/net"))
    assert prepared(spawner) == [waiting]


def test_one_that_nobody_wants_is_thrown_away(spawner: native.Spawner) -> None:
    networked(spawner)
    wait_until_prepared(spawner)
    time.sleep(KEPT_S + 0.5)
    assert prepared(spawner) == []
    assert len(networked(spawner)) == 3
