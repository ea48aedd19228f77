"""What the bus takes, and what it refuses."""

import asyncio
from functools import partial

import pytest

from bastide.base import settings
from bastide.base.errors import Invalid
from bastide.engines.bus.contract import (
    BATCH_EVENTS_MAX,
    EVENT_BYTES_MAX,
    KEY_BYTES_MAX,
    EventRefused,
    JournalRefuses,
    TooMuchWaiting,
)
from bastide.engines.bus.model import Settings
from bastide.engines.bus.service.journal import SIZE_EVERY, open_journal
from bastide.engines.log.contract import LogAway
from tests.engines.bus.kit import QUICK, FullDisk, bus_of, log_of, quiet, shops, until
from tests.engines.bus.street.kiosk.contract import (
    NOTES,
    PASSERS,
    SALES,
    Noted,
    Passed,
    Sold,
)
from tests.engines.bus.street.ledger.contract import COPIES, Copied

NOTE_BYTES = len(b'{"text":"","figure":0}')


async def publish(kiosk, topic, *events):
    async def body(tx):
        await kiosk.bus.publish(tx, topic, *events)

    await kiosk.db.transact(body)


@pytest.mark.limit("bus.EVENT_BYTES_MAX")
async def test_an_event_of_the_largest_size_leaves_and_a_larger_one_is_refused():
    async with shops() as (kiosk, _, town):
        text = "x" * (EVENT_BYTES_MAX - NOTE_BYTES)
        kiosk.bus.record(NOTES, Noted(text))
        await publish(kiosk, NOTES, Noted(text))
        with pytest.raises(EventRefused, match=f"{EVENT_BYTES_MAX + 1} bytes"):
            kiosk.bus.record(NOTES, Noted(text + "x"))
        with pytest.raises(EventRefused):
            await publish(kiosk, NOTES, Noted(text + "x"))
        bus = bus_of(town, "kiosk")
        assert await bus.drain.until(1)
        assert await bus.outbox.until_sent()
        [ends] = await log_of(town, "kiosk").ends(NOTES.name)
        assert ends.next == 2


