"""Events that fail, that are not understood, that are none: tried, put aside, looked at again."""

import asyncio
from functools import partial

import msgspec
import pytest

from bastide.base.errors import Limited
from bastide.base.rt import runtime
from bastide.engines.bus.contract import (
    DeadLetterMissing,
    DeadLetterSettled,
    EventRefused,
    TooMuchWaiting,
)
from bastide.engines.bus.core.envelopes import packed, sealed
from bastide.engines.bus.core.letters import REASON_CHARACTERS_MAX, VALUE_BYTES_MAX, value_of
from bastide.engines.bus.service import consumer
from bastide.engines.bus.service.consumer import jittered
from bastide.engines.log.contract import LogAway, Record
from tests.engines.bus.kit import bus_of, dead_of, log_of, quiet, shops, until
from tests.engines.bus.street.kiosk.contract import SALES, Sold, SoldOld
from tests.engines.bus.street.ledger.manifest import Poison

QUICK = {"BASTIDE_BUS_TRIES": "3", "BASTIDE_BUS_RETRY_S": "0.01"}


async def lay(town, *values, key=b"tea"):
    """As a stranger would bring them."""
    records = [Record(value, key) for value in values]
    await log_of(town, "kiosk").append(SALES.name, records)


def told(item, number, *, seq, source="elsewhere", name="sold.v2"):
    event = packed(name, 1, msgspec.json.encode(Sold(item, number)))
    return sealed(SALES.name, source, seq, event)


async def until_dead(town, count):
    async with asyncio.timeout(20):
        while len(found := await dead_of(town)) < count:  # noqa: ASYNC110 (it rings no bell)
            await asyncio.sleep(0.01)
    return found


@pytest.mark.box("bus.poison")
async def test_an_event_that_fails_is_tried_and_put_aside_and_those_behind_it_go_on():
    async with shops(QUICK) as (kiosk, ledger, town):
        await kiosk.sell("tea")
        await ledger.until(1)
        ledger.hates.add("tea")
        await kiosk.sell("tea")
        [dead] = await until_dead(town, 1)
        ledger.hates.clear()
        await kiosk.sell("tea")
        await kiosk.sell("milk")
        lines = await ledger.until(3)
        assert [line for line in lines if line[0] == "tea"] == [("tea", 0), ("tea", 2)]
        letter = dead.letter
        assert (letter.topic, letter.group, letter.record_key) == (SALES.name, "books", "tea")
        assert letter.reason == "Poison: tea is hated"
        assert letter.tries == ledger.failures == 3
        assert msgspec.json.decode(value_of(letter))["data"] == {"item": "tea", "number": 1}
        assert dead.state == "waiting"
        [heard] = [one for one in await bus_of(town, "ledger").heard() if one.group == "books"]
        assert (heard.handled, heard.dead, heard.lag) == (3, 1, 0)


@pytest.mark.box("bus.poison")
async def test_one_bad_event_in_a_batch_costs_its_neighbours_nothing():
    async with shops(QUICK) as (kiosk, ledger, town):
        ledger.hates.add("gin")
        ledger.away = LogAway("so that a batch gathers")
        wares = ["tea", "gin", "tea", "milk", "gin", "tea"]
        for item in wares:
            await kiosk.sell(item)
        await bus_of(town, "kiosk").outbox.until_sent()
        ledger.away = None
        await until_dead(town, 2)
        lines = await ledger.until(4)
        assert [n for item, n in lines if item == "tea"] == [0, 1, 2]
        assert ("milk", 0) in lines


async def test_the_tries_of_an_event_are_further_and_further_apart(monkeypatch):
    waited = []

    def noted(seconds):
        waited.append(seconds)
        return jittered(0.001)

    monkeypatch.setattr(consumer, "jittered", noted)
    environ = {"BASTIDE_BUS_TRIES": "6", "BASTIDE_BUS_RETRY_S": "0.5"}
    async with shops(environ) as (kiosk, ledger, town):
        ledger.hates.add("gin")
        await kiosk.sell("gin")
        await until_dead(town, 1)
    assert waited == [0.5, 1.0, 2.0, 2.0, 2.0]


