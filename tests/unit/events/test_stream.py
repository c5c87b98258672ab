"""Queues of consumers: order, bounds, counted loss, cancellation, several at once."""

from __future__ import annotations

import asyncio
import gc

import pytest

from aiocontainer.events.notices import Created, Event, Lost, Oom, Started
from aiocontainer.events.stream import Events, Exchange, Interest
from aiocontainer.events.triggers import threshold


def started(id: str = "c") -> Started:
    return Started(id=id, at=1.0)


async def taken(consumer: Events[Event], count: int) -> list[Event]:
    return [await asyncio.wait_for(anext(consumer), 5) for _ in range(count)]


async def test_every_consumer_gets_what_it_wants() -> None:
    exchange = Exchange()
    everything: Events[Event] = Events(Interest())
    one: Events[Event] = Events(Interest("a"))
    kills: Events[Oom] = Events(Interest("a", kinds=(Oom,)))
    for each in (everything, one, kills):
        exchange.add(each)
    for event in (started("a"), started("b"), Oom(id="a", at=2.0, kills=1)):
        exchange.publish(event)
    exchange.finish()
    assert [event.id async for event in everything] == ["a", "b", "a"]
    assert [type(event) async for event in one] == [Started, Oom]
    assert [event.kills async for event in kills] == [1]


async def test_who_lags_is_told_how_much_is_lost_and_where() -> None:
    consumer: Events[Event] = Events(Interest(), limit=2)
    for number in range(5):
        consumer.put(Created(id=str(number), pid=1))
    assert [event.id for event in await taken(consumer, 1)] == ["0"]
    consumer.put(started("next"))
    found = await taken(consumer, 3)
    assert [event.id for event in found] == ["1", "", "next"]
    assert isinstance(found[1], Lost)
    assert found[1].count == 3


async def test_loss_is_told_also_when_nothing_follows() -> None:
    consumer: Events[Event] = Events(Interest(), limit=1)
    consumer.put(started())
    consumer.put(started())
    consumer.finish()
    found = [event async for event in consumer]
    assert [type(event) for event in found] == [Started, Lost]


async def test_a_cancelled_step_takes_nothing_with_it() -> None:
    consumer: Events[Event] = Events(Interest())
    first = asyncio.create_task(anext(consumer))
    second = asyncio.create_task(anext(consumer))
    await asyncio.sleep(0)
    consumer.put(started("x"))
    first.cancel()  # it was woken for the event already
    assert (await asyncio.wait_for(second, 5)).id == "x"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_everybody_who_waits_hears_of_the_end() -> None:
    consumer: Events[Event] = Events(Interest())
    waiting = [asyncio.create_task(anext(consumer, None)) for _ in range(3)]
    await asyncio.sleep(0)
    consumer.finish()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [None] * 3


async def test_preparing_happens_once_and_its_failure_is_the_first_steps() -> None:
    prepared: list[int] = []

    async def prepare() -> None:
        prepared.append(1)
        await asyncio.sleep(0)
        if len(prepared) == 1:
            raise OSError("no room")

    consumer: Events[Event] = Events(Interest(), prepare=prepare)
    with pytest.raises(OSError, match="no room"):
        await anext(consumer)
    consumer.put(started())
    async with consumer:
        await taken(consumer, 1)
    assert len(prepared) == 2


@pytest.mark.may_block("collects garbage")
async def test_dropping_the_stream_ends_it() -> None:
    exchange, dropped = Exchange(), asyncio.Event()
    consumer: Events[Event] = Events(Interest(), dropped=dropped.set)
    exchange.add(consumer)
    assert exchange.listens("c")
    del consumer
    gc.collect()
    await asyncio.wait_for(dropped.wait(), 5)
    assert not exchange.listens("c")


async def test_pressure_goes_to_those_who_asked_for_that_threshold() -> None:
    exchange = Exchange()
    low, high = threshold("low"), threshold("critical")
    wants: Events[Event] = Events(Interest("c", threshold=low))
    others: Events[Event] = Events(Interest("c", threshold=high))
    none: Events[Event] = Events(Interest("c"))
    for each in (wants, others, none):
        exchange.add(each)
    assert exchange.thresholds("c") == {low, high}
    assert exchange.thresholds("d") == set()
    exchange.publish(started(), low)
    exchange.finish("c")
    assert [len([event async for event in each]) for each in (wants, others, none)] == [1, 0, 0]
