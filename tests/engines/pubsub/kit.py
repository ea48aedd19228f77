"""Hearing."""

import asyncio

import pytest

from bastide.engines.pubsub.contract import PubSubAway

PATIENCE_S = 5


async def hear(messages, count=1):
    """The next `count` values."""
    async with asyncio.timeout(PATIENCE_S):
        return [(await anext(messages)).value for _ in range(count)]


async def hear_all(messages, error=PubSubAway):
    """The values until the iterator ends with `error`."""
    values = []
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(error):
            await _heard(messages, values)
    return values


async def _heard(messages, values):
    async for message in messages:
        values.append(message.value)


async def publish(pubsub, channel, values):
    for value in values:
        await pubsub.publish(channel, value)


async def published_again(pubsub, channel, value):
    """As a caller tries again until the server is back."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await pubsub.publish(channel, value)
            except PubSubAway:
                await asyncio.sleep(0.01)  # as a caller backs off


def numbered(count, before=""):
    return [f"{before}{n}".encode() for n in range(count)]
