"""On a real Kafka: outages, limits, clients that are not ours, and what a URL may say."""

import asyncio
import sys
import time

import pytest

from bastide.base.errors import Invalid, Unavailable
from bastide.base.settings import parse_url
from bastide.engines.log.contract import (
    LogAway,
    Place,
    Record,
    RecordTooLarge,
    TooMuchPending,
    Topic,
    TopicRefused,
)
from bastide.engines.log.core.partitioner import partition_of
from bastide.town import open_town
from tests.engines.log.kafka_kit import admin, cleared, opened_backend, own_kafka, shared_url
from tests.engines.log.town_kit import PATIENCE_S, polled, read_all, some, until, values

pytestmark = pytest.mark.engine("kafka")

CLICKS = "owner.clicks"
TIMEOUT_S = 1.0
SESSION_S = 2.0
SLACK_S = 3.0  # a shared machine, and a second of grace
AWAY = "kafka://127.0.0.1:9"  # nobody listens there


@pytest.fixture
def url():
    return cleared(shared_url())


@pytest.fixture
async def log(url):
    async with opened_backend(url) as backend, backend.view("owner") as log:
        yield log


@pytest.fixture(scope="module")
def server():
    shared_url()
    with own_kafka() as server:
        yield server


@pytest.fixture
async def own(server):
    """Of the server that a test stops, with little patience."""
    server.start()  # a test that failed may have left it halted
    url = f"{cleared(server.url)}?timeout_s={TIMEOUT_S}"
    async with opened_backend(url) as backend, backend.view("owner") as log:
        yield log


async def seconds(awaitable):
    began_s = time.monotonic()
    await awaitable
    return time.monotonic() - began_s


async def refused(awaitable):
    with pytest.raises(LogAway) as caught:
        await awaitable
    return caught.value


async def done_again(verb):
    """As a caller tries again until Kafka is back."""
    async with asyncio.timeout(3 * PATIENCE_S):
        while True:
            try:
                return await verb()
            except LogAway:
                await asyncio.sleep(0.05)  # as a caller backs off


# --- outages ------------------------------------------------------------------------------------


@pytest.mark.shows("log.outage")
@pytest.mark.box("log.kafka-outage")
async def test_a_broker_that_is_killed_is_away_in_time_and_heals_without_a_restart(own, server):
    """What was acknowledged is there afterwards, each once and in order."""
    kept, refusals = [], 0
    stopping = asyncio.Event()

    async def writing():
        nonlocal refusals
        for n in range(1_000_000):
            if stopping.is_set():
                return
            try:
                await own.append(CLICKS, some(1, first=n))
            except LogAway:
                refusals += 1
            else:
                kept.append(n)

    async with own.member("g", [CLICKS], session_s=SESSION_S) as member:
        task = asyncio.create_task(writing())
        await until(lambda: len(kept) > 20)
        entries = list(await polled(member, 10))
        await asyncio.to_thread(server.halt)
        await until(lambda: refusals > 0)
        for asked in (
            own.read(CLICKS, 0, 0),
            own.ends(CLICKS),
            own.topics(),
            own.create(Topic("owner.new")),
            own.append("owner.newer", some(1)),
            own.groups(),
            own.lag("g"),
            own.identity(),
            own.health(),
            member.commit([Place(CLICKS, 0, 1)]),
        ):
            assert await seconds(refused(asked)) < TIMEOUT_S + SLACK_S
        before = len(kept)
        await asyncio.to_thread(server.start)
        await until(lambda: len(kept) > before + 20)
        stopping.set()
        await task
        await done_again(own.health)
        last = (await own.ends(CLICKS))[0].next
        async with asyncio.timeout(60):
            while not entries or entries[-1].offset < last - 1:
                entries += await done_again(lambda: member.poll(wait_s=0.2))
        await done_again(lambda: member.commit([Place(CLICKS, 0, last)]))
    found = [int(value) for value in values(await read_all(own, CLICKS))]
    assert set(kept) <= set(found)
    assert found == sorted(set(found))
    assert {int(value) for value in values(entries)} == set(found)  # some of them twice
    assert (await own.lag("g"))[0].committed == last


