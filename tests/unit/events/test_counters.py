"""What follows from what the kernel has counted: events, verdicts, and no false ones."""

from __future__ import annotations

import itertools

import pytest

from aiocontainer.events.counters import Above, Counters, Evidence, notices, oom_victims, parse, verdict
from aiocontainer.events.exit_status import OomVerdict
from aiocontainer.events.notices import Empty, Frozen, LimitHit, Oom, Thawed

KILLED = Evidence(killed=True)
BY_ITSELF = Evidence(killed=False)


def told(before: Counters, now: Counters) -> list[object]:
    return list(notices("c", before, now, 1.0))


def test_keyed_lines_are_read_and_others_left_out() -> None:
    assert parse(b"oom 1\noom_kill 20\nbad\nmax max\n") == {b"oom": 1, b"oom_kill": 20}
    assert parse(None) == {}


def test_each_kill_is_told_once() -> None:
    first, second = Counters(kills=2, own_kills=2), Counters(kills=5, own_kills=3)
    assert told(Counters(), first) == [Oom(id="c", at=1.0, kills=2)]
    assert told(first, first) == []
    assert told(first, second) == [Oom(id="c", at=1.0, kills=3, below=2)]


def test_a_change_of_something_else_is_no_kill() -> None:
    """A reader that looks whether the count is not zero tells of the same kill again at each change."""
    before = Counters(kills=1, own_kills=1, high=3)
    assert told(before, before._replace(high=5)) == [LimitHit(id="c", at=1.0, limit="memory.high", hits=2)]


def test_a_group_may_be_its_own_or_one_above() -> None:
    own = told(Counters(), Counters(kills=3, own_kills=3, group_kills=1))
    above = told(
        Counters(above=(Above(), Above())), Counters(kills=3, own_kills=3, above=(Above(), Above(1, 1)))
    )
    assert [event.group for event in (*own, *above) if isinstance(event, Oom)] == [True, True]


def test_the_first_of_a_group_is_told_once() -> None:
    """The kernel counts it by itself, then the group, then all of the group."""
    steps = [Counters(), Counters(kills=1, own_kills=1), Counters(kills=3, own_kills=3, group_kills=1)]
    events = [event for pair in itertools.pairwise(steps) for event in told(*pair)]
    assert [(event.kills, event.below, event.group) for event in events if isinstance(event, Oom)] == [
        (1, 0, False),
        (1, 0, True),
    ]


def test_states_are_told_when_they_change() -> None:
    runs, frozen = Counters(populated=True, frozen=False), Counters(populated=True, frozen=True)
    assert [type(event) for event in told(runs, frozen)] == [Frozen]
    assert [type(event) for event in told(frozen, runs)] == [Thawed]
    assert [type(event) for event in told(runs, runs._replace(populated=False))] == [Empty]
    assert told(Counters(), runs) == []  # what was never empty does not become full
    assert told(Counters(), Counters(populated=False)) == []


def test_standing_still_for_want_of_memory_is_told() -> None:
    assert told(Counters(), Counters(stuck=True)) == [Oom(id="c", at=1.0, kills=0)]


@pytest.mark.parametrize(
    ("last", "evidence", "expected"),
    [
        (Counters(), KILLED, None),
        (Counters(), BY_ITSELF, None),
        (Counters(kills=1, ooms=1), KILLED, (1, True, False, "container")),
        (Counters(kills=1, ooms=1), BY_ITSELF, (1, False, False, "container")),
        (Counters(kills=1, ooms=1), Evidence(killed=True, shot=True), (1, False, False, "container")),
        (Counters(kills=1, ooms=1), Evidence(killed=True, victim=False), (1, False, False, "container")),
        (
            Counters(kills=1, ooms=1),
            Evidence(killed=True, victim=True, shot=True),
            (1, True, False, "container"),
        ),
        (Counters(kills=3, ooms=1, group_kills=1), KILLED, (2, True, True, "container")),
        (Counters(kills=2, ooms=1, group_kills=1), KILLED, (1, True, True, "container")),
        (Counters(kills=1, ooms=1, group_kills=1), KILLED, (1, True, True, "container")),
        (Counters(kills=3, ooms=1), Evidence(killed=True, group=True), (3, True, True, "container")),
        (Counters(kills=1, above=(Above(1),)), KILLED, (1, True, False, "ancestor")),
        (Counters(kills=2, above=(Above(), Above(4, 1))), KILLED, (2, True, True, "ancestor")),
        (Counters(kills=1, above=(Above(),)), KILLED, (1, True, False, "host")),
    ],
)
def test_verdict(last: Counters, evidence: Evidence, expected: tuple[int, bool, bool, str] | None) -> None:
    first = Counters(above=(Above(), Above()))
    found = verdict(first, last, evidence)
    if expected is None:
        assert found is None
    else:
        kills, init, group, limit = expected
        assert found == OomVerdict(kills=kills, init_killed=init, group=group, limit=limit)


def test_what_was_counted_before_is_not_held_against_anybody() -> None:
    first = Counters(kills=4, ooms=4, above=(Above(7),))
    assert verdict(first, first, KILLED) is None
    found = verdict(first, first._replace(kills=5), KILLED)
    assert found is not None
    assert (found.kills, found.limit) == (1, "host")


def test_the_first_reading_can_be_remembered() -> None:
    first = Counters(kills=4, ooms=3, group_kills=1, above=(Above(7, 2), Above()))
    assert Counters.recalled(first.remembered()) == first
    assert Counters.recalled(Counters().remembered()) == Counters()
    assert Counters.recalled(None) == Counters()
    assert Counters.recalled({"kills": "many"}) == Counters()


LOG = [
    b"6,1,1000000,-;usbcore: registered\n SUBSYSTEM=usb\n",
    b"3,2,5000000,-;Memory cgroup out of memory: Killed process 41 (python3) total-vm:1kB\n",
    b"3,3,9000000,-;Out of memory: Killed process 42 (x) total-vm:1kB, anon-rss:0kB\n",
    b"12,4,9500000,-;Memory cgroup out of memory: Killed process 43 (forged) total-vm:1kB\n",
    b"junk",
]


def test_the_kernels_log_names_victims() -> None:
    assert oom_victims(LOG, 2.0) == {41, 42}
    assert oom_victims(LOG, 6.0) == {42}, "an earlier process had that number"


def test_a_log_that_does_not_reach_back_says_nothing() -> None:
    assert oom_victims(LOG, 0.5) is None
    assert oom_victims([], 0.5) is None
