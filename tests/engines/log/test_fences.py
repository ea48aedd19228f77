"""A deposed holder's records are not appended."""

import asyncio
import errno

import pytest

from bastide.base.faults import armed, failing
from bastide.base.fence import FENCES_MAX, Deposed, Fence, FencesOver
from bastide.engines.log.contract import FenceMissing, LogAway, Record
from tests.engines.log.kafka_kit import cleared, shared_url
from tests.engines.log.town_kit import Places, read_all, some, values

CLICKS = "owner.clicks"
LOST = OSError(errno.EIO, "input/output error")


@pytest.fixture
async def log(own_places):
    async with own_places.open() as opened:
        yield opened.log


async def append(log, word, token, *, topic=CLICKS, name="lock", **options):
    await log.append(topic, [Record(word)], fence=Fence(name, token), **options)


async def test_a_token_may_append_until_a_newer_one_was_seen_in_whatever_topic(log):
    await append(log, b"a", 33)
    await append(log, b"b", 33)
    await append(log, b"c", 34, topic="owner.other")
    with pytest.raises(Deposed) as refused:
        await append(log, b"late", 33)
    assert refused.value.newest == 34
    await append(log, b"d", 34)
    await append(log, b"e", 1, name="another")
    await log.append(CLICKS, [Record(b"f")])
    assert values(await read_all(log, CLICKS)) == [b"a", b"b", b"d", b"e", b"f"]


async def test_who_races_leaves_nothing_of_an_older_token_behind_a_newer_one(log):
    async def write(token):
        try:
            await append(log, b"%d" % token, token)
        except Deposed:
            assert token < 9

    for _ in range(20):
        await asyncio.gather(*(write(token) for token in (3, 1, 9, 2, 5, 4, 9, 1, 3, 6, 2)))
    found = [int(value) for value in values(await read_all(log, CLICKS))]
    assert found == sorted(found)
    assert found.count(9) == 40


async def test_a_restart_remembers_the_newest(disk_places):
    async with disk_places.open() as opened:
        await append(opened.log, b"a", 7)
    async with disk_places.open() as opened:
        with pytest.raises(Deposed):
            await append(opened.log, b"late", 6)
        await append(opened.log, b"b", 7)
        assert values(await read_all(opened.log, CLICKS)) == [b"a", b"b"]


@pytest.mark.parametrize("point", ["before_write", "before_sync"])
async def test_nothing_is_appended_under_a_token_that_the_disk_has_not(disk_places, point):
    """The fence fails first; when the disk is well again the same token is taken."""
    async with disk_places.open() as opened:
        log = opened.log
        await append(log, b"a", 1)
        with armed(f"seglog.{point}", failing(LOST)), pytest.raises(LogAway) as refused:
            await append(log, b"lost", 2)
        assert refused.value.outcome == "none"
        async with asyncio.timeout(10):
            while True:
                try:
                    await append(log, b"b", 2)
                    break
                except LogAway:
                    await asyncio.sleep(0.01)  # as a caller backs off
        with pytest.raises(Deposed):
            await append(log, b"late", 1)
        assert values(await read_all(log, CLICKS)) == [b"a", b"b"]


@pytest.mark.limit("log.FENCES_MAX")
async def test_there_may_be_so_many_fences(log, monkeypatch):
    assert FENCES_MAX == 10_000
    monkeypatch.setattr("bastide.engines.log.service.fences.FENCES_MAX", 3)
    for n in range(3):
        await append(log, b"%d" % n, 1, name=f"fence{n}")
    with pytest.raises(FencesOver):
        await append(log, b"late", 1, name="fence3")
    await append(log, b"3", 2, name="fence0")
    assert values(await read_all(log, CLICKS)) == [b"0", b"1", b"2", b"3"]


@pytest.mark.engine("kafka")
async def test_kafka_keeps_no_fences_and_says_so(tmp_path, listed):
    places = Places(cleared(shared_url()), tmp_path / "data")
    async with places.open() as opened:
        await opened.log.append(CLICKS, some(1))
        with pytest.raises(FenceMissing):
            await append(opened.log, b"late", 1)
        assert len(values(await read_all(opened.log, CLICKS))) == 1