@pytest.mark.shows("log.outage")
@pytest.mark.box("log.kafka-outage")
async def test_a_broker_that_stands_still_is_away_in_time_and_heals(own, server):
    await done_again(lambda: own.append(CLICKS, some(1)))
    assert len(await own.read(CLICKS, 0, 0)) == 1
    with server.paused():
        error = await refused(own.append(CLICKS, some(1, first=1)))
        assert error.outcome == "unknown"
        assert await seconds(refused(own.read(CLICKS, 0, 1))) < TIMEOUT_S + SLACK_S
        assert await seconds(refused(own.health())) < TIMEOUT_S + SLACK_S
    await done_again(lambda: own.append(CLICKS, some(1, first=2)))
    await done_again(own.health)
    found = values(await done_again(lambda: read_all(own, CLICKS)))
    assert [value for value in found if value != b"1"] == [b"0", b"2"]


async def test_who_only_listens_is_told_that_kafka_is_away(own, server):
    async with own.member("g", [CLICKS], session_s=SESSION_S) as member:
        assert not await member.poll(wait_s=0.1)
        await asyncio.to_thread(server.halt)
        try:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(LogAway):
                    await _polled_for_ever(member)
        finally:
            await asyncio.to_thread(server.start)
        await done_again(lambda: own.append(CLICKS, some(1)))
        assert values(await done_again(lambda: polled(member, 1, 3 * PATIENCE_S))) == [b"0"]


async def _polled_for_ever(member):
    while True:
        await member.poll(wait_s=0.1)


async def test_a_town_opens_while_kafka_is_away_and_is_not_well(listed):
    environ = {"BASTIDE_LOG_URL": f"{AWAY}?timeout_s=0.3"}
    async with open_town(["owner"], environ) as town:
        log = town.served("owner").engine
        for asked in (
            log.append(CLICKS, some(1)),
            log.read(CLICKS, 0, 0),
            log.identity(),
            log.member("g", [CLICKS]).__aenter__(),
        ):
            assert await seconds(refused(asked)) < TIMEOUT_S + SLACK_S
        assert not (await town.health())["log"].ok
        assert town.wire_of("log") == ""


# --- limits -------------------------------------------------------------------------------------


async def test_more_than_may_wait_is_refused_and_the_rest_is_taken(url):
    async with opened_backend(f"{url}?pending_mb=1") as backend, backend.view("owner") as log:
        await log.append(CLICKS, some(1))
        large = [Record(b"x" * 600_000)]
        told = await asyncio.gather(
            *(log.append(CLICKS, large) for _ in range(4)), return_exceptions=True
        )
        refusals = [one for one in told if isinstance(one, TooMuchPending)]
        assert len(refusals) == 3
        assert refusals[0].retry_after_s > 0
        assert (await log.append(CLICKS, large))[0].offset == 2


async def test_what_waits_for_a_broker_that_is_away_is_bounded_and_let_go(own, server):
    """By more than the default of what may wait."""
    await done_again(lambda: own.append(CLICKS, some(1)))
    large = [Record(b"x" * 1_000_000)]
    with server.paused():
        told = await asyncio.gather(
            *(own.append(CLICKS, large) for _ in range(80)), return_exceptions=True
        )
        kinds = {type(one) for one in told}
        assert kinds == {LogAway, TooMuchPending}
        assert await seconds(refused(own.append(CLICKS, large))) < TIMEOUT_S + SLACK_S
    await done_again(lambda: own.append(CLICKS, some(1)))


async def test_a_record_that_the_topic_does_not_take_is_too_large(url, log):
    from confluent_kafka.admin import NewTopic

    new = NewTopic(CLICKS, num_partitions=1, config={"max.message.bytes": "1000"})
    client = admin(url)
    client.create_topics([new])[CLICKS].result(PATIENCE_S)
    with pytest.raises(RecordTooLarge):
        await log.append(CLICKS, [Record(b"x" * 2000)])
    assert (await log.append(CLICKS, some(1)))[0].offset == 0


async def test_as_many_replicas_as_there_are_no_brokers_for_are_refused(url):
    async with opened_backend(f"{url}?replicas=3") as backend, backend.view("owner") as log:
        with pytest.raises(TopicRefused, match="replica"):
            await log.create(Topic(CLICKS))


# --- clients that are not ours ------------------------------------------------------------------


