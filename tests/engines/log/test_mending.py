"""A disk that fails once: what has failed is opened again, and nothing acknowledged is lost."""

import asyncio
import errno

import pytest

from bastide.base.faults import armed, failing
from bastide.engines.log.contract import LogAway, Place
from tests.engines.log.town_kit import PATIENCE_S, read_all, some, values

CLICKS = "owner.clicks"
LOST = OSError(errno.EIO, "input/output error")
pytestmark = [pytest.mark.shows("log.outage"), pytest.mark.box("log.mends")]


@pytest.fixture
async def log(disk_places):
    async with disk_places.open() as opened:
        yield opened.log


async def appended(log, records):
    """As a caller tries again until it is taken; how many times it was refused."""
    refused = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await log.append(CLICKS, records)
                return refused
            except LogAway:
                refused += 1
                await asyncio.sleep(0.01)  # as a caller backs off


@pytest.mark.parametrize("point", ["before_write", "before_sync", "after_sync"])
async def test_a_partition_that_failed_is_opened_again(log, point):
    await log.append(CLICKS, some(3))
    for round_ in range(2):
        with armed(f"seglog.{point}", failing(LOST)), pytest.raises(LogAway):
            await log.append(CLICKS, some(1, first=100 + round_))
        assert await appended(log, some(1, first=3 + round_)) > 0
    found = values(await read_all(log, CLICKS))
    acknowledged = [b"%d" % n for n in range(5)]
    assert [value for value in found if value in acknowledged] == acknowledged
    assert set(found) <= {*acknowledged, b"100", b"101"}  # in doubt


async def test_who_reads_goes_on_where_it_was(log):
    async with log.member("g", [CLICKS]) as member:
        await log.append(CLICKS, some(3))
        heard = values(await member.poll())
        await member.commit([Place(CLICKS, 0, 3)])
        with armed("seglog.before_sync", failing(LOST)), pytest.raises(LogAway):
            await log.append(CLICKS, some(1, first=3))
        await appended(log, some(1, first=4))
        async with asyncio.timeout(PATIENCE_S):
            while b"4" not in heard:
                heard += values(await member.poll())
    assert [value for value in heard if value != b"3"] == [b"0", b"1", b"2", b"4"]


async def test_the_journal_that_failed_holds_again_what_was_known(disk_places):
    async with disk_places.open() as opened:
        log = opened.log
        await log.append(CLICKS, some(5))
        async with log.member("g", [CLICKS]) as member:
            await member.poll()
            await member.commit([Place(CLICKS, 0, 2)])
            with armed("seglog.before_write", failing(LOST)), pytest.raises(LogAway):
                await member.commit([Place(CLICKS, 0, 3)])
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        await member.commit([Place(CLICKS, 0, 4)])
                        break
                    except LogAway:
                        await asyncio.sleep(0.01)  # as a caller backs off
        await log.health()
    async with disk_places.open() as opened:
        [lag] = await opened.log.lag("g")
        assert (lag.committed, lag.next) == (4, 5)
        assert [topic.name for topic in await opened.log.topics()] == [CLICKS]
