"""Messages to whoever listens now: nothing is kept, and a slow listener is cut.

    Refusal
     ├── Invalid      ChannelRefused, MessageTooLarge
     ├── Limited      TooManySubscribers
     └── Unavailable  PubSubAway
                      SubscriberCut  the subscriber fell behind by more than may be pending

Channels are the client's own: no other system hears them. What must not be lost goes through the
log, not through here.

A subscription has no gap that is not told: whatever is published to its channels between entering
and leaving is heard, in order and once, or its iterator ends with an error. What a channel's
subscribers hear, all of them hear in one order. Of one publisher that is the order of its calls,
also from one channel to another; a call that ended in PubSubAway has no place in it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from bastide.base.errors import Invalid, Limited, TooLarge, Unavailable

CHANNEL_BYTES_MAX = 512  # of UTF-8; of a pattern too
MESSAGE_BYTES_MAX = 1 << 20
PENDING_MAX = 1_000  # messages, for each subscriber
PENDING_BYTES_MAX = 16 << 20  # of their values
SUBSCRIBERS_MAX = 10_000  # for each client, in one process


class ChannelRefused(Invalid):
    """A channel or pattern is empty, longer than CHANNEL_BYTES_MAX, or no text (a lone surrogate);
    or a pattern has a range from ASCII to beyond.
    """


class MessageTooLarge(TooLarge):
    """A message is larger than MESSAGE_BYTES_MAX."""


class TooManySubscribers(Limited):
    """SUBSCRIBERS_MAX are there already."""


class PubSubAway(Unavailable):
    """The server did not answer within its time-out, refused, or the connection was lost, and
    messages perhaps with it: subscribe again. While it is away, everything is refused at once.
    """


class SubscriberCut(Unavailable):
    """The subscriber fell behind and was cut off; subscribe again, and read the truth elsewhere."""


class Message(msgspec.Struct, frozen=True):
    """`channel` is the one that was published to, 1 to CHANNEL_BYTES_MAX bytes; `value` has up to
    MESSAGE_BYTES_MAX.
    """

    channel: str
    value: bytes


class PubSub(Protocol):
    async def publish(self, channel: str, value: bytes) -> None:
        """`value` to everybody who is subscribed now, at most once to each subscriber.

        Waits for no subscriber. On `memory` a look-up, a try of each pattern that the client
        listens to, and a step for each who hears it; on `redis` a round trip. Who heard it is not
        told: see README. `channel` is taken as it is, with `*` and all.

        Raises:
            ChannelRefused, MessageTooLarge
            PubSubAway: within `timeout_s`; with `outcome` unknown some may hear it, even later.
        """
        ...

    def subscribe(self, pattern: str) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Messages on channels that match `pattern`, published after the block was entered and,
        perhaps, while it was being entered. Leaving it ends the subscription.

        `*` stands for any bytes, `?` for one, `[ab]`, `[a-c]`, `[^a]` for one of a set, a backslash
        takes the next byte as it is: as in Redis, on the bytes of UTF-8. The iterator is for one
        task, and never ends but with an error. Who falls behind by more than PENDING_MAX messages
        or PENDING_BYTES_MAX bytes gets those, then SubscriberCut; nobody else waits for it.

        Entering costs two round trips on `redis`; a message, O(1).

        Raises, on entering:
            ChannelRefused, TooManySubscribers, PubSubAway
        Raises, from the iterator, after what came before, and again if it is asked again:
            SubscriberCut, PubSubAway
        """
        ...

    async def health(self) -> None:
        """Whether a message would be taken now.

        Raises:
            PubSubAway
        """
        ...
