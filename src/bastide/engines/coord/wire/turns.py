"""Locks and elections as etcd's server gives them: keys below a name, the oldest one's turn.

Who wants a turn puts a key NAME/LEASE under its lease, and waits until none is older. It waits for
the one before it alone, so a turn that ends wakes one. Clients that do it by themselves make the
same keys (`etcdctl lock` and `elect`), so both stand in one queue.
"""

from typing import Any

from bastide.engines.coord.contract import (
    Compare,
    Delete,
    Found,
    Item,
    Put,
    PutDone,
    Range,
    Txn,
    Watch,
)
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import LEASE_MISSING, CallFailed, Code, Status
from bastide.engines.coord.core.protocol.values import item_message
from bastide.engines.coord.wire.desk import Asker, Desk, Talk
from bastide.engines.coord.wire.kv import check_key
from bastide.engines.coord.wire.spans import KEY_RESERVED, RESERVED

SESSION_TTL_S = 60  # of who brings no lease
NO_ONE_LEADS = Status(Code.UNKNOWN, "election: no leader")
LEADS_NOT = Status(Code.UNKNOWN, "election: not leader")


# --- locks ----------------------------------------------------------------------------------------


async def lock(desk: Desk, asker: Asker, message: Any) -> Any:
    key, revision = await _turn(desk, asker, message, b"")
    header = await desk.header(revision)
    return messages().LockResponse(header=header, key=key)


async def unlock(desk: Desk, asker: Asker, message: Any) -> Any:
    check_key(message)
    desk.accounts.admit_write(asker.token, message.key)
    done = await desk.node.delete(Delete(message.key))
    return messages().UnlockResponse(header=await desk.header(done.revision))


# --- elections ------------------------------------------------------------------------------------


async def campaign(desk: Desk, asker: Asker, message: Any) -> Any:
    key, _ = await _turn(desk, asker, message, message.value)
    own = (await desk.node.range(Range(key))).items
    if not own:
        raise CallFailed(LEASE_MISSING)
    names = messages()
    leader = names.LeaderKey(name=message.name, key=key, rev=own[0].created, lease=own[0].lease)
    return names.CampaignResponse(header=await desk.header(), leader=leader)


async def proclaim(desk: Desk, asker: Asker, message: Any) -> Any:
    leader = message.leader
    check_key(leader)
    desk.accounts.admit_write(asker.token, leader.key)
    put = Put(leader.key, message.value, lease=leader.lease)
    done = await desk.node.txn(Txn([Compare("created", "equal", leader.rev, leader.key)], [put]))
    if not done.succeeded:
        raise CallFailed(LEADS_NOT)
    return messages().ProclaimResponse(header=await desk.header(done.revision))


async def resign(desk: Desk, asker: Asker, message: Any) -> Any:
    leader = message.leader
    check_key(leader)
    desk.accounts.admit_write(asker.token, leader.key)
    mine = Compare("created", "equal", leader.rev, leader.key)
    done = await desk.node.txn(Txn([mine], [Delete(leader.key)]))
    return messages().ResignResponse(header=await desk.header(done.revision))


async def leader(desk: Desk, asker: Asker, message: Any) -> Any:
    first, end = _below(message.name)
    desk.accounts.admit_read(asker.token, first, end)
    found = await _oldest(desk, first, end)
    if not found.items:
        raise CallFailed(NO_ONE_LEADS)
    header = await desk.header(found.revision)
    return messages().LeaderResponse(header=header, kv=item_message(found.items[0]))


async def observe(desk: Desk, talk: Talk) -> None:
    """The leader now, then every new one, and every new value of one."""
    message = await talk.receive()
    if message is None:
        return
    first, end = _below(message.name)
    desk.accounts.admit_read(talk.asker.token, first, end)
    told: Item | None = None
    revision = (await _oldest(desk, first, end)).revision
    async with desk.node.watch(Watch(first, end, from_revision=revision + 1)) as changes:
        while True:
            found = await _oldest(desk, first, end)
            if found.items and found.items[0] != told:
                told = found.items[0]
                header = await desk.header(found.revision)
                await talk.send(messages().LeaderResponse(header=header, kv=item_message(told)))
            await anext(changes)


# --- a turn ---------------------------------------------------------------------------------------


async def _turn(desk: Desk, asker: Asker, message: Any, value: bytes) -> tuple[bytes, int]:
    """Waits for it. Its key, and the store's revision then. Who leaves gives up its place."""
    first, end = _below(message.name)
    desk.accounts.admit_write(asker.token, first, end)
    lease = message.lease or (await desk.node.grant(SESSION_TTL_S, 0)).id
    key = first + f"{lease:x}".encode()
    check_key(messages().PutRequest(key=key))
    try:
        created = await _enter(desk, key, value, lease)
        return key, await _await_turn(desk, key, created, end=end)
    except BaseException:
        desk.afterwards(desk.node.delete(Delete(key)))
        raise


async def _enter(desk: Desk, key: bytes, value: bytes, lease: int) -> int:
    """Since which revision it stands in the queue. Who comes again keeps its place, and may tell
    another value.
    """
    absent = Compare("created", "equal", 0, key)
    done = await desk.node.txn(Txn([absent], [Put(key, value, lease=lease)], [Range(key)]))
    (result,) = done.results
    if isinstance(result, PutDone):
        return done.revision
    assert isinstance(result, Found)
    if result.items[0].value != value:
        await desk.node.put(Put(key, value, lease=lease))
    return result.items[0].created


async def _await_turn(desk: Desk, key: bytes, created: int, *, end: bytes) -> int:
    first = key[: key.rindex(b"/") + 1]
    while True:
        before = Range(
            first, end, limit=1, sort_by="created", descending=True, created_max=created - 1
        )
        found = await desk.node.range(before)
        if not found.items:
            break
        wanted = Watch(found.items[0].key, from_revision=found.revision + 1, puts=False)
        async with desk.node.watch(wanted) as changes:
            async for change in changes:
                if change.events:
                    break
    own = await desk.node.range(Range(key))
    if not own.items or own.items[0].created != created:
        raise CallFailed(LEASE_MISSING)  # it ended while its key waited
    return own.revision


async def _oldest(desk: Desk, first: bytes, end: bytes) -> Found:
    return await desk.node.range(Range(first, end, limit=1, sort_by="created"))


def _below(name: bytes) -> tuple[bytes, bytes]:
    if name.startswith(RESERVED):
        raise CallFailed(KEY_RESERVED)
    return name + b"/", name + b"0"  # "0" is what comes behind "/"
