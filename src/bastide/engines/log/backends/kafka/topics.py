"""Topics, their partitions and ends: what Kafka's admin API tells and does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from bastide.base.rt import runtime
from bastide.engines.log.backends.kafka.client import (
    BATCH_BYTES_MAX,
    GRACE_S,
    Cluster,
    Outcome,
    Worker,
    answered,
    code_of,
    error_of,
    patient,
)
from bastide.engines.log.contract import (
    Ends,
    LogAway,
    Topic,
    TopicExists,
    TopicMissing,
    TopicRefused,
)
from bastide.engines.log.service.checks import check_new, check_partition, is_name

T = TypeVar("T")
Spot = tuple[str, int]  # a topic and the number of a partition

NONE_SO_LATE = -1  # an offset, where a time was asked for
LATEST_MS = 1 << 62
COUNT_S = 10.0  # how long it is believed how many partitions a topic has
SEEN_PAUSE_S = 0.02
CONFIGS_AT_ONCE = 200
HIDDEN = "__"  # Kafka's own topics begin so
REFUSED = {
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
}


class Topics:
    def __init__(self, cluster: Cluster, *, partitions: int) -> None:
        """`partitions`: of a topic that is made on first use."""
        self._options = cluster.options
        self._partitions = partitions
        self.client = AdminClient(cluster.config())
        self._worker = Worker("kafka-topics")
        self._counts: dict[str, tuple[int, float]] = {}  # and until when it is believed

    def close(self) -> None:
        self._worker.stop()

    # --- how many -------------------------------------------------------------------------------

    async def count(self, topic: str) -> int:
        """Of its partitions.

        Raises:
            TopicMissing, LogAway
        """
        count, until_s = self._counts.get(topic, (0, 0.0))
        if count and runtime.monotonic() < until_s:
            return count
        return await self._counted(topic)

    async def check(self, topic: str, number: int) -> None:
        """
        Raises:
            TopicMissing, PartitionRefused, LogAway
        """
        count = await self.count(topic)
        if number >= count:  # there may be more by now
            count = await self._counted(topic)
        check_partition(topic, number, count)

    def forget(self, topic: str) -> None:
        """What was known of it seems to be wrong."""
        self._counts.pop(topic, None)

    async def _counted(self, topic: str) -> int:
        self.forget(topic)
        if not is_name(topic):
            raise TopicMissing(f"{topic[:100]!r} is no name of a topic")
        try:
            described = await self._answer(lambda: self._description(topic))
        except Missing as error:
            raise TopicMissing(f"there is no topic {topic[:100]!r}") from error
        count = len(described.partitions)
        self._counts[topic] = (count, runtime.monotonic() + COUNT_S)
        return count

    def _description(self, topic: str) -> "Future[TopicDescription]":
        asked = self.client.describe_topics(
            TopicCollection([topic]), request_timeout=self._options.timeout_s
        )
        found: Future[TopicDescription] = next(iter(asked.values()))
        return found

    # --- making ---------------------------------------------------------------------------------

    async def ensure(self, topic: str) -> int:
        """Made if it is not there; how many partitions it has. Raises as `create` does."""
        try:
            return await self.count(topic)
        except TopicMissing:
            with suppress(TopicExists):
                await self.create(Topic(topic, partitions=self._partitions))
            return await self.count(topic)

    async def create(self, topic: Topic) -> None:
        """
        Raises:
            TopicRefused, TopicExists, LogAway
        """
        check_new(topic, len(await self.names()))
        new = NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=self._options.replicas,
            config={
                "retention.ms": str(-1 if topic.kept_ms is None else topic.kept_ms),
                "retention.bytes": str(-1 if topic.kept_bytes is None else topic.kept_bytes),
                "max.message.bytes": str(BATCH_BYTES_MAX),
            },
        )
        [asked] = self.client.create_topics([new], **self._within()).values()
        try:
            await self._answer(lambda: asked, "unknown")
        except Refused as error:
            raise TopicRefused(f"{topic.name}: {error}") from error
        except Existing as error:
            raise TopicExists(f"topic {topic.name} exists") from error
        await self._until_seen(topic)

    async def _until_seen(self, topic: Topic) -> None:
        """A broker may hear a moment later than the controller of what was made."""
        until_s = runtime.monotonic() + self._options.timeout_s
        while True:
            with suppress(TopicMissing):
                if await self._counted(topic.name) == topic.partitions:
                    return
            if runtime.monotonic() > until_s:
                raise LogAway(f"{topic.name} was made, and is not seen yet", outcome="unknown")
            await asyncio.sleep(SEEN_PAUSE_S)

    # --- all of them ----------------------------------------------------------------------------

    async def names(self) -> Mapping[str, int]:
        """Of all topics but Kafka's own: how many partitions each has."""
        within_s = self._options.timeout_s
        listed = await answered(
            self._worker.run(lambda: self.client.list_topics(timeout=within_s)),
            within_s + GRACE_S,
        )
        return {
            name: len(found.partitions)
            for name, found in sorted(listed.topics.items())
            if not name.startswith(HIDDEN) and found.error is None
        }

    async def all(self) -> Sequence[Topic]:
        counts = await self.names()
        names = list(counts)
        found: list[Topic] = []
        for at in range(0, len(names), CONFIGS_AT_ONCE):
            some = names[at : at + CONFIGS_AT_ONCE]
            asked = self.client.describe_configs(
                [ConfigResource(ResourceType.TOPIC, name) for name in some],
                request_timeout=self._options.timeout_s,
            )
            answers = {one.name: future for one, future in asked.items()}
            for name in some:
                with suppress(Missing):  # deleted meanwhile
                    configs = await self._answer(partial(answers.__getitem__, name))
                    found.append(_topic(name, counts[name], configs))
        return found

    # --- offsets --------------------------------------------------------------------------------

    async def ends(self, topic: str) -> Sequence[Ends]:
        """
        Raises:
            TopicMissing, LogAway
        """
        spots = [(topic, number) for number in range(await self.count(topic))]
        first, next_ = await asyncio.gather(self.firsts(spots), self.nexts(spots))
        if not first.keys() == next_.keys() == set(spots):
            self.forget(topic)
            raise TopicMissing(f"topic {topic} has gone")
        return [Ends(first[spot], next_[spot], 0) for spot in spots]

    async def firsts(self, spots: Iterable[Spot]) -> Mapping[Spot, int]:
        """The first offset that is kept, of those that are there."""
        return await self._offsets(spots, OffsetSpec.earliest())

    async def nexts(self, spots: Iterable[Spot], *, committed: bool = False) -> Mapping[Spot, int]:
        """What the next record gets; if `committed`, the first that an open transaction has."""
        return await self._offsets(spots, OffsetSpec.latest(), committed=committed)

    async def at(self, spot: Spot, stamp_ms: int) -> int | None:
        """The first offset of that time or later; None: there is none."""
        found = await self._offsets(
            [spot], OffsetSpec.for_timestamp(min(max(0, stamp_ms), LATEST_MS))
        )
        offset = found.get(spot, NONE_SO_LATE)
        return None if offset < 0 else offset

    async def _offsets(
        self, spots: Iterable[Spot], spec: OffsetSpec, *, committed: bool = False
    ) -> Mapping[Spot, int]:
        wanted = {At(*spot): spec for spot in spots}
        if not wanted:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        within_s = self._options.timeout_s

        async def ask() -> Mapping[Spot, int]:
            asked = self.client.list_offsets(
                wanted, isolation_level=level, request_timeout=within_s
            )
            found = {}
            for at, future in asked.items():
                with suppress(Missing):
                    answer = await _named(asyncio.wrap_future(future))
                    if answer.offset < NONE_SO_LATE:  # so librdkafka tells of a lost answer
                        raise LogAway("Kafka did not tell where the records of a partition end")
                    found[at.topic, at.partition] = answer.offset
            return found

        return await answered(patient(ask, within_s), within_s + GRACE_S)

    # --- the cluster ----------------------------------------------------------------------------

    async def identity(self) -> str:
        within_s = self._options.timeout_s
        described = await self._answer(
            lambda: self.client.describe_cluster(request_timeout=within_s)
        )
        return str(described.cluster_id)

    def _within(self) -> Mapping[str, float]:
        within_s = self._options.timeout_s
        return {"operation_timeout": within_s, "request_timeout": within_s}

    async def _answer(self, ask: "Callable[[], Future[T]]", outcome: Outcome = "none") -> T:
        """
        Raises:
            Missing, Existing, Refused, LogAway
        """
        within_s = self._options.timeout_s
        asked = patient(lambda: _named(asyncio.wrap_future(ask())), within_s)
        return await answered(asked, within_s + GRACE_S, outcome)


class Missing(Exception):
    """There is no such topic or partition."""


class Existing(Exception):
    pass


class Refused(Exception):
    """A topic as Kafka does not make it."""


async def _named(asked: Awaitable[T]) -> T:
    """Those of Kafka's refusals that are no outage."""
    try:
        return await asked
    except KafkaException as error:
        code = code_of(error)
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            raise Missing from error
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            raise Existing from error
        if code in REFUSED:
            raise Refused(error_of(error).str()) from error
        raise


def _topic(name: str, count: int, configs: Mapping[str, ConfigEntry]) -> Topic:
    if "delete" not in str(configs["cleanup.policy"].value):
        return Topic(name, count, kept_ms=None, kept_bytes=None)
    ms, size = (_limit(configs[f"retention.{unit}"]) for unit in ("ms", "bytes"))
    return Topic(name, count, kept_ms=ms, kept_bytes=size)


def _limit(entry: ConfigEntry) -> int | None:
    value = int(str(entry.value))
    return None if value < 0 else value
