"""What every backend keeps: records, topics, refusals."""

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Runtime
from bastide.engines.log.contract import (
    APPEND_RECORDS_MAX,
    PARTITIONS_MAX,
    READ_BYTES_MAX,
    RECORD_BYTES_MAX,
    TOPIC_BYTES_MAX,
    TOPICS_MAX,
    WAIT_S_MAX,
    Ends,
    Entry,
    OffsetAhead,
    OffsetGone,
    PartitionRefused,
    Place,
    Record,
    RecordRefused,
    RecordTooLarge,
    Topic,
    TopicExists,
    TopicMissing,
    TopicOfAnother,
    TopicRefused,
)
from bastide.engines.log.core.partitioner import partition_of
from tests.engines.log.town_kit import PATIENCE_S, read_all, some, until, values

CLICKS = "owner.clicks"
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


# --- append and read ----------------------------------------------------------------------------


@pytest.mark.box("log.order")
async def test_what_is_appended_is_read_in_order_as_it_was(log):
    records = [
        Record(b"one"),
        Record(b"", b"", [("name", b"value"), ("name", b""), ("ключ", b"\0\xff")]),
        Record(None, b"gone"),
    ]
    places = await log.append(CLICKS, records, partition=0)
    assert places == [Place(CLICKS, 0, n) for n in range(3)]
    assert await log.append(CLICKS, some(1)) == [Place(CLICKS, 0, 3)]
    found = await log.read(CLICKS, 0, 0)
    assert [entry.record for entry in found[:3]] == [
        Record(b"one"),
        Record(b"", b"", (("name", b"value"), ("name", b""), ("ключ", b"\0\xff"))),
        Record(None, b"gone"),
    ]
    assert [(e.topic, e.partition, e.offset) for e in found] == [(CLICKS, 0, n) for n in range(4)]


@pytest.mark.box("log.keyed")
async def test_records_of_one_key_share_a_partition_and_keep_their_order(log):
    await log.create(Topic(CLICKS, partitions=5))
    sent = [Record(b"%d" % n, b"key %d" % (n % 7)) for n in range(200)]
    places = await log.append(CLICKS, sent)
    assert [p.partition for p in places] == [partition_of(r.key, 5) for r in sent]
    assert len({p.partition for p in places}) > 1
    for number in range(5):
        mine = [n for n, place in enumerate(places) if place.partition == number]
        assert [places[n].offset for n in mine] == list(range(len(mine)))
        assert values(await read_all(log, CLICKS, number)) == [b"%d" % n for n in mine]


async def test_records_without_a_key_go_round_all_partitions_each_append_to_one(log):
    await log.create(Topic(CLICKS, partitions=3))
    seen = [{p.partition for p in await log.append(CLICKS, some(4))} for _ in range(6)]
    assert all(len(one) == 1 for one in seen)
    assert [one.pop() for one in seen[:3]] != [0, 0, 0]
    assert [len(await read_all(log, CLICKS, n)) for n in range(3)] == [8, 8, 8]


async def test_all_go_to_the_partition_that_is_named_whatever_their_keys(log):
    await log.create(Topic(CLICKS, partitions=3))
    places = await log.append(CLICKS, [Record(b"v", b"%d" % n) for n in range(9)], partition=2)
    assert places == [Place(CLICKS, 2, n) for n in range(9)]


async def test_appends_at_once_each_keep_together_and_in_their_order(log):
    sent = [some(5, first=10 * n) for n in range(20)]
    await asyncio.gather(*(log.append(CLICKS, one) for one in sent))
    found = values(await read_all(log, CLICKS))
    assert len(found) == 100
    for at in range(0, 100, 5):
        first = int(found[at])
        assert found[at : at + 5] == [b"%d" % n for n in range(first, first + 5)]


async def test_reading_from_within_an_append_begins_there(log):
    await log.append(CLICKS, some(10))
    assert values(await log.read(CLICKS, 0, 7)) == [b"7", b"8", b"9"]
    assert not await log.read(CLICKS, 0, 10)


async def test_a_read_gives_one_at_least_and_no_more_bytes_than_were_asked_for(log):
    await log.append(CLICKS, [Record(b"x" * 1000) for _ in range(10)])
    await log.append(CLICKS, [Record(b"x" * 1000) for _ in range(10)])
    assert len(await log.read(CLICKS, 0, 0, bytes_max=1)) == 1
    assert len(await log.read(CLICKS, 0, 3, bytes_max=3_000)) == 3
    assert len(await log.read(CLICKS, 0, 3, bytes_max=2_999)) == 2
    assert len(await log.read(CLICKS, 0, 0)) == 20


