"""All that is served, by key: the number that a request begins with."""

from collections.abc import Mapping

from bastide.engines.log.wire.codec.api import Api
from bastide.engines.log.wire.codec.messages import (
    cluster,
    configs,
    groups,
    offsets,
    records,
    topics,
    transactions,
)

APIS: Mapping[int, Api] = {
    api.key: api
    for module in (records, cluster, offsets, groups, topics, configs, transactions)
    for api in module.APIS
}
