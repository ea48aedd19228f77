"""A broker with its coordinators: all that a Kafka client calls a cluster, of one node."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from bastide.engines.log.core.groups.messages import Rules
from bastide.engines.log.service.broker import Broker, Settings, open_broker
from bastide.engines.log.service.groups import Groups
from bastide.engines.log.service.transactions import Transactions


class Serving(Protocol):
    """A backend that a broker of ours stands behind."""

    @property
    def node(self) -> "Node": ...


class Node(msgspec.Struct, frozen=True):
    """`systems`: names of those whose topics strangers may only read."""

    broker: Broker
    groups: Groups
    transactions: Transactions
    systems: Collection[str] = ()

    def is_of_the_town(self, topic: str) -> bool:
        return topic.partition(".")[0] in self.systems


@asynccontextmanager
async def open_node(
    directory: Path,
    settings: Settings,
    *,
    systems: Collection[str] = (),
    rules: Rules | None = None,
) -> AsyncIterator[Node]:
    """
    Raises:
        SegmentDamaged: see `open_broker`.
    """
    async with open_broker(directory, settings) as broker:
        groups = Groups(broker, rules=rules or Rules())
        transactions = Transactions(broker, groups)
        try:
            yield Node(broker, groups, transactions, frozenset(systems))
        finally:
            await transactions.close()
            await groups.close()
