"""What every backend keeps: groups, their members, and how far they have come."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from bastide.engines.log.contract import (
    GROUP_BYTES_MAX,
    Group,
    GroupRefused,
    Lag,
    MemberDeposed,
    Place,
    Record,
    Topic,
    TopicRefused,
)
from tests.engines.log.kafka_kit import GROUPS
from tests.engines.log.town_kit import PATIENCE_S, polled, some, until, until_shared, values

CLICKS = "owner.clicks"
NOT_TOLD = -1  # a generation
SESSION_S = 1.0  # the shortest that a group takes: a rebalance is heard of in a third of it


def alone(log, group="g", topics=(CLICKS,), **more):
    return log.member(group, list(topics), **more)


def quick(log, group="g", topics=(CLICKS,)):
    return log.member(group, list(topics), session_s=SESSION_S)


async def entered(stack, log, others):
    """One more member, while the others are polled."""
    entering = asyncio.create_task(stack.enter_async_context(quick(log)))
    async with asyncio.timeout(PATIENCE_S):
        while not entering.done():
            await asyncio.gather(*(member.poll(wait_s=0.02) for member in others))
    return await entering


async def told(log):
    """Groups of these tests."""
    return [group for group in await log.groups() if group.name in GROUPS]


async def keyed(log, topic, partitions):
    """One record in each partition."""
    for number in range(partitions):
        await log.append(topic, [Record(b"%d" % number)], partition=number)


async def test_a_member_alone_reads_all_partitions_each_in_order(log):
    await log.create(Topic(CLICKS, partitions=3))
    await log.append(CLICKS, [Record(b"%d" % n, b"%d" % (n % 5)) for n in range(60)])
    async with alone(log) as member:
        assert member.partitions == [(CLICKS, 0), (CLICKS, 1), (CLICKS, 2)]
        found = await polled(member, 60)
    assert sorted(values(found), key=int) == [b"%d" % n for n in range(60)]
    for number in range(3):
        mine = [int(e.record.value) for e in found if e.partition == number]
        assert mine == sorted(mine)


async def test_a_poll_gives_no_more_than_was_asked_for_and_goes_on_behind_it(log):
    await log.append(CLICKS, some(10))
    async with alone(log) as member:
        assert values(await member.poll(entries_max=3)) == [b"0", b"1", b"2"]
        assert values(await member.poll(entries_max=3)) == [b"3", b"4", b"5"]
        assert values(await member.poll()) == [b"6", b"7", b"8", b"9"]
        assert not await member.poll(wait_s=0.01)


async def test_a_poll_that_waits_is_woken_by_what_is_appended(log):
    async with alone(log) as member:
        waiting = asyncio.create_task(member.poll(wait_s=2 * PATIENCE_S))
        await asyncio.sleep(0)
        await log.append(CLICKS, some(1))
        async with asyncio.timeout(PATIENCE_S):
            assert values(await waiting) == [b"0"]


async def test_a_group_goes_on_from_what_it_committed_whatever_was_read(log):
    await log.append(CLICKS, some(10))
    async with alone(log) as member:
        assert len(await polled(member, 10)) == 10
        await member.commit([Place(CLICKS, 0, 4)])
    async with alone(log) as member:
        assert values(await polled(member, 6)) == [b"%d" % n for n in range(4, 10)]
        await member.commit([Place(CLICKS, 0, 2)])  # back, too
    async with alone(log) as member, alone(log, group="another") as other:
        assert (await polled(member, 8))[0].offset == 2
        assert (await polled(other, 10))[0].offset == 0


async def test_a_group_begins_at_the_first_or_the_end_where_it_has_committed_nothing(log):
    await log.append(CLICKS, some(3))
    async with alone(log, start="end") as at_end, alone(log, group="first") as at_first:
        await log.append(CLICKS, some(1, first=3))
        assert values(await polled(at_end, 1)) == [b"3"]
        assert values(await polled(at_first, 4)) == [b"0", b"1", b"2", b"3"]
        await at_end.commit([Place(CLICKS, 0, 1)])
    async with alone(log, start="end") as member:
        assert values(await polled(member, 3)) == [b"1", b"2", b"3"]


async def test_a_member_reads_again_and_skips_by_seek(log):
    await log.append(CLICKS, some(10))
    async with alone(log) as member:
        await polled(member, 10)
        member.seek(Place(CLICKS, 0, 8))
        assert values(await polled(member, 2)) == [b"8", b"9"]
        member.seek(Place(CLICKS, 0, 0))
        assert values(await member.poll(entries_max=1)) == [b"0"]


async def test_a_member_goes_on_at_the_first_that_is_kept_when_what_it_wanted_is_gone(places):
    async with places.open() as opened:
        async with alone(opened.log) as member:
            await opened.log.append(CLICKS, some(10))
            assert len(await polled(member, 10)) == 10
            await member.commit([Place(CLICKS, 0, 3)])
            await opened.tools.delete_below(CLICKS, 0, 6)
            member.seek(Place(CLICKS, 0, 2))
            assert values(await polled(member, 4)) == [b"6", b"7", b"8", b"9"]
        async with alone(opened.log) as member:
            assert values(await polled(member, 4)) == [b"6", b"7", b"8", b"9"]


async def test_a_member_goes_on_at_the_end_when_what_was_committed_is_ahead_of_it(log):
    await log.append(CLICKS, some(3))
    async with alone(log) as member:
        await member.commit([Place(CLICKS, 0, 9)])  # as after a power cut
    async with alone(log) as member:
        assert not await member.poll(wait_s=0)
        await log.append(CLICKS, some(1, first=3))
        assert values(await polled(member, 1)) == [b"3"]


async def test_members_get_the_partitions_that_are_added_to_their_topic(places):
    async with places.open() as opened, quick(opened.log) as first, AsyncExitStack() as stack:
        second = await entered(stack, opened.log, [first])
        await until_shared([first, second], [0, 1])
        await opened.tools.grow(CLICKS, 4)
        await keyed(opened.log, CLICKS, 4)
        await until_shared([first, second], [2, 2])
        for member in (first, second):
            for topic, number in member.partitions:
                member.seek(Place(topic, number, 0))
        seen = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 4:
                for member in (first, second):
                    seen.update(values(await member.poll(wait_s=0.05)))
        assert seen == {b"0", b"1", b"2", b"3"}


async def test_a_member_reads_its_other_topics_when_one_is_deleted_and_made_again(own_places):
    async with (
        own_places.open() as opened,
        alone(opened.log, topics=[CLICKS, "owner.views"]) as member,
    ):
        await opened.log.append(CLICKS, some(2))
        assert len(await polled(member, 2)) == 2
        await opened.tools.delete(CLICKS)
        await opened.log.append("owner.views", some(1))
        assert values(await polled(member, 1)) == [b"0"]
        assert member.partitions == [("owner.views", 0)]
        await opened.log.append(CLICKS, some(1, first=7))
        assert values(await polled(member, 1)) == [b"7"]


async def test_two_members_share_and_what_one_leaves_the_other_gets(log):
    await log.create(Topic(CLICKS, partitions=4))
    await keyed(log, CLICKS, 4)
    async with quick(log) as stays:
        before = stays.generation
        async with AsyncExitStack() as stack:
            leaves = await entered(stack, log, [stays])
            await until_shared([stays, leaves], [2, 2])
            assert stays.generation == leaves.generation > before
            [group] = await told(log)
            assert group.state == "stable"
            shares = sorted(sorted(has) for has in group.members.values())
            assert shares == sorted(sorted(m.partitions) for m in (stays, leaves))
            known = stays.generation
        await until_shared([stays], [4])
        assert stays.generation > known
        await log.append(CLICKS, [Record(b"new")], partition=3)
        await log.append(CLICKS, [Record(b"new")], partition=0)
        seen = []
        async with asyncio.timeout(PATIENCE_S):
            while sum(e.record.value == b"new" for e in seen) < 2:
                seen += await stays.poll(wait_s=0.2)
    [group] = await told(log)
    assert (group.state, group.members) == ("empty", {})


async def test_two_members_get_each_record_once_when_all_is_committed(log):
    await log.create(Topic(CLICKS, partitions=4))
    seen = []
    async with quick(log) as first, AsyncExitStack() as stack:
        second = await entered(stack, log, [first])
        await until_shared([first, second], [2, 2])
        for n in range(40):
            await log.append(CLICKS, [Record(b"%d" % n, b"%d" % n)])
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 40:
                for member in (first, second):
                    entries = await member.poll(entries_max=7, wait_s=0.01)
                    await member.commit([Place(CLICKS, e.partition, e.offset + 1) for e in entries])
                    seen += entries
    assert sorted(int(e.record.value) for e in seen) == list(range(40))


async def test_what_a_deposed_member_commits_is_refused(log):
    await log.create(Topic(CLICKS, partitions=2))
    async with quick(log) as old, AsyncExitStack() as stack:
        new = await entered(stack, log, [old])
        await _deposed(log, old, new)


async def _deposed(log, old, new):
    await until_shared([old, new], [1, 1])
    [gone] = new.partitions
    with pytest.raises(MemberDeposed):
        await old.commit([Place(*old.partitions[0], 1), Place(*gone, 1)])
    assert await log.lag("g") == [Lag(CLICKS, 0, None, 0), Lag(CLICKS, 1, None, 0)]
    await new.commit([Place(*gone, 1)])
    assert [one.committed for one in await log.lag("g") if one.committed is not None] == [1]


async def test_a_member_that_is_silent_for_long_is_deposed_and_its_partitions_are_anothers(log):
    await log.create(Topic(CLICKS, partitions=2))
    await keyed(log, CLICKS, 2)
    async with quick(log) as silent:
        assert len(await polled(silent, 2)) == 2
        known = silent.generation
        async with quick(log) as other:  # is let in when the session of the silent one is over
            assert other.partitions == [(CLICKS, 0), (CLICKS, 1)]
            assert other.generation > known
            with pytest.raises(MemberDeposed):
                await silent.commit([Place(CLICKS, 0, 1)])
            await other.commit([Place(CLICKS, 0, 1)])
        assert (await log.lag("g"))[0].committed == 1


async def test_lag_tells_how_far_a_group_is_where_it_committed_or_has_members(log):
    await log.create(Topic(CLICKS, partitions=2))
    await log.append(CLICKS, some(5), partition=1)
    assert list(await log.lag("g")) == []
    async with alone(log) as member:
        await member.commit([Place(CLICKS, 1, 3)])
        assert await log.lag("g") == [Lag(CLICKS, 0, None, 0), Lag(CLICKS, 1, 3, 5)]
    assert await log.lag("g") == [Lag(CLICKS, 1, 3, 5)]


async def test_a_member_may_read_many_topics_and_makes_those_that_are_not_there(log):
    await log.append(CLICKS, some(1))
    async with alone(log, topics=[CLICKS, "owner.views"]) as member:
        assert sorted(member.partitions) == [(CLICKS, 0), ("owner.views", 0)]
        await log.append("owner.views", some(1, first=1))
        assert sorted(values(await polled(member, 2))) == [b"0", b"1"]


async def test_groups_are_told_by_name(log):
    async with alone(log, group="b") as member, alone(log, group="a"):
        found = await told(log)
        assert [group.name for group in found] == ["a", "b"]
        [has] = found[1].members.values()
        assert isinstance(found[1], Group)
        assert [tuple(one) for one in has] == [(CLICKS, 0)]
        assert found[1].generation in (member.generation, NOT_TOLD)


@pytest.mark.limit("log.GROUP_BYTES_MAX")
async def test_a_groups_name_may_have_so_many_bytes(log):
    longest = "ü" * (GROUP_BYTES_MAX // 2) + "x"
    assert len(longest.encode()) == GROUP_BYTES_MAX
    async with alone(log, group=longest) as member:
        await member.commit([Place(CLICKS, 0, 0)])
    assert [group.name for group in await told(log)] == [longest]
    for name in ("", longest + "x", "x" * (GROUP_BYTES_MAX + 1)):
        with pytest.raises(GroupRefused):
            async with alone(log, group=name):
                pass


async def test_a_topic_that_has_no_name_is_refused_before_the_group_is_there(log):
    with pytest.raises(TopicRefused):
        async with alone(log, topics=["owner/x"]):
            pass
    with pytest.raises(TopicRefused):
        async with alone(log, topics=[]):
            pass
    assert await told(log) == []


async def test_a_member_that_leaves_by_an_error_has_left(log):
    with pytest.raises(ZeroDivisionError):
        async with alone(log):
            raise ZeroDivisionError
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S), alone(log) as member:
        assert member.partitions == [(CLICKS, 0)]
    await until(lambda: asyncio.all_tasks() <= before)
