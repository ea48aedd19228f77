"""A disk that takes nothing: what is refused, in time, what goes on, and that no restart is needed
when there is room again.
"""

import asyncio
import errno
import os

import pytest

from bastide.base import faults
from bastide.base.rt.disk import SystemDisk
from bastide.base.rt.runtime import Runtime
from bastide.engines.log.contract import LogAway, Place, Record, TooMuchPending, Topic
from bastide.engines.log.core.codes import Code
from tests.engines.log.town_kit import PATIENCE_S, read_all, some, until, values
from tests.engines.log.wire_kit import batch_of, connected, produced, served

CLICKS, TOPIC = "owner.clicks", "plain"


class FullDisk(SystemDisk):
    """As of this machine; nothing is written or made while it is `full`."""

    full = False

    def open(self, path, *, create=False):
        if create:
            self.check()
        return FullFile(self, super().open(path, create=create))

    def check(self):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile:
    def __init__(self, disk, file):
        self._disk, self._file = disk, file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, buffers, *, at):
        self._disk.check()
        self._file.write(buffers, at=at)


@pytest.fixture
def disk():
    return FullDisk()


@pytest.fixture
async def opened(disk_places, disk):
    async with disk_places.open(runtime=Runtime(disk=disk)) as opened:
        yield opened


async def appended(log, topic, records):
    """As a caller tries again until it is taken."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await log.append(topic, records)
            except LogAway:
                await asyncio.sleep(0.01)  # as a caller backs off


@pytest.mark.shows("log.outage")
async def test_a_full_disk_refuses_serves_reads_and_goes_on_by_itself(opened, disk):
    log = opened.log
    await log.append(CLICKS, some(3))
    async with log.member("g", [CLICKS]) as member:
        await log.health()
        disk.full = True
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(LogAway) as away:
                await log.append(CLICKS, some(1, first=3))
            assert away.value.outcome == "unknown"
            with pytest.raises(LogAway) as away:
                await log.append(CLICKS, some(1, first=4))
            assert away.value.outcome == "none"
            with pytest.raises(LogAway):
                await member.commit([Place(CLICKS, 0, 2)])
            with pytest.raises(LogAway):
                await log.create(Topic("owner.new"))
            with pytest.raises(LogAway):
                await log.health()
            assert values(await log.read(CLICKS, 0, 0)) == [b"0", b"1", b"2"]
            assert values(await member.poll()) == [b"0", b"1", b"2"]
        disk.full = False
        await appended(log, CLICKS, some(1, first=5))
        await until_healthy(log)
        await member.commit([Place(CLICKS, 0, 3)])
        found = values(await read_all(log, CLICKS))
        assert found == [b"0", b"1", b"2", b"3", b"5"]
        assert (await log.lag("g"))[0].committed == 3


async def until_healthy(log):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await log.health()
            except LogAway:
                await asyncio.sleep(0.01)  # as who watches over it waits


async def test_what_is_first_used_while_the_disk_is_full_is_refused_and_taken_later(opened, disk):
    log = opened.log
    await log.create(Topic(CLICKS, partitions=2))
    await log.append(CLICKS, some(1), partition=0)
    disk.full = True
    with pytest.raises(LogAway):
        await log.append(CLICKS, some(1), partition=1)
    with pytest.raises(LogAway):
        await log.append("owner.new", some(1))
    with pytest.raises(LogAway):
        await log.read(CLICKS, 1, 0)
    with pytest.raises(LogAway):
        await log.ends(CLICKS)
    disk.full = False
    await until_healthy(log)
    assert [p.partition for p in await log.append(CLICKS, some(1), partition=1)] == [1]
    await appended(log, "owner.new", some(1))


async def test_a_reader_that_waits_through_an_outage_is_woken_when_it_is_over(opened, disk):
    log = opened.log
    await log.append(CLICKS, some(1))
    waiting = asyncio.create_task(log.read(CLICKS, 0, 1, wait_s=PATIENCE_S))
    await asyncio.sleep(0)
    disk.full = True
    with pytest.raises(LogAway):
        await log.append(CLICKS, some(1, first=1))
    disk.full = False
    async with asyncio.timeout(PATIENCE_S / 2):
        assert values(await waiting) == [b"1"]


async def test_kafkas_clients_are_told_of_a_full_disk_and_may_ask_again(opened, disk):
    async with served(opened) as port, connected(port) as client:
        await client.make(TOPIC)
        producer = await client.init()
        batches = [batch_of(b"%d" % n, producer=producer, sequence=n) for n in range(3)]
        assert await client.produce(TOPIC, batches[0]) == (Code.NONE, 0)
        disk.full = True
        for acks in (1, -1):
            code, _ = await client.produce(TOPIC, batches[1], acks=acks)
            assert code == Code.KAFKA_STORAGE_ERROR
        row = await client.fetch(TOPIC, 0)
        assert (row["error_code"], row["high_watermark"]) == (Code.NONE, 1)
        body = await client.ask(
            "init_producer_id", transactional_id="tx", transaction_timeout_ms=1000
        )
        assert body["error_code"] == Code.COORDINATOR_NOT_AVAILABLE
        disk.full = False
        async with asyncio.timeout(PATIENCE_S):
            while (await client.produce(TOPIC, batches[1]))[0] != Code.NONE:
                await client.ask("metadata", topics=[])  # as a client does before it tries again
        assert await client.produce(TOPIC, batches[2]) == (Code.NONE, 2)
        assert values(await read_all(opened.log, TOPIC)) == [b"0", b"1", b"2"]


async def test_a_partition_whose_sync_has_failed_refuses_until_it_is_opened_again(opened):
    log = opened.log
    await log.append(CLICKS, some(1))
    await log.append("owner.other", some(1))
    broken = OSError(errno.EIO, os.strerror(errno.EIO))
    with faults.armed("seglog.before_sync", faults.failing(broken)), pytest.raises(LogAway) as away:
        await log.append(CLICKS, some(1, first=1))
    assert away.value.outcome == "unknown"
    with pytest.raises(LogAway):
        await log.append(CLICKS, some(1, first=2))
    assert values(await read_all(log, "owner.other")) == [b"0"]
    assert (await log.append("owner.other", some(1, first=1)))[0].offset == 1
    assert values(await log.read(CLICKS, 0, 0))[:1] == [b"0"]


async def test_more_than_may_wait_for_the_disk_is_refused_and_the_rest_is_taken(disk_places):
    async with disk_places.open(buffer_mb=1) as opened:
        log = opened.log
        await log.append(CLICKS, some(1))
        large = [Record(b"x" * 600_000)]
        told = await asyncio.gather(
            *(log.append(CLICKS, large) for _ in range(4)), return_exceptions=True
        )
        refused = [one for one in told if isinstance(one, TooMuchPending)]
        assert 0 < len(refused) < 4
        assert refused[0].retry_after_s > 0
        assert (await log.append(CLICKS, large))[0].offset == 5 - len(refused)


async def test_a_client_that_produces_more_than_may_wait_is_slowed_down_and_not_refused(
    disk_places,
):
    async with disk_places.open(buffer_mb=1) as opened, served(opened) as port:
        async with connected(port) as client:
            await client.make(TOPIC)
            batch = batch_of(b"x" * 600_000)
            asked = [client.send("produce", **produced(TOPIC, batch)) for _ in range(8)]
            answers = [await client.answer() for _ in asked]
        assert [number for number, _ in answers] == asked
        partition = await opened.node.broker.partition(TOPIC, 0)
        await until(lambda: partition.next == 8)
