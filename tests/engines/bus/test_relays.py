"""Relays: one at a time, whoever dies or is slow; numbers in the order in which rows appear."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest
from sqlalchemy import select, update

from bastide.base.rt import runtime
from bastide.base.tx import Statement, changes
from bastide.engines.bus.contract import JournalBehind, JournalShared
from bastide.engines.bus.core.envelopes import opened
from bastide.engines.bus.service import consumer
from bastide.engines.bus.service.outbox import LEASE_S, Outbox
from bastide.engines.bus.service.post import POST_BYTES, Post
from bastide.engines.bus.tables import OUTBOX_NEXT, RELAY_OF_OUTBOX, Offset, offsets
from bastide.engines.log.contract import Ends
from bastide.testing.town import raised
from tests.engines.bus.kit import bus_of, by_item, log_of, quiet, shops, until
from tests.engines.bus.street.kiosk.contract import NOTES, PASSERS, SALES, Noted, Sold
from tests.engines.bus.street.ledger import manifest

REAL = pytest.param("postgres", marks=pytest.mark.engine("postgres"))


@pytest.fixture(params=["sqlite", REAL])
def stored(request):
    """The settings of a database in which two relays may meet."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres")
    return {"BASTIDE_SQL_URL": "memory://"}


@asynccontextmanager
async def two_relays(environ):
    """A kiosk whose own relay rests, and two that share its database with other processes."""
    async with raised("kiosk", environ=environ) as town:
        bus = next(o for o in town.town.opened if o.manifest.name == "bus")
        await bus.use.crew.stop()
        kiosk, log = town.served("kiosk"), log_of(town.town, "kiosk")
        lags = runtime.current().metrics.histogram("lags", "Of a test.")

        def relay():
            post = Post(log, (SALES, NOTES), kept_ms=1 << 40, lags=lags)
            return Outbox("kiosk", kiosk.db, post, exclusive=False, waiting_max=1_000)

        yield SimpleNamespace(kiosk=kiosk, log=log, clock=town.clock, one=relay(), other=relay())


async def publish(kiosk, *events, topic=SALES):
    async def body(tx):
        await kiosk.bus.publish(tx, topic, *events)

    await kiosk.db.transact(body)


async def in_log(log, topic=SALES):
    """Source, number and data of what lies in each partition, in order."""
    found = []
    for partition, ends in enumerate(await log.ends(topic.name)):
        offset = ends.first
        while entries := await log.read(topic.name, partition, offset):
            envelopes = [opened(entry.record.value) for entry in entries]
            found += [(e.source, int(e.id), msgspec.json.decode(e.data)) for e in envelopes]
            offset = entries[-1].offset + 1
    return found


def numbers(found):
    return [seq for _, seq, _ in found]


@pytest.mark.box("bus.relay")
async def test_one_relay_holds_the_lock_while_much_waits_and_lets_it_go_at_the_end(stored):
    async with two_relays(stored) as two:
        await publish(two.kiosk, *(Sold("tea", n) for n in range(150)))
        assert await two.one.step()
        assert not await two.other.step(), "it is held"
        assert await two.one.step()
        assert not await two.one.step(), "there is no more"
        await publish(two.kiosk, Sold("tea", 150))
        assert await two.other.step(), "it was let go"
        assert numbers(await in_log(two.log)) == list(range(151))


@pytest.mark.box("bus.relay")
async def test_a_holder_whose_beat_stands_still_is_taken_for_dead(stored):
    async with two_relays(stored) as two:
        await publish(two.kiosk, *(Sold("tea", n) for n in range(150)))
        assert await two.one.step()
        assert not await two.other.step()
        two.clock.advance(LEASE_S - 0.01)
        assert not await two.other.step(), "not yet"
        assert await two.one.step(), "it lives: its beat has moved"
        await publish(two.kiosk, *(Sold("tea", n) for n in range(150, 400)))
        assert await two.one.step()
        assert not await two.other.step()
        two.clock.advance(LEASE_S + 0.01)
        assert await two.other.step()
        assert not await two.one.step(), "it was overtaken, and finds that out"
        while await two.other.step():
            pass
        assert numbers(await in_log(two.log)) == list(range(400))


