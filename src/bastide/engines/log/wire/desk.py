"""What a handler of the wire door has before it, and what it may answer."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from bastide.base.errors import Limited, Unavailable
from bastide.engines.log.contract import (
    OffsetAhead,
    OffsetGone,
    PartitionRefused,
    TopicExists,
    TopicMissing,
    TopicRefused,
)
from bastide.engines.log.core.batches import BatchBroken
from bastide.engines.log.core.codes import Code
from bastide.engines.log.service.node import Node
from bastide.engines.log.wire.codec.calls import Call

NODE_ID = 0
Body = dict[str, Any]
Answer = Body | Awaitable[Body] | None
"""A reply; one that is still to come, while the next request is begun; or none at all."""


class Desk(msgspec.Struct, frozen=True):
    """`host` and `port` are how this client has reached us, and is told to go on reaching us."""

    node: Node
    host: str
    port: int
    peer: str


Handler = Callable[[Desk, Call], Coroutine[Any, Any, Answer]]

_CODES: dict[type[Exception], Code] = {
    TopicMissing: Code.UNKNOWN_TOPIC_OR_PARTITION,
    PartitionRefused: Code.UNKNOWN_TOPIC_OR_PARTITION,
    OffsetGone: Code.OFFSET_OUT_OF_RANGE,
    OffsetAhead: Code.OFFSET_OUT_OF_RANGE,
    TopicRefused: Code.INVALID_TOPIC_EXCEPTION,
    TopicExists: Code.TOPIC_ALREADY_EXISTS,
    Limited: Code.KAFKA_STORAGE_ERROR,  # clients ask again
    Unavailable: Code.KAFKA_STORAGE_ERROR,
}
REFUSALS: tuple[type[Exception], ...] = (*_CODES, BatchBroken)


def code_of(error: Exception) -> Code:
    if isinstance(error, BatchBroken):
        return error.code
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))