@pytest.mark.limit("bus.tries")
@pytest.mark.parametrize("tries", [1, 10])
async def test_an_event_has_as_many_tries_as_are_set(tries):
    environ = {"BASTIDE_BUS_TRIES": str(tries), "BASTIDE_BUS_RETRY_S": "0.001"}
    async with shops(environ) as (kiosk, ledger, town):
        ledger.hates.add("gin")
        await kiosk.sell("gin")
        [dead] = await until_dead(town, 1)
        assert dead.letter.tries == ledger.failures == tries


@pytest.mark.box("bus.poison")
async def test_an_event_that_is_well_at_its_last_try_is_no_dead_letter():
    async with shops(QUICK) as (kiosk, ledger, town):
        ledger.hates.add("tea")
        await kiosk.sell("tea")
        async with asyncio.timeout(5):
            while ledger.failures < 2:  # noqa: ASYNC110 (it rings no bell)
                await asyncio.sleep(0.001)
        ledger.hates.clear()
        assert await ledger.until(1) == [("tea", 0)]
        assert await dead_of(town) == []


@pytest.mark.box("bus.versions")
async def test_an_older_version_comes_as_the_newest_and_an_unknown_one_is_put_aside():
    async with shops(QUICK) as (kiosk, ledger, town):

        async def body(tx):
            await kiosk.bus.publish(tx, SALES, SoldOld("tea"))

        await kiosk.db.transact(body)
        await ledger.until(1)
        await lay(town, told("tea", 7, seq=0, name="sold.v9"), told("tea", 8, seq=1))
        assert await ledger.until(2) == [("tea", -1), ("tea", 8)]
        [dead] = await until_dead(town, 1)
        assert dead.letter.tries == 0
        assert dead.letter.reason.startswith("Unreadable: unknown event 'kiosk.sales.sold.v9'")
        assert "kiosk.sales.sold.v2" in dead.letter.reason
        with pytest.raises(EventRefused, match="unknown event"):
            await bus_of(town, "ledger").letters.replay(dead.offset)


async def tells(town, word):
    """Whether the group's error has it."""
    return word in bus_of(town, "ledger").consumers["books"].error


@pytest.mark.box("bus.versions")
async def test_an_unknown_event_that_comes_twice_is_one_dead_letter():
    """Else both would be replayed, once it is known."""
    async with shops(QUICK) as (_, ledger, town):
        await lay(town, *[told("tea", 7, seq=0, name="sold.v9")] * 2, told("tea", 8, seq=1))
        await lay(town, told("tea", 7, seq=0, name="sold.v9"))
        await ledger.until(1)
        await quiet(town)
        assert len(await dead_of(town)) == 1


GARBAGE = [
    b"",
    b"\xff\xfe\x00 not utf-8",
    b"{}",
    b"null",
    b"[" * 200_000,
    b'{"specversion":"1.0","id":"0","source":"s","type":"kiosk.sales.sold.v2"}',
    b'{"specversion":"1.0","id":"0","source":"s","type":"kiosk.sales.sold.v2","data":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    told("tea", 1, seq=-1),
    told("tea", 1, seq=1 << 63),
    told("tea", 1, seq=0, source="a\\u0000b"),
    told("tea", 1, seq=0, source="s" * 200),
    told("tea", 1, seq=0).replace(b'"number":1', b'"number":"one"'),
    b"\x00" * (900 << 10),
    b"\xfe" * (900 << 10),
]