@pytest.mark.box("bus.relay")
async def test_what_a_dead_relay_had_numbered_comes_first_and_under_its_numbers(stored):
    async with two_relays(stored) as two:
        await publish(two.kiosk, *(Sold("tea", n) for n in range(3)))
        rows = await two.kiosk.db.fetch(OUTBOX_NEXT, limit=100)
        assert await two.one._is_ours()
        assert await two.one._numbered(rows)  # and here it dies
        await publish(two.kiosk, Sold("tea", 3))
        assert not await two.other.step()
        two.clock.advance(LEASE_S + 0.01)
        assert await two.other.step()
        found = await in_log(two.log)
        assert [(seq, data["number"]) for _, seq, data in found] == [(n, n) for n in range(4)]


@pytest.mark.box("bus.relay")
async def test_a_slow_relay_that_was_overtaken_drops_nothing_and_repeats_at_most(stored):
    """SQLite counts the places of rows anew once a table is empty: its rows are others by then."""
    async with two_relays(stored) as two:
        await publish(two.kiosk, *(Sold("tea", n) for n in range(3)))
        rows = await two.kiosk.db.fetch(OUTBOX_NEXT, limit=100)
        assert await two.one._is_ours()
        letters = await two.one._numbered(rows)
        source = (await two.kiosk.db.one(RELAY_OF_OUTBOX)).source
        assert not await two.other.step()
        two.clock.advance(LEASE_S + 0.01)
        assert await two.other.step()
        await publish(two.kiosk, *(Sold("tea", n) for n in range(3, 6)))
        await two.one._post.send(source, letters)  # only now
        await two.one._drop(rows, sent=3, last=True)
        assert await two.other.step()
        found = numbers(await in_log(two.log))
        assert found == [0, 1, 2, 0, 1, 2, 3, 4, 5]


async def test_rows_that_are_large_together_go_in_parts(stored):
    async with two_relays(stored) as two:
        size = POST_BYTES // 5
        await publish(two.kiosk, *(Noted("x" * size, n) for n in range(11)), topic=NOTES)
        steps = 0
        while await two.one.step():
            steps += 1
            relayed = await two.kiosk.db.one(RELAY_OF_OUTBOX)
            found = numbers(await in_log(two.log, NOTES))
            assert relayed.sent == len(found), "below `sent` all is in the log"
        assert steps == 3
        assert found == list(range(11))


async def test_events_of_no_key_come_into_the_same_partition_when_they_are_sent_again():
    """A group knows a repetition only where it has heard the first."""
    async with two_relays({}) as two:
        await publish(two.kiosk, *(Sold("", n) for n in range(30)))
        rows = await two.kiosk.db.fetch(OUTBOX_NEXT, limit=100)
        await two.one._is_ours()
        letters = await two.one._numbered(rows)
        for _ in range(3):
            await two.one._post.send("s", letters)
        for partition in range(SALES.partitions):
            entries = await two.log.read(SALES.name, partition, 0)
            ids = [int(opened(entry.record.value).id) for entry in entries]
            third = len(ids) // 3
            assert ids == ids[:third] * 3
            assert third > 1, "they are spread"


@pytest.mark.engine("postgres")
@pytest.mark.box("bus.relay")
async def test_on_postgresql_nothing_is_passed_over_that_commits_late(postgres, postgres_url):
    """The order of places, and of transactions, is not the one in which rows become visible."""
    import asyncpg

    late = await asyncpg.connect(postgres_url)
    async with two_relays(postgres) as two:
        row = b'sold.v2\n1\n{"item":"tea","number":0}'
        add = "INSERT INTO kiosk.bus_outbox (topic, key, event) VALUES ('kiosk.sales', 'tea', $1)"
        held = late.transaction()
        await held.start()
        await late.execute(add, row)
        await publish(two.kiosk, Sold("tea", 1))
        await publish(two.kiosk, Sold("tea", 2))
        assert not await two.one.step(), "a lower place may still appear, and so may its number"
        await held.commit()
        assert await two.one.step()
        found = await in_log(two.log)
        assert [(seq, data["number"]) for _, seq, data in found] == [(0, 0), (1, 1), (2, 2)]
        held = late.transaction()
        await held.start()
        await late.execute(add, row)
        await held.rollback()
        await publish(two.kiosk, Sold("tea", 3))
        assert await two.one.step()
        assert numbers(await in_log(two.log)) == [0, 1, 2, 3]
    await late.close()


