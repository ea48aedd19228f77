"""`kafka://host:9092,host:9092?timeout_s=5`: topics, records and groups of a cluster of Kafka's."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bastide.base.fence import Fence
from bastide.base.manifest import Use
from bastide.base.settings import BackendUrl
from bastide.engines.log.backends.kafka.client import Cluster
from bastide.engines.log.backends.kafka.groups import Groups
from bastide.engines.log.backends.kafka.membership import GroupMember
from bastide.engines.log.backends.kafka.producing import Appends
from bastide.engines.log.backends.kafka.reading import Reads
from bastide.engines.log.backends.kafka.topics import Topics
from bastide.engines.log.contract import (
    SESSION_S,
    Ends,
    Entry,
    FenceMissing,
    Group,
    Lag,
    Place,
    Record,
    Start,
    Topic,
)
from bastide.engines.log.model import KafkaOptions
from bastide.engines.log.service.broker import Settings
from bastide.engines.log.service.checks import (
    check_member,
    check_own,
    check_records,
    shares_of,
)


@asynccontextmanager
async def open_kafka(url: BackendUrl, use: Use) -> AsyncIterator["KafkaBackend"]:
    """Asks nothing yet: a cluster that is away is LogAway when it is used.

    Raises:
        Invalid: the URL names no server, or asks for what is not spoken.
    """
    cluster = Cluster(url, url.options(KafkaOptions))
    backend = KafkaBackend(cluster, partitions=use.settings(Settings).partitions)
    try:
        yield backend
    finally:
        await backend.close()


class KafkaBackend:
    """`model.LogBackend`: what all systems of the town share."""

    def __init__(self, cluster: Cluster, *, partitions: int) -> None:
        self.cluster = cluster
        self.topics = Topics(cluster, partitions=partitions)
        self.groups = Groups(cluster, self.topics)
        self.appends = Appends(cluster)
        self.reads = Reads(cluster, self.topics)

    async def health(self) -> None:
        """
        Raises:
            LogAway
        """
        await self.topics.identity()

    @asynccontextmanager
    async def view(self, client: str) -> AsyncIterator["KafkaLog"]:
        yield KafkaLog(self, client)

    async def close(self) -> None:
        await self.appends.close()
        await self.reads.close()
        self.groups.close()
        self.topics.close()


class KafkaLog:
    """`contract.Log` for the system `client`."""

    def __init__(self, backend: KafkaBackend, client: str) -> None:
        self._cluster = backend.cluster
        self._topics = backend.topics
        self._groups = backend.groups
        self._appends = backend.appends
        self._reads = backend.reads
        self._client = client
        self._turn = 0

    # --- records --------------------------------------------------------------------------------

    async def append(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int | None = None,
        fence: Fence | None = None,
    ) -> Sequence[Place]:
        if fence is not None:
            raise FenceMissing("kafka:// keeps no fences: guard what is written elsewhere, in sql")
        check_own(self._client, topic)
        check_records(records)
        count = await self._topics.ensure(topic)
        if partition is not None:
            await self._topics.check(topic, partition)
        self._turn += partition is None
        shares = shares_of(records, count, partition=partition, turn=self._turn)
        return await self._appends.append(topic, shares)

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        bytes_max: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> Sequence[Entry]:
        spot = topic, partition
        return await self._reads.read(spot, offset, bytes_max=bytes_max, wait_s=wait_s)

    async def offset_at(self, topic: str, partition: int, stamp_ms: int) -> int:
        await self._topics.check(topic, partition)
        found = await self._topics.at((topic, partition), stamp_ms)
        if found is not None:
            return found
        return (await self._topics.ends(topic))[partition].next

    async def ends(self, topic: str) -> Sequence[Ends]:
        return await self._topics.ends(topic)

    # --- topics ---------------------------------------------------------------------------------

    async def create(self, topic: Topic) -> None:
        check_own(self._client, topic.name)
        await self._topics.create(topic)

    async def topics(self) -> Sequence[Topic]:
        return await self._topics.all()

    # --- groups ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: Start = "first",
        session_s: float = SESSION_S,
    ) -> AsyncIterator[GroupMember]:
        check_member(group, topics)
        for topic in topics:
            await self._topics.ensure(topic)
        made = GroupMember(self._cluster, group, topics, start=start, session_s=session_s)
        try:
            await made.enter()
            yield made
        finally:
            await made.leave()

    async def groups(self) -> Sequence[Group]:
        return await self._groups.all()

    async def lag(self, group: str) -> Sequence[Lag]:
        return await self._groups.lag(group)

    # --- the log --------------------------------------------------------------------------------

    async def identity(self) -> str:
        return await self._topics.identity()

    async def health(self) -> None:
        await self._topics.identity()
