"""Leases: grant, revoke, keep alive, how long they last."""

from typing import Any

from bastide.engines.coord.contract import TTL_S_MAX, TTL_S_MIN, LeaseMissing
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import TTL_OVER, CallFailed
from bastide.engines.coord.wire.desk import Asker, Desk, Talk

ENDED_TTL_S = -1
ENDED_KEPT_TTL_S = 0  # what a keep-alive of one that has ended is told


async def grant(desk: Desk, asker: Asker, message: Any) -> Any:
    """What is too short is made as long as it must be, as etcd does."""
    desk.accounts.admit(asker.token)
    if message.TTL > TTL_S_MAX:
        raise CallFailed(TTL_OVER)
    await desk.require_leader(asker)
    lease = await desk.node.grant(max(TTL_S_MIN, message.TTL), message.ID)
    return messages().LeaseGrantResponse(header=await desk.header(), ID=lease.id, TTL=lease.ttl_s)


async def revoke(desk: Desk, asker: Asker, message: Any) -> Any:
    """Whoever ends a lease deletes its keys, and so must be allowed to write them."""
    if desk.accounts.admit(asker.token):
        for key in (await desk.node.lease(message.ID)).keys:
            desk.accounts.admit_write(asker.token, key)
    revision = await desk.node.revoke(message.ID)
    return messages().LeaseRevokeResponse(header=await desk.header(revision))


async def keep_alive(desk: Desk, talk: Talk) -> None:
    await desk.require_leader(talk.asker)
    while (request := await talk.receive()) is not None:
        try:
            ttl_s = (await desk.node.keep_alive(request.ID)).ttl_s
        except LeaseMissing:
            ttl_s = ENDED_KEPT_TTL_S
        header = await desk.header()
        await talk.send(messages().LeaseKeepAliveResponse(header=header, ID=request.ID, TTL=ttl_s))


async def time_to_live(desk: Desk, asker: Asker, message: Any) -> Any:
    reply = messages().LeaseTimeToLiveResponse
    desk.accounts.admit(asker.token)
    try:
        lease = await desk.node.lease(message.ID)
    except LeaseMissing:
        return reply(header=await desk.header(), ID=message.ID, TTL=ENDED_TTL_S)
    keys = lease.keys if message.keys else ()
    for key in keys:
        desk.accounts.admit_read(asker.token, key)
    return reply(
        header=await desk.header(),
        ID=lease.id,
        TTL=int(lease.left_s),
        grantedTTL=lease.ttl_s,
        keys=keys,
    )


async def list_leases(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit(asker.token)
    names = messages()
    found = [names.LeaseStatus(ID=one) for one in await desk.node.leases()]
    return names.LeaseLeasesResponse(header=await desk.header(), leases=found)