@pytest.mark.shows("bus.errors")
@pytest.mark.box("bus.poison")
async def test_what_is_no_event_is_put_aside_whole_and_stops_nobody():
    """A tombstone too, and keys that are no text."""
    async with shops(QUICK) as (kiosk, ledger, town):
        await lay(town, *GARBAGE)
        await lay(town, None, b"x", key=b"\x00\xff")
        await lay(town, b"x", key=b"k" * 100_000)
        await lay(town, told("tea", 1, seq=1))
        await kiosk.sell("tea")
        assert await ledger.until(2) == [("tea", 1), ("tea", 0)]
        dead = [one.letter for one in await until_dead(town, len(GARBAGE) + 3)]
        assert len(dead) == len(GARBAGE) + 3
        values = sorted(value_of(letter) for letter in dead)
        assert values == sorted(v[:VALUE_BYTES_MAX] for v in (*GARBAGE, b"", b"x", b"x"))
        assert all(letter.tries == 0 for letter in dead)
        assert all(len(letter.reason) <= REASON_CHARACTERS_MAX for letter in dead)
        assert all("\x00" not in letter.record_key for letter in dead)
        await quiet(town)


async def test_an_error_with_a_message_that_is_no_text_is_told_all_the_same():
    async with shops(QUICK) as (kiosk, ledger, town):
        ledger.refuses = Poison("half a pair: \ud800" + "x" * 2_000)
        await kiosk.sell("tea")
        [dead] = await until_dead(town, 1)
        assert dead.letter.reason.startswith("Poison: half a pair: ?xxx")
        assert len(dead.letter.reason) == REASON_CHARACTERS_MAX


@pytest.mark.box("bus.waits")
@pytest.mark.shows("bus.outage")
async def test_what_a_handler_calls_may_be_away_and_is_waited_for():
    async with shops(QUICK) as (kiosk, ledger, town):
        ledger.away = LogAway("the search engine is away")
        await kiosk.sell("tea")
        await until(partial(tells, town, "away"))
        assert not await ledger.bus.settled(SALES, "books", within_s=0.05)
        ledger.away = None
        assert await ledger.until(1) == [("tea", 0)]
        assert await dead_of(town) == []
        assert ledger.called == ["tea"]


@pytest.mark.box("bus.waits")
async def test_who_takes_no_more_is_waited_for_too():
    """A handler that publishes while the outbox is full has done nothing wrong."""
    async with shops({"BASTIDE_BUS_TRIES": "1"}) as (kiosk, ledger, town):
        for refusal in (
            TooMuchWaiting("full", retry_after_s=1),
            Limited("slowly", retry_after_s=1),
        ):
            ledger.refuses = refusal
            await kiosk.sell("tea")
            await until(partial(tells, town, str(refusal)))
            ledger.refuses = None
        assert await ledger.until(2) == [("tea", 0), ("tea", 1)]
        assert await dead_of(town) == []


async def test_a_handler_that_takes_too_long_for_its_transaction_is_poison():
    environ = QUICK | {"BASTIDE_LEDGER_SQL_URL": "memory://?body_s=0.05"}
    async with shops(environ) as (kiosk, ledger, town):
        ledger.slow_s["gin"] = 0.1
        await kiosk.sell("gin")
        await kiosk.sell("tea")
        assert await ledger.until(1) == [("tea", 0)]
        [dead] = await until_dead(town, 1)
        assert dead.letter.reason.startswith("BodyCut")


# What becomes of a dead letter.


async def one_dead(kiosk, ledger, town, item="gin"):
    ledger.hates.add(item)
    await kiosk.sell(item)
    return (await until_dead(town, 1))[0]