@pytest.mark.limit("log.READ_BYTES_MAX")
async def test_no_read_gives_more_than_its_limit(log):
    size = 1 << 19
    for _ in range(18):
        await log.append(CLICKS, [Record(b"x" * size)])
    assert 16 * size == READ_BYTES_MAX
    for asked in (READ_BYTES_MAX, READ_BYTES_MAX + 1, 1 << 30):
        found = await log.read(CLICKS, 0, 0, bytes_max=asked)
        assert 1 < sum(len(entry.record.value) for entry in found) <= READ_BYTES_MAX


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sent=st.lists(
        st.builds(
            Record,
            st.none() | st.binary(max_size=20),
            st.none() | st.binary(max_size=5),
            st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
async def test_any_records_come_back_at_the_places_that_were_told(log, sent):
    places = await log.append("owner.any", sent)
    for place, record in zip(places, sent, strict=True):
        [entry, *_] = await log.read("owner.any", place.partition, place.offset)
        assert isinstance(entry, Entry)
        assert (entry.record.value, entry.record.key) == (record.value, record.key)
        assert list(entry.record.headers) == list(record.headers)


async def test_a_header_whose_name_kafkas_clients_would_cut_is_refused(log):
    await log.append(CLICKS, some(1))
    with pytest.raises(RecordRefused):
        await log.append(CLICKS, [Record(b"1"), Record(b"2", headers=[("na\0me", b"")])])
    assert values(await read_all(log, CLICKS)) == [b"0"]


# --- wait ---------------------------------------------------------------------------------------


async def test_a_read_that_waits_is_woken_by_what_is_appended(log):
    await log.append(CLICKS, some(1))
    waiting = asyncio.create_task(log.read(CLICKS, 0, 1, wait_s=PATIENCE_S * 2))
    await log.append("owner.other", some(1))
    assert not waiting.done()
    await log.append(CLICKS, some(1, first=1))
    async with asyncio.timeout(PATIENCE_S):
        assert values(await waiting) == [b"1"]


async def test_a_read_that_waits_in_vain_gives_nothing(log):
    await log.append(CLICKS, some(1))
    assert not await log.read(CLICKS, 0, 1, wait_s=0.01)


async def test_a_read_that_is_cancelled_leaves_nothing_behind(log):
    await log.append(CLICKS, some(1))
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(log.read(CLICKS, 0, 1, wait_s=PATIENCE_S))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.limit("log.WAIT_S_MAX")
@pytest.mark.parametrize("asked_s", [WAIT_S_MAX, WAIT_S_MAX + 1, 1e9])
async def test_no_read_waits_for_longer_than_its_limit(own_places, asked_s):
    clock = ManualClock()
    async with own_places.open(runtime=Runtime(clock=clock)) as opened:
        log = opened.log
        await log.append(CLICKS, some(1))
        waiting = asyncio.create_task(log.read(CLICKS, 0, 1, wait_s=asked_s))
        await asyncio.sleep(0)
        clock.advance(WAIT_S_MAX - 0.001)
        await log.append("owner.other", some(1))
        assert not waiting.done()
        clock.advance(0.001)
        [partition] = await opened.node.broker.partitions(CLICKS)
        await _woken_in_vain(partition)
        async with asyncio.timeout(PATIENCE_S):
            assert not await waiting


async def _woken_in_vain(partition):
    """As a spurious wake-up, so that the clock is looked at."""
    partition._synced.ring_soon()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


# --- places -------------------------------------------------------------------------------------


async def test_offsets_are_found_by_time(places):
    clock = ManualClock(runtime.now_ms())  # Kafka takes no stamps of next year
    async with places.open(runtime=Runtime(clock=clock)) as opened:
        log, start_ms = opened.log, clock.now_ms()
        for n in range(5):
            await log.append(CLICKS, some(2, first=2 * n))
            clock.advance(10)
        assert [e.stamp_ms - start_ms for e in await log.read(CLICKS, 0, 0)] == [
            0, 0, 10_000, 10_000, 20_000, 20_000, 30_000, 30_000, 40_000, 40_000,
        ]  # fmt: skip
        for after_ms, offset in ((-1, 0), (0, 0), (1, 2), (30_000, 6), (40_000, 8), (40_001, 10)):
            assert await log.offset_at(CLICKS, 0, start_ms + after_ms) == offset


async def test_ends_are_told_of_each_partition(log):
    await log.create(Topic(CLICKS, partitions=2))
    await log.append(CLICKS, some(3), partition=1)
    first, second = await log.ends(CLICKS)
    assert (first.first, first.next, second.first, second.next) == (0, 0, 0, 3)
    assert isinstance(first, Ends)


async def test_ends_tell_the_bytes_of_each_partition(own_places):
    async with own_places.open() as opened:
        log = opened.log
        await log.append(CLICKS, some(1))
        [before] = await log.ends(CLICKS)
        await log.append(CLICKS, [Record(b"x" * 100_000)])
        assert (await log.ends(CLICKS))[0].bytes > before.bytes + 100_000


# --- topics -------------------------------------------------------------------------------------


async def test_topics_are_made_on_first_use_or_before_and_told_by_name(log):
    made = Topic("owner.z", partitions=3, kept_ms=None, kept_bytes=1 << 20)
    await log.create(made)
    await log.append(CLICKS, some(1))
    assert [t for t in await log.topics() if t.name.startswith("owner.")] == [Topic(CLICKS), made]
    with pytest.raises(TopicExists):
        await log.create(Topic(CLICKS))


async def test_as_many_partitions_are_made_on_first_use_as_is_set(places):
    async with places.open(partitions=4) as opened:
        await opened.log.append(CLICKS, some(1))
        assert len(await opened.log.ends(CLICKS)) == 4


async def test_all_may_read_and_only_the_system_it_is_named_after_may_append(places):
    async with places.open() as opened, opened.view("mill") as mill:
        await opened.log.append(CLICKS, some(3))
        assert values(await mill.read(CLICKS, 0, 0)) == [b"0", b"1", b"2"]
        for topic in (CLICKS, "owner", "millet.x", "plain"):
            with pytest.raises(TopicOfAnother):
                await mill.append(topic, some(1))
            with pytest.raises(TopicOfAnother):
                await mill.create(Topic(topic))
        await mill.append("mill.flour", some(1))
        assert values(await opened.log.read("mill.flour", 0, 0)) == [b"0"]


async def test_what_is_not_there_is_missing(log):
    with pytest.raises(TopicMissing):
        await log.read("owner.none", 0, 0)
    with pytest.raises(TopicMissing):
        await log.ends("owner.none")
    with pytest.raises(TopicMissing):
        await log.offset_at("owner.none", 0, 0)
    assert not [t for t in await log.topics() if t.name.startswith("owner.")]


async def test_a_partition_that_is_not_there_is_refused(log):
    await log.create(Topic(CLICKS, partitions=2))
    for number in (-1, 2):
        with pytest.raises(PartitionRefused, match="0 to 1"):
            await log.read(CLICKS, number, 0)
        with pytest.raises(PartitionRefused):
            await log.append(CLICKS, some(1), partition=number)
        with pytest.raises(PartitionRefused):
            await log.offset_at(CLICKS, number, 0)


async def test_an_offset_ahead_of_the_end_is_refused_with_the_end(log):
    await log.append(CLICKS, some(3))
    with pytest.raises(OffsetAhead) as ahead:
        await log.read(CLICKS, 0, 4, wait_s=PATIENCE_S)
    assert ahead.value.next == 3
    for offset in (-1, -(1 << 40)):
        with pytest.raises(OffsetGone):
            await log.read(CLICKS, 0, offset)


async def test_an_offset_that_was_deleted_is_gone_with_the_first_that_is_kept(places):
    async with places.open() as opened:
        log = opened.log
        await log.append(CLICKS, some(10))
        await opened.tools.delete_below(CLICKS, 0, 4)
        with pytest.raises(OffsetGone) as gone:
            await log.read(CLICKS, 0, 3)
        assert gone.value.first == 4
        assert values(await read_all(log, CLICKS)) == [b"%d" % n for n in range(4, 10)]
        assert (await log.ends(CLICKS))[0].first == 4


@pytest.mark.box("log.kept")
async def test_what_is_older_or_more_than_a_topic_keeps_is_dropped_oldest_first(own_places):
    clock = ManualClock()
    async with own_places.open(runtime=Runtime(clock=clock), segment_mb=1) as opened:
        log, broker = opened.log, opened.node.broker
        await log.create(Topic("owner.old", kept_ms=60_000))
        await log.create(Topic("owner.much", kept_ms=None, kept_bytes=3 << 20))
        await log.create(Topic("owner.all", kept_ms=None))
        for _ in range(8):
            for topic in ("owner.old", "owner.much", "owner.all"):
                await log.append(topic, [Record(b"x" * 900_000)])
            clock.advance(20)
        await broker.trim()
        [old], [much], [all_] = [
            await log.ends(topic) for topic in ("owner.old", "owner.much", "owner.all")
        ]
        assert (old.first, old.next) == (5, 8)
        assert much.first >= 5
        assert much.bytes <= 3 << 20
        assert all_.first == 0
        with pytest.raises(OffsetGone):
            await log.read("owner.old", 0, 4)


# --- identity -----------------------------------------------------------------------------------


async def test_a_log_has_one_name_whoever_asks_and_however_it_is_used(places):
    async with places.open() as opened, opened.view("mill") as mill:
        name = await opened.log.identity()
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", name)
        await opened.log.append(CLICKS, some(1))
        assert await opened.log.identity() == await mill.identity() == name


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.limit("log.TOPIC_BYTES_MAX")
async def test_a_topics_name_may_have_so_many_bytes(log):
    longest = "owner." + "x" * (TOPIC_BYTES_MAX - len("owner."))
    await log.append(longest, some(1))
    assert values(await log.read(longest, 0, 0)) == [b"0"]
    with pytest.raises(TopicRefused):
        await log.append(longest + "x", some(1))
    with pytest.raises(TopicRefused):
        await log.create(Topic(longest + "x"))


@pytest.mark.parametrize("name", ["", ".", "..", "owner/x", "owner.ä", "owner x", "owner\n", "a\0"])
async def test_what_is_no_name_of_a_topic_is_refused(log, name):
    with pytest.raises(TopicRefused):
        await log.append(name, some(1))
    with pytest.raises(TopicRefused):
        await log.create(Topic(name))
    with pytest.raises(TopicRefused):
        async with log.member("group", [name]):
            pass


@pytest.mark.limit("log.PARTITIONS_MAX")
async def test_a_topic_may_have_so_many_partitions(own_places):
    async with own_places.open() as opened:
        await opened.log.create(Topic(CLICKS, partitions=PARTITIONS_MAX))
        [place] = await opened.log.append(CLICKS, some(1), partition=PARTITIONS_MAX - 1)
        assert place == Place(CLICKS, PARTITIONS_MAX - 1, 0)


async def test_more_or_less_partitions_than_a_topic_may_have_are_refused(log):
    for count in (0, -1, PARTITIONS_MAX + 1):
        with pytest.raises(TopicRefused):
            await log.create(Topic("owner.more", partitions=count))


async def settled(log):
    """How many topics there are, when none comes or goes any more: Kafka makes and deletes them
    after it has said so, also those of the tests before.
    """
    counts = [-1, len(await log.topics())]
    while counts[-1] != counts[-2]:
        await asyncio.sleep(0.5)  # to see whether nothing happens
        counts.append(len(await log.topics()))
    return counts[-1]


@pytest.mark.limit("log.TOPICS_MAX")
async def test_there_may_be_so_many_topics(log, monkeypatch):
    assert TOPICS_MAX == 10_000
    there = await settled(log)
    monkeypatch.setattr("bastide.engines.log.service.checks.TOPICS_MAX", there + 5)
    for n in range(5):
        await log.append(f"owner.{n}", some(1))
    with pytest.raises(TopicRefused):
        await log.append("owner.5", some(1))
    with pytest.raises(TopicRefused):
        await log.create(Topic("owner.5"))
    await log.append("owner.4", some(1))


@pytest.mark.limit("log.RECORD_BYTES_MAX")
async def test_a_record_may_have_so_many_bytes_key_value_and_headers_together(log):
    key, headers = b"k" * 10, [("name", b"value")]
    value = b"x" * (RECORD_BYTES_MAX - 10 - 9)
    await log.append(CLICKS, [Record(value, key, headers), Record(b"x" * RECORD_BYTES_MAX)])
    assert len((await read_all(log, CLICKS))[0].record.value) == len(value)
    for record in (Record(value + b"x", key, headers), Record(b"x" * (RECORD_BYTES_MAX + 1))):
        with pytest.raises(RecordTooLarge):
            await log.append(CLICKS, [Record(b"small"), record])
    assert (await log.ends(CLICKS))[0].next == 2


@pytest.mark.limit("log.APPEND_RECORDS_MAX")
async def test_an_append_may_have_so_many_records(log):
    places = await log.append(CLICKS, some(APPEND_RECORDS_MAX))
    assert places[-1].offset == APPEND_RECORDS_MAX - 1
    for count in (0, APPEND_RECORDS_MAX + 1):
        with pytest.raises(RecordTooLarge):
            await log.append(CLICKS, some(count))
    assert (await log.ends(CLICKS))[0].next == APPEND_RECORDS_MAX


async def test_records_that_are_too_much_together_are_refused_by_the_contracts_error(own_places):
    async with own_places.open() as opened:
        with pytest.raises(RecordTooLarge):
            await opened.log.append(CLICKS, [Record(b"x" * RECORD_BYTES_MAX)] * 9)
        assert (await opened.log.ends(CLICKS))[0].next == 0