@pytest.mark.engine("postgres")
async def test_a_row_of_another_server_s_backup_is_not_waited_for(postgres, postgres_url):
    """Its transaction's number may be far above all that this server has given."""
    import asyncpg

    async with two_relays(postgres) as two:
        await publish(two.kiosk, Sold("tea", 0))
        restored = await asyncpg.connect(postgres_url)
        await restored.execute("UPDATE kiosk.bus_outbox SET xact = 1::bigint << 60")
        await restored.close()
        assert await two.one.step()
        assert numbers(await in_log(two.log)) == [0]


@pytest.mark.engine("postgres")
@pytest.mark.box("bus.relay")
async def test_on_postgresql_many_who_publish_at_once_are_heard_each_once_in_order(postgres):
    async with shops(postgres) as (kiosk, ledger, town):
        items = [f"i{n}" for n in range(6)]

        async def sells(item):
            for _ in range(15):
                await kiosk.sell(item)

        await asyncio.gather(*(sells(item) for item in items))
        lines = await ledger.until(90)
        for item in items:
            assert [n for one, n in lines if one == item] == list(range(15))
        await quiet(town)


# The log and the group


@pytest.mark.box("bus.once")
async def test_a_log_that_was_replaced_by_an_empty_one_is_read_from_its_beginning(
    tmp_path, durable
):
    async with shops(durable, tmp_path) as (kiosk, ledger, town):
        for _ in range(5):
            await kiosk.sell("tea")
        await ledger.until(5)
        await quiet(town)
    shutil.rmtree(tmp_path / "log")
    async with shops(durable, tmp_path) as (kiosk, ledger, town):
        for _ in range(3):
            await kiosk.sell("tea")
        assert await ledger.until(8) == [("tea", n) for n in range(8)]


@pytest.mark.box("bus.once")
async def test_a_topic_that_was_made_anew_is_read_from_its_beginning():
    async with shops() as (kiosk, ledger, town):
        for _ in range(5):
            await kiosk.sell("tea")
        await ledger.until(5)
        await town.behind_wire("log").node.broker.delete(SALES.name)
        for _ in range(3):
            await kiosk.sell("tea")
        assert await ledger.until(8) == [("tea", n) for n in range(8)]


_GENERATIONS = Statement(select(offsets.c.generation), int)


def _raise_generations(by):
    async def body(tx):
        await tx.run(changes(update(offsets).values(generation=offsets.c.generation + by)))

    return body


@pytest.mark.box("bus.fence")
async def test_a_deposed_member_moves_no_offset_and_a_group_made_anew_goes_on(tmp_path, durable):
    async with shops(durable, tmp_path) as (kiosk, ledger, town):
        await kiosk.sell("tea")
        await ledger.until(1)
        await quiet(town)
        group = bus_of(town, "ledger").consumers["books"]
        await ledger.db.transact(_raise_generations(100))
        await kiosk.sell("tea")
        assert await ledger.until(2) == [("tea", 0), ("tea", 1)]
        generations = set(await ledger.db.fetch(_GENERATIONS))
        assert max(generations) < 100, "the log took a commit of ours, so ours is the group's"
        assert group.repeated == 0


@pytest.mark.box("bus.fence")
async def test_a_second_member_comes_and_goes_and_each_event_has_its_effect_once(monkeypatch):
    """Two members of one group in one process, over one database, as two processes would be."""
    monkeypatch.setattr(consumer, "SESSION_S", 1.5)  # at each third a member hears of a rebalance
    async with shops() as (kiosk, ledger, town):
        first, second = bus_of(town, "ledger").consumers["books"], _second_member(town, ledger)
        items = [f"i{n}" for n in range(8)]

        async def sell_while(holds):
            async with asyncio.timeout(20):
                while await holds():
                    await asyncio.gather(*(kiosk.sell(item) for item in items))
                    await asyncio.sleep(0.01)

        for _ in range(2):
            handled = second.handled, first.handled
            hearing = asyncio.create_task(second.run())
            await sell_while(partial(_has_not_moved, second, second.handled + 10))
            await sell_while(partial(_has_not_moved, first, first.handled + 10))
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            assert second.handled > handled[0]
            assert first.handled > handled[1]
            await sell_while(partial(_has_not_all, first))
        sold = await kiosk.sold()
        lines = await ledger.until(len(sold))
        assert by_item(lines) == by_item(sold)