@pytest.mark.box("bus.replay")
@pytest.mark.shows("bus.repeat")
async def test_a_dead_letter_has_its_effect_once_when_it_is_replayed_twice():
    async with shops(QUICK) as (kiosk, ledger, town):
        dead = await one_dead(kiosk, ledger, town)
        letters, rung = bus_of(town, "ledger").letters, ledger.rung
        with pytest.raises(Poison):
            await letters.replay(dead.offset)
        assert [one.state for one in await dead_of(town)] == ["waiting"]
        assert await ledger.lines() == []
        ledger.hates.clear()
        tries = (letters.replay(dead.offset) for _ in range(3))
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(a) for a in answers].count(DeadLetterSettled) == 2
        assert answers.count(None) == 1
        assert await ledger.lines() == [("gin", 0)]
        assert ledger.rung == rung + 1
        with pytest.raises(DeadLetterSettled, match="was replayed before"):
            await letters.discard(dead.offset)
        assert [one.state for one in await dead_of(town)] == ["replayed"]


@pytest.mark.box("bus.replay")
async def test_a_dead_letter_that_is_discarded_has_no_effect_any_more():
    async with shops(QUICK) as (kiosk, ledger, town):
        dead = await one_dead(kiosk, ledger, town)
        ledger.hates.clear()
        await bus_of(town, "ledger").letters.discard(dead.offset)
        with pytest.raises(DeadLetterSettled, match="was discarded before"):
            await bus_of(town, "ledger").letters.replay(dead.offset)
        assert [one.state for one in await dead_of(town)] == ["discarded"]
        assert await ledger.lines() == []


@pytest.mark.box("bus.replay")
async def test_a_dead_letter_that_lies_twice_in_its_topic_is_one():
    """Who relayed it died between the append and its answer."""
    async with shops(QUICK) as (kiosk, ledger, town):
        dead = await one_dead(kiosk, ledger, town)
        log = log_of(town, "ledger")
        [entry] = await log.read("ledger.dead", 0, dead.offset)
        [copy] = await log.append("ledger.dead", [entry.record])
        assert [one.offset for one in await dead_of(town)] == [dead.offset]
        ledger.hates.clear()
        await bus_of(town, "ledger").letters.replay(copy.offset)
        with pytest.raises(DeadLetterSettled):
            await bus_of(town, "ledger").letters.replay(dead.offset)
        assert await ledger.lines() == [("gin", 0)]


async def test_there_is_no_dead_letter_where_none_is():
    async with shops(QUICK) as (kiosk, ledger, town):
        letters = bus_of(town, "ledger").letters
        with pytest.raises(DeadLetterMissing):
            await letters.replay(0)
        assert await letters.page() == ()
        await one_dead(kiosk, ledger, town)
        await log_of(town, "ledger").append(
            "ledger.dead", [Record(b"no letter"), Record(None, b"k")]
        )
        for offset in (-1, 1, 2, 3, 1 << 62):
            with pytest.raises(DeadLetterMissing):
                await letters.discard(offset)
        assert len(await letters.page()) == 1
        assert await letters.page(before=0) == []


async def test_a_letter_of_a_group_that_is_no_more_is_refused(monkeypatch):
    async with shops(QUICK) as (kiosk, ledger, town):
        dead = await one_dead(kiosk, ledger, town)
        bus = bus_of(town, "ledger")
        monkeypatch.delitem(bus.consumers, "books")
        with pytest.raises(EventRefused, match="no group 'books'"):
            await bus.letters.replay(dead.offset)


async def test_dead_letters_are_read_page_by_page(monkeypatch):
    async with shops(QUICK | {"BASTIDE_BUS_TRIES": "1"}) as (kiosk, ledger, town):
        ledger.hates.add("gin")
        for _ in range(12):
            await kiosk.sell("gin")
        whole = await until_dead(town, 12)
        letters = bus_of(town, "ledger").letters
        await letters.discard(whole[3].offset)
        found, before = [], None
        while page := await letters.page(before=before, limit=5):
            found += page
            before = page[-1].offset
        assert [one.offset for one in found] == [one.offset for one in whole[::-1]]
        assert [one.state for one in found].count("discarded") == 1
        assert found[-4].state == "discarded"
        assert runtime.now_ms() >= found[0].letter.at_ms > 0
