"""Accounts: who may what, on every node, and for how long a token holds."""

import asyncio
from itertools import product

import pytest
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.rt.clock import ManualClock
from bastide.base.rt.net import bind
from bastide.base.rt.runtime import Runtime, run_on
from bastide.engines.coord.contract import Put
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.spans import is_within
from bastide.engines.coord.wire.accounts import READ, READ_WRITE, TOKEN_S, WRITE, Permission, covers
from bastide.engines.coord.wire.auth import NAME_BYTES_MAX
from bastide.engines.coord.wire.spans import Span
from tests.engines.coord.wire_kit import HOST, becomes, client_of, door, keys_at

keys = st.binary(min_size=1, max_size=2).map(lambda key: bytes(b % 4 for b in key))
ends = st.one_of(st.just(b""), st.just(b"\0"), keys)
permissions = st.builds(Permission, st.sampled_from([READ, WRITE, READ_WRITE]), keys, ends)
# All keys of up to three bytes of the same few: between any two of `keys` there are some.
ALL = [bytes(key) for n in (1, 2, 3) for key in product(range(5), repeat=n)]


@given(st.lists(permissions, max_size=4), st.sampled_from([READ, WRITE]), keys, ends)
def test_permissions_cover_what_they_hold_together(found, kind, first, end):
    allowed = [p for p in found if p.kind in (kind, READ_WRITE)]
    asked = [key for key in ALL if is_within(key, first, end)]
    if covers(found, kind, Span(first, end)):
        assert all(any(is_within(key, p.first, p.end) for p in allowed) for key in asked)
    elif not end:
        assert not any(is_within(first, p.first, p.end) for p in allowed)


def test_permissions_side_by_side_are_one_to_the_end():
    found = [Permission(READ, b"a", b"b"), Permission(READ_WRITE, b"b", b"\0")]
    assert covers(found, READ, Span(b"a", b"\0"))
    assert not covers(found, WRITE, Span(b"a", b"\0"))
    assert not covers(found[:1], READ, Span(b"a", b"\0"))


async def refusal(asked):
    with pytest.raises(GRPCError) as told:
        await asked
    return told.value.message


async def enable(client, **users):
    """`root`, and users with a role of their name that may all below it."""
    await client("Auth/UserAdd", name="root", password="root")
    await client("Auth/RoleAdd", name="root")
    await client("Auth/UserGrantRole", user="root", role="root")
    for name, password in users.items():
        await client("Auth/UserAdd", name=name, password=password)
        await client("Auth/RoleAdd", name=name)
        below = {"permType": 2, "key": f"{name}/".encode(), "range_end": f"{name}0".encode()}
        await client("Auth/RoleGrantPermission", name=name, perm=below)
        await client("Auth/UserGrantRole", user=name, role=name)
    await client("Auth/AuthEnable")


async def log_in(client, name, password):
    told = await client("Auth/Authenticate", name=name, password=password)
    client.metadata = {"token": told.token}


async def test_watches_locks_and_leases_are_for_who_may():
    async with door() as ours, client_of(ours) as client:
        await enable(client, ann="secret")
        assert await refusal(client("Lock/Lock", name=b"ann/room")) == (
            "etcdserver: user name is empty"
        )
        await log_in(client, "ann", "secret")
        await client("Lock/Lock", name=b"ann/room")
        await client("Election/Campaign", name=b"ann/chair", value=b"x")
        lease = (await client("Lease/LeaseGrant", TTL=60)).ID
        await ours.local.put(Put(b"other", lease=lease))
        denied = "etcdserver: permission denied"
        for asked in (
            client("Lock/Lock", name=b"room"),
            client("Lock/Unlock", key=b"room"),
            client("Election/Campaign", name=b"chair"),
            client("Election/Leader", name=b"chair"),
            client("Lease/LeaseRevoke", ID=lease),
            client("Lease/LeaseTimeToLive", ID=lease, keys=True),
            client("Maintenance/HashKV"),
            client("Maintenance/Defragment"),
            client("Maintenance/MoveLeader", targetID=1),
            client("Cluster/MemberAdd", peerURLs=["http://x:1"]),
            client("Cluster/MemberRemove", ID=1),
            client("Auth/AuthDisable"),
            client("Auth/UserAdd", name="x", password="y"),
        ):
            assert await refusal(asked) == denied
        async with client.stream("Watch/Watch") as stream:
            for key, reason in ((b"other", denied), (b"ann/x", "")):
                await stream.send_message(messages().WatchRequest(create_request={"key": key}))
                assert (await stream.recv_message()).cancel_reason == reason