async def _has_not_moved(consumer, beyond):
    return consumer.handled < beyond


async def _has_not_all(consumer):
    return len(consumer._next) < SALES.partitions


async def test_what_retention_dropped_unheard_is_told_and_passed_over(caplog):
    """Of a partition whose first files went before the group came."""
    async with shops() as (kiosk, ledger, town):
        await kiosk.sell("tea")
        await ledger.until(1)
        group = bus_of(town, "ledger").consumers["books"]
        assert group._sane(0, Offset(3, 1), Ends(5, 9, 100)) == 5
        assert "the log dropped what ledger.books has not heard" in caplog.text
        assert group._sane(0, Offset(7, 1), Ends(5, 9, 100)) == 7
        assert group._sane(0, Offset(10, 1), Ends(5, 9, 100)) == 5
        assert "was made anew" in caplog.text
        assert group._sane(0, None, Ends(5, 9, 100)) == 5


# Journals


@pytest.mark.box("bus.record")
async def test_an_older_copy_of_a_journal_is_refused_when_the_town_opens(tmp_path, durable):
    """Its next records would have numbers that were given before."""
    async with shops(durable, tmp_path / "a") as (kiosk, _, town):
        kiosk.passes("ann")
        await quiet(town)
    shutil.copytree(tmp_path / "a" / "kiosk" / "bus", tmp_path / "older")
    async with shops(durable, tmp_path / "a") as (kiosk, _, town):
        kiosk.passes("bob")
        await quiet(town)
    shutil.move(tmp_path / "a" / "kiosk" / "bus", tmp_path / "newest")
    shutil.move(tmp_path / "older", tmp_path / "a" / "kiosk" / "bus")
    with pytest.raises(JournalBehind, match="put the newest copy back, or move"):
        async with shops(durable, tmp_path / "a"):
            pass
    shutil.rmtree(tmp_path / "a" / "kiosk" / "bus")
    async with shops(durable, tmp_path / "a") as (kiosk, _, town):
        kiosk.passes("cid")
        await quiet(town)
        assert await kiosk.passed() == ["ann", "bob", "cid"]


@pytest.mark.box("bus.record")
async def test_a_second_copy_of_a_journal_is_found_out_before_it_relays(tmp_path):
    rows = tmp_path / "rows"
    environ = {"BASTIDE_SQL_URL": f"sqlite://{rows}"}
    async with shops(environ, tmp_path / "a") as (kiosk, _, town):
        kiosk.passes("ann")
        await quiet(town)
    shutil.copytree(tmp_path / "a" / "kiosk", tmp_path / "b" / "kiosk")
    async with (
        shops(environ, tmp_path / "a") as (one, _, _),
        shops(environ, tmp_path / "b") as (other, _, town),
    ):
        one.passes("bob")
        assert await one.bus.settled(PASSERS, "counts", within_s=5)
        other.passes("cid")

        async def is_found_out():
            try:
                await other.bus.health()
            except JournalShared:
                return True
            return False

        await until(is_found_out)
        with pytest.raises(JournalShared, match="move one away"):
            other.passes("dan")
        with pytest.raises(JournalShared):
            await other.bus.health()
        await one.bus.health()
        [ends] = await log_of(town, "kiosk").ends(PASSERS.name)
        assert ends.next == 0, "no number was given twice"


def _second_member(town, ledger):
    bus = bus_of(town, "ledger")
    [row] = [row for row in manifest.MANIFEST.consumes if row.group == "books"]
    second = consumer.Consumer(
        bus.client, row, bus._db, bus._log, bus._settings, bus.outbox.published
    )
    second.handler = partial(manifest.write_down, ledger)
    return second
