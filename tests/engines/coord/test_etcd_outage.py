"""`etcd://` when servers are away, slow, or refuse: what is tried again, and what is said."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from bastide.base.errors import Denied, Invalid
from bastide.base.rt.net import bind
from bastide.base.settings import parse_url
from bastide.engines.coord.backends.etcd import client
from bastide.engines.coord.backends.etcd.backend import open_etcd
from bastide.engines.coord.contract import (
    CoordAway,
    LeaderMissing,
    LeaseMissing,
    Put,
    Range,
    RevisionCompacted,
    SpaceOver,
    Watch,
)
from bastide.engines.coord.core.commands import SetSpace
from bastide.engines.coord.core.protocol import statuses
from bastide.engines.coord.service.local import opened_local
from tests.engines.coord.wire_kit import HOST, WITHIN_S, client_of, door, keys_at


@asynccontextmanager
async def deaf(answers=b""):
    """A server that takes everything and says `answers`: its port, and how often it was asked."""
    asked = []

    async def take(reader, writer):
        asked.append(1)
        writer.write(answers)
        try:
            while await reader.read(65_536):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


def nobody():
    with bind(HOST, 0) as listener:
        return listener.getsockname()[1]


async def test_the_next_server_is_asked_when_one_is_away():
    async with door() as ours, keys_at(f"{HOST}:{nobody()},{ours.address}") as keys:
        await keys.put(Put(b"a", b"1"))
        assert (await keys.range(Range(b"a"))).count == 1
        async with keys.watch(Watch(b"a", from_revision=1)) as changes:
            assert (await anext(changes)).events[0].item.value == b"1"


async def test_the_next_server_is_asked_when_one_does_not_answer():
    async with (
        deaf() as (port, _),
        door() as ours,
        keys_at(f"{HOST}:{port},{ours.address}", timeout_s=0.4) as keys,
    ):
        with pytest.raises(CoordAway) as told:
            await keys.put(Put(b"a", b"1"))
        assert told.value.outcome == "unknown"
        await keys.put(Put(b"a", b"1"))


@pytest.mark.shows("coord.outage")
async def test_nobody_there_means_that_nothing_was_done():
    async with keys_at(f"{HOST}:{nobody()}", timeout_s=0.2) as keys:
        for asked in (keys.put(Put(b"a")), keys.range(Range(b"a")), keys.health()):
            with pytest.raises(CoordAway) as told:
                await asked
            assert told.value.outcome == "none"
        with pytest.raises(CoordAway):
            async with keys.watch(Watch(b"a")):
                pass
        with pytest.raises(CoordAway):
            await keys.keep_alive(7)


async def test_no_answer_to_a_change_tells_nothing_and_it_is_not_made_again():
    async with deaf() as (port, asked), keys_at(f"{HOST}:{port}", timeout_s=0.2) as keys:
        with pytest.raises(CoordAway) as told:
            await keys.put(Put(b"a"))
        assert told.value.outcome == "unknown"
        assert len(asked) == 1
        with pytest.raises(CoordAway) as told:
            await keys.range(Range(b"a"))
        assert told.value.outcome == "none"


@pytest.mark.shows("coord.outage")
async def test_a_watch_goes_on_behind_what_it_has_told():
    async with opened_local() as local:
        listener = bind(HOST, 0)
        port = listener.getsockname()[1]
        async with keys_at(f"{HOST}:{port}") as keys:
            async with door(listener, local) as ours:
                ours.drain_s = 0.05
                watching = keys.watch(Watch(b"a", b"b", from_revision=2))
                changes = await watching.__aenter__()
                await local.put(Put(b"a1"))
                await local.put(Put(b"a2"))
                told = await _keys_of(changes, 2)
            await local.put(Put(b"a3"))
            async with door(bind(HOST, port), local):
                await local.put(Put(b"a4"))
                told += await _keys_of(changes, 2)
                assert told == [b"a1", b"a2", b"a3", b"a4"]
                assert (await keys.keep_alive((await keys.grant(60, 0)).id)).ttl_s == 60
                await watching.__aexit__(None, None, None)


async def _keys_of(changes, count):
    found = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            found += [event.item.key for event in (await anext(changes)).events]
    return found


async def test_a_watch_that_comes_back_too_late_is_told_so():
    async with opened_local() as local:
        listener = bind(HOST, 0)
        port = listener.getsockname()[1]
        async with keys_at(f"{HOST}:{port}") as keys:
            async with door(listener, local) as ours:
                ours.drain_s = 0.05
                watching = keys.watch(Watch(b"a", from_revision=2))
                changes = await watching.__aenter__()
                await local.put(Put(b"a"))
                await anext(changes)
            for _ in range(3):
                await local.put(Put(b"a"))
            await local.compact(5)
            async with door(bind(HOST, port), local):
                with pytest.raises(RevisionCompacted) as told:
                    await anext(changes)
                assert told.value.oldest == 5
                await watching.__aexit__(None, None, None)


@pytest.mark.shows("coord.outage")
async def test_leases_are_kept_alive_over_a_restart():
    async with opened_local() as local:
        listener = bind(HOST, 0)
        port = listener.getsockname()[1]
        async with keys_at(f"{HOST}:{port}") as keys:
            async with door(listener, local) as ours:
                ours.drain_s = 0.05
                lease = await keys.grant(60, 0)
                await keys.keep_alive(lease.id)
            keeping = asyncio.ensure_future(keys.keep_alive(lease.id))
            async with door(bind(HOST, port), local):
                assert (await keeping).ttl_s == 60
                with pytest.raises(LeaseMissing):
                    await keys.keep_alive(77)


async def test_it_says_who_it_is_and_is_let_in_or_not():
    async with door() as ours, client_of(ours) as asker:
        await asker("Auth/UserAdd", name="root", password="p:w/")
        await asker("Auth/RoleAdd", name="root")
        await asker("Auth/UserGrantRole", user="root", role="root")
        await asker("Auth/UserAdd", name="ann", password="secret")
        await asker("Auth/AuthEnable")
        async with keys_at(f"root:p%3Aw%2F@{ours.address}") as keys:
            await keys.put(Put(b"a", b"1"))
            lease = await keys.grant(60, 0)
            assert (await keys.keep_alive(lease.id)).ttl_s == 60
            async with keys.watch(Watch(b"a", from_revision=1)) as changes:
                assert (await anext(changes)).events[0].item.value == b"1"
            # A token ends with the password that it was given for; another one is asked for.
            asker.metadata = {"token": await _token(asker)}
            await asker("Auth/UserChangePassword", name="root", password="p:w/")
            await keys.put(Put(b"a", b"2"))
            asker.metadata = {"token": await _token(asker)}
            await asker("Auth/UserChangePassword", name="root", password="p:w/")
            async with keys.watch(Watch(b"a", from_revision=1)) as changes:
                assert (await anext(changes)).events[0].item.value == b"1"
        async with keys_at(f"ann:secret@{ours.address}") as keys:
            with pytest.raises(Denied):
                await keys.put(Put(b"a", b"3"))
            with pytest.raises(Denied):
                async with keys.watch(Watch(b"a")):
                    pass
        async with keys_at(f"ann:wrong@{ours.address}", timeout_s=1) as keys:
            with pytest.raises(Denied):
                await keys.put(Put(b"a", b"3"))


async def _token(asker):
    return (await asker("Auth/Authenticate", name="root", password="p:w/")).token


async def test_a_full_store_is_told_of_and_its_alarm_is_taken_back():
    async with door() as ours, client_of(ours) as asker, keys_at(ours.address) as keys:
        ours.local.apply(SetSpace(1))
        with pytest.raises(SpaceOver):
            await keys.put(Put(b"a", b"1"))
        (alarm,) = (await asker("Maintenance/Alarm")).alarms
        assert alarm.alarm == 1
        ours.local.apply(SetSpace(1 << 20))
        await asker("Maintenance/Alarm", action=2, memberID=alarm.memberID, alarm=1)
        assert not (await asker("Maintenance/Alarm")).alarms
        await keys.put(Put(b"a", b"1"))


@pytest.mark.limit("coord.WATCHES_OF_CONNECTION_MAX")
async def test_so_many_watches_share_a_connection(monkeypatch):
    monkeypatch.setattr(client, "WATCHES_OF_CONNECTION_MAX", 2)
    async with door() as ours, keys_at(ours.address) as keys, AsyncExitStack() as open_:
        connections = []
        for _ in range(3):
            await open_.enter_async_context(keys.watch(Watch(b"a")))
            connections.append(len(ours.connections))
        assert connections == [1, 1, 2]


def test_what_etcd_says_means_the_same_to_us_both_ways():
    for error in (LeaderMissing("x"), LeaseMissing("x"), SpaceOver("x", retry_after_s=1)):
        told = statuses.error_of(statuses.status_of(error))
        assert type(told) is type(error)
    unknown = statuses.error_of(statuses.TIMED_OUT, changes=True)
    assert (type(unknown), unknown.outcome) == (CoordAway, "unknown")


@pytest.mark.parametrize("url", ["etcd://", "etcd://?x=1", "etcd://a?timeout_s=soon"])
async def test_a_url_that_means_nothing_is_refused(url):
    with pytest.raises(Invalid):
        async with open_etcd(parse_url(url), None):
            pass
