"""`etcd://host:2379,host:2379?timeout_s=5`: the keys of a real etcd, or of a group of ours."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from bastide.base.manifest import Use
from bastide.base.settings import BackendUrl
from bastide.engines.coord.backends.etcd.client import Cluster, EtcdOptions
from bastide.engines.coord.backends.etcd.keeping import Keeping
from bastide.engines.coord.backends.etcd.watching import watching
from bastide.engines.coord.contract import (
    Coord,
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
    LeaseMissing,
    Member,
    Put,
    PutDone,
    Range,
    RevisionCompacted,
    Standing,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core import checks
from bastide.engines.coord.core.machine import is_read_only
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.values import (
    delete_message,
    deleted_of,
    found_of,
    put_done_of,
    put_message,
    range_message,
    txn_done_of,
    txn_message,
)
from bastide.engines.coord.service.front import opened_front

_API = "/etcdserverpb."


@asynccontextmanager
async def open_etcd(url: BackendUrl, use: Use) -> AsyncIterator["EtcdBackend"]:
    """Asks nothing yet: a cluster that is away is CoordAway when it is used.

    Raises:
        Invalid: the URL names no server, or asks for what is not spoken.
    """
    keys = EtcdKeys(Cluster(url, url.options(EtcdOptions)))
    try:
        yield EtcdBackend(keys)
    finally:
        await keys.close()


class EtcdBackend:
    """`model.CoordBackend`: what all systems of the town share."""

    def __init__(self, keys: "EtcdKeys") -> None:
        self._keys = keys

    async def health(self) -> None:
        """
        Raises:
            CoordAway
        """
        await self._keys.health()

    @asynccontextmanager
    async def view(self, client: str) -> AsyncIterator[Coord]:
        async with opened_front(self._keys, client) as front:
            yield front


class EtcdKeys:
    """`model.Keys` of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._keeping = Keeping(cluster)

    async def close(self) -> None:
        await self._keeping.close()
        self._cluster.close()

    async def _read(self, method: str, message: Any, *, revision: int = 0) -> Any:
        return await self._cluster.call(_API + method, message, changes=False, revision=revision)

    async def _change(self, method: str, message: Any) -> Any:
        return await self._cluster.call(_API + method, message, changes=True)

    # --- keys -----------------------------------------------------------------------------------

    async def range(self, range_: Range) -> Found:
        checks.check_range(range_)
        try:
            reply = await self._read("KV/Range", range_message(range_), revision=range_.revision)
        except RevisionCompacted as error:
            raise RevisionCompacted(error.revision, await self._oldest(error)) from error
        return found_of(reply, reply.header.revision)

    async def _oldest(self, error: RevisionCompacted) -> int:
        """etcd tells it to who watches, and to nobody else."""
        try:
            async with watching(self._cluster, Watch(b"any", from_revision=error.revision)) as told:
                await anext(told)
        except RevisionCompacted as compacted:
            return compacted.oldest
        return error.oldest

    async def put(self, put: Put) -> PutDone:
        checks.check_put(put)
        reply = await self._change("KV/Put", put_message(put))
        return put_done_of(reply, reply.header.revision)

    async def delete(self, delete: Delete) -> Deleted:
        checks.check_range(delete)
        reply = await self._change("KV/DeleteRange", delete_message(delete))
        return deleted_of(reply, reply.header.revision)

    async def txn(self, txn: Txn) -> TxnDone:
        checks.check_txn(txn)
        asked = self._read if is_read_only(txn) else self._change
        reply = await asked("KV/Txn", txn_message(txn))
        return txn_done_of(reply, reply.header.revision)

    async def compact(self, revision: int) -> int:
        asked = messages().CompactionRequest(revision=revision)
        try:
            reply = await self._cluster.call(
                f"{_API}KV/Compact", asked, changes=True, revision=revision
            )
        except RevisionCompacted as error:
            raise RevisionCompacted(revision, await self._oldest(error)) from error
        return int(reply.header.revision)

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]:
        checks.check_range(watch)
        return watching(self._cluster, watch)

    # --- leases ---------------------------------------------------------------------------------

    async def grant(self, ttl_s: int, id_: int) -> Lease:
        checks.check_grant(ttl_s, id_)
        asked = messages().LeaseGrantRequest(TTL=ttl_s, ID=id_)
        reply = await self._change("Lease/LeaseGrant", asked)
        return Lease(reply.ID, reply.TTL, float(reply.TTL))

    async def keep_alive(self, lease: int) -> Lease:
        ttl_s = await self._keeping.keep(lease)
        if ttl_s <= 0:
            raise LeaseMissing(f"lease {lease} has ended")
        return Lease(lease, ttl_s, float(ttl_s))

    async def revoke(self, lease: int) -> int:
        reply = await self._change("Lease/LeaseRevoke", messages().LeaseRevokeRequest(ID=lease))
        return int(reply.header.revision)

    async def lease(self, lease: int) -> Lease:
        asked = messages().LeaseTimeToLiveRequest(ID=lease, keys=True)
        reply = await self._read("Lease/LeaseTimeToLive", asked)
        if reply.TTL < 0:
            raise LeaseMissing(f"lease {lease} has ended")
        return Lease(reply.ID, reply.grantedTTL, float(reply.TTL), tuple(reply.keys))

    async def leases(self) -> Sequence[int]:
        reply = await self._read("Lease/LeaseLeases", messages().LeaseLeasesRequest())
        return [one.ID for one in reply.leases]

    # --- the cluster ----------------------------------------------------------------------------

    async def standing(self) -> Standing:
        status = await self._read("Maintenance/Status", messages().StatusRequest())
        listed = await self._read("Cluster/MemberList", messages().MemberListRequest())
        return Standing(
            cluster=status.header.cluster_id,
            member=status.header.member_id,
            leader=status.leader,
            term=status.raftTerm,
            committed=status.raftIndex,
            applied=status.raftAppliedIndex,
            revision=status.header.revision,
            space_bytes=status.dbSize,
            members=[_member_of(one) for one in listed.members],
        )

    async def health(self) -> None:
        """
        Raises:
            CoordAway
        """
        await self.range(Range(b"health"))


def _member_of(message: Any) -> Member:
    return Member(
        id=message.ID,
        name=message.name,
        peer_address=_address(message.peerURLs),
        client_address=_address(message.clientURLs),
        is_learner=message.isLearner,
    )


def _address(urls: Sequence[str]) -> str:
    return urls[0].partition("://")[2] if urls else ""
