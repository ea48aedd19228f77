"""What a broker finds again: after it was closed, and after it was killed."""

import asyncio
import shutil
from contextlib import asynccontextmanager, contextmanager

import pytest

from bastide.base.rt.disk import SystemDisk
from bastide.base.rt.runtime import Runtime
from bastide.engines.log.contract import Lag, Place, Topic, TopicMissing
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.transactions import Phase
from bastide.engines.log.service.transactions import Transactions
from bastide.engines.log.wire import server
from tests.engines.log.town_kit import PATIENCE_S, read_all, some, until, values
from tests.engines.log.wire_kit import READ_COMMITTED, batch_of, connected, served

CLICKS, TOPIC, NAME = "owner.clicks", "plain", "tx"


@pytest.fixture(params=["closed", "killed"])
def lives(request, disk_places, tmp_path):
    """`async with lives() as opened`, again and again: each finds what the one before has left. One
    that is killed leaves what the page cache had.
    """

    @asynccontextmanager
    async def life(**settings):
        async with disk_places.open(**settings) as opened:
            yield opened
            if request.param == "killed":
                shutil.copytree(disk_places.data, tmp_path / "left")
        if request.param == "killed":
            shutil.rmtree(disk_places.data)
            (tmp_path / "left").rename(disk_places.data)

    return life


@asynccontextmanager
async def wired(opened):
    async with served(opened) as port, connected(port) as client:
        yield client


async def test_topics_and_records_are_there_again_and_go_on(lives):
    made = Topic("owner.kept", partitions=2, kept_ms=None, kept_bytes=5)
    async with lives() as opened:
        await opened.log.create(made)
        await opened.log.append(CLICKS, some(10))
        before = await opened.log.topics(), await opened.log.ends(CLICKS)
    async with lives() as opened:
        assert await opened.log.topics() == before[0]
        assert (await opened.log.ends(CLICKS))[0].next == before[1][0].next
        assert values(await read_all(opened.log, CLICKS)) == [b"%d" % n for n in range(10)]
        assert await opened.log.append(CLICKS, some(1, first=10)) == [Place(CLICKS, 0, 10)]
    async with lives() as opened:
        assert values(await read_all(opened.log, CLICKS)) == [b"%d" % n for n in range(11)]


async def test_a_log_keeps_its_name_until_its_directory_is_emptied(lives, disk_places):
    async with lives() as opened:
        name = await opened.log.identity()
    async with lives() as opened:
        await opened.log.append(CLICKS, some(1))
        assert await opened.log.identity() == name
    async with lives() as opened:
        assert await opened.log.identity() == name
    shutil.rmtree(disk_places.data / "log")
    async with lives() as opened:
        assert await opened.log.identity() not in (name, "")


async def test_groups_go_on_where_they_committed_and_their_generations_never_fall(lives):
    seen = []
    for n, committed in enumerate((3, 5, 4), start=1):
        async with lives() as opened:
            log = opened.log
            await log.append(CLICKS, some(5))
            async with log.member("g", [CLICKS]) as member:
                seen.append(member.generation)
                await member.commit([Place(CLICKS, 0, committed)])
        async with lives() as opened:
            [lag] = await opened.log.lag("g")
            assert lag == Lag(CLICKS, 0, committed, 5 * n)
            async with opened.log.member("g", [CLICKS]) as member:
                seen.append(member.generation)
                assert (await member.poll())[0].offset == committed
    assert seen == sorted(set(seen))


async def test_what_was_deleted_stays_deleted(lives):
    async with lives() as opened:
        await opened.log.append(CLICKS, some(10))
        await (await opened.node.broker.partition(CLICKS, 0)).delete_below(7)
    async with lives() as opened:
        assert (await opened.log.ends(CLICKS))[0].first == 7
        assert values(await read_all(opened.log, CLICKS)) == [b"7", b"8", b"9"]


async def test_a_deleted_topic_is_gone_with_its_files_and_made_again_it_is_empty(
    lives, disk_places
):
    async with lives() as opened:
        await opened.log.append(CLICKS, some(10))
        async with opened.log.member("g", [CLICKS]) as member:
            await member.commit([Place(CLICKS, 0, 5)])
        await opened.node.broker.delete(CLICKS)
        with pytest.raises(TopicMissing):
            await opened.log.read(CLICKS, 0, 0)
    async with lives() as opened:
        assert await opened.log.topics() == []
        assert list((disk_places.data / "log" / "topics").iterdir()) == []
        assert list(await opened.log.lag("g")) == []
        assert await opened.log.append(CLICKS, some(1)) == [Place(CLICKS, 0, 0)]
    async with lives() as opened:
        assert values(await read_all(opened.log, CLICKS)) == [b"0"]