async def test_the_log_is_named_as_the_cluster_is(url, log):
    client = admin(url)
    described = await asyncio.wrap_future(client.describe_cluster(request_timeout=PATIENCE_S))
    assert await log.identity() == described.cluster_id


async def test_keys_are_where_kafkas_own_partitioner_puts_them(url, log):
    from confluent_kafka import Producer

    await log.create(Topic(CLICKS, partitions=7))
    keys = [b"key %d" % n for n in range(50)]
    ours = await log.append(CLICKS, [Record(b"ours", key) for key in keys])
    theirs = {}
    producer = Producer(
        {"bootstrap.servers": parse_url(url).location, "partitioner": "murmur2_random"}
    )
    for key in keys:
        producer.produce(
            CLICKS, b"theirs", key, on_delivery=lambda _, m: theirs.update({m.key(): m.partition()})
        )
    assert await asyncio.to_thread(producer.flush, PATIENCE_S) == 0
    assert [place.partition for place in ours] == [theirs[key] for key in keys]
    assert [place.partition for place in ours] == [partition_of(key, 7) for key in keys]


async def test_what_a_transaction_aborted_is_passed_over_and_an_open_one_is_waited_for(url, log):
    from confluent_kafka import Producer

    await log.append(CLICKS, some(1))
    producer = Producer({"bootstrap.servers": parse_url(url).location, "transactional.id": "t"})
    await asyncio.to_thread(producer.init_transactions, PATIENCE_S)

    def wrote(value):
        producer.begin_transaction()
        producer.produce(CLICKS, value)
        producer.flush(PATIENCE_S)

    await asyncio.to_thread(wrote, b"aborted")
    assert not await log.read(CLICKS, 0, 1)
    await asyncio.to_thread(producer.abort_transaction, PATIENCE_S)
    assert not await log.read(CLICKS, 0, 1)
    await asyncio.to_thread(wrote, b"committed")
    waiting = asyncio.create_task(log.read(CLICKS, 0, 1, wait_s=PATIENCE_S))
    await asyncio.to_thread(producer.commit_transaction, PATIENCE_S)
    assert values(await waiting) == [b"committed"]
    async with log.member("g", [CLICKS]) as member:
        assert values(await polled(member, 2)) == [b"0", b"committed"]


async def test_many_who_wait_each_get_what_comes(log):
    """More than there are consumers to read with."""
    await log.create(Topic(CLICKS, partitions=20))
    waiting = [asyncio.create_task(log.read(CLICKS, n, 0, wait_s=60)) for n in range(20)]
    await asyncio.sleep(0)
    for n in range(20):
        await log.append(CLICKS, some(1, first=n), partition=n)
    async with asyncio.timeout(60):
        assert [values(found) for found in await asyncio.gather(*waiting)] == [
            [b"%d" % n] for n in range(20)
        ]


async def test_a_poll_that_is_cancelled_loses_nothing(log):
    async with log.member("g", [CLICKS]) as member:
        for n in range(10):
            polling = asyncio.create_task(member.poll(wait_s=PATIENCE_S))
            await asyncio.sleep(0)
            appending = asyncio.create_task(log.append(CLICKS, some(1, first=n)))
            await asyncio.sleep(0.001 * n)
            polling.cancel()
            [told, _] = await asyncio.gather(polling, appending, return_exceptions=True)
            if isinstance(told, asyncio.CancelledError):
                told = await polled(member, 1)
            assert values(told) == [b"%d" % n]


# --- what a URL may say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "kafka://",
        "kafka://one,,two",
        "kafka://one/path",
        "kafka://user:secret@one",
        "kafka://one?unknown=1",
        "kafka://one?timeout_s=0",
        "kafka://one?pending_mb=0",
        "kafka://one?replicas=-2",
    ],
)
async def test_a_url_that_says_what_is_not_spoken_is_refused(text):
    with pytest.raises(Invalid) as caught:
        await opened_backend(text).__aenter__()
    assert "secret" not in str(caught.value)


async def test_a_library_that_is_missing_is_named_with_the_extra(listed, monkeypatch):
    for name in [name for name in sys.modules if "log.backends.kafka" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(Unavailable, match="the extra 'kafka' of bastide"):
        async with open_town(["owner"], {"BASTIDE_LOG_URL": AWAY}):
            pass