@pytest.mark.limit("bus.KEY_BYTES_MAX")
async def test_the_longest_key_is_heard_and_a_longer_one_is_refused():
    longest = "é" * (KEY_BYTES_MAX // 2)
    async with shops() as (kiosk, ledger, _):
        await publish(kiosk, SALES, Sold(longest, 1))
        kiosk.bus.record(PASSERS, Passed(longest))
        assert await ledger.until(1) == [(longest, 1)]
        assert await kiosk.bus.settled(PASSERS, "counts")
        assert await kiosk.passed() == [longest]
        with pytest.raises(EventRefused, match="a key of"):
            await publish(kiosk, SALES, Sold(longest + "x", 1))
        with pytest.raises(EventRefused, match="a key of"):
            kiosk.bus.record(PASSERS, Passed(longest + "x"))


@pytest.mark.shows("bus.errors")
@pytest.mark.parametrize(
    ("topic", "event"),
    [
        (SALES, Passed("ann")),
        (PASSERS, Sold("tea", 1)),
        (COPIES, Copied("atlas", 1)),
        (PASSERS, Passed("a\x00b")),
        (PASSERS, Passed("half a pair \ud800")),
        (NOTES, Noted("half a pair \ud800")),
    ],
    ids=str,
)
async def test_what_does_not_belong_into_a_topic_or_is_no_json_is_refused(topic, event):
    async with shops() as (kiosk, _, town):
        with pytest.raises(EventRefused):
            kiosk.bus.record(topic, event)
        with pytest.raises(EventRefused):
            await publish(kiosk, topic, event)
        bus = bus_of(town, "kiosk")
        assert bus.drain.unrelayed == 0
        assert await bus.outbox.until_sent()


@pytest.mark.limit("bus.BATCH_EVENTS_MAX")
async def test_a_handler_is_called_with_no_more_than_a_batch():
    async with shops(QUICK) as (kiosk, ledger, town):
        ledger.away = LogAway("so that more than a batch gathers")
        count = 5 * BATCH_EVENTS_MAX
        await publish(kiosk, SALES, *(Sold("tea", n) for n in range(count)))
        async with asyncio.timeout(20):
            while not await bus_of(town, "kiosk").outbox.until_sent():
                pass
        ledger.away = None
        lines = await ledger.until(count)
        assert [number for _, number in lines] == list(range(count))
        assert max(ledger.batches) == BATCH_EVENTS_MAX


@pytest.mark.limit("bus.waiting_max")
@pytest.mark.box("bus.backpressure")
async def test_as_many_events_wait_as_are_taken_and_one_more_is_refused(tmp_path, durable):
    disk = FullDisk()
    environ = durable | {"BASTIDE_BUS_WAITING_MAX": "5"}
    async with shops(environ, tmp_path, disk=disk) as (kiosk, ledger, town):
        await kiosk.sell("tea")
        await ledger.until(1)
        disk.full = tmp_path / "log"
        for _ in range(5):
            await kiosk.sell("tea")

        async def is_full():  # it is counted anew whenever the relay begins again
            return bus_of(town, "kiosk").outbox.waiting == 5

        await until(is_full)
        for _ in range(3):
            with pytest.raises(TooMuchWaiting, match="5 events wait") as refused:
                await kiosk.sell("tea")
            assert refused.value.retry_after_s > 0
        assert len(await kiosk.sold()) == 6, "what was refused was not sold"
        disk.full = None
        await ledger.until(6)
        await until(partial(_sells, kiosk))
        assert await ledger.until(7) == [("tea", number) for number in range(7)]


async def _sells(kiosk):
    try:
        await kiosk.sell("tea")
    except TooMuchWaiting:
        return False
    return True


async def test_what_was_rolled_back_waits_for_nothing():
    async with shops({"BASTIDE_BUS_WAITING_MAX": "3"}) as (kiosk, ledger, town):
        for _ in range(10):
            with pytest.raises(Exception, match=r"not sold after all|events wait"):
                await kiosk.sell("tea", regret=True)
        await until(partial(_sells, kiosk))
        assert await ledger.until(1) == [("tea", 0)]

        async def is_empty():
            return bus_of(town, "kiosk").outbox.waiting == 0

        await until(is_empty)


@pytest.mark.limit("bus.journal_mb_max")
@pytest.mark.box("bus.backpressure")
async def test_a_journal_takes_what_it_may_hold_and_is_trimmed_to_take_more(tmp_path):
    bytes_max, record = 200_000, b"x" * 400
    async with open_journal(tmp_path, bytes_max=bytes_max, segment_bytes=20_000) as journal:
        journal.append(record)
        each = journal.size
        while journal.size <= bytes_max or journal.next % SIZE_EVERY:
            journal.append(record)
        with pytest.raises(JournalRefuses, match="journal_mb_max"):
            journal.append(record)
        assert bytes_max < journal.size <= bytes_max + SIZE_EVERY * each
        with pytest.raises(JournalRefuses):
            journal.check()
        last = journal.next - 1
        await journal.synced(last)
        assert len(journal.read(last, last + 1, count_max=9)) == 1
        await journal.trim(journal.durable)
        assert journal.append(record) == last + 1
        journal.check()


ENDS = {
    "waiting_max": (["1", "1000000000"], ["0"]),
    "journal_mb_max": (["64", "1000000"], ["63"]),
    "kept_days": (["0.5", "36500"], ["0", "36501"]),
    "tries": (["1", "10"], ["0", "11"]),
    "retry_s": (["0.001", "2"], ["0", "2.1"]),
}


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_a_setting_is_taken_at_its_ends_and_refused_beyond(name):
    good, bad = ENDS[name]
    variable = f"BASTIDE_BUS_{name.upper()}"
    for value in good:
        found = settings.read(Settings, "BASTIDE_BUS", {variable: value})
        assert float(getattr(found, name)) == float(value)
    for value in bad:
        with pytest.raises(Invalid):
            settings.read(Settings, "BASTIDE_BUS", {variable: value})


@pytest.mark.limit("bus.kept_days")
async def test_topics_are_made_as_their_publisher_wants_them_whoever_hears_them_first():
    async with shops({"BASTIDE_BUS_KEPT_DAYS": "0.5"}) as (_, _, town):
        made = {topic.name: topic for topic in await log_of(town, "kiosk").topics()}
        half_a_day_ms = 12 * 3600 * 1000
        for topic in (SALES, PASSERS, NOTES, COPIES):
            assert made[topic.name].partitions == topic.partitions
            assert made[topic.name].kept_ms == half_a_day_ms


@pytest.mark.box("bus.continuation")
async def test_a_handler_publishes_its_own_continuation(tmp_path, durable):
    async with shops(durable, tmp_path) as (_, ledger, _town):

        async def body(tx):
            await ledger.bus.publish(tx, COPIES, Copied("atlas", 9), Copied("bible", 4))

        await ledger.db.transact(body)
        lines = await ledger.until(15)
        assert [n for book, n in lines if book == "atlas"] == list(range(9, -1, -1))
        assert [n for book, n in lines if book == "bible"] == list(range(4, -1, -1))


async def test_what_is_settled_includes_what_was_published_just_now():
    async with shops() as (kiosk, ledger, town):
        for number in range(5):
            await kiosk.sell("tea")
            kiosk.passes(f"p{number}")
            assert await kiosk.bus.settled(PASSERS, "counts")
            assert len(await kiosk.passed()) == number + 1
            [ends, *_] = [await log_of(town, "kiosk").ends(SALES.name)]
            assert sum(end.next for end in ends) == number + 1
        assert not await kiosk.bus.settled(PASSERS, "nobody")
        assert await ledger.bus.settled(SALES, "books")
        assert len(await ledger.lines()) == 5
        await quiet(town)


async def test_a_journal_that_has_nothing_to_relay_is_settled_at_once():
    async with shops() as (kiosk, _, _town):
        async with asyncio.timeout(1):
            assert await kiosk.bus.settled(PASSERS, "counts", within_s=0.9)


async def test_a_record_that_was_synced_is_on_the_disk(tmp_path, durable):
    async with shops(durable, tmp_path) as (kiosk, _, town):
        place = kiosk.passes("ann")
        await kiosk.bus.synced(place)
        [journal] = (tmp_path / "kiosk" / "bus").iterdir()
        kept = b"".join(path.read_bytes() for path in journal.rglob("*") if path.is_file())
        assert b'{"who":"ann"}' in kept
        await quiet(town)


async def test_what_is_settled_does_not_wait_for_what_is_sold_meanwhile():
    async with shops() as (kiosk, _, _town):

        async def sells():
            while True:
                await asyncio.gather(*(kiosk.sell("tea") for _ in range(40)))

        selling = asyncio.create_task(sells())
        settled = [await kiosk.bus.settled(PASSERS, "counts", within_s=1) for _ in range(5)]
        selling.cancel()
        await asyncio.gather(selling, return_exceptions=True)
        assert all(settled)
        assert len(await kiosk.sold()) > 20