async def test_another_node_hears_of_accounts_and_takes_their_tokens():
    async with (
        door() as here,
        door(local=here.local) as there,
        client_of(here) as client,
        client_of(there) as other,
    ):
        await enable(client, ann="secret")
        await becomes(lambda: there.desk.accounts.revision == here.desk.accounts.revision)
        assert await refusal(other("KV/Range", key=b"a")) == "etcdserver: user name is empty"
        await log_in(client, "ann", "secret")
        other.metadata = client.metadata
        await other("KV/Put", key=b"ann/1")
        await log_in(client, "root", "root")
        await client("Auth/RoleRevokePermission", role="ann", key=b"ann/", range_end=b"ann0")
        await becomes(lambda: there.desk.accounts.revision == here.desk.accounts.revision)
        assert await refusal(other("KV/Put", key=b"ann/1")) == "etcdserver: permission denied"


@pytest.mark.limit("coord.NAME_BYTES_MAX")
async def test_a_name_has_so_many_bytes():
    async with door() as ours, client_of(ours) as client:
        name = "ü" * (NAME_BYTES_MAX // 2)
        for method in ("Auth/UserAdd", "Auth/RoleAdd"):
            await client(method, name=name)
            assert str(NAME_BYTES_MAX) in await refusal(client(method, name=name + "x"))
            assert "name is empty" in await refusal(client(method))
        assert list((await client("Auth/RoleList")).roles) == [name]


async def test_two_nodes_change_accounts_at_once_and_lose_nothing():
    async with (
        door() as here,
        door(local=here.local) as there,
        client_of(here) as client,
        client_of(there) as other,
    ):
        await client("Auth/UserAdd", name="ann", password="x")
        names = [f"r{n}" for n in range(20)]
        await asyncio.gather(*(client("Auth/RoleAdd", name=name) for name in names))
        asked = [
            one("Auth/UserGrantRole", user="ann", role=name)
            for name, one in zip(names, [client, other] * 10, strict=True)
        ]
        await asyncio.gather(*asked)
        assert set((await other("Auth/UserGet", name="ann")).roles) == set(names)


async def test_a_token_holds_for_so_long():
    clock = ManualClock()
    run_on(Runtime(clock=clock))
    async with door() as ours, client_of(ours) as client:
        await enable(client, ann="secret")
        await log_in(client, "ann", "secret")
        clock.advance(TOKEN_S - 1)
        await client("KV/Put", key=b"ann/1")
        clock.advance(2)
        invalid = "etcdserver: invalid auth token"
        assert await refusal(client("KV/Put", key=b"ann/1")) == invalid
        for wrong in ("x", "a.b.c", "YW5u.9", "YW5u.9999999999999.00", "Ym9i.9999999999999.00"):
            client.metadata = {"token": wrong}
            assert await refusal(client("KV/Put", key=b"ann/1")) == invalid


async def test_who_cannot_ask_for_accounts_lets_nobody_in():
    with bind(HOST, 0) as listener:
        nobody = f"{HOST}:{listener.getsockname()[1]}"
    async with (
        keys_at(nobody, timeout_s=0.1) as far,
        door(local=far) as ours,
        client_of(ours) as client,
    ):
        assert await refusal(client("KV/Range", key=b"a")) == "etcdserver: no leader"