async def test_files_of_a_topic_that_a_crash_has_left_are_removed(lives, disk_places):
    async with lives() as opened:
        await opened.log.append(CLICKS, some(1))
        await opened.log.append("owner.other", some(2))
        left = next((disk_places.data / "log" / "topics").glob(f"{CLICKS}-*"))
        shutil.copytree(left, left.with_name(f"{CLICKS}-99"))
    async with lives() as opened:
        assert [path.name for path in (disk_places.data / "log" / "topics").iterdir()] != []
        assert not left.with_name(f"{CLICKS}-99").exists()
        assert values(await read_all(opened.log, CLICKS)) == [b"0"]


async def test_no_producer_id_is_given_twice(lives):
    seen = []
    for _ in range(3):
        async with lives() as opened, wired(opened) as client:
            seen += [(await client.init())[0] for _ in range(3)]
            seen.append((await client.init(f"{NAME}-{len(seen)}"))[0])
    assert seen == sorted(set(seen))


@pytest.mark.shows("log.repeat")
async def test_a_batch_that_is_sent_again_is_answered_as_it_was_and_not_appended_again(lives):
    async with lives() as opened, wired(opened) as client:
        await client.make(TOPIC)
        producer = await client.init()
        batches = [batch_of(b"%d" % n, b"and", producer=producer, sequence=2 * n) for n in range(4)]
        for n, batch in enumerate(batches[:3]):
            for _ in range(2):
                assert await client.produce(TOPIC, batch) == (Code.NONE, 2 * n)
    async with lives() as opened, wired(opened) as client:
        for n, batch in enumerate(batches[:3]):
            assert await client.produce(TOPIC, batch) == (Code.NONE, 2 * n)
        late = batch_of(b"9", producer=producer, sequence=8)
        assert (await client.produce(TOPIC, late))[0] == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert await client.produce(TOPIC, batches[3]) == (Code.NONE, 6)
        assert (await opened.log.ends(TOPIC))[0].next == 8


async def test_an_open_transaction_stays_open_and_goes_on(lives):
    async with lives() as opened, wired(opened) as client:
        producer = await _begun(client)
        assert (await client.fetch(TOPIC, 0, isolation=READ_COMMITTED))["last_stable_offset"] == 1
    async with lives() as opened, wired(opened) as client:
        row = await client.fetch(TOPIC, 0, isolation=READ_COMMITTED)
        assert (row["last_stable_offset"], row["high_watermark"]) == (1, 3)
        assert values(await read_all(opened.log, TOPIC)) == [b"before"]
        more = batch_of(b"c", producer=producer, sequence=2, transactional=True)
        assert await client.produce(TOPIC, more, name=NAME) == (Code.NONE, 3)
        assert await client.end(NAME, producer, commit=True) == Code.NONE
        assert values(await read_all(opened.log, TOPIC)) == [b"before", b"a", b"b", b"c"]
    async with lives() as opened, wired(opened) as client:
        assert values(await read_all(opened.log, TOPIC)) == [b"before", b"a", b"b", b"c"]
        assert (await client.init(NAME))[1] > producer[1]


async def test_an_open_transaction_is_aborted_by_its_time_out(lives):
    async with lives() as opened, wired(opened) as client:
        producer = await _begun(client, timeout_ms=400)
    async with lives() as opened, wired(opened) as client:
        partition = await opened.node.broker.partition(TOPIC, 0)
        await until(lambda: partition.stable == partition.next == 4)
        assert values(await read_all(opened.log, TOPIC)) == [b"before"]
        row = await client.fetch(TOPIC, 0, isolation=READ_COMMITTED)
        assert row["aborted_transactions"] == [{"producer_id": producer[0], "first_offset": 1}]
        assert await client.end(NAME, producer, commit=True) == Code.PRODUCER_FENCED
    async with lives() as opened, wired(opened) as client:
        row = await client.fetch(TOPIC, 0, isolation=READ_COMMITTED)
        assert row["aborted_transactions"] == [{"producer_id": producer[0], "first_offset": 1}]
        assert values(await read_all(opened.log, TOPIC)) == [b"before"]


