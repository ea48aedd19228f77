"""The same on PostgreSQL and a real Kafka: two processes' worth of towns, dying, a broker's log."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import pytest

from bastide.base.errors import Unavailable
from bastide.engines.bus.service import consumer
from bastide.engines.log.contract import LogAway
from tests.engines.bus.kit import QUICK, bus_of, by_item, check_street, log_of, quiet, shops, until
from tests.engines.bus.street.kiosk.contract import SALES
from tests.engines.bus.street.ledger import manifest as ledger
from tests.engines.bus.test_crashes import check_after, killed
from tests.engines.log import kafka_kit

GROUPS = ("kiosk.counts", "ledger.books", "ledger.copyists")
SESSION_S = 6.0  # the shortest that a broker takes: so long a dead member's partitions rest

pytestmark = [pytest.mark.engine("postgres"), pytest.mark.engine("kafka"), pytest.mark.timeout(180)]


@pytest.fixture
def kafka(monkeypatch):
    """Its URL; nothing of the street is there."""
    monkeypatch.setattr(kafka_kit, "OURS", ("kiosk.", "ledger."))
    monkeypatch.setattr(kafka_kit, "GROUPS", GROUPS)
    monkeypatch.setattr(consumer, "SESSION_S", SESSION_S)
    url = kafka_kit.cleared(kafka_kit.shared_url())
    yield url
    kafka_kit.cleared(url)


@pytest.fixture
def environ(kafka, postgres):
    return {**postgres, **QUICK, "BASTIDE_LOG_URL": kafka}


@pytest.mark.box("bus.kafka")
async def test_two_towns_on_one_database_and_one_kafka_give_each_event_its_effect_once(
    tmp_path, environ
):
    """Each has a relay of one outbox, a journal of its own, and a member of each group."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(shops(environ, tmp_path / "a"))
        async with shops(environ, tmp_path / "b") as other:
            items = [f"i{n}" for n in range(6)]

            async def sells(kiosk, item, times):
                for _ in range(times):
                    await kiosk.sell(item)
                    kiosk.passes(f"{item}-{id(kiosk)}")

            for _ in range(2):
                towns = (one[0], other[0])
                await asyncio.gather(*(sells(k, item, 5) for k in towns for item in items))
            await until(partial(_has_drained, bus_of(other[2], "kiosk")))
        await asyncio.gather(*(sells(one[0], item, 3) for item in items))
        await quiet(one[2])
        sold, lines = await one[0].sold(), await one[1].lines()
        assert len(sold) == 6 * (2 * 2 * 5 + 3)
        assert by_item(lines) == by_item(sold)
        assert len(await one[0].passed()) == len(sold)
        assert bus_of(one[2], "ledger").consumers["books"].error == ""


async def _has_drained(bus):
    return bus.drain.unrelayed == 0


@pytest.mark.box("bus.kafka")
@pytest.mark.box("bus.crash")
@pytest.mark.parametrize(("point", "hit"), [("bus.appended", 2), ("bus.handled", 4)], ids=str)
async def test_on_kafka_each_event_has_its_effect_once_whatever_await_it_dies_at(
    tmp_path, monkeypatch, environ, point, hit
):
    monkeypatch.setattr(ledger, "HATED", {"gin"})
    told = killed(tmp_path, environ, point, hit)
    await check_after(tmp_path, environ, told)


@pytest.mark.box("bus.kafka")
@pytest.mark.box("bus.log-away")
@pytest.mark.shows("bus.outage")
async def test_while_kafka_is_away_all_is_sold_and_told_when_it_is_back(tmp_path, monkeypatch):
    monkeypatch.setattr(consumer, "SESSION_S", SESSION_S)
    kafka_kit.shared_url()  # or else there is none
    with kafka_kit.own_kafka() as kafka:
        environ = {**QUICK, "BASTIDE_LOG_URL": kafka.url}
        async with shops(environ, tmp_path) as (kiosk, lines, town):
            sold, passed = [], []

            async def trade(times):
                for _ in range(times):
                    sold.append(("tea", await kiosk.sell("tea")))
                    passed.append(f"p{len(passed):06}")
                    kiosk.passes(passed[-1])

            await trade(10)
            await lines.until(10)
            await asyncio.to_thread(kafka.halt)
            await trade(20)
            await until(partial(_is_ill, bus_of(town, "kiosk")), within_s=40)
            assert len(await lines.lines()) == 10
            await asyncio.to_thread(kafka.start)
            await until(partial(_has_drained, bus_of(town, "kiosk")), within_s=40)
            await quiet(town)
            await check_street(town, acknowledged=sold, passed=passed)


async def _is_ill(bus):
    try:
        await bus.health()
    except Unavailable:
        return True
    return False


@pytest.mark.box("bus.kafka")
async def test_what_kafka_dropped_unheard_is_passed_over_and_the_rest_heard(
    tmp_path, environ, kafka
):
    """The group was away for longer than its events are kept."""
    async with shops(environ, tmp_path) as (kiosk, lines, town):
        await kiosk.sell("tea")
        await lines.until(1)
        lines.away = LogAway("so that nothing is heard")
        for _ in range(6):
            await kiosk.sell("tea")
        await until(bus_of(town, "kiosk").outbox.until_sent)
        [partition] = [
            number
            for number, ends in enumerate(await log_of(town, "kiosk").ends(SALES.name))
            if ends.next
        ]
    async with kafka_kit.kafka_tools(kafka, partitions=1) as tools:
        await tools.delete_below(SALES.name, partition, 4)
    async with shops(environ, tmp_path) as (kiosk, lines, town):
        await kiosk.sell("tea")
        assert await lines.until(5) == [("tea", n) for n in (0, 4, 5, 6, 7)]


@pytest.mark.shows("bus.client")
@pytest.mark.box("bus.kafka")
async def test_another_client_of_kafka_reads_the_events_as_cloud_events(tmp_path, environ, kafka):
    from confluent_kafka import Consumer

    async with shops(environ, tmp_path) as (kiosk, lines, _):
        for _ in range(5):
            await kiosk.sell("tea")
        await lines.until(5)
    reader = Consumer(
        {
            "bootstrap.servers": kafka.removeprefix("kafka://"),
            "group.id": "ledger.copyists",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    reader.subscribe([SALES.name])
    found = await asyncio.to_thread(reader.consume, 5, 30)
    reader.close()
    assert [record.key() for record in found] == [b"tea"] * 5
    assert {tuple(record.headers()) for record in found} == {
        (("content-type", b"application/cloudevents+json"),)
    }
    events = [msgspec.json.decode(record.value()) for record in found]
    assert [event["data"] for event in events] == [{"item": "tea", "number": n} for n in range(5)]
    assert {event["specversion"] for event in events} == {"1.0"}
    assert len({(event["source"], event["id"]) for event in events}) == 5
