"""The group: who belongs to it, how it stands, its alarms, its hash and its snapshot."""

import hashlib
from collections.abc import Sequence
from typing import Any

from bastide.engines.coord.contract import Member, Standing
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import (
    MEMBER_MISSING,
    MEMBER_NO_LEARNER,
    MEMBER_THERE,
    MEMBER_URLS,
    CallFailed,
    Code,
    etcd,
)
from bastide.engines.coord.model import Alarm
from bastide.engines.coord.wire.desk import Asker, Desk, Talk

VERSION = "3.4.0"
"""Of the API that is spoken here."""
SCHEME = "http://"
ALARMS: Sequence[str] = ("", "space", "damage")  # their places are etcd's numbers
GET, ACTIVATE, DEACTIVATE = 0, 1, 2
SNAPSHOT_BLOCK_BYTES = 512
HASH_MASK = 0xFFFF_FFFF
NOT_TAKEN = etcd(Code.UNIMPLEMENTED, "remove the member and add it with its new address")
NOT_RAISED = etcd(Code.UNIMPLEMENTED, "nodes raise alarms, clients take them back")


# --- members --------------------------------------------------------------------------------------


async def list_members(desk: Desk, asker: Asker, message: Any) -> Any:
    standing = await desk.standing()
    return messages().MemberListResponse(header=await desk.header(), members=_members(standing))


async def add(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    if len(message.peerURLs) != 1 or not message.peerURLs[0].startswith(SCHEME):
        raise CallFailed(MEMBER_URLS)
    address = message.peerURLs[0].removeprefix(SCHEME)
    if address in [one.peer_address for one in (await desk.standing()).members]:
        raise CallFailed(MEMBER_THERE)
    number = await desk.node.add_member("", address, is_learner=message.isLearner)
    members = _members(await desk.standing())
    made = next((m for m in members if number == m.ID), None)
    return messages().MemberAddResponse(header=await desk.header(), member=made, members=members)


async def remove(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    await _find(desk, message.ID)
    await desk.node.remove_member(message.ID)
    members = _members(await desk.standing())
    return messages().MemberRemoveResponse(header=await desk.header(), members=members)


async def update(desk: Desk, asker: Asker, message: Any) -> Any:
    """An address is part of who a member is here."""
    desk.accounts.admit_root(asker.token)
    raise CallFailed(NOT_TAKEN)


async def promote(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    if not (await _find(desk, message.ID)).is_learner:
        raise CallFailed(MEMBER_NO_LEARNER)
    await desk.node.promote_member(message.ID)
    members = _members(await desk.standing())
    return messages().MemberPromoteResponse(header=await desk.header(), members=members)


async def _find(desk: Desk, number: int) -> Member:
    """
    Raises:
        MEMBER_MISSING
    """
    found = next((m for m in (await desk.standing()).members if m.id == number), None)
    if found is None:
        raise CallFailed(MEMBER_MISSING)
    return found


def _members(standing: Standing) -> Sequence[Any]:
    return [_member(one) for one in standing.members]


def _member(member: Member) -> Any:
    """Who has never said where its clients reach it has not been started: etcd knows it by its
    missing name.
    """
    return messages().Member(
        ID=member.id,
        name=member.name if member.client_address else "",
        peerURLs=_urls(member.peer_address),
        clientURLs=_urls(member.client_address),
        isLearner=member.is_learner,
    )


def _urls(address: str) -> Sequence[str]:
    return [SCHEME + address] if address else []


# --- maintenance ----------------------------------------------------------------------------------


async def alarm(desk: Desk, asker: Asker, message: Any) -> Any:
    """Without a header, as in etcd."""
    if message.action == GET:
        return _alarms_told(await desk.node.alarms())
    desk.accounts.admit_root(asker.token)
    if message.action != DEACTIVATE:
        raise CallFailed(NOT_RAISED)
    over = [one for one in await desk.node.alarms() if _is_meant(one, message)]
    for one in over:
        await desk.node.disarm(one)
    return _alarms_told(over)


def _is_meant(one: Alarm, message: Any) -> bool:
    """Nothing named means all."""
    by_member = message.memberID in (0, one.member)
    return by_member and message.alarm in (0, ALARMS.index(one.kind))


def _alarms_told(alarms: Sequence[Alarm]) -> Any:
    names = messages()
    told = [names.AlarmMember(memberID=one.member, alarm=ALARMS.index(one.kind)) for one in alarms]
    return names.AlarmResponse(alarms=told)


async def status(desk: Desk, asker: Asker, message: Any) -> Any:
    standing = await desk.standing()
    own = next((m for m in standing.members if m.id == standing.member), None)
    return messages().StatusResponse(
        header=await desk.header(),
        version=VERSION,
        dbSize=standing.space_bytes,
        dbSizeInUse=standing.space_bytes,
        leader=standing.leader,
        raftIndex=standing.committed,
        raftTerm=standing.term,
        raftAppliedIndex=standing.applied,
        errors=[] if standing.leader else ["etcdserver: no leader"],
        isLearner=own is not None and own.is_learner,
    )


async def defragment(desk: Desk, asker: Asker, message: Any) -> Any:
    """There is nothing to do: what is let go is used again. Without a header, as in etcd."""
    desk.accounts.admit_root(asker.token)
    return messages().DefragmentResponse()


async def hash_(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    found = await desk.node.hash()
    return messages().HashResponse(
        header=await desk.header(found.revision), hash=found.hash & HASH_MASK
    )


async def hash_kv(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    found = await desk.node.hash(message.revision)
    return messages().HashKVResponse(
        header=await desk.header(),
        hash=found.hash & HASH_MASK,
        compact_revision=found.compacted,
    )


async def snapshot(desk: Desk, talk: Talk) -> None:
    """What the node gives, zeros up to a whole block, and the SHA-256 of both: `etcdctl snapshot
    save` looks at the length whether there is one.
    """
    desk.accounts.admit_root(talk.asker.token)
    if await talk.receive() is None:
        return
    header = await desk.header()
    checksum, size = hashlib.sha256(), 0
    async for piece in desk.node.snapshot():
        checksum.update(piece)
        size += len(piece)
        await talk.send(messages().SnapshotResponse(header=header, blob=piece))
    padding = bytes(-size % SNAPSHOT_BLOCK_BYTES)
    checksum.update(padding)
    blob = padding + checksum.digest()
    await talk.send(messages().SnapshotResponse(header=header, blob=blob))


async def move_leader(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    await desk.node.transfer(message.targetID)
    return messages().MoveLeaderResponse(header=await desk.header())