@pytest.mark.parametrize("commit", [True, False])
async def test_markers_that_are_owed_are_written(lives, monkeypatch, commit):
    monkeypatch.setattr(server, "DRAIN_S", 0.01)
    async with lives() as opened, wired(opened) as client:
        producer = await _begun(client)
        with monkeypatch.context() as patch:
            patch.setattr(Transactions, "_mark_one", _never)
            client.send(
                "end_txn",
                transactional_id=NAME,
                producer_id=producer[0],
                producer_epoch=producer[1],
                committed=commit,
            )
            decided = Phase.PREPARE_COMMIT if commit else Phase.PREPARE_ABORT
            coordinator = opened.node.transactions._coordinators[NAME]
            await until(lambda: coordinator.marking is not None)
            assert coordinator.transaction.phase == decided
            client.abort()
    async with lives() as opened:
        partition = await opened.node.broker.partition(TOPIC, 0)
        await until(lambda: partition.stable == partition.next == 4)
        kept = [b"before", b"a", b"b"] if commit else [b"before"]
        assert values(await read_all(opened.log, TOPIC)) == kept
        ended = Phase.COMPLETE_COMMIT if commit else Phase.COMPLETE_ABORT
        await until(lambda: opened.node.transactions.transaction(NAME).phase == ended)


async def _never(*_):
    await asyncio.Event().wait()


async def test_offsets_of_a_transaction_count_when_it_is_committed_and_not_before(lives):
    async with lives() as opened, wired(opened) as client:
        producer = await _begun(client)
        asked = {
            "transactional_id": NAME,
            "producer_id": producer[0],
            "producer_epoch": producer[1],
            "group_id": "g",
        }
        assert (await client.ask("add_offsets_to_txn", **asked))["error_code"] == Code.NONE
        row = {"partition_index": 0, "committed_offset": 1, "committed_metadata": ""}
        topics = [{"name": TOPIC, "partitions": [row]}]
        body = await client.ask("txn_offset_commit", **asked, topics=topics)
        assert body["topics"][0]["partitions"][0]["error_code"] == Code.NONE
        assert list(await opened.log.lag("g")) == []
    async with lives() as opened, wired(opened) as client:
        assert list(await opened.log.lag("g")) == []
        assert await client.end(NAME, producer, commit=True) == Code.NONE
        assert (await opened.log.lag("g"))[0].committed == 1
    async with lives() as opened:
        assert (await opened.log.lag("g"))[0].committed == 1


async def _begun(client, timeout_ms=60_000):
    """Its records are at 1 and 2, behind one of nobody's transaction."""
    await client.make(TOPIC)
    assert (await client.produce(TOPIC, batch_of(b"before")))[0] == Code.NONE
    producer = await client.init(NAME, timeout_ms)
    assert await client.begin(NAME, producer, TOPIC) == Code.NONE
    batch = batch_of(b"a", b"b", producer=producer, sequence=0, transactional=True)
    assert await client.produce(TOPIC, batch, name=NAME) == (Code.NONE, 1)
    return producer


# --- power cuts ---------------------------------------------------------------------------------


@pytest.fixture
def cut(disk_places, tmp_path):
    """`cut.keep()` keeps the topics' files as they are, `cut()` puts them back: what came later was
    in the page cache alone, but for the journal's.
    """

    class Cut:
        topics = disk_places.data / "log" / "topics"

        def keep(self):
            shutil.copytree(self.topics, tmp_path / "kept")

        def __call__(self):
            shutil.rmtree(self.topics)
            (tmp_path / "kept").rename(self.topics)

    return Cut()


async def test_a_note_of_producers_that_is_ahead_of_the_log_is_ignored(disk_places, cut):
    async with disk_places.open() as opened, wired(opened) as client:
        await client.make(TOPIC)
        producer = await client.init()
        first, lost = (batch_of(b"%d" % n, producer=producer, sequence=n) for n in range(2))
        assert await client.produce(TOPIC, first) == (Code.NONE, 0)
        cut.keep()
        assert await client.produce(TOPIC, lost) == (Code.NONE, 1)
    cut()
    async with disk_places.open() as opened, wired(opened) as client:
        assert (await opened.log.ends(TOPIC))[0].next == 1
        assert await client.produce(TOPIC, first) == (Code.NONE, 0)
        assert await client.produce(TOPIC, lost) == (Code.NONE, 1)
        assert values(await read_all(opened.log, TOPIC)) == [b"0", b"1"]


