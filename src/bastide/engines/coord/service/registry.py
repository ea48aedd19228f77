"""Who offers a service: one key for each instance, which goes with its lease."""

from collections.abc import Sequence

from bastide.engines.coord.contract import (
    RANGE_ITEMS_MAX,
    Compare,
    Delete,
    Instance,
    Item,
    Put,
    Range,
    Txn,
)
from bastide.engines.coord.core.spans import prefix_end
from bastide.engines.coord.model import Keys
from bastide.engines.coord.service.names import check_lease, name_bytes, name_of


class Registry:
    """That of one client, whose prefix is `prefix`."""

    def __init__(self, keys: Keys, prefix: bytes) -> None:
        self._keys = keys
        self._prefix = prefix

    def _key(self, service: str, instance: str) -> bytes:
        return self._prefix + name_bytes(service) + b"/" + name_bytes(instance)

    async def register(self, service: str, instance: str, value: bytes, *, lease: int) -> Instance:
        check_lease(lease)
        put = Put(self._key(service, instance), value, lease=lease)
        done = await self._keys.put(put)
        return Instance(service, instance, value, lease, done.revision)

    async def unregister(self, instance: Instance) -> None:
        """One that has replaced it since stays."""
        key = self._key(instance.service, instance.name)
        own = Compare("changed", "equal", instance.since, key)
        await self._keys.txn(Txn([own], [Delete(key)]))

    async def instances(self, service: str) -> Sequence[Instance]:
        prefix = self._prefix + name_bytes(service) + b"/"
        found = await self._keys.range(Range(prefix, prefix_end(prefix), limit=RANGE_ITEMS_MAX))
        return [_instance(service, item, len(prefix)) for item in found.items]


def _instance(service: str, item: Item, prefix_length: int) -> Instance:
    name = name_of(item.key[prefix_length:])
    return Instance(service, name, item.value, item.lease, item.changed)
