"""Groups as Kafka tells of them: who is in, and how far they are.

By librdkafka's older calls, that wait: those of its admin API that ask a group's coordinator end
the process by a failed assertion when the connection is lost meanwhile (librdkafka 2.16.0; its pull
request 5397).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import GroupMetadata

from bastide.engines.log.backends.kafka.client import GRACE_S, Cluster, Worker, answered, check_each
from bastide.engines.log.backends.kafka.topics import Spot, Topics
from bastide.engines.log.contract import Group, Lag
from bastide.engines.log.core.assigned import assigned
from bastide.engines.log.service.checks import is_group

States = Literal["empty", "rebalancing", "stable"]

NOT_TOLD = -1
GONE = "Dead"
STATES: Mapping[str, States] = {"Empty": "empty", "Stable": "stable"}


class Groups:
    def __init__(self, cluster: Cluster, topics: Topics) -> None:
        self._cluster = cluster
        self._topics = topics
        self._timeout_s = cluster.options.timeout_s
        self._worker = Worker("kafka-groups")

    def close(self) -> None:
        self._worker.stop()

    async def all(self) -> Sequence[Group]:
        """By name."""
        return await self._told(None)

    async def lag(self, name: str) -> Sequence[Lag]:
        if not is_group(name) or "\0" in name:
            return ()
        counts = await self._topics.names()
        every = [(topic, number) for topic, count in counts.items() for number in range(count)]
        committed = await self._committed(name, every)
        members = {spot for group in await self._told(name) for spot in _read_by(group)}
        nexts = await self._topics.nexts(sorted({*committed, *members} & set(every)))
        return [Lag(*spot, committed.get(spot), next_) for spot, next_ in sorted(nexts.items())]

    async def _told(self, name: str | None) -> Sequence[Group]:
        """Of all, or of one if it is there."""
        asked = self._worker.run(lambda: self._ask_groups(name))
        found = await answered(asked, self._timeout_s + GRACE_S)
        known = (one for one in found if one.state != GONE and one.error is None)
        return [_group(one) for one in sorted(known, key=_name)]

    def _ask_groups(self, name: str | None) -> Sequence[GroupMetadata]:
        # It warns that the calls that would end the process are to be preferred to it.
        warnings.filterwarnings("ignore", message=r"list_groups\(\)", category=DeprecationWarning)
        found: Sequence[GroupMetadata] = self._topics.client.list_groups(
            **_of(name), timeout=self._timeout_s
        )
        return found

    async def _committed(self, name: str, spots: Sequence[Spot]) -> Mapping[Spot, int]:
        asked = self._worker.run(lambda: self._ask_committed(name, spots))
        return await answered(asked, self._timeout_s + GRACE_S)

    def _ask_committed(self, name: str, spots: Sequence[Spot]) -> Mapping[Spot, int]:
        if not spots:
            return {}
        consumer = Consumer(self._cluster.config(group_id=name, enable_auto_commit=False))
        try:
            found = consumer.committed([At(*spot) for spot in spots], timeout=self._timeout_s)
        finally:
            consumer.close()
        check_each(found)
        return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}


def _of(name: str | None) -> Mapping[str, str]:
    return {} if name is None else {"group": name}


def _group(told: GroupMetadata) -> Group:
    members = {one.id: assigned(one.assignment or b"") for one in told.members}
    return Group(told.id, STATES.get(told.state, "rebalancing"), NOT_TOLD, members)


def _name(told: GroupMetadata) -> str:
    return str(told.id)


def _read_by(group: Group) -> Sequence[Spot]:
    return [spot for has in group.members.values() for spot in has]