async def test_deleting_records_that_a_power_cut_takes_hides_none_that_come_later(disk_places, cut):
    async with disk_places.open() as opened:
        await opened.log.append(CLICKS, some(2))
        cut.keep()
        await opened.log.append(CLICKS, some(8, first=2))
        await (await opened.node.broker.partition(CLICKS, 0)).delete_below(10)
    cut()
    async with disk_places.open() as opened:
        async with asyncio.timeout(PATIENCE_S):
            [place] = await opened.log.append(CLICKS, some(1, first=99))
        assert values(await opened.log.read(CLICKS, 0, place.offset)) == [b"99"]


class HeldDisk(SystemDisk):
    """Nothing is synced while it is held."""

    def __init__(self):
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()

    def open(self, path, *, create=False):
        return HeldFile(super().open(path, create=create), self.free)

    @contextmanager
    def held(self):
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()


class HeldFile:
    def __init__(self, file, free):
        self._file, self._free = file, free

    def __getattr__(self, name):
        return getattr(self._file, name)

    async def sync(self):
        await self._free.wait()
        await self._file.sync()


@pytest.fixture
def held_disk():
    return HeldDisk()


async def test_a_system_of_the_town_reads_nothing_that_a_power_cut_can_take(disk_places, held_disk):
    async with disk_places.open(runtime=Runtime(disk=held_disk)) as opened, wired(opened) as client:
        log = opened.log
        await log.append(CLICKS, some(2))
        async with log.member("g", [CLICKS]) as member:
            assert len(await member.poll()) == 2
            waiting = [
                asyncio.create_task(log.read(CLICKS, 0, 2, wait_s=PATIENCE_S)),
                asyncio.create_task(member.poll(wait_s=PATIENCE_S)),
            ]
            with held_disk.held():
                appending = asyncio.create_task(log.append(CLICKS, some(1, first=2)))
                row = await client.fetch(CLICKS, 2)
                assert row["high_watermark"] == 3  # a client of Kafka's sees it
                assert not await log.read(CLICKS, 0, 2)
                assert (await log.ends(CLICKS))[0].next == 2
                assert await log.offset_at(CLICKS, 0, 1 << 50) == 2
                assert (await log.lag("g"))[0].next == 2
                assert not any(task.done() for task in [*waiting, appending])
            async with asyncio.timeout(PATIENCE_S):
                assert [values(found) for found in await asyncio.gather(*waiting)] == [[b"2"]] * 2
                assert [place.offset for place in await appending] == [2]
            assert (await log.ends(CLICKS))[0].next == 3


async def test_an_offset_that_the_town_keeps_is_never_ahead_of_what_a_power_cut_leaves(
    disk_places, cut, held_disk
):
    async with disk_places.open(runtime=Runtime(disk=held_disk)) as opened, wired(opened) as client:
        await client.make(TOPIC)
        assert await client.produce(TOPIC, batch_of(b"0")) == (Code.NONE, 0)
        cut.keep()
        with held_disk.held():
            assert await client.produce(TOPIC, batch_of(b"lost"), acks=1) == (Code.NONE, 1)
            kept = (await opened.log.read(TOPIC, 0, 0))[-1].offset + 1
            assert kept == (await opened.log.ends(TOPIC))[0].next == 1
    cut()
    async with disk_places.open() as opened, wired(opened) as client:
        assert await client.produce(TOPIC, batch_of(b"1")) == (Code.NONE, 1)
        assert values(await opened.log.read(TOPIC, 0, kept)) == [b"1"]


async def test_what_a_client_appends_for_the_page_cache_alone_is_synced_when_the_town_reads(
    disk_places,
):
    async with disk_places.open() as opened, wired(opened) as client:
        await client.make(TOPIC)
        partition = await opened.node.broker.partition(TOPIC, 0)
        for n in range(3):
            batch = batch_of(b"%d" % n)
            assert await client.produce(TOPIC, batch, acks=1) == (Code.NONE, n)
        assert not await opened.log.read(TOPIC, 0, 0)  # which asks for a sync
        await until(lambda: partition.durable() == 3)
        assert values(await opened.log.read(TOPIC, 0, 0)) == [b"0", b"1", b"2"]
        waiting = asyncio.create_task(opened.log.read(TOPIC, 0, 3, wait_s=PATIENCE_S))
        await asyncio.sleep(0)
        assert await client.produce(TOPIC, batch_of(b"3"), acks=1) == (Code.NONE, 3)
        async with asyncio.timeout(PATIENCE_S):
            assert values(await waiting) == [b"3"]
